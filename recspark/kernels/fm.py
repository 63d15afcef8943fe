"""Factorization machines on sparse rows of any features (Rendle 2010, 2012).

    score(x) = w0 + sum_j w_j x_j + sum_{j < l} <v_j, v_l> x_j x_l
             = w0 + sum_j w_j x_j + sum_f ((sum_j v_jf x_j)^2 - sum_j v_jf^2 x_j^2) / 2

so a row costs O(rank times its entries). `draw_weights` and `draw_factor` take one column after the other, by
Gibbs sampling or, without noise, to the minimum (libFM's mcmc and als): the score is linear in each
parameter, ``score = g + theta h``, with h = x_j for w_j and h = x_j (q - v_jf x_j), q = sum_l v_lf x_l, for
v_jf. Stochastic gradients are in `recspark.kernels.anova`.

Parameters are float64: w (columns), v (rank, columns).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.random import uniform
from recspark.kernels.probit import latent


class Compressed(NamedTuple):
    """Sparse rows as CSR or CSC: integers indptr and indices, float64 values."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


class Prior(NamedTuple):
    """Mean and precision of parameters without data."""

    center: float
    precision: float


@njit(cache=True, nogil=True, error_model="numpy")
def draw_weights(csc, weights, errors, w, alpha, prior, noise):
    """Draw the weight of each column in turn, in place; `errors` are kept up to date.

    Parameters
    ----------
    csc
        The rows and values of each column.
    weights
        float64 (rows,): the precision of a label is alpha times its weight.
    errors
        float64 (rows,): label minus score, changed in place.
    w
        float64 (columns,): the weights, changed in place.
    alpha
        Precision of a label of weight 1.
    prior
        The prior of the weights.
    noise
        float64 (columns,): standard normal numbers, 0 for the mode.
    """
    indptr, rows, values = csc
    center, precision = prior
    for j in range(len(w)):
        squares, pull = 0.0, 0.0
        for t in range(indptr[j], indptr[j + 1]):
            wx = weights[rows[t]] * values[t]
            squares += wx * values[t]
            pull += wx * errors[rows[t]]
        width = alpha * squares + precision
        new = (alpha * (pull + w[j] * squares) + precision * center) / width + noise[j] / math.sqrt(width)
        change = w[j] - new
        w[j] = new
        for t in range(indptr[j], indptr[j + 1]):
            errors[rows[t]] += change * values[t]


@njit(cache=True, nogil=True, error_model="numpy")
def draw_factor(csc, weights, errors, q, v, alpha, prior, noise):
    """Draw one factor of each column in turn, in place, as `draw_weights` does.

    Parameters
    ----------
    csc
        The rows and values of each column.
    weights
        float64 (rows,): the precision of a label is alpha times its weight.
    errors
        float64 (rows,): label minus score, changed in place.
    q
        float64 (rows,): a buffer for the sums ``sum_j v_j x_j`` of the factor.
    v
        float64 (columns,): the factor, changed in place.
    alpha
        Precision of a label of weight 1.
    prior
        The prior of the factor.
    noise
        float64 (columns,): standard normal numbers, 0 for the mode.
    """
    indptr, rows, values = csc
    center, precision = prior
    q[:] = 0
    for j in range(len(v)):
        for t in range(indptr[j], indptr[j + 1]):
            q[rows[t]] += v[j] * values[t]
    for j in range(len(v)):
        squares, pull = 0.0, 0.0
        for t in range(indptr[j], indptr[j + 1]):
            h = values[t] * (q[rows[t]] - v[j] * values[t])
            squares += weights[rows[t]] * h * h
            pull += weights[rows[t]] * h * errors[rows[t]]
        width = alpha * squares + precision
        new = (alpha * (pull + v[j] * squares) + precision * center) / width + noise[j] / math.sqrt(width)
        change = v[j] - new
        for t in range(indptr[j], indptr[j + 1]):
            errors[rows[t]] += change * values[t] * (q[rows[t]] - v[j] * values[t])
            q[rows[t]] -= change * values[t]
        v[j] = new


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def scores(lo, hi, csr, w0, w, v, out):
    """The scores of rows lo..hi.

    Parameters
    ----------
    lo, hi
        The range of rows.
    csr
        The columns and values of each row.
    w0
        The constant.
    w
        float64 (columns,).
    v
        float64 (rank, columns).
    out
        float64 (rows,): ``out[lo:hi]`` is written.
    """
    indptr, columns, values = csr
    for row in range(lo, hi):
        total = w0
        for t in range(indptr[row], indptr[row + 1]):
            total += w[columns[t]] * values[t]
        for f in range(len(v)):
            joined, squares = 0.0, 0.0
            for t in range(indptr[row], indptr[row + 1]):
                part = v[f, columns[t]] * values[t]
                joined += part
                squares += part * part
            total += 0.5 * (joined * joined - squares)
        out[row] = total
    return 0


@njit(cache=True, nogil=True)
def draw_latent(scores, labels, key, noise, out):
    """Draw latent values z for labels 0 and 1, and write ``z - score`` to `out`.

    z is normal around the score with variance 1, cut to the label's side of 0 (Albert and Chib 1993).

    Parameters
    ----------
    scores, labels
        float64 (rows,).
    key
        uint64: seed of the draws.
    noise
        Greater than 0 to draw; 0 for the mean of z.
    out
        float64 (rows,), written.
    """
    for row in range(len(scores)):
        low, high = (0.0, np.inf) if labels[row] > 0.5 else (-np.inf, 0.0)
        out[row] = latent(scores[row], low, high, uniform(key, row), noise) - scores[row]
