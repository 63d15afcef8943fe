"""Stochastic and full-batch gradient descent for matrix factorization.

A pair's score is ``s = mean + b_u + b_i + <x_u, y_i>``, with the rbf kernel ``s = -|x_u - y_i|^2``. Its
prediction p is s itself (linear), ``low + (high - low) / (1 + exp(-s))`` (sigmoid) or
``low + (high - low) exp(gamma s)`` (rbf): Rendle and Schmidt-Thieme 2008, section 3. A rating r of weight w
costs ``w loss(r, p)``: squared (r - p)^2 / 2, absolute |r - p|, or logistic, where r is 0 or 1 and p = 1 / (1
+ exp(-s)) its probability. Errors count in a unit, (r - p) / unit: a quarter of the range with the kernels
sigmoid and rbf; with the linear one 1, or the standard deviation of ratings, and then p = unit s. Descent
needs only two numbers of a rating: g = d cost / d s, and

    d s / d x_u = c y_i - d x_u,        c = 1, d = 0 (linear, sigmoid),   c = d = 2 (rbf).

`descend` takes one rating at a time, sums of squares give each row its own step (adagrad, one sum per row:
Chin, Zhuang, Juan, Lin 2015); every update of a row is then a combination of two rows, done in registers.
`descend_batches` is the general form: batches of any size, Adam, L1 penalties by proximal steps,
nonnegativity. `full_gradient` takes the gradient over all ratings of each row. Losses that compare items, and
the kernel cosine, are in `recspark.kernels.ranking`.

A penalty l2 is paid with every rating, ``w l2 scale_u |x_u|^2 / 2``; with the full gradient once, as the
weight decay of deep learning.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.runs import RUN
from recspark.kernels.linalg import FAST, mix_rows, prefetch_row, row_products
from recspark.kernels.ranking.losses import Ranking

KERNELS = ("linear", "sigmoid", "rbf", "cosine")
LOSSES = ("squared", "absolute", "logistic")
OPTIMIZERS = ("sgd", "adagrad", "adam")

_SIGMOID, _RBF, COSINE = 1, 2, 3
_ABSOLUTE, _LOGISTIC = 1, 2
_ADAGRAD, _ADAM = 1, 2

#: Adam's decay of the first and second moments, and the term that avoids a division by 0 (Kingma and Ba 2015)
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8


class Rules(NamedTuple):
    """The objective and the optimizer; names are positions in `KERNELS`, `LOSSES`, `OPTIMIZERS`."""

    kernel: int
    loss: int
    optimizer: int
    mean: float
    low: float
    high: float
    gamma: float
    rate: float
    biased: bool
    nonnegative: bool
    #: columns of the rows that are not padding
    rank: int
    #: errors count in this unit, so that steps and penalties mean the same for ratings of any unit
    unit: float = 1.0
    #: the loss in place of `loss` where items are compared
    ranking: Ranking = Ranking(0, 1)


class Penalty(NamedTuple):
    """The penalties of the rows and biases of one side."""

    l2: float
    l1: float
    bias_l2: float
    bias_l1: float


class Penalties(NamedTuple):
    """The penalties of both sides."""

    users: Penalty
    items: Penalty


class Rows(NamedTuple):
    """One side's parameters, float32, changed in place.

    factors are (n, columns), bias (n). scale (n) multiplies the L2 penalties of a row. The optimizer keeps
    squares (n, 2) for adagrad (factors, bias), moments (n, 2, columns + 1) and counts (n) of steps for adam,
    each empty if it is not used.
    """

    factors: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    squares: np.ndarray
    moments: np.ndarray
    counts: np.ndarray


class Entries(NamedTuple):
    """Ratings as coordinates: int32 rows of both sides, float32 values, float32 weights (empty: all 1)."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    weights: np.ndarray


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _slope(score, rating, rules):
    """The prediction of a score, the cost of its error, and d cost / d score."""
    prediction, steepness = score, 1.0
    if rules.loss == _LOGISTIC:
        prediction = 1 / (1 + np.exp(-score))
        cost = max(score, 0.0) - score * rating + np.log1p(np.exp(-abs(score)))
        return prediction, cost, prediction - rating
    if rules.kernel == _SIGMOID:
        unit = 1 / (1 + np.exp(-score))
        prediction, steepness = (
            rules.low + (rules.high - rules.low) * unit,
            (rules.high - rules.low) * unit * (1 - unit),
        )
    elif rules.kernel == _RBF:
        unit = np.exp(rules.gamma * score)
        prediction, steepness = (
            rules.low + (rules.high - rules.low) * unit,
            (rules.high - rules.low) * unit * rules.gamma,
        )
    else:
        prediction, steepness = rules.unit * score, rules.unit
    error, steepness = (prediction - rating) / rules.unit, steepness / rules.unit
    if rules.loss == _ABSOLUTE:
        return prediction, abs(error), np.sign(error) * steepness
    return prediction, 0.5 * error * error, error * steepness


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def descend(lo, hi, runs, entries, rules, users, items, penalties):
    """One step per entry of runs lo..hi (`in_runs`), by sgd or adagrad without L1 and without bounds.

    As no row occurs twice in a run, taking its entries together equals taking them one by one. But the
    processor need not wait for the roots and quotients of one entry before it starts with the next, and takes
    them for the whole run at once. Meanwhile the rows of the next run are prefetched.

    Parameters
    ----------
    lo, hi
        The range of runs.
    runs
        int64: the first entry of each run, and the end of the last.
    entries
        The ratings, in the order of the runs.
    rules
        Objective, optimizer and learning rate.
    users, items
        The parameters of both sides, with padded factors (`padded_rows`), changed in place.
    penalties
        The penalties of both sides.

    Returns
    -------
    float, float, float
        The sums of w (r - p)^2, of w and of w loss, each before its step.
    """
    squared, total, cost_sum = 0.0, 0.0, 0.0
    # local names: fields of a tuple are looked up, and counted as references, at every use
    user_rows, user_squares, user_bias, user_scale = users.factors, users.squares, users.bias, users.scale
    item_rows, item_squares, item_bias, item_scale = items.factors, items.squares, items.bias, items.scale
    entry_users, entry_items, values, weights = entries.users, entries.items, entries.values, entries.weights
    one, two = np.float32(1), np.float32(2)
    c, d = (two, two) if rules.kernel == _RBF else (one, np.float32(0))
    mean, rate, per_column = (
        np.float32(rules.mean),
        np.float32(rules.rate),
        one / np.float32(max(rules.rank, 1)),
    )
    per_unit, square_unit = one / np.float32(rules.unit), rules.unit * rules.unit
    user_l2, item_l2 = np.float32(penalties.users.l2), np.float32(penalties.items.l2)
    user_bias_l2, item_bias_l2 = np.float32(penalties.users.bias_l2), np.float32(penalties.items.bias_l2)
    last = len(entry_items) - 1
    adagrad, plain, weighted = (
        rules.optimizer == _ADAGRAD,
        rules.kernel == 0 and rules.loss == 0,
        len(weights) > 0,
    )
    # one row per quantity, one lane per entry
    lanes = np.zeros((16, RUN), np.float32)
    xx, xy, yy, weight, slope, value = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5]
    x_square, y_square, x_own, y_own = lanes[6], lanes[7], lanes[8], lanes[9]
    x_x, x_y, y_x, y_y, x_bias, y_bias = lanes[10], lanes[11], lanes[12], lanes[13], lanes[14], lanes[15]
    for run in range(lo, hi):
        start, n = runs[run], runs[run + 1] - runs[run]
        for k in range(n):
            u, i = entry_users[start + k], entry_items[start + k]
            ahead = min(start + RUN + k, last)
            prefetch_row(user_rows, entry_users[ahead])
            prefetch_row(item_rows, entry_items[ahead])
            xx[k], xy[k], yy[k] = row_products(user_rows, u, item_rows, i)
            value[k], weight[k] = values[start + k], weights[start + k] if weighted else one
            x_own[k], y_own[k], x_bias[k], y_bias[k] = (
                user_scale[u],
                item_scale[i],
                user_bias[u],
                item_bias[i],
            )
            if adagrad:
                x_square[k], y_square[k] = user_squares[u, 0], item_squares[i, 0]
        if plain:
            for k in range(RUN):
                slope[k] = mean + x_bias[k] + y_bias[k] + xy[k] - per_unit * value[k]
            for k in range(n):
                cost_sum += weight[k] * slope[k] * slope[k]
                total += weight[k]
        else:
            for k in range(n):
                score = (
                    2 * xy[k] - xx[k] - yy[k]
                    if rules.kernel == _RBF
                    else mean + x_bias[k] + y_bias[k] + xy[k]
                )
                prediction, cost, steepness = _slope(np.float64(score), value[k], rules)
                slope[k] = steepness
                squared += weight[k] * (value[k] - prediction) ** 2
                cost_sum += weight[k] * cost
                total += weight[k]
        if rules.biased:
            for k in range(n):
                u, i = entry_users[start + k], entry_items[start + k]
                _bias_step(users, u, weight[k] * slope[k], weight[k] * x_own[k] * user_bias_l2, rate, adagrad)
                _bias_step(items, i, weight[k] * slope[k], weight[k] * y_own[k] * item_bias_l2, rate, adagrad)
        for k in range(RUN):
            across = c * weight[k] * slope[k]
            own_user = weight[k] * (x_own[k] * user_l2 - d * slope[k])
            own_item = weight[k] * (y_own[k] * item_l2 - d * slope[k])
            user_rate, item_rate = rate, rate
            if adagrad:
                # the mean square of a row's gradient, across * other row + own * row
                crossed = two * across * xy[k]
                x_square[k] += (
                    across * across * yy[k] + own_user * (crossed + own_user * xx[k])
                ) * per_column
                y_square[k] += (
                    across * across * xx[k] + own_item * (crossed + own_item * yy[k])
                ) * per_column
                user_rate, item_rate = rate / np.sqrt(x_square[k]), rate / np.sqrt(y_square[k])
            x_x[k], x_y[k], y_x[k], y_y[k] = (
                one - user_rate * own_user,
                -user_rate * across,
                -item_rate * across,
                one - item_rate * own_item,
            )
        for k in range(n):
            u, i = entry_users[start + k], entry_items[start + k]
            mix_rows(user_rows, u, item_rows, i, x_x[k], x_y[k], y_x[k], y_y[k])
            if adagrad:
                user_squares[u, 0], item_squares[i, 0] = x_square[k], y_square[k]
    return (square_unit * cost_sum, total, 0.5 * cost_sum) if plain else (squared, total, cost_sum)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _bias_step(rows, row, slope, l2, rate, adagrad):
    gradient = slope + l2 * rows.bias[row]
    if adagrad:
        rows.squares[row, 1] += gradient * gradient
        rate /= np.sqrt(rows.squares[row, 1])
    rows.bias[row] -= rate * gradient


