"""Factorization machines of any order on sparse rows, by stochastic gradients.

See Rendle 2010, section III.C; Blondel, Fujino, Ueda, Ishihata 2016.

    score(x) = w0 + sum_j w_j x_j + sum_{t = 2..d} sum_f A^t(v^t_f * x)
    A^t(z)   = sum_{j_1 < ... < j_t} z_{j_1} ... z_{j_t}

A^t is the ANOVA kernel. Entry by entry ``A^s += z_j A^{s-1}`` for s = t ... 1 takes O(t) per factor and
entry; without entry j, ``A^s_{-j} = A^s - z_j A^{s-1}_{-j}``, and ``d A^t / d v_j = x_j A^{t-1}_{-j}``. For d
= 2 these are the sum and the difference of libFM.

A row is a row of the user side, one of the context and one of the item side, one after the other (`Joined`):
the sides are stored once, for any number of rows that join them. A table of vectors is the context alone.
Parameters are float64: w0 (1), w (columns), v (d - 1, columns, rank), one matrix of factors per t.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.ranking.losses import Ranking, cost_and_slopes, penalty_share
from recspark.kernels.ranking.negatives import draw

OPTIMIZERS = ("adagrad", "adam")
LOSSES = ("squared", "logistic")

_LOGISTIC = 1
_ADAM = 1

#: Adam's decay of the first and second moments, and the term that avoids a division by 0 (Kingma and Ba 2015)
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8


class Sparse(NamedTuple):
    """CSR: int64 (rows + 1), int32 and float64 (entries)."""

    indptr: np.ndarray
    columns: np.ndarray
    values: np.ndarray


class Joined(NamedTuple):
    """Rows of three sides.

    `users` and `items` are int32 (rows): places in `user` and `item`, whose last row is for unknown ids;
    `context` has as many rows as there are. The columns of the sides differ, and so do the columns inside a
    row. ``width`` is at least the number of entries of any joined row.
    """

    users: np.ndarray
    items: np.ndarray
    user: Sparse
    item: Sparse
    context: Sparse
    width: int


class Parameters(NamedTuple):
    """Parameters, or the moments that an optimizer keeps of each."""

    w0: np.ndarray
    w: np.ndarray
    v: np.ndarray


class Moments(NamedTuple):
    """What the optimizer keeps; it is changed in place.

    Parameters
    ----------
    first, second
        Moments of each parameter, in the parameters' shapes.
    steps
        int64 (columns + 1,): number of steps of each column, the last one of w0.
    """

    first: Parameters
    second: Parameters
    steps: np.ndarray


class _Row(NamedTuple):
    """Buffers of one row.

    Parameters
    ----------
    columns, values
        int32 and float64 (width,): the entries.
    by_w, by_v
        float64 (width,) and (d - 1, width, rank): derivatives of the score.
    totals
        float64 (d - 1, d + 1, rank): see `_score`.
    """

    columns: np.ndarray
    values: np.ndarray
    by_w: np.ndarray
    by_v: np.ndarray
    totals: np.ndarray


class Rule(NamedTuple):
    """The objective and the optimizer; `loss` and `optimizer` are positions in `LOSSES` and `OPTIMIZERS`."""

    loss: int
    optimizer: int
    rate: float
    intercept: bool
    linear: bool
    #: the loss in place of `loss` where items are compared
    ranking: Ranking = Ranking(0, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _append(side, row, m, columns, values):
    for t in range(side.indptr[row], side.indptr[row + 1]):
        columns[m], values[m] = side.columns[t], side.values[t]
        m += 1
    return m


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(joined, row, item, columns, values):
    """The entries of `row` with this item; returns the number of entries before the item's, and of all."""
    shared = _append(joined.user, joined.users[row], 0, columns, values)
    shared = _append(joined.context, row, shared, columns, values)
    return shared, _append(joined.item, item, shared, columns, values)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _score(m, columns, values, parameters, totals):
    """The score of m entries; ``totals[t - 2, s]`` becomes A^s of the factors v^t."""
    v = parameters.v
    score = parameters.w0[0]
    for e in range(m):
        score += parameters.w[columns[e]] * values[e]
    for d in range(v.shape[0]):
        totals[d, 0] = 1
        totals[d, 1:] = 0
        for e in range(m):
            j, x = columns[e], values[e]
            for s in range(d + 2, 0, -1):
                for f in range(v.shape[2]):
                    totals[d, s, f] += v[d, j, f] * x * totals[d, s - 1, f]
        for f in range(v.shape[2]):
            score += totals[d, d + 2, f]
    return score


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _slopes(m, columns, values, parameters, totals, by_w, by_v):
    """The derivatives of the score by the parameters of m entries: ``by_w[e]`` and ``by_v[d, e, f]``.

    `totals` are as `_score` left them.
    """
    v = parameters.v
    for e in range(m):
        by_w[e] = values[e]
    for d in range(v.shape[0]):
        for e in range(m):
            j, x = columns[e], values[e]
            for f in range(v.shape[2]):
                without = 1.0
                for s in range(1, d + 2):
                    without = totals[d, s, f] - v[d, j, f] * x * without
                by_v[d, e, f] = x * without


