"""Pairs of positions (row, column) in any order: by the block of their row, and as compressed sparse rows."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


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
    """CSR (indptr int64, indices int32) of int32 pairs, columns ascending in a row, each once; pairs with a negative position are dropped.

    A counting sort by row, which pairs that come row by row take in order, and then each row by itself: by the bits of a mask where it has
    more entries than a sixteenth of the mask's words, else by comparisons.

    >>> indptr, indices = sparse_rows(np.array([1, 0, 1, -1, 1], np.int32), np.array([4, 2, 3, 0, 4], np.int32), 2, 5)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 3], [2, 3, 4])
    """
    starts = np.zeros(n_rows + 1, np.int64)
    for p in range(len(rows)):
        if rows[p] >= 0 and columns[p] >= 0:
            starts[rows[p] + 1] += 1
    starts = np.cumsum(starts)
    place, indices = starts[:-1].copy(), np.empty(starts[-1], np.int32)
    for p in range(len(rows)):
        if rows[p] >= 0 and columns[p] >= 0:
            indices[place[rows[p]]] = columns[p]
            place[rows[p]] += 1
    mask = np.zeros(n_columns // 64 + 1, np.uint64)
    indptr, kept = np.zeros(n_rows + 1, np.int64), 0
    for row in range(n_rows):
        found = indices[starts[row] : starts[row + 1]]
        if 16 * len(found) > len(mask):
            kept = _by_mask(found, mask, indices, kept)
        else:
            found.sort()
            for p in range(len(found)):
                if p == 0 or found[p] != found[p - 1]:
                    indices[kept] = found[p]
                    kept += 1
        indptr[row + 1] = kept
    return indptr, indices[:kept]


@intrinsic
def _trailing_zeros(typing_context, bits):
    """How many zeros are below the lowest one of a number that is not 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@njit(cache=True, nogil=True)
def _by_mask(found, mask, indices, kept):
    """Put the different numbers of `found` into ``indices[kept:]`` in ascending order, and return the next place; the mask is 0 before and
    after.

    `found` may lie in `indices` from `kept` on: it is read before anything is written.
    """
    one = np.uint64(1)
    for column in found:
        mask[column >> 6] |= one << np.uint64(column & 63)
    for word in range(len(mask)):
        bits = mask[word]
        mask[word] = 0
        while bits:
            indices[kept] = 64 * word + _trailing_zeros(bits)
            kept += 1
            bits &= bits - one
    return kept
