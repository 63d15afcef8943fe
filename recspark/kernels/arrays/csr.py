"""Compressed sparse rows: from coordinate lists, and cut into chunks of equal work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Entries(NamedTuple):
    """Entries of each row as CSR.

    Parameters
    ----------
    indptr
        int64 (rows + 1,): row r has the entries ``indptr[r] ... indptr[r + 1]``.
    indices
        int32 (entries,): rows of the other side.
    values, weights
        float32 (entries,); weights empty: all 1.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    weights: np.ndarray


@njit(cache=True, nogil=True)
def _starts(keys, n):
    """Offset of each key's run once `keys` (int32 in [0, n)) are sorted: int64 (n + 1)."""
    starts = np.zeros(n + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    for key in range(n):
        starts[key + 1] += starts[key]
    return starts


@njit(cache=True, nogil=True)
def stable_order(keys, n):
    """Counting sort: the stable order of int32 `keys` in [0, n).

    Also returned is the offset of each key's run (int64, n + 1).
    """
    starts = _starts(keys, n)
    order = np.empty(len(keys), np.int64)
    place = starts[:-1].copy()
    for position, key in enumerate(keys):
        order[place[key]] = position
        place[key] += 1
    return order, starts


@njit(cache=True, nogil=True)
def csr_from_coo(rows, columns, values, weights, n_rows, n_columns):
    """CSR of coordinates in any order, columns ascending inside a row; duplicates stay separate entries.

    Two counting sorts, by column and then by row; each reads in order and writes every entry once.

    Parameters
    ----------
    rows, columns
        int32 (n,): coordinates of the entries.
    values
        float32 (n,).
    weights
        float32 (n,), or empty: all weigh 1.
    n_rows, n_columns
        The shape of the matrix.

    Returns
    -------
    Entries
        The matrix.
    """
    by_column = _starts(columns, n_columns)
    place = by_column[:-1].copy()
    sorted_rows, sorted_values, sorted_weights = (
        np.empty_like(rows),
        np.empty_like(values),
        np.empty_like(weights),
    )
    for position in range(len(rows)):
        target = place[columns[position]]
        place[columns[position]] += 1
        sorted_rows[target] = rows[position]
        sorted_values[target] = values[position]
        if len(weights) > 0:
            sorted_weights[target] = weights[position]
    indptr = _starts(rows, n_rows)
    place = indptr[:-1].copy()
    indices, out, out_weights = np.empty(len(rows), np.int32), np.empty_like(values), np.empty_like(weights)
    for column in range(n_columns):
        for position in range(by_column[column], by_column[column + 1]):
            target = place[sorted_rows[position]]
            place[sorted_rows[position]] += 1
            indices[target] = column
            out[target] = sorted_values[position]
            if len(weights) > 0:
                out_weights[target] = sorted_weights[position]
    return Entries(indptr, indices, out, out_weights)


def balanced_cuts(work: np.ndarray, parts: int) -> np.ndarray:
    """Cut rows into `parts` contiguous ranges of nearly equal work, which may be empty.

    Returns int64 bounds (parts + 1).

    >>> balanced_cuts(np.array([4, 1, 1, 1, 1]), 2).tolist()
    [0, 1, 5]
    """
    total = np.concatenate([[0.0], np.cumsum(work, dtype=np.float64)])
    cuts = np.searchsorted(total, np.linspace(0, total[-1], parts + 1), side="left")
    cuts[0], cuts[-1] = 0, len(work)
    return cuts.astype(np.int64)


@njit(cache=True, nogil=True)
def contains(indptr, indices, row, column):
    """Whether `column` is among a row's indices, which must ascend."""
    lo, hi = indptr[row], indptr[row + 1]
    while lo < hi:
        middle = (lo + hi) // 2
        if indices[middle] < column:
            lo = middle + 1
        else:
            hi = middle
    return lo < indptr[row + 1] and indices[lo] == column
