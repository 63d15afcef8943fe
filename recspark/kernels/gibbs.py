"""Gibbs sampling, and its mode, of factorization machines whose features belong to entities.

Row r of the data joins one entity of each side (a user, an item, a day ...); entity e has a vector u_e of k
factors and a bias b_e:

    score_r = w0 + sum over sides b_e + sum over pairs of sides <u_e, u_f>
    u_e ~ N(mean + sum over its features x v, 1 / precision),   b_e likewise

So a feature's vector v acts through the entities that have it: this is the factorization machine of Rendle
(2010) whose one-hot entity columns are the residuals u_e - sum x v (Simm et al. 2017, Macau: side information
as a regression). Given the entities' vectors, features need no row of the data. Given the other sides,
entities of one side are independent: each solves a system of k + 1 unknowns.

Ratings are normal around the score with precision alpha, or ordered levels: level l if a normal around the
score with variance 1 lies between cuts l and l + 1 (Albert and Chib 1993). Its latent value is drawn anew at
each visit of the row; the mode takes its mean.

Users and items may differ in their noise (Lakshminarayanan, Bouchard and Archambeau 2011): entity e then has
a spread s_e, which is N(0, 1 / precision), and the standard deviation of a row's rating, or latent value, is
exp(sum over sides s_e) times that of all.

A side may have only biases, and then comes after those with vectors: the table of all sides' vectors ends
where its entities begin.

Kernels take their arrays as named tuples and unpack them before their loops: an array that is taken from a
tuple in a loop is counted each time, by two threads at once.

Matrices of factors have `padded` columns (`recspark.kernels.linalg`); column numbers are those of the
unpadded factors. Draws are a function of (seed, stream, entity or row), never of blocks or threads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.random import mix, normal_rows, uniform
from recspark.kernels.linalg import (
    FAST,
    add_gram_inplace,
    add_row,
    cholesky_inplace,
    row_products,
    scale_row,
    solve_lower_inplace,
    solve_upper_inplace,
)
from recspark.kernels.probit import latent, level_likelihood, normal_cdf

#: number of rows of the data whose vectors are held at a time
PANEL = 128

#: number of Metropolis steps of a spread in an iteration
SPREAD_STEPS = 2


class Rows(NamedTuple):
    """The rows of each entity of one side.

    Parameters
    ----------
    indptr
        int64 (entities + 1,): the rows of entity e are ``indptr[e] ... indptr[e + 1]``.
    places
        int32 (rows, sides - 1): the other sides' entities as places in a `Table`. The first of a row's places
        has a vector.
    values
        float32 (rows,): ratings or, with cuts, levels 0, 1 ...
    weights
        float32 (rows,): multiples of the precision; empty: all 1. With cuts the precision of the latent
        value.
    """

    indptr: np.ndarray
    places: np.ndarray
    values: np.ndarray
    weights: np.ndarray


class Table(NamedTuple):
    """Entities, or features: vectors float32 (n, padded) and biases float32 (n,).

    In a table of several sides, sides without vectors come last and have biases alone.
    """

    vectors: np.ndarray
    biases: np.ndarray


class Prior(NamedTuple):
    """Entities without data: means as in a `Table`; precisions float32 (rank,) and float32."""

    vectors: np.ndarray
    biases: np.ndarray
    precision: np.ndarray
    bias_precision: np.float32


class Precision(NamedTuple):
    """Precisions of vectors, float32 (rank,), and of biases, float32."""

    vectors: np.ndarray
    bias: np.float32


class Constants(NamedTuple):
    """The constants of a draw.

    Parameters
    ----------
    alpha, offset
        Precision of a rating, and w0.
    noise
        1 to sample; 0 for the mode, which is alternating least squares.
    keys
        uint64 (2,): seeds of the entities' draws, and of the rows' latent values.
    first
        Number of entity 0 among all of its side.
    cuts
        float64 (levels + 1,): bounds of the levels, from -inf to inf; empty for ratings.
    """

    alpha: float | np.floating
    offset: float
    noise: np.float32
    keys: np.ndarray
    first: int
    cuts: np.ndarray


class Spreads(NamedTuple):
    """Spreads, float32, of other sides' entities and of the own ones, which have a precision around 0."""

    others: np.ndarray
    own: np.ndarray
    precision: float


