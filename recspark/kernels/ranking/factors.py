"""Descent of a factorization on a preferred item and items drawn for it, by plain stochastic gradients.

With the kernel cosine, rows have length 1, and a score is their cosine. A step follows the gradient along the
sphere, ``d cos / d x_u = y_i - cos x_u``, and goes back to length 1.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.linalg import FAST
from recspark.kernels.ranking.losses import cost_and_slopes, penalty_share
from recspark.kernels.ranking.negatives import draw
from recspark.kernels.sgd import COSINE, pair_score


@njit(cache=True, nogil=True, error_model="numpy")
def descend_preferences(lo, hi, entries, unrated, rules, users, items, penalties):
    """One step for each of the entries lo..hi, on its item and items that its user has not rated.

    Minimises the loss ``rules.ranking`` and penalties. Entries with a value of at most 0 are skipped. The
    items drawn for a step share one penalty.

    Parameters
    ----------
    lo, hi
        The range of entries.
    entries
        The ratings.
    unrated
        The source of draws.
    rules
        Loss, kernel, learning rate, and whether there are biases.
    users, items
        The parameters of both sides, changed in place.
    penalties
        The penalties of both sides, of which the L2 ones are read.

    Returns
    -------
    float, float, float
        The sums of w times the share of drawn items that score lower, of w and of w loss, each before its
        step.
    """
    ranking = rules.ranking
    places = np.empty(ranking.negatives + 1, np.int64)
    scores, slopes = np.empty(len(places)), np.empty(len(places))
    right, total, cost_sum = 0.0, 0.0, 0.0
    for e in range(lo, hi):
        u, places[0] = entries.users[e], entries.items[e]
        if not entries.values[e] > 0:
            continue
        n = draw(unrated, u, e, places)
        if n == 1:
            continue
        for k in range(n):
            scores[k] = pair_score(users, u, items, places[k], rules)
        w = np.float64(entries.weights[e]) if len(entries.weights) > 0 else 1.0
        cost_sum += w * cost_and_slopes(ranking, scores[:n], slopes[:n])
        right += w * (scores[1:n] < scores[0]).sum() / (n - 1)
        total += w
        _step(users, u, items, places[:n], scores, w * slopes[:n], rules, penalties)
    return right, total, cost_sum


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _step(users, u, items, places, scores, slopes, rules, penalties):
    """Move the rows of a user and of `places` by the slopes of their scores, and by their penalties."""
    x, rate, on_sphere = users.factors[u], np.float32(rules.rate), rules.kernel == COSINE
    gradient, own = np.zeros(len(x), np.float32), users.scale[u] * np.float32(penalties.users.l2)
    if on_sphere:
        own = np.float32(-(slopes * scores[: len(places)]).sum())
    drawn_share = np.float32(penalty_share(rules.ranking))
    for k in range(len(places)):
        i, slope = places[k], np.float32(slopes[k])
        if slope == 0 and k > 0:
            continue
        y, scale = items.factors[i], items.scale[i] * (drawn_share if k > 0 else np.float32(1))
        along = np.float32(-slopes[k] * scores[k]) if on_sphere else scale * np.float32(penalties.items.l2)
        kept, from_x = np.float32(1) - rate * along, -rate * slope
        for l in range(len(x)):
            gradient[l] += slope * y[l]
        for l in range(len(x)):
            y[l] = kept * y[l] + from_x * x[l]
        if on_sphere:
            _to_length_1_inplace(y)
        if rules.biased:
            items.bias[i] -= rate * (slope + scale * np.float32(penalties.items.bias_l2) * items.bias[i])
    for l in range(len(x)):
        x[l] -= rate * (gradient[l] + own * x[l])
    if on_sphere:
        _to_length_1_inplace(x)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _to_length_1_inplace(row):
    square = np.float32(0)
    for l in range(len(row)):
        square += row[l] * row[l]
    # a step along the tangent only makes a row longer; a row of zeros may start so, and stays
    shrink = np.float32(1) / np.sqrt(max(square, np.float32(1e-12)))
    for l in range(len(row)):
        row[l] *= shrink
