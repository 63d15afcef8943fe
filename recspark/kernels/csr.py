"""Compressed sparse rows: from coordinate lists, and cut into chunks of equal work."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def stable_order(keys, n):
    """Counting sort: the stable order of int32 `keys` in [0, n), and the offset of each key's run (int64, n + 1)."""
    starts = np.zeros(n + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    for key in range(n):
        starts[key + 1] += starts[key]
    order = np.empty(len(keys), np.int64)
    place = starts[:-1].copy()
    for position, key in enumerate(keys):
        order[place[key]] = position
        place[key] += 1
    return order, starts


@njit(cache=True, nogil=True)
def csr_from_coo(rows, columns, values, weights, n_rows, n_columns):
    """CSR of coordinates in any order, columns ascending inside a row; duplicates stay separate entries.

    rows, columns int32; values float32; weights float32, empty where all weigh 1.
    Returns indptr (int64, n_rows + 1), indices (int32), values, weights.
    """
    by_column, _ = stable_order(columns, n_columns)
    by_row, indptr = stable_order(rows[by_column], n_rows)
    indices = np.empty(len(rows), np.int32)
    ordered = np.empty(len(rows), np.float32)
    ordered_weights = np.empty(len(weights), np.float32)
    for position in range(len(rows)):
        source = by_column[by_row[position]]
        indices[position] = columns[source]
        ordered[position] = values[source]
        if len(weights) > 0:
            ordered_weights[position] = weights[source]
    return indptr, indices, ordered, ordered_weights


def balanced_cuts(work: np.ndarray, parts: int) -> np.ndarray:
    """Cut rows into `parts` contiguous ranges of nearly equal work; int64 bounds (parts + 1), ranges may be empty.

    >>> balanced_cuts(np.array([4, 1, 1, 1, 1]), 2).tolist()
    [0, 1, 5]
    """
    total = np.concatenate([[0.0], np.cumsum(work, dtype=np.float64)])
    cuts = np.searchsorted(total, np.linspace(0, total[-1], parts + 1), side="left")
    cuts[0], cuts[-1] = 0, len(work)
    return cuts.astype(np.int64)