@njit(cache=True, nogil=True, error_model="numpy")
def _shrunk(value, threshold, nonnegative):
    """The proximal step of an L1 penalty: towards 0, and exactly 0 within the threshold.

    With `nonnegative` the result is at least 0.
    """
    if threshold > 0:
        value = max(value - threshold, 0.0) if value > 0 else min(value + threshold, 0.0)
    return max(value, 0.0) if nonnegative else value


@njit(cache=True, nogil=True, error_model="numpy")
def apply_gradient(rows, row, gradient, rules, penalty):
    """Move one row and its bias by the optimizer; L1 and bounds are proximal steps.

    Parameters
    ----------
    rows
        The parameters of the side, changed in place.
    row
        The row to move.
    gradient
        float64 (columns + 1,): of the factors, and of the bias in the last place.
    rules
        Optimizer and learning rate.
    penalty
        The penalties of the side, of which the L1 ones are read.
    """
    rank = rows.factors.shape[1]
    first_bias, second_bias = 1.0, 1.0
    if rules.optimizer == _ADAM:
        rows.counts[row] += 1
        first_bias, second_bias = 1 - BETA1 ** rows.counts[row], 1 - BETA2 ** rows.counts[row]
    if rules.optimizer == _ADAGRAD:
        mean_square = 0.0
        for l in range(rank):
            mean_square += gradient[l] * gradient[l]
        rows.squares[row, 0] += mean_square / max(rank, 1)
        rows.squares[row, 1] += gradient[rank] * gradient[rank]
    for l in range(rank + 1 if rules.biased else rank):
        rate, slope = rules.rate, gradient[l]
        if rules.optimizer == _ADAM:
            rows.moments[row, 0, l] += (1 - BETA1) * (slope - rows.moments[row, 0, l])
            rows.moments[row, 1, l] += (1 - BETA2) * (slope * slope - rows.moments[row, 1, l])
            slope = (
                rows.moments[row, 0, l] / first_bias / (np.sqrt(rows.moments[row, 1, l] / second_bias) + TINY)
            )
        elif rules.optimizer == _ADAGRAD:
            rate /= np.sqrt(rows.squares[row, 1 if l == rank else 0])
        if l == rank:
            rows.bias[row] = _shrunk(rows.bias[row] - rate * slope, rate * penalty.bias_l1, False)
        else:
            rows.factors[row, l] = _shrunk(
                rows.factors[row, l] - rate * slope, rate * penalty.l1, rules.nonnegative
            )


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def pair_score(users, u, items, i, rules):
    """The score of a pair; with the kernel cosine, rows have length 1, and no biases.

    Parameters
    ----------
    users, u
        The parameters of the users, and a row of them.
    items, i
        The same of the items.
    rules
        Kernel and mean.
    """
    total = np.float32(0)
    if rules.kernel == _RBF:
        for l in range(users.factors.shape[1]):
            total -= (users.factors[u, l] - items.factors[i, l]) ** 2
        return np.float64(total)
    for l in range(users.factors.shape[1]):
        total += users.factors[u, l] * items.factors[i, l]
    return rules.mean + users.bias[u] + items.bias[i] + total


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _add_gradient(gradient, own, other, pair, slope, weight, penalty, rules):
    """Add one rating's gradient by the row ``own[row]`` and its bias to `gradient`, with its penalty.

    `pair` are the rows in `own` and in `other`.
    """
    row, other_row = pair
    c, d = (2.0, 2.0) if rules.kernel == _RBF else (1.0, 0.0)
    rank, weight = own.factors.shape[1], weight * own.scale[row]
    across, along = np.float32(slope * c), np.float32(weight * penalty.l2 - slope * d)
    for l in range(rank):
        gradient[l] += across * other.factors[other_row, l] + along * own.factors[row, l]
    gradient[rank] += slope + weight * penalty.bias_l2 * own.bias[row]


