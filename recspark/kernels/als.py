"""Alternating least squares: the rows of one side, solved exactly with the other side fixed.

Row u of the side that is written (`dst`) minimises, over its entries j of the side that is read (`src`),

    sum_j w_j (r_j - mean - c_j - b_u - <x_u, y_j>)^2  +  <x_u, G x_u>  +  s_u (reg |x_u|^2 + bias_reg b_u^2),

with y_j, c_j the source's factors and biases and ``s_u = n_u^reg_power``, n_u = sum_j w_j (power 1 is the
weighted-lambda regularisation of Zhou et al. 2008 that MLlib uses, power 0 plain ridge). G is zero for
explicit ratings. Implicit feedback (Hu, Koren, Volinsky 2008) is the same problem with ``G = Y'Y``, w =
confidence - 1, target ``r = confidence / w`` and n_u the number of positive targets: expand the squares to
see that both objectives differ by a constant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.csr import Entries
from recspark.kernels.linalg import (
    FAST,
    add_gram_inplace,
    add_row,
    cholesky_inplace,
    cholesky_solve_inplace,
    padded,
    prefetch_row,
    scale_row,
)

#: number of source rows gathered before the Gram matrix is updated: 128 rows of 64 floats fill half of a
#: core's first-level cache
PANEL = 128

#: bytes of a line of a processor's cache
LINE = 64

#: a ridge below this share of the largest number on a system's diagonal is lost in the rounding of float32
NEGLIGIBLE = 1e-6

#: a row stays if its error is at most this share of the sum of squared ratings: float32 predictions can't
#: tell a better one
EXPLAINED = 1e-10

#: number of ratings between the request of a source row and its use: a few hundred cycles of memory latency
AHEAD = 12


class Source(NamedTuple):
    """The side that is read.

    Parameters
    ----------
    factors
        float32 (n_src, rank padded with zero columns: `padded_rows`).
    bias
        float32 (n_src,).
    gram
        float32 (rank padded, rank padded), read on and above the diagonal; (0, 0) for none.
    """

    factors: np.ndarray
    bias: np.ndarray
    gram: np.ndarray


class Side(NamedTuple):
    """The rows of one side: factors float32 (n, rank), bias float32 (n,)."""

    factors: np.ndarray
    bias: np.ndarray


class Penalty(NamedTuple):
    """The constants of the objective.

    Parameters
    ----------
    mean
        float32, subtracted from values.
    reg, bias_reg, power
        The penalties of factors and biases, and the power of n_u in their scale.
    """

    mean: np.float32
    reg: float
    bias_reg: float
    power: float


class Bounds(NamedTuple):
    """The mean that predictions contain, and the range that they are cut to: float32."""

    mean: np.float32
    low: np.float32
    high: np.float32


class _System(NamedTuple):
    """One row: its entries start..stop, what they are solved from, and its own penalties."""

    start: int
    stop: int
    entries: Entries
    source: Source
    mean: np.float32
    ridge: float
    bias_ridge: float


class _Scratch(NamedTuple):
    """Arrays that a row's normal equations are made in: see `_accumulate`."""

    panel: np.ndarray
    sums: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _accumulate(start, stop, entries, source, mean, biased, scratch):
    """Add one row's normal equations to a (upper half), b = Y'Wt and, if `biased`, c = Y'W1.

    Returns sum(w), sum(w t), and the number of positive values. Sums over a panel are float32; b and c, whose
    terms cancel, add the panels up in float64.
    """
    _, indices, values, weights = entries
    src, src_bias = source.factors, source.bias
    panel, sums, a, b, c = scratch
    total, target_sum, positive = 0.0, 0.0, 0.0
    for first in range(start, stop, panel.shape[0]):
        m = min(panel.shape[0], stop - first)
        sums[:] = 0
        for t in range(m):
            j = indices[first + t]
            prefetch_row(src, indices[min(first + t + AHEAD, stop - 1)])
            w = weights[first + t] if len(weights) > 0 else np.float32(1)
            target = w * (values[first + t] - mean - src_bias[j])
            scale_row(np.sqrt(w), src, j, panel, t)
            add_row(target, src, j, sums, 0)
            if biased:
                add_row(w, src, j, sums, 1)
            total += w
            target_sum += target
            positive += values[first + t] > 0
        for l in range(src.shape[1]):
            b[l] += sums[0, l]
            c[l] += sums[1, l]
        add_gram_inplace(panel, m, a)
    return total, target_sum, positive