@njit(cache=True, nogil=True, error_model="numpy")
def _stepped(value, gradient, at, first, second, steps, rule):
    """`value` after a step; ``first[at], second[at]`` are its moments in the optimizer."""
    if rule.optimizer == _ADAM:
        first[at] += (1 - BETA1) * (gradient - first[at])
        second[at] += (1 - BETA2) * (gradient * gradient - second[at])
        return value - rule.rate * first[at] / (1 - BETA1**steps) / (
            math.sqrt(second[at] / (1 - BETA2**steps)) + TINY
        )
    second[at] += gradient * gradient
    return value - rule.rate * gradient / math.sqrt(second[at])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _step(lo, hi, buffers, slope, parameters, moments, reg, rule):
    """Move the parameters of entries lo ... hi by ``slope`` times their derivatives.

    The penalty of each is ``reg[column]``.
    """
    columns, by_w, by_v = buffers.columns, buffers.by_w, buffers.by_v
    w, v = parameters.w, parameters.v
    first, second, steps = moments
    for e in range(lo, hi):
        j = columns[e]
        steps[j] += 1
        if rule.linear:
            w[j] = _stepped(w[j], slope * by_w[e] + reg[j] * w[j], j, first.w, second.w, steps[j], rule)
        for d in range(v.shape[0]):
            if rule.optimizer == _ADAM:
                for f in range(v.shape[2]):
                    v[d, j, f] = _stepped(
                        v[d, j, f],
                        slope * by_v[d, e, f] + reg[j] * v[d, j, f],
                        (d, j, f),
                        first.v,
                        second.v,
                        steps[j],
                        rule,
                    )
            else:
                # written out: a row of factors at once
                for f in range(v.shape[2]):
                    gradient = slope * by_v[d, e, f] + reg[j] * v[d, j, f]
                    second.v[d, j, f] += gradient * gradient
                    v[d, j, f] -= rule.rate * gradient / math.sqrt(second.v[d, j, f])