@njit(cache=True, nogil=True, error_model="numpy")
def _slot(slots, held, used, row, gradients):
    """The place of a row's gradient in this batch, and the number of places in use."""
    if slots[row] < 0:
        slots[row] = used
        held[used] = row
        gradients[used] = 0
        used += 1
    return slots[row], used


@njit(cache=True, nogil=True, error_model="numpy")
def _apply_batch(rows, slots, held, used, gradients, scale, rules, penalty):
    for place in range(used):
        gradients[place] *= scale
        apply_gradient(rows, held[place], gradients[place], rules, penalty)
        slots[held[place]] = -1


@njit(cache=True, nogil=True, error_model="numpy")
def descend_batches(order, batch, entries, rules, users, items, penalties):
    """Steps on the mean gradients of batches of entries.

    Parameters
    ----------
    order
        int64: the entries to visit, in order.
    batch
        Number of entries of a batch, at least 1.
    entries
        The ratings.
    rules
        Objective, optimizer and learning rate.
    users, items
        The parameters of both sides, changed in place.
    penalties
        The penalties of both sides.

    Returns
    -------
    float, float, float
        As `descend`.
    """
    rank = users.factors.shape[1]
    squared, total, cost_sum = 0.0, 0.0, 0.0
    user_slots, item_slots = np.full(len(users.bias), -1, np.int32), np.full(len(items.bias), -1, np.int32)
    user_held, item_held = np.empty(batch, np.int32), np.empty(batch, np.int32)
    user_gradients, item_gradients = np.empty((batch, rank + 1)), np.empty((batch, rank + 1))
    for first in range(0, len(order), batch):
        last = min(first + batch, len(order))
        n_users, n_items = 0, 0
        for e in order[first:last]:
            u, i = entries.users[e], entries.items[e]
            w = np.float64(entries.weights[e]) if len(entries.weights) > 0 else 1.0
            prediction, cost, slope = _slope(pair_score(users, u, items, i, rules), entries.values[e], rules)
            squared += w * (entries.values[e] - prediction) ** 2
            total += w
            cost_sum += w * cost
            place, n_users = _slot(user_slots, user_held, n_users, u, user_gradients)
            _add_gradient(user_gradients[place], users, items, (u, i), w * slope, w, penalties.users, rules)
            place, n_items = _slot(item_slots, item_held, n_items, i, item_gradients)
            _add_gradient(item_gradients[place], items, users, (i, u), w * slope, w, penalties.items, rules)
        scale = 1.0 / (last - first)
        _apply_batch(users, user_slots, user_held, n_users, user_gradients, scale, rules, penalties.users)
        _apply_batch(items, item_slots, item_held, n_items, item_gradients, scale, rules, penalties.items)
    return squared, total, cost_sum