@njit(cache=True, nogil=True, error_model="numpy")
def _build(rank, start, stop, entries, source, penalty, biased, scratch):
    """Fill one row's system.

    Returns its border (sum w, without penalty), the right side of the border, and the penalty scale.
    """
    a, b, c, gram = scratch.a, scratch.b, scratch.c, source.gram
    # loops, not slices: they compile in a tenth of the time
    for i in range(a.shape[0]):
        b[i] = c[i] = 0
        for j in range(a.shape[1]):
            a[i, j] = gram[i, j] if gram.shape[0] > 0 else np.float32(0)
    total, target_sum, positive = _accumulate(start, stop, entries, source, penalty.mean, biased, scratch)
    scale = (positive if gram.shape[0] > 0 else total) ** penalty.power
    for i in range(rank):
        a[i, i] += np.float32(scale * penalty.reg)
    return total, target_sum, scale


@njit(cache=True, nogil=True, error_model="numpy")
def _mirrored(a, rank, n):
    """The leading (rank, rank) block of a symmetric matrix in a float64 matrix of order n.

    The block is read from its upper half.
    """
    full = np.zeros((n, n), np.float64)
    for i in range(rank):
        for j in range(i, rank):
            full[i, j] = full[j, i] = a[i, j]
    return full


@njit(cache=True, nogil=True, error_model="numpy")
def _exact_system(system, rank, full, right):
    """Fill ``full @ solution = right``, a row's normal equations, in float64.

    The unknowns are `rank` factors, and a bias if `full` has one more row.
    """
    start, stop, entries, source, mean, ridge, bias_ridge = system
    _, indices, values, weights = entries
    src, src_bias, gram = source
    n, y = len(right), np.ones(len(right))
    full[:], right[:] = 0, 0
    for i in range(rank):
        if gram.shape[0] > 0:
            for l in range(i, rank):
                full[i, l] = gram[i, l]
        full[i, i] += ridge
    if n > rank:
        full[rank, rank] = bias_ridge
    for t in range(start, stop):
        j = indices[t]
        w = np.float64(weights[t]) if len(weights) > 0 else 1.0
        target = np.float64(values[t]) - mean - src_bias[j]
        for i in range(rank):
            y[i] = src[j, i]
        for i in range(n):
            right[i] += w * target * y[i]
            for l in range(i, n):
                full[i, l] += w * y[i] * y[l]
    for i in range(n):
        for l in range(i):
            full[i, l] = full[l, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _shortest_solution(full, right):
    """The shortest of all x that minimise ``x' full x - 2 right' x``.

    `full` is symmetric, positive semidefinite and float64. A small ridge makes the matrix regular. Three
    steps of refinement remove the effect of the ridge again: in a direction with eigenvalue e the share
    (ridge / (e + ridge))^4 of it stays. No step leaves the range of `full`, so x has no part that the data
    does not determine.
    """
    n, largest = len(full), 0.0
    for i in range(n):
        largest = max(largest, full[i, i])
    x, low, rest = np.zeros(n), full.copy(), np.empty(n)
    if not 0.0 < largest < np.inf:
        return x
    for j in range(n):
        low[j, j] += 1e-9 * largest
        for k in range(j):
            low[j, j] -= low[j, k] * low[j, k]
        low[j, j] = np.sqrt(max(low[j, j], 1e-10 * largest))
        for i in range(j + 1, n):
            for k in range(j):
                low[i, j] -= low[i, k] * low[j, k]
            low[i, j] /= low[j, j]
    for _ in range(4):
        for i in range(n):
            rest[i] = right[i]
            for k in range(n):
                rest[i] -= full[i, k] * x[k]
        for i in range(n):
            for k in range(i):
                rest[i] -= low[i, k] * rest[k]
            rest[i] /= low[i, i]
        for i in range(n - 1, -1, -1):
            for k in range(i + 1, n):
                rest[i] -= low[k, i] * rest[k]
            rest[i] /= low[i, i]
            x[i] += rest[i]
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _row_loss(system, x, bias):
    """The objective of a row, float64."""
    start, stop, entries, source, mean, ridge, bias_ridge = system
    _, indices, values, weights = entries
    src, src_bias, gram = source
    rank = len(x)
    loss = bias_ridge * np.float64(bias) * bias
    for i in range(rank):
        loss += ridge * np.float64(x[i]) * x[i]
        if gram.shape[0] > 0:
            loss += np.float64(gram[i, i]) * x[i] * x[i]
            for l in range(i + 1, rank):
                loss += 2 * np.float64(gram[i, l]) * x[i] * x[l]
    for t in range(start, stop):
        j = indices[t]
        residual = np.float64(values[t]) - mean - src_bias[j] - bias
        for i in range(rank):
            residual -= np.float64(x[i]) * src[j, i]
        loss += (np.float64(weights[t]) if len(weights) > 0 else 1.0) * residual * residual
    return loss


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _eliminate(p, q, c, border, target_sum, x):
    """Solve ``[[A, c], [c', border]] [x, bias] = [b, target_sum]`` from p = A^-1 b and q = A^-1 c.

    x is solved in place, the bias is returned.
    """
    cp, cq = 0.0, 0.0
    for i in range(len(x)):
        cp += c[i] * p[i]
        cq += c[i] * q[i]
    # if the factors alone already explain a constant, the bias is not determined: leave it at 0
    bias = np.float32((target_sum - cp) / (border - cq)) if border - cq > 1e-6 * border else np.float32(0)
    for i in range(len(x)):
        x[i] = p[i] - bias * q[i]
    return bias


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _nonnegative_solve_inplace(a, b, x, free):
    """Minimise x'Ax/2 - b'x over x with x[:free] >= 0, in float64.

    Cyclic coordinate descent starts from `x` (Franc et al. 2005).
    """
    n = len(b)
    slope = -b
    for i in range(n):
        for j in range(n):
            slope[j] += x[i] * a[i, j]
    for _ in range(500):
        longest_step, size = 0.0, 1e-12
        for i in range(n):
            if a[i, i] <= 0:
                continue
            step = -slope[i] / a[i, i]
            if i < free:
                step = max(step, -x[i])
            x[i] += step
            for j in range(n):
                slope[j] += step * a[i, j]
            longest_step = max(longest_step, abs(step))
            size = max(size, abs(x[i]))
        if longest_step < 1e-6 * size:
            break


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_nonnegative(a, b, c, border, target_sum, biased, x, bias):
    """Solve the bordered system with x >= 0 (the bias is free), starting from `x` and `bias`.

    x is solved in place, the bias is returned.
    """
    rank = len(x)
    n = rank + 1 if biased else rank
    full = _mirrored(a, rank, n)
    right = np.empty(n)
    start = np.empty(n)
    for i in range(rank):
        right[i], start[i] = b[i], max(x[i], np.float32(0))
    if biased:
        for i in range(rank):
            full[i, rank] = full[rank, i] = c[i]
        full[rank, rank], right[rank], start[rank] = border, target_sum, bias
    _nonnegative_solve_inplace(full, right, start, rank)
    for i in range(rank):
        x[i] = start[i]
    return np.float32(start[rank]) if biased else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _not_worse(system, old, old_bias, x, bias, biased, solved, nonnegative):
    """Make `x` and the bias no worse for a row than its `old` ones; the bias is returned.

    This is for systems that only rounding keeps from being singular.
    """
    before, squares = _row_loss(system, old, old_bias), 0.0
    values, weights = system.entries.values, system.entries.weights
    for t in range(system.start, system.stop):
        squares += (np.float64(weights[t]) if len(weights) > 0 else 1.0) * values[t] * values[t]
    if before <= EXPLAINED * squares:
        x[:] = old
        return old_bias
    if not nonnegative and (not solved or _row_loss(system, x, bias) > before):
        order = len(x) + 1 if biased else len(x)
        full, right = np.empty((order, order)), np.empty(order)
        _exact_system(system, len(x), full, right)
        solution = _shortest_solution(full, right)
        for i in range(len(x)):
            x[i] = solution[i]
        if biased:
            bias = np.float32(solution[len(x)])
    if _row_loss(system, x, bias) > before:
        x[:] = old
        return old_bias
    return bias


@njit(cache=True, nogil=True, error_model="numpy")
def aligned(rows, columns):
    """An empty float32 matrix that begins at a cache line of 64 bytes."""
    held = np.empty(rows * columns + 16, np.float32)
    skip = (-(held.ctypes.data // 4)) % 16
    return held[skip : skip + rows * columns].reshape((rows, columns))


@njit(cache=True, nogil=True, error_model="numpy")
def solve_rows(lo, hi, entries, source, own, penalty, biased, nonnegative):
    """Solve rows lo..hi of `dst` in place, each exactly; return the sum of their penalties (float64).

    Without a penalty a row with fewer entries than factors has many solutions, and gets the shortest. If
    rounding makes a new row worse than the one before, the old one stays: no iteration raises the objective.

    Parameters
    ----------
    lo, hi
        The range of rows.
    entries
        `Entries` of each row of `own`; the indices are rows of `source`.
    source, own
        `Source`, and `Side`, whose old content is the start of the nonnegative solver.
    penalty
        `Penalty`.
    biased, nonnegative
        Whether biases are fitted, and whether factors must be at least 0.
    """
    dst, dst_bias = own
    reg, bias_reg = penalty.reg, penalty.bias_reg
    rank, n = dst.shape[1], source.factors.shape[1]
    a, b, c = aligned(n, n), np.empty(n), np.empty(n)
    scratch = _Scratch(aligned(PANEL, n), np.empty((2, n), np.float32), a, b, c)
    p, q, x = np.empty(rank, np.float32), np.empty(rank, np.float32), np.empty(rank, np.float32)
    penalties = 0.0
    for row in range(lo, hi):
        start, stop = entries.indptr[row], entries.indptr[row + 1]
        if start == stop:
            for i in range(rank):
                dst[row, i] = 0
            dst_bias[row] = 0
            continue
        total, target_sum, scale = _build(rank, start, stop, entries, source, penalty, biased, scratch)
        border, bias, largest = total + scale * bias_reg, np.float32(0), np.float32(0)
        for i in range(rank):
            largest = max(largest, a[i, i])
        solved = True
        if nonnegative:
            x[:] = dst[row]
            bias = _solve_nonnegative(a, b, c, border, target_sum, biased, x, dst_bias[row])
        else:
            for i in range(rank):
                p[i], q[i] = b[i], c[i]
            solved = cholesky_inplace(a, rank)
            if solved:
                cholesky_solve_inplace(a, p)
                if biased:
                    cholesky_solve_inplace(a, q)
                    bias = _eliminate(p, q, c, border, target_sum, x)
                else:
                    x[:] = p
        if (
            not solved
            or scale * reg <= NEGLIGIBLE * largest
            or (biased and scale * bias_reg <= NEGLIGIBLE * border)
        ):
            ridge, bias_ridge = scale * reg, scale * bias_reg
            system = _System(start, stop, entries, source, penalty.mean, ridge, bias_ridge)
            bias = _not_worse(system, dst[row], dst_bias[row], x, bias, biased, solved, nonnegative)
        dst[row], dst_bias[row] = x, bias
        squares = 0.0
        for i in range(rank):
            squares += dst[row, i] * dst[row, i]
        penalties += scale * (reg * squares + bias_reg * dst_bias[row] * dst_bias[row])
    return penalties


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def squared_error(lo, hi, entries, source, own, mean, low, high):
    """``sum w (r - p)^2`` and ``sum w`` over the entries of rows lo..hi (float64).

    The prediction p is mean + c_j + b_u + <x_u, y_j>, cut to [low, high].

    Parameters
    ----------
    lo, hi
        The range of rows.
    entries
        `Entries` of each row of `own`; the indices are rows of `source`.
    source, own
        `Side` of both sides: factors (not padded) and biases.
    mean, low, high
        float32: the mean, and the range of predictions.
    """
    indptr, indices, values, weights = entries
    src, src_bias = source
    dst, dst_bias = own
    rank = src.shape[1]
    error, total = 0.0, 0.0
    for row in range(lo, hi):
        offset = mean + dst_bias[row]
        for t in range(indptr[row], indptr[row + 1]):
            j, dot = indices[t], np.float32(0)
            for l in range(rank):
                dot += src[j, l] * dst[row, l]
            w = np.float64(weights[t]) if len(weights) > 0 else 1.0
            residual = values[t] - min(max(offset + src_bias[j] + dot, low), high)
            error += w * residual * residual
            total += w
    return error, total


def padded_rows(factors: np.ndarray, copy: bool = False) -> np.ndarray:
    """`factors` (float32) in the form that kernels read: zero columns added, cache lines aligned.

    The number of columns becomes a multiple of the register tile, and the memory starts at a cache line: a
    vector of 16 floats that crosses the border of two lines is read, and written, twice. `copy` forces a
    copy.
    """
    n, rank = factors.shape
    if not copy and rank == padded(rank) and factors.flags.c_contiguous and factors.ctypes.data % LINE == 0:
        return factors
    size = 4 * n * padded(rank)
    memory = np.empty(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    out = memory[first : first + size].view(np.float32).reshape(n, padded(rank))
    out[:, :rank], out[:, rank:] = factors, 0
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def gram(lo, hi, factors):
    """``F'F`` of rows lo..hi of padded factors (`padded_rows`), float32.

    It is filled on and above the diagonal of its 16 x 16 tiles.
    """
    n = factors.shape[1]
    out = np.zeros((n, n), np.float32)
    for first in range(lo, hi, PANEL):
        add_gram_inplace(factors[first:hi], min(PANEL, hi - first), out)
    return out
