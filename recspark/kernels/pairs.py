"""Pairs of positions (row, column) in any order: by the block of their row, and as compressed sparse rows."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def by_block(rows, columns, least, blocks):
    """The pairs of every block, row r being number ``r // blocks`` of block ``r % blocks``; their order inside a block stays.

    rows, columns int32; pairs with a row below 0 or a column below `least` are dropped. Returns ``starts`` (int64, blocks + 1) and int32
    ``pairs`` (2, kept): block b has the numbers and columns ``pairs[:, starts[b] : starts[b + 1]]``.

    >>> starts, pairs = by_block(np.array([4, -1, 3, 2], np.int32), np.array([7, 8, 9, 5], np.int32), 0, 2)
    >>> starts.tolist(), pairs.tolist()
    ([0, 2, 3], [[2, 1, 1], [7, 5, 9]])
    """
    # unsigned: a signed quotient that rounds down takes a branch more
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


@njit(cache=True, nogil=True)
def sparse_rows(rows, columns, n_rows, n_columns):
    """CSR (indptr int64, indices int32) of int32 pairs, columns ascending in a row; pairs with a negative position are dropped.

    Two counting sorts, by column and then by row; equal pairs stay as many as they are.

    >>> indptr, indices = sparse_rows(np.array([1, 0, 1, -1], np.int32), np.array([4, 2, 3, 0], np.int32), 2, 5)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 3], [2, 3, 4])
    """
    place, indptr = np.zeros(n_columns + 1, np.int64), np.zeros(n_rows + 1, np.int64)
    for p in range(len(rows)):
        if rows[p] >= 0 and columns[p] >= 0:
            place[columns[p] + 1] += 1
            indptr[rows[p] + 1] += 1
    place, indptr = np.cumsum(place), np.cumsum(indptr)
    by_column = np.empty((indptr[-1], 2), np.int32)
    for p in range(len(rows)):
        if rows[p] >= 0 and columns[p] >= 0:
            target = place[columns[p]]
            by_column[target, 0], by_column[target, 1] = rows[p], columns[p]
            place[columns[p]] += 1
    place, indices = indptr[:-1].copy(), np.empty(indptr[-1], np.int32)
    for p in range(len(by_column)):
        indices[place[by_column[p, 0]]] = by_column[p, 1]
        place[by_column[p, 0]] += 1
    return indptr, indices