@njit(cache=True, nogil=True, error_model="numpy")
def full_gradient(lo, hi, csr, scale, rules, source, own, penalty):
    """Move rows lo..hi by the gradient of ``scale * sum of costs + penalty``.

    The gradient is taken before the step. It reads the other side as it was before the step, so both
    sides may move at the same time.

    Parameters
    ----------
    lo, hi
        The range of rows.
    csr
        The entries of each row; indices are rows of `source`.
    scale
        Multiplies the sum of costs, such as 1 / sum of weights.
    rules
        Objective, optimizer and learning rate.
    source
        The parameters of the other side, read.
    own
        The parameters of this side twice: those before the step, read, and a copy of them, changed in place.
    penalty
        The penalties of this side.
    """
    indptr, indices, values, weights = csr
    before, after = own
    rank = before.factors.shape[1]
    gradient = np.empty(rank + 1)
    once = Penalty(0.0, 0.0, 0.0, 0.0)
    for row in range(lo, hi):
        gradient[:] = 0
        for t in range(indptr[row], indptr[row + 1]):
            w = np.float64(weights[t]) if len(weights) > 0 else 1.0
            _, _, slope = _slope(pair_score(before, row, source, indices[t], rules), values[t], rules)
            _add_gradient(gradient, before, source, (row, indices[t]), scale * w * slope, w, once, rules)
        for l in range(rank):
            gradient[l] += before.scale[row] * penalty.l2 * before.factors[row, l]
        gradient[rank] += before.scale[row] * penalty.bias_l2 * before.bias[row]
        apply_gradient(after, row, gradient, rules, penalty)
    return 0


