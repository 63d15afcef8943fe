"""Random numbers that depend on (seed, stream, row, column) only.

Threads, blocks and the order of calls don't change them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def mix(x):
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014).

    It is a bijection of uint64 whose outputs look independent.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def uniform(key, number):
    """A number strictly between 0 and 1 that depends on (key, number) only."""
    return (np.float64(mix(key + np.uint64(number) * _GOLDEN) >> np.uint64(12)) + 0.5) / 4503599627370496.0


@njit(cache=True, nogil=True)
def normal_rows(seed, stream, first_row, n_rows, columns):
    """Standard normal numbers, by Box and Muller (1958).

    Parameters
    ----------
    seed, stream
        Nonnegative whole numbers: together they choose the sequence.
    first_row, n_rows
        The first row, and the number of rows.
    columns
        The number of columns.

    Returns
    -------
    ndarray
        float32 (n_rows, columns): a number depends on seed, stream, its row and its column only.
    """
    out = np.empty((n_rows, columns), np.float32)
    key = mix(np.uint64(seed) + mix(np.uint64(stream) + _GOLDEN))
    for r in range(n_rows):
        row = mix(key + np.uint64(first_row + r) * _GOLDEN)
        for c in range(columns):
            bits = mix(row + np.uint64(c + 1) * _GOLDEN)
            # 32 bits each; the half keeps the logarithm finite
            u = (np.float64(bits >> np.uint64(32)) + 0.5) / 4294967296.0
            angle = np.float64(bits & np.uint64(0xFFFFFFFF)) / 4294967296.0
            out[r, c] = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * angle)
    return out