class Features(NamedTuple):
    """One feature group as CSC: the entities that have each feature, and its value; int64, int32, float32."""

    indptr: np.ndarray
    entities: np.ndarray
    values: np.ndarray


class _Scratch(NamedTuple):
    """Arrays that a system is made in, float32: rows' vectors, their Gram matrix, and two sums of them."""

    panel: np.ndarray
    gram: np.ndarray
    sums: np.ndarray


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _join(row, places, table, bias, panel, m):
    """Write the sum of the row's vectors to ``panel[m]``.

    Returns the sum of their biases and of their products with each other.
    """
    scale_row(np.float32(1), table, places[row, 0], panel, m)
    total = np.float64(bias[places[row, 0]])
    for c in range(1, places.shape[1]):
        place = places[row, c]
        total += bias[place]
        if place < len(table):
            _, product, _ = row_products(panel, m, table, place)
            total += product
            add_row(np.float32(1), table, place, panel, m)
    return total


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def draw_entities(lo, hi, rows, table, own, prior, given, rank):
    """Draw the vectors and biases of entities lo..hi of one side, given all other sides; in place.

    Parameters
    ----------
    lo, hi
        The range of entities.
    rows, table
        `Rows` of the entities, and the `Table` of the other sides.
    own, prior
        `Table` of the entities, drawn in place, and their `Prior`.
    given
        `Constants`.
    rank
        Number of factors without padding.

    Returns
    -------
    Weighted sum and sum of squares of the residuals of ratings (or latent values) after the draw; number of
    failed systems.
    """
    width = own.vectors.shape[1]
    gram, sums = np.empty((width, width), np.float32), np.empty((2, width), np.float32)
    scratch = _Scratch(np.empty((PANEL, width), np.float32), gram, sums)
    a, across, along = (
        np.empty((width, width), np.float32),
        np.empty(rank, np.float32),
        np.empty(rank, np.float32),
    )
    left, left_square, failed = 0.0, 0.0, 0
    normal = np.float32(given.noise) * normal_rows(given.keys[0], 0, given.first + lo, hi - lo, rank + 1)
    own_vectors, own_biases = own
    means, mean_biases, precision, bias_precision = prior
    alpha, keys, first = given.alpha, given.keys, given.first
    for e in range(lo, hi):
        row_key = mix(keys[1] + np.uint64(first + e))
        count, total, square = _sum_rows_inplace(e, rows, table, own, given, row_key, scratch)
        _system_inplace(gram, sums, alpha, precision, means[e], a, across, along)
        pivot, pull = alpha * count + bias_precision, alpha * total + bias_precision * mean_biases[e]
        drawn, b = _draw_inplace(a, across, along, pivot, pull, normal[e - lo])
        if not drawn:
            failed += 1
            continue
        own_vectors[e, :rank], own_biases[e] = along, b
        rest, rest_square = _rest(gram, sums, along, b)
        left += total - count * b - rest
        left_square += square - 2 * b * total + count * b * b - rest_square
    return left, left_square, failed


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def draw_biases(lo, hi, rows, table, own_bias, prior, given):
    """Draw the biases of entities lo..hi of a side without vectors, given all other sides; in place.

    Parameters
    ----------
    lo, hi
        The range of entities.
    rows, table
        `Rows` of the entities, and the `Table` of the other sides.
    own_bias, prior
        float32 (entities,), drawn in place, and their `Prior`, of which the biases are read.
    given
        `Constants`.

    Returns
    -------
    Weighted sum and sum of squares of the residuals after the draw; 0 failed systems.
    """
    indptr, places, values, weights = rows
    vectors, biases = table
    noise, cuts, offset = given.noise, given.cuts, given.offset
    alpha, keys, first = given.alpha, given.keys, given.first
    means, precision = prior.biases, prior.bias_precision
    panel, left, left_square = np.empty((1, vectors.shape[1]), np.float32), 0.0, 0.0
    normal = noise * normal_rows(keys[0], 0, first + lo, hi - lo, 1)
    for e in range(lo, hi):
        row_key = mix(keys[1] + np.uint64(first + e))
        count, total, square = 0.0, 0.0, 0.0
        for t in range(indptr[e], indptr[e + 1]):
            rest = _join(t, places, vectors, biases, panel, 0) + offset
            z = np.float64(values[t])
            weight = weights[t] if len(weights) > 0 else np.float32(1)
            if len(cuts) > 0:
                u, root = uniform(row_key, t - indptr[e]), np.sqrt(np.float64(weight))
                z = (
                    latent(
                        (rest + own_bias[e]) * root, cuts[int(z)] * root, cuts[int(z) + 1] * root, u, noise
                    )
                    / root
                )
            z -= rest
            count += weight
            total += weight * z
            square += weight * z * z
        pivot = alpha * count + precision
        b = (alpha * total + precision * means[e]) / pivot + normal[e - lo, 0] / np.sqrt(pivot)
        own_bias[e] = b
        left += total - count * b
        left_square += square - 2 * b * total + count * b * b
    return left, left_square, 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def draw_spreads(lo, hi, rows, table, own, spreads, given):
    """Draw the spreads of entities lo..hi of one side, given all else but latent values; in place.

    `SPREAD_STEPS` Metropolis steps, whose length follows the curvature of a normal model.

    Parameters
    ----------
    lo, hi
        The range of entities.
    rows, table, own
        `Rows` of the entities, the `Table` of the other sides, and that of the entities, which is read.
    spreads
        `Spreads`; the own ones are drawn in place.
    given
        `Constants`; the first key is the seed.
    """
    indptr, places, values, weights = rows
    vectors, biases = table
    own_vectors, own_biases = own
    others_spreads, own_spreads, precision = spreads
    alpha, cuts, offset = given.alpha, given.cuts, given.offset
    most = 0
    for e in range(lo, hi):
        most = max(most, indptr[e + 1] - indptr[e])
    panel, scores, roots = np.empty((1, own_vectors.shape[1]), np.float32), np.empty(most), np.empty(most)
    normal = normal_rows(given.keys[0], 0, given.first + lo, hi - lo, 2 * SPREAD_STEPS)
    for e in range(lo, hi):
        n = indptr[e + 1] - indptr[e]
        for t in range(n):
            row, others = indptr[e] + t, 0.0
            scores[t] = _join(row, places, vectors, biases, panel, 0) + offset + own_biases[e]
            _, product, _ = row_products(panel, 0, own_vectors, e)
            scores[t] += product
            for c in range(places.shape[1]):
                others += others_spreads[places[row, c]]
            roots[t] = np.exp(-others) * (
                np.sqrt(alpha * weights[row]) if len(weights) > 0 else np.sqrt(alpha)
            )
        at, step = np.float64(own_spreads[e]), 2.4 / np.sqrt(2 * n + precision)
        now = _spread_likelihood(indptr[e], n, values, scores, roots, cuts, at) - 0.5 * precision * at * at
        for attempt in range(SPREAD_STEPS):
            tried = at + step * normal[e - lo, 2 * attempt]
            then = (
                _spread_likelihood(indptr[e], n, values, scores, roots, cuts, tried)
                - 0.5 * precision * tried * tried
            )
            if math.log(normal_cdf(normal[e - lo, 2 * attempt + 1])) < then - now:
                at, now = tried, then
        own_spreads[e] = at
    return 0


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_likelihood(start, n, values, scores, roots, cuts, spread):
    """The log-likelihood of n rows' values from `start` on, if `spread` is added to their noise.

    Their precisions before are ``roots^2``.
    """
    scale, total = math.exp(-spread), 0.0
    if len(cuts) == 0:
        for t in range(n):
            error = (values[start + t] - scores[t]) * roots[t] * scale
            total -= 0.5 * error * error
        return total - n * spread
    for t in range(n):
        level, root = int(values[start + t]), roots[t] * scale
        total += level_likelihood((cuts[level] - scores[t]) * root, (cuts[level + 1] - scores[t]) * root)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def spread_weights(lo, hi, rows, spread, own_spread, out):
    """Write the weights of the rows of entities lo..hi: ``exp(-2 sum of spreads)`` times the given weight.

    Parameters
    ----------
    lo, hi
        The range of entities.
    rows
        `Rows` of the entities.
    spread, own_spread
        float32: spreads of the other sides' entities, and of these, (entities,).
    out
        float32 (rows,), written for the rows of the entities.
    """
    indptr, places, weights = rows.indptr, rows.places, rows.weights
    for e in range(lo, hi):
        for t in range(indptr[e], indptr[e + 1]):
            total = np.float64(own_spread[e])
            for c in range(places.shape[1]):
                total += spread[places[t, c]]
            out[t] = math.exp(-2 * total) * (weights[t] if len(weights) > 0 else 1.0)
    return 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sum_rows_inplace(e, rows, table, own, given, row_key, scratch):
    """Set ``gram = sum w R R'`` and ``sums = (sum w R, sum w z R)`` over the rows of entity e.

    R is the sum of the other sides' vectors, and z is the rating minus these entities' biases and products.
    Returns ``sum w, sum w z, sum w z^2``.
    """
    indptr, places, values, weights = rows
    vectors, biases = table
    own_vectors, own_biases = own
    panel, gram, sums = scratch
    cuts, noise, offset = given.cuts, given.noise, given.offset
    weighted, ordered = len(weights) > 0, len(cuts) > 0
    target = np.empty(PANEL, np.float32)
    gram[:], sums[:] = 0, 0
    count, total, square = 0.0, 0.0, 0.0
    for start in range(indptr[e], indptr[e + 1], PANEL):
        m = min(PANEL, indptr[e + 1] - start)
        for t in range(m):
            rest = _join(start + t, places, vectors, biases, panel, t) + offset
            z = np.float64(values[start + t])
            # a row of weight w is a row times sqrt(w)
            root = np.sqrt(weights[start + t]) if weighted else np.float32(1)
            if ordered:
                _, product, _ = row_products(panel, t, own_vectors, e)
                u, score = uniform(row_key, start + t - indptr[e]), rest + product + own_biases[e]
                z = latent(score * root, cuts[int(z)] * root, cuts[int(z) + 1] * root, u, noise) / root
            z -= rest
            if weighted:
                scale_row(root, panel, t, panel, t)
            z *= root
            count += root * root
            total += root * z
            square += z * z
            target[t] = z
            add_row(root, panel, t, sums, 0)
            add_row(target[t], panel, t, sums, 1)
        add_gram_inplace(panel, m, gram)
    return count, total, square


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _system_inplace(gram, sums, alpha, precision, prior, a, across, along):
    """The equations of the vector given the bias b: ``a u + across b = along``.

    Only the upper half of `a` is filled; its columns of padding are those of the identity.
    """
    rank, width = len(across), len(a)
    for i in range(rank):
        for j in range(i, width):
            a[i, j] = alpha * gram[i, j]
        a[i, i] += precision[i]
        across[i] = alpha * sums[0, i]
        along[i] = alpha * sums[1, i] + precision[i] * prior[i]
    for i in range(rank, width):
        a[i, i:] = 0
        a[i, i] = 1


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _draw_inplace(a, across, along, pivot, pull, normal):
    """Leave a draw of the vector in `along`; return whether the system has a solution, and the bias.

    The bias is a last unknown with diagonal `pivot` and right side `pull`. `normal` are rank + 1 draws, the
    last for the bias; all 0 for the mode. `a` and `across` are used up.
    """
    rank = len(across)
    if not cholesky_inplace(a, len(a)):
        return False, 0.0
    solve_lower_inplace(a, across)
    solve_lower_inplace(a, along)
    for i in range(rank):
        pivot -= across[i] * across[i]
        pull -= across[i] * along[i]
    if not pivot > 0:
        return False, 0.0
    b = pull / pivot + normal[rank] / np.sqrt(pivot)
    for i in range(rank):
        along[i] += normal[i] - across[i] * b
    solve_upper_inplace(a, along)
    return True, b


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _rest(gram, sums, x, b):
    """The change of the sum of residuals, and of the sum of their squares, by the vector `x`.

    It uses the sums already made: with d = z - b, ``sum w d - sum w (d - <x, R>)`` and
    ``sum w d^2 - sum w (d - <x, R>)^2``.
    """
    linear, square = 0.0, 0.0
    for i in range(len(x)):
        x_i = np.float64(x[i])
        linear += x_i * sums[0, i]
        square += 2 * x_i * (sums[1, i] - b * sums[0, i]) - x_i * x_i * gram[i, i]
        for j in range(i + 1, len(x)):
            square -= 2 * x_i * x[j] * gram[i, j]
    return linear, square


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def draw_features(features, own, residual, around, prior, noise, key, rank):
    """Draw the vectors of one group's features in place, one feature after the other.

    The vectors of their entities are given.

    Parameters
    ----------
    features
        `Features`.
    own
        `Table` of the features, drawn in place.
    residual
        `Table`: the entities minus their features (all groups) and mean; kept up to date.
    around, prior
        `Precision` of the entities around their mean, and of the features around 0.
    noise
        1 to sample; 0 for the mode.
    key
        uint64: seed of the draws.
    rank
        Number of factors without padding.
    """
    indptr, entities, x = features
    vectors, biases = own
    left, left_biases = residual
    precision, bias_precision = around
    own_precision, own_bias_precision = prior
    pulled, change = (
        np.zeros((1, vectors.shape[1]), np.float32),
        np.zeros((1, vectors.shape[1]), np.float32),
    )
    normal = normal_rows(key, 0, 0, len(vectors), rank + 1)
    for j in range(len(vectors)):
        pulled[0, :] = 0
        squares, pulled_bias = np.float32(0), np.float32(0)
        for t in range(indptr[j], indptr[j + 1]):
            add_row(x[t], left, entities[t], pulled, 0)
            pulled_bias += x[t] * left_biases[entities[t]]
            squares += x[t] * x[t]
        for i in range(rank):
            width = precision[i] * squares + own_precision[i]
            new = precision[i] * (pulled[0, i] + squares * vectors[j, i]) / width + noise * normal[
                j, i
            ] / np.sqrt(width)
            change[0, i] = vectors[j, i] - new
            vectors[j, i] = new
        width = bias_precision * squares + own_bias_precision
        new_bias = bias_precision * (pulled_bias + squares * biases[j]) / width + noise * normal[
            j, rank
        ] / np.sqrt(width)
        change_bias = np.float32(biases[j] - new_bias)
        biases[j] = new_bias
        for t in range(indptr[j], indptr[j + 1]):
            add_row(x[t], change, 0, left, entities[t])
            left_biases[entities[t]] += x[t] * change_bias


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def scores(lo, hi, places, table, bias, offset, out):
    """The scores of rows lo..hi.

    Parameters
    ----------
    lo, hi
        The range of rows.
    places
        int32 (rows, sides): the place in `table` of the row's entity of each side.
    table, bias
        float32: vectors (of sides with vectors, padded) and biases (of all sides).
    offset
        w0.
    out
        float64 (rows,): ``out[lo:hi]`` is written.
    """
    panel = np.empty((1, table.shape[1]), np.float32)
    for row in range(lo, hi):
        out[row] = offset + _join(row, places, table, bias, panel, 0)
    return 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def sample_scores(lo, hi, places, table, biases, offsets, rank, out):
    """The scores of rows lo..hi by each of S samples.

    Parameters
    ----------
    lo, hi
        The range of rows.
    places
        int32 (rows, sides): the place in `biases` of the row's entity of each side.
    table
        float32 (entities with vectors, S * rank): vectors of all samples, one after the other.
    biases
        float32 (entities, S).
    offsets
        float64 (S,): w0 of each sample.
    rank
        Number of factors of a sample.
    out
        float64 (rows, S): ``out[lo:hi]`` is written.
    """
    sides = places.shape[1]
    for row in range(lo, hi):
        for s in range(len(offsets)):
            total = offsets[s]
            for c in range(sides):
                total += biases[places[row, c], s]
            product = np.float32(0)
            for l in range(s * rank, (s + 1) * rank):
                joined, squares = np.float32(0), np.float32(0)
                for c in range(sides):
                    if places[row, c] < len(table):
                        x = table[places[row, c], l]
                        joined += x
                        squares += x * x
                product += joined * joined - squares
            out[row, s] = total + 0.5 * product
    return 0