@njit(cache=True, nogil=True, error_model="numpy")
def _buffers(joined, v):
    """Buffers that any row fits."""
    return _Row(
        np.empty(joined.width, np.int32),
        np.empty(joined.width),
        np.empty(joined.width),
        np.empty((v.shape[0], joined.width, v.shape[2])),
        np.empty((v.shape[0], v.shape[0] + 2, v.shape[2])),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def descend(order, joined, labels, weights, reg, rule, parameters, moments):
    """One step per row in `order`.

    The loss is (y - score)^2 / 2, or logistic: ln(1 + exp(-score)) for labels 1 and its mirror for 0.

    Parameters
    ----------
    order
        int64: the rows to visit, in order.
    joined
        The rows.
    labels, weights
        float64 (rows,).
    reg
        float64 (columns,): the L2 penalty of each column, paid by each row that has it.
    rule
        Loss, optimizer and learning rate.
    parameters
        The parameters, changed in place.
    moments
        What the optimizer keeps (`empty_moments`), changed in place.

    Returns
    -------
    float
        The sum of weighted losses, each before its step.
    """
    buffers = _buffers(joined, parameters.v)
    columns, values, by_w, by_v, totals = buffers
    first, second, steps = moments
    loss = 0.0
    for row in order:
        _, m = _gather(joined, row, joined.items[row], columns, values)
        score = _score(m, columns, values, parameters, totals)
        if rule.loss == _LOGISTIC:
            loss += weights[row] * (max(score, 0.0) - score * labels[row] + math.log1p(math.exp(-abs(score))))
            slope = weights[row] * (1 / (1 + math.exp(-score)) - labels[row])
        else:
            loss += weights[row] * 0.5 * (score - labels[row]) ** 2
            slope = weights[row] * (score - labels[row])
        if rule.intercept:
            steps[-1] += 1
            parameters.w0[0] = _stepped(parameters.w0[0], slope, 0, first.w0, second.w0, steps[-1], rule)
        _slopes(m, columns, values, parameters, totals, by_w, by_v)
        _step(0, m, buffers, slope, parameters, moments, reg, rule)
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def descend_preferences(order, joined, weights, unrated, reg, rule, parameters, moments):
    """One step per row in `order`, on its item and items that its user has not rated, by ``rule.ranking``.

    Parameters
    ----------
    order
        int64: the rows to visit, in order.
    joined
        The rows.
    weights
        float64 (rows,).
    unrated
        The source of draws.
    reg
        float64 (columns,): the L2 penalty of each column, paid by each row that has it. The drawn items of a
        row share one penalty.
    rule
        Loss, optimizer and learning rate.
    parameters
        The parameters, changed in place.
    moments
        What the optimizer keeps (`empty_moments`), changed in place.

    Returns
    -------
    float, float
        The sums of weighted losses, each before its step, and of weights.
    """
    places = rule.ranking.negatives + 1
    buffers = [_buffers(joined, parameters.v) for _ in range(places)]
    _, _, shared_w, shared_v, _ = buffers[0]
    items, sizes = np.empty(places, np.int64), np.empty(places, np.int64)
    scored, slopes = np.empty(places), np.empty(places)
    drawn_reg = reg * penalty_share(rule.ranking)
    loss, total = 0.0, 0.0
    for row in order:
        items[0], shared = joined.items[row], 0
        n = draw(unrated, joined.users[row], row, items)
        if n == 1:
            continue
        for k in range(n):
            columns, values, _, _, totals = buffers[k]
            shared, sizes[k] = _gather(joined, row, items[k], columns, values)
            scored[k] = _score(sizes[k], columns, values, parameters, totals)
        loss += weights[row] * cost_and_slopes(rule.ranking, scored[:n], slopes[:n])
        total += weights[row]
        for k in range(n):
            slopes[k] *= weights[row]
            if k == 0 or slopes[k] != 0:
                columns, values, by_w, by_v, totals = buffers[k]
                _slopes(sizes[k], columns, values, parameters, totals, by_w, by_v)
                # the entries that the items share take one step, by the sum of all derivatives
                if k == 0:
                    shared_w[:shared] *= slopes[0]
                    shared_v[:, :shared] *= slopes[0]
                else:
                    shared_w[:shared] += slopes[k] * by_w[:shared]
                    shared_v[:, :shared] += slopes[k] * by_v[:, :shared]
        _step(0, shared, buffers[0], 1.0, parameters, moments, reg, rule)
        for k in range(n):
            if k == 0 or slopes[k] != 0:
                paid = reg if k == 0 else drawn_reg
                _step(shared, sizes[k], buffers[k], slopes[k], parameters, moments, paid, rule)
    return loss, total


@njit(cache=True, nogil=True, error_model="numpy")
def scores(lo, hi, joined, parameters, out):
    """The scores of rows lo..hi.

    Parameters
    ----------
    lo, hi
        The range of rows.
    joined
        The rows.
    parameters
        The parameters.
    out
        float64 (rows,): ``out[lo:hi]`` is written.
    """
    columns, values, _, _, totals = _buffers(joined, parameters.v)
    for row in range(lo, hi):
        _, m = _gather(joined, row, joined.items[row], columns, values)
        out[row] = _score(m, columns, values, parameters, totals)
    return 0


def empty_moments(parameters: Parameters, optimizer: str) -> Moments:
    """What an optimizer keeps, before any step.

    adagrad's sums start at 1, so that a first step is no longer than the rate.
    """
    start = 1.0 if optimizer == "adagrad" else 0.0
    first = Parameters(*map(np.zeros_like, parameters))
    second = Parameters(*(np.full_like(part, start) for part in parameters))
    return Moments(first, second, np.zeros(len(parameters.w) + 1, np.int64))


def vectors(indptr: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Joined:
    """Plain rows as the context of sides that have no entries."""
    none, rows = Sparse(np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0)), len(indptr) - 1
    context = Sparse(indptr.astype(np.int64), columns.astype(np.int32), values.astype(np.float64))
    return joined(np.zeros(rows, np.int32), np.zeros(rows, np.int32), none, none, context)


def joined(users: np.ndarray, items: np.ndarray, user: Sparse, item: Sparse, context: Sparse) -> Joined:
    """`Joined` with the width that its sides need.

    Parameters
    ----------
    users, items
        int32 (rows,): places in `user` and `item`.
    user, item
        The sparse rows of each side; the last one is for unknown ids.
    context
        The sparse context of each row.
    """
    width = sum(int(np.diff(side.indptr).max(initial=0)) for side in (user, item, context))
    return Joined(users, items, user, item, context, max(width, 1))
