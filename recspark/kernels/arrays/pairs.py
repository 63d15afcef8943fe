"""Pairs of positions (row, column) in any order: by the block of their row, and as compressed sparse rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.bits import trailing_zeros
from recspark.kernels.arrays.frozen import frozen


@njit(cache=True, nogil=True)
def by_block(rows, columns, least, blocks):
    """The pairs of every block; row r is number ``r // blocks`` of block ``r % blocks``.

    The order inside a block stays. rows, columns are int32; pairs with a row below 0 or a column below
    `least` are dropped. Returns ``starts`` (int64, blocks + 1) and int32 ``pairs`` (2, kept): block b has the
    numbers and columns ``pairs[:, starts[b] : starts[b + 1]]``.

    >>> starts, pairs = by_block(np.array([4, -1, 3, 2], np.int32), np.array([7, 8, 9, 5], np.int32), 0, 2)
    >>> starts.tolist(), pairs.tolist()
    ([0, 2, 3], [[2, 1, 1], [7, 5, 9]])
    """
    # unsigned: a signed quotient that rounds down takes one more branch
    divisor = np.uint32(blocks)
    starts = np.zeros(blocks + 1, np.int64)
    for p in range(len(rows)):
        if rows[p] >= 0 and columns[p] >= least:
            starts[np.uint32(rows[p]) % divisor + 1] += 1
    for block in range(blocks):
        starts[block + 1] += starts[block]
    place = starts[:-1].copy()
    pairs = np.empty((2, starts[-1]), np.int32)
    for p in range(len(rows)):
        if rows[p] >= 0 and columns[p] >= least:
            number = np.uint32(rows[p]) // divisor
            block = np.uint32(rows[p]) - number * divisor
            pairs[0, place[block]], pairs[1, place[block]] = number, columns[p]
            place[block] += 1
    return starts, pairs


class Runs(NamedTuple):
    """Pairs whose rows often repeat.

    The next ``lengths[r]`` of `columns` belong to ``rows[r]``, which may occur again later.
    """

    #: int32
    rows: np.ndarray
    #: whole numbers
    lengths: np.ndarray
    #: int32
    columns: np.ndarray


def sparse_rows(runs, n_rows, n_columns):
    """CSR (indptr int64, indices int32) of :class:`Runs`, columns ascending in a row and distinct.

    Negative rows and columns are dropped. A counting sort of the runs, and then each row by itself: by the
    bits of a mask if it has more entries than a sixteenth of the mask's words, else by comparisons.

    >>> items, ends = np.array([1, 0, -1, 1], np.int32), np.array([1, 1, 1, 2])
    >>> runs = Runs(items, ends, np.array([4, 2, 0, 3, 4], np.int32))
    >>> indptr, indices = sparse_rows(runs, 2, 5)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 3], [2, 3, 4])
    """
    # compiled once, for any type of the numbers
    return _sparse_rows(
        frozen(runs.rows, np.int32),
        frozen(runs.lengths, np.int64),
        frozen(runs.columns, np.int32),
        n_rows,
        n_columns,
    )


@njit(cache=True, nogil=True)
def _sparse_rows(rows, lengths, columns, n_rows, n_columns):
    firsts, order, starts = _by_row(rows, n_rows, lengths)
    mask = np.zeros(n_columns // 64 + 1, np.uint64)
    # a plain 0 would have a type of its own, for which callees are compiled, too
    indptr, indices, kept = np.zeros(n_rows + 1, np.int64), np.empty(len(columns), np.int32), np.int64(0)
    for row in range(n_rows):
        own = order[firsts[row] : firsts[row + 1]]
        size = 0
        for run in own:
            size += lengths[run]
        masked, place = 16 * size > len(mask), kept
        for run in own:
            found = columns[starts[run] : starts[run] + lengths[run]]
            if masked:
                _mark_inplace(mask, found)
            else:
                place = _append_inplace(indices, place, found)
        kept = _take_inplace(mask, indices, kept) if masked else _unique_inplace(indices, kept, place)
        indptr[row + 1] = kept
    return indptr, indices[:kept]


@njit(cache=True, nogil=True)
def _by_row(rows, n_rows, lengths):
    """The runs of row r, ``order[firsts[r] : firsts[r + 1]]``, and the start of each run's columns."""
    firsts, starts = np.zeros(n_rows + 1, np.int64), np.zeros(len(rows) + 1, np.int64)
    for run in range(len(rows)):
        starts[run + 1] = starts[run] + lengths[run]
        if rows[run] >= 0:
            firsts[rows[run] + 1] += 1
    firsts = np.cumsum(firsts)
    place, order = firsts[:-1].copy(), np.empty(firsts[-1], np.int64)
    for run in range(len(rows)):
        if rows[run] >= 0:
            order[place[rows[run]]] = run
            place[rows[run]] += 1
    return firsts, order, starts


@njit(cache=True, nogil=True)
def _append_inplace(indices, place, found):
    """Append the nonnegative numbers to ``indices[place:]``; returns the next place."""
    for column in found:
        if column >= 0:
            indices[place] = column
            place += 1
    return place


@njit(cache=True, nogil=True)
def _unique_inplace(indices, start, stop):
    """Sort ``indices[start:stop]`` and keep each number once; returns the next place."""
    indices[start:stop].sort()
    kept = start
    for p in range(start, stop):
        if p == start or indices[p] != indices[p - 1]:
            indices[kept] = indices[p]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _mark_inplace(mask, found):
    """Set the bits of the nonnegative numbers."""
    for column in found:
        if column >= 0:
            mask[column >> 6] |= np.uint64(1) << np.uint64(column & 63)


@njit(cache=True, nogil=True)
def _take_inplace(mask, indices, kept):
    """Move the numbers of the bits of `mask` to ``indices[kept:]``, ascending; returns the next place.

    The bits are cleared.
    """
    for word in range(len(mask)):
        bits = mask[word]
        mask[word] = 0
        while bits:
            indices[kept] = 64 * word + trailing_zeros(bits)
            kept += 1
            bits &= bits - np.uint64(1)
    return kept
