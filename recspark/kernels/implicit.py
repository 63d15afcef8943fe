"""Rows of implicit ALS with less work per row than `recspark.kernels.als.solve_rows`.

    dual                 exact, from the inner products of the row's source rows: for rows with fewer entries
                         than factors
    conjugate gradient   some steps towards the solution

The problem of a row is that of `recspark.kernels.als` without biases: with the source rows Y of its entries,
weights W and targets t it is ``(G + ridge I + Y'WY) x = Y'Wt``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.als import aligned
from recspark.kernels.linalg import FAST, add_gram_inplace, cholesky_inplace, cholesky_solve_inplace, padded


@njit(cache=True, nogil=True, error_model="numpy")
def _scaled_columns(indices, src, scale, across):
    """Fill ``across[l, t] = scale[l] * src[indices[t], l]``, with zeros in columns without an entry."""
    m, tile = len(indices), 16
    for first in range(0, across.shape[1], tile):
        last = min(first + tile, m)
        for l in range(len(scale)):
            for t in range(first, last):
                across[l, t] = scale[l] * src[indices[t], l]
            for t in range(max(first, last), first + tile):
                across[l, t] = 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def solve_rows_dual(lo, hi, entries, src, spectrum, ridges, dst):
    """Solve rows lo..hi of `dst` in place, each exactly, where G is diagonal.

    With ``S = (G + ridge I)^-1``, a row of m entries is ``x = S Y' (W^-1 + Y S Y')^-1 t``. The matrix has m
    rows: a row costs O(m^2 rank + m^3), and `recspark.kernels.als.solve_rows` O(m rank^2 + rank^3).

    Parameters
    ----------
    lo, hi
        The range of rows.
    entries
        `Entries` of each row of `dst`; weights are not empty, and above 0.
    src
        float32 (n_src, rank), in a basis in which G is diagonal.
    spectrum
        float32 (rank,): the diagonal of G.
    ridges
        float32 (n_dst,): the penalty of each row; ``spectrum + ridge`` is above 0.
    dst
        float32 (n_dst, rank), in the same basis.

    Returns
    -------
    float
        The sum of the penalties (float64).
    """
    indptr, indices, values, weights = entries
    rank, longest = src.shape[1], 0
    for row in range(lo, hi):
        longest = max(longest, indptr[row + 1] - indptr[row])
    width = padded(longest)
    columns, inner = aligned(rank, width).reshape(rank * width), aligned(width, width).reshape(width * width)
    scale, penalties = np.empty(rank, np.float32), 0.0
    for row in range(lo, hi):
        start, stop = indptr[row], indptr[row + 1]
        m, x = stop - start, dst[row]
        if m == 0:
            x[:] = 0
            continue
        for l in range(rank):
            scale[l] = np.sqrt(np.float32(1) / (spectrum[l] + ridges[row]))
        width = padded(m)
        across = columns[: rank * width].reshape((rank, width))
        system = inner[: width * width].reshape((width, width))
        _scaled_columns(indices[start:stop], src, scale, across)
        system[:] = 0
        add_gram_inplace(across, rank, system)
        for t in range(m):
            system[t, t] += np.float32(1) / weights[start + t]
        z = np.zeros(m, np.float32)
        for t in range(m):
            z[t] = values[start + t]
        cholesky_inplace(system, m)
        cholesky_solve_inplace(system, z)
        squares = np.float32(0)
        for l in range(rank):
            total = np.float32(0)
            for t in range(m):
                total += across[l, t] * z[t]
            x[l] = scale[l] * total
            squares += x[l] * x[l]
        penalties += np.float64(ridges[row]) * squares
    return penalties


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _gather(start, m, indices, values, weights, src, gathered, b):
    """Copy the source rows of one row's entries to gathered[:m], and fill ``b = Y'Wr``.

    Returns the number of positive values.
    """
    rank, positive = src.shape[1], 0.0
    b[:] = 0
    for t in range(m):
        j, target = indices[start + t], weights[start + t] * values[start + t]
        for l in range(rank):
            gathered[t, l] = src[j, l]
            b[l] += target * src[j, l]
        positive += values[start + t] > 0
    return positive


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _times_system(start, m, weights, gathered, gram, ridge, x, out):
    """``out = (G + Y'WY + ridge I) x`` without forming the matrix."""
    rank = len(x)
    for l in range(rank):
        out[l] = ridge * x[l]
    for i in range(rank):
        for l in range(rank):
            out[l] += x[i] * gram[i, l]
    for t in range(m):
        dot = np.float32(0)
        for l in range(rank):
            dot += gathered[t, l] * x[l]
        dot *= weights[start + t]
        for l in range(rank):
            out[l] += dot * gathered[t, l]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _dot(x, y):
    total = np.float32(0)
    for l in range(len(x)):
        total += x[l] * y[l]
    return total


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def solve_rows_cg(lo, hi, entries, src, gram, dst, penalty, steps):
    """Improve rows lo..hi of `dst` by conjugate gradient on the system of `solve_rows` without biases.

    A step costs O(entries * rank), the exact solve O(entries * rank^2) (Takacs, Pilaszy, Tikk 2011).

    Parameters
    ----------
    lo, hi
        The range of rows.
    entries
        `Entries` of each row of `dst`; weights are not empty.
    src
        float32 (n_src, rank), not padded.
    gram
        float32 (rank, rank), with both halves filled.
    dst
        float32 (n_dst, rank), changed in place.
    penalty
        `Penalty`, of which reg and power are read.
    steps
        Number of steps per row.

    Returns
    -------
    float
        The sum of the penalties (float64).
    """
    indptr, indices, values, weights = entries
    rank = src.shape[1]
    longest = 0
    for row in range(lo, hi):
        longest = max(longest, indptr[row + 1] - indptr[row])
    gathered = np.empty((longest, rank), np.float32)
    r, p, ap = np.empty(rank, np.float32), np.empty(rank, np.float32), np.empty(rank, np.float32)
    penalties = 0.0
    for row in range(lo, hi):
        start, m = indptr[row], indptr[row + 1] - indptr[row]
        x = dst[row]
        if m == 0:
            x[:] = 0
            continue
        positive = _gather(start, m, indices, values, weights, src, gathered, r)
        ridge = np.float32(penalty.reg * positive**penalty.power)
        _times_system(start, m, weights, gathered, gram, ridge, x, ap)
        for l in range(rank):
            r[l] -= ap[l]
            p[l] = r[l]
        size = _dot(r, r)
        for _ in range(steps):
            if not size > np.float32(1e-20):
                break
            _times_system(start, m, weights, gathered, gram, ridge, p, ap)
            curvature = _dot(p, ap)
            if not curvature > 0:
                break
            alpha = size / curvature
            for l in range(rank):
                x[l] += alpha * p[l]
                r[l] -= alpha * ap[l]
            new_size = _dot(r, r)
            beta = new_size / size
            size = new_size
            for l in range(rank):
                p[l] = r[l] + beta * p[l]
        penalties += ridge * _dot(x, x)
    return penalties