@njit(cache=True, nogil=True, error_model="numpy")
def squared_error(lo, hi, csr, source, own, rules, low, high):
    """``sum w (r - p)^2``, ``sum w`` and ``sum w loss`` over the entries of rows lo..hi.

    Predictions are cut to [low, high] for the squared errors.

    Parameters
    ----------
    lo, hi
        The range of rows.
    csr
        The entries of each row; indices are rows of `source`.
    source, own
        The parameters of the other side, and of this one.
    rules
        Kernel and loss.
    low, high
        The range of predictions; it may be infinite.
    """
    indptr, indices, values, weights = csr
    squared, total, cost_sum = 0.0, 0.0, 0.0
    for row in range(lo, hi):
        for t in range(indptr[row], indptr[row + 1]):
            w = np.float64(weights[t]) if len(weights) > 0 else 1.0
            prediction, cost, _ = _slope(pair_score(own, row, source, indices[t], rules), values[t], rules)
            squared += w * (values[t] - min(max(prediction, low), high)) ** 2
            total += w
            cost_sum += w * cost
    return squared, total, cost_sum


@njit(cache=True, nogil=True, error_model="numpy")
def descend_rows(lo, hi, csr, epochs, rules, source, own, penalty):
    """Epochs of one rating at a time on rows lo..hi of `own`, while `source` is fixed.

    The result of a row does not depend on the other rows.

    Parameters
    ----------
    lo, hi
        The range of rows.
    csr
        The entries of each row; indices are rows of `source`.
    epochs
        Number of passes over the entries of each row.
    rules
        Objective, optimizer and learning rate.
    source, own
        The parameters of the other side, read, and of this one, changed in place.
    penalty
        The penalties of this side.
    """
    indptr, indices, values, weights = csr
    gradient = np.empty(own.factors.shape[1] + 1)
    for row in range(lo, hi):
        for _ in range(epochs):
            for t in range(indptr[row], indptr[row + 1]):
                w = np.float64(weights[t]) if len(weights) > 0 else 1.0
                _, _, slope = _slope(pair_score(own, row, source, indices[t], rules), values[t], rules)
                gradient[:] = 0
                _add_gradient(gradient, own, source, (row, indices[t]), w * slope, w, penalty, rules)
                apply_gradient(own, row, gradient, rules, penalty)
    return 0
