"""Starting rows for alternating least squares: the data times random nonnegative rows of the other side.

A row points along the right side of its normal equations, ``sum_j w_j (t_j - mean) |omega_j|`` with omega_j
standard normal: half a step of the randomized range finder (Halko, Martinsson, Tropp 2011). Its length is
fixed. For mostly positive ratings, and for preferences, the first singular vector has no negative entries;
random rows of both signs have only a small part in its direction.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.linalg import FAST


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def project_rows(lo, hi, entries, src, mean, length, dst):
    """Set rows lo..hi of `dst` to vectors of a given length along ``sum_j w_j (t_j - mean) src_j``.

    If that sum is 0, so is the row.

    Parameters
    ----------
    lo, hi
        The range of rows.
    entries
        `Entries` of each row: rows of `src`, targets, weights.
    src, dst
        float32 (n_src, rank) and (n_dst, rank).
    mean
        float32, subtracted from targets.
    length
        The length of each row.
    """
    indptr, indices, values, weights = entries
    rank = src.shape[1]
    total = np.empty(rank)
    for row in range(lo, hi):
        total[:] = 0
        for t in range(indptr[row], indptr[row + 1]):
            target = np.float64(values[t] - mean)
            if len(weights) > 0:
                target *= weights[t]
            for i in range(rank):
                total[i] += target * src[indices[t], i]
        square = 0.0
        for i in range(rank):
            square += total[i] * total[i]
        scale = length / np.sqrt(square) if square > 0 else 0.0
        for i in range(rank):
            dst[row, i] = scale * total[i]
    return 0
