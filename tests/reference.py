"""Slow twins of the kernels, in numpy float64, written as the formulas are."""

import numpy as np
from scipy.stats import norm


def als_row(src, src_bias, values, weights, mean, reg, bias_reg, reg_power, biased, gram=None):
    """Minimise sum w (r - mean - c - b - <x, y>)^2 + <x, G x> + s (reg |x|^2 + bias_reg b^2) over x and b; s
    = (sum w)^reg_power.
    """
    rank = src.shape[1]
    target = values - mean - src_bias
    scale = weights.sum() ** reg_power
    y = np.column_stack([src, np.ones(len(src))]).astype(np.float64)
    penalty = np.diag([scale * reg] * rank + [scale * bias_reg])
    system = y.T @ (weights[:, None] * y) + penalty
    if gram is not None:
        system[:rank, :rank] += gram
    right = y.T @ (weights * target)
    n = rank + 1 if biased else rank
    solution = np.linalg.lstsq(system[:n, :n], right[:n], rcond=None)[0]
    return solution[:rank], solution[rank] if biased else 0.0


def nonnegative_row(src, values, weights, reg):
    """Minimise sum w (r - <x, y>)^2 + (sum w) reg |x|^2 over x >= 0."""
    from scipy.optimize import nnls

    root = np.sqrt(weights)
    ridge = np.sqrt(reg * weights.sum()) * np.eye(src.shape[1])
    return nnls(
        np.vstack([root[:, None] * src, ridge]).astype(np.float64),
        np.concatenate([root * values, np.zeros(src.shape[1])]),
    )[0]


def explicit_objective(rows, columns, values, x, y, reg):
    """sum (r - <x, y>)^2 + reg (sum n_u |x_u|^2 + sum n_i |y_i|^2): what MLlib's explicit ALS minimises."""
    error = values - np.einsum("ij,ij->i", x[rows], y[columns])
    sizes = (x**2).sum(1) @ np.bincount(rows, minlength=len(x)) + (y**2).sum(1) @ np.bincount(
        columns, minlength=len(y)
    )
    return (error**2).sum() + reg * sizes


def implicit_objective(rows, columns, values, x, y, reg, alpha):
    """sum over ALL pairs of c (p - <x, y>)^2, p = [r > 0], c = 1 + alpha |r|, plus penalties that count n =
    #{r > 0} times.
    """
    confidence, preference = np.ones((len(x), len(y))), np.zeros((len(x), len(y)))
    confidence[rows, columns] += alpha * np.abs(values)
    preference[rows, columns] = values > 0
    loss = (confidence * (preference - x @ y.T) ** 2).sum()
    mass = (values > 0).astype(float)
    sizes = (x**2).sum(1) @ np.bincount(rows, mass, len(x)) + (y**2).sum(1) @ np.bincount(
        columns, mass, len(y)
    )
    return loss + reg * sizes


def csr(rows, columns, values, n_rows):
    """Entries of each row, columns ascending: a list of (columns, values)."""
    order = np.lexsort((columns, rows))
    return [(columns[order][rows[order] == r], values[order][rows[order] == r]) for r in range(n_rows)]


def prediction(score, rules):
    """From a score to a rating (Rendle and Schmidt-Thieme 2008); the probability for the logistic loss."""
    if rules.loss == 2:
        return 1 / (1 + np.exp(-score))
    if rules.kernel == 0:
        return rules.unit * score
    unit = 1 / (1 + np.exp(-score)) if rules.kernel == 1 else np.exp(rules.gamma * score)
    return rules.low + (rules.high - rules.low) * unit


def pair_score(x, y, b, c, rules):
    """mean + b_u + b_i + <x, y>, or minus the squared distance."""
    return -((x - y) ** 2).sum() if rules.kernel == 2 else rules.mean + b + c + x @ y


def cost(score, rating, rules):
    """Loss of one rating."""
    p = prediction(score, rules)
    if rules.loss == 2:
        return -(rating * np.log(p) + (1 - rating) * np.log(1 - p))
    error = (p - rating) / rules.unit
    return abs(error) if rules.loss == 1 else 0.5 * error**2


def slope(score, rating, rules, step=1e-5):
    """d cost / d score, by central differences."""
    return (cost(score + step, rating, rules) - cost(score - step, rating, rules)) / (2 * step)


def pair_gradients(x, y, b, c, rating, weight, rules, user_penalty, item_penalty):
    """Gradients by (x, b) and (y, c) of one rating's weighted cost and penalties."""
    g = weight * slope(pair_score(x, y, b, c, rules), rating, rules)
    by_x, by_y = (2 * (y - x), 2 * (x - y)) if rules.kernel == 2 else (y, x)
    users = np.append(g * by_x + weight * user_penalty.l2 * x, g + weight * user_penalty.bias_l2 * b)
    items = np.append(g * by_y + weight * item_penalty.l2 * y, g + weight * item_penalty.bias_l2 * c)
    return users, items


class ReferenceOptimizer:
    """One row's optimizer in float64: sgd, adagrad with one sum per row (and one for the bias), adam."""

    def __init__(self, rank, rules):
        self.rules, self.squares, self.m, self.v, self.t = (
            rules,
            np.ones(2),
            np.zeros(rank + 1),
            np.zeros(rank + 1),
            0,
        )

    def move(self, row, gradient):
        rate = np.full(len(row), self.rules.rate)
        if self.rules.optimizer == 1:
            self.squares += [np.mean(gradient[:-1] ** 2), gradient[-1] ** 2]
            rate = rate / np.sqrt(np.append(np.full(len(row) - 1, self.squares[0]), self.squares[1]))
        if self.rules.optimizer == 2:
            self.t += 1
            self.m = 0.9 * self.m + 0.1 * gradient
            self.v = 0.999 * self.v + 0.001 * gradient**2
            gradient = self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)
        step = rate * gradient
        if not self.rules.biased:
            step[-1] = 0
        return row - step


def descend(users, items, values, weights, x, y, b, c, batch, rules, user_penalty, item_penalty):
    """Steps on the mean gradient of each batch, in order; returns the new x, y, b, c and the sum of w (r -
    p)^2.
    """
    x, y, b, c, values = (np.asarray(array, np.float64) for array in (x, y, b, c, values))
    rows = {("u", u): np.append(x[u], b[u]) for u in range(len(x))} | {
        ("i", i): np.append(y[i], c[i]) for i in range(len(y))
    }
    optimizers = {key: ReferenceOptimizer(x.shape[1], rules) for key in rows}
    squared = 0.0
    for first in range(0, len(users), batch):
        gradients = {}
        chosen = range(first, min(first + batch, len(users)))
        for e in chosen:
            p, q = rows["u", users[e]], rows["i", items[e]]
            squared += (
                weights[e]
                * (values[e] - prediction(pair_score(p[:-1], q[:-1], p[-1], q[-1], rules), rules)) ** 2
            )
            for key, gradient in zip(
                (("u", users[e]), ("i", items[e])),
                pair_gradients(
                    p[:-1], q[:-1], p[-1], q[-1], values[e], weights[e], rules, user_penalty, item_penalty
                ),
                strict=True,
            ):
                gradients[key] = gradients.get(key, 0) + gradient / len(chosen)
        for key, gradient in gradients.items():
            rows[key] = optimizers[key].move(rows[key], gradient)
    stacked = {side: np.stack([row for key, row in rows.items() if key[0] == side]) for side in "ui"}
    return stacked["u"][:, :-1], stacked["i"][:, :-1], stacked["u"][:, -1], stacked["i"][:, -1], squared


def ranking_cost(scores, ranking):
    """The cost of scores, the preferred item's first (`recspark.kernels.ranking.losses`)."""
    own, others = scores[0], scores[1:]
    if ranking.loss == 0:
        return -np.log(1 / (1 + np.exp(others.max() - own)))
    if ranking.loss == 1:
        weights = np.exp(scores / ranking.temperature)
        return -np.log(weights[0] / weights.sum())
    return 1 - own + ranking.negative_weight * np.maximum(0, others - ranking.margin).mean()


def ranking_slopes(scores, ranking, step=1e-5):
    """d cost / d scores, by central differences."""
    ends = [ranking_cost(scores + move, ranking) for move in step * np.eye(len(scores))]
    starts = [ranking_cost(scores - move, ranking) for move in step * np.eye(len(scores))]
    return (np.array(ends) - starts) / (2 * step)


def descend_preferences(users, weights, drawn, x, y, c, rules, user_penalty, item_penalty):
    """Steps on lists of items, the preferred one first: `drawn` has one per rating, or None for no step.

    Returns the new x, y, c and the sums of w times the share of drawn items that score lower, of w and of w
    cost.
    """
    x, y, c = (np.array(array, np.float64) for array in (x, y, c))
    ranking, sums = rules.ranking, np.zeros(3)
    for u, w, items in zip(users, weights, drawn, strict=True):
        if items is None:
            continue
        scores = rules.mean + c[items] + y[items] @ x[u]
        sums += w * np.array([(scores[1:] < scores[0]).mean(), 1, ranking_cost(scores, ranking)])
        if ranking.loss == 0:  # an item that was drawn twice takes one step
            kept = [0, 1 + scores[1:].argmax()]
            items, scores = items[kept], scores[kept]
        slopes = w * ranking_slopes(scores, ranking)
        old, gradient = x[u].copy(), np.zeros_like(x[u])
        for k, (i, g, s) in enumerate(zip(items, slopes, scores, strict=True)):
            if g == 0:
                continue
            paid = 1 if k == 0 or ranking.loss == 0 else 1 / ranking.negatives
            if rules.kernel == 3:  # along the sphere, and back to it
                gradient += g * (y[i] - s * old)
                y[i] -= rules.rate * g * (old - s * y[i])
                y[i] /= np.linalg.norm(y[i])
                continue
            gradient += g * y[i]
            y[i] -= rules.rate * (g * old + paid * item_penalty.l2 * y[i])
            c[i] -= rules.biased * rules.rate * (g + paid * item_penalty.bias_l2 * c[i])
        x[u] -= rules.rate * (gradient + (0 if rules.kernel == 3 else user_penalty.l2 * old))
        if rules.kernel == 3:
            x[u] /= np.linalg.norm(x[u])
    return x, y, c, sums


def best_items(users, items, offsets, n, hidden):
    """For each user the n best of ``<x_u, y_i> + o_i`` over the items that are not `hidden` from them:
    [(item, score)], ties by lower item."""
    found = []
    for user, row in zip(users.astype(np.float64), hidden, strict=True):
        scores = [
            (float(user @ item + offset), place)
            for place, (item, offset) in enumerate(zip(items.astype(np.float64), offsets, strict=True))
        ]
        ranked = sorted((-score, place) for score, place in scores if place not in row and score > -np.inf)
        found.append([(place, -score) for score, place in ranked[:n]])
    return found


def fm_score(vectors, biases, offset):
    """``offset + sum_a b_a + sum_{a < c} <u_a, u_c>`` of the entities that a row joins."""
    pairs = sum(vectors[a] @ vectors[c] for a in range(len(vectors)) for c in range(a))
    return offset + biases.sum() + pairs


def pairs(x, v):
    """``sum_{j < l} <v_j, v_l> x_j x_l``."""
    return sum(v[j] @ v[l] * x[j] * x[l] for j in range(len(x)) for l in range(j))


def fm_precision(places, table, precision, alpha):
    """Of the posterior of an entity's vector and bias: ``diag(precision) + alpha sum [R 1]^T [R 1]``, R the
    sum of the vectors that a row joins."""
    joined = (
        np.array([np.append(table[row].sum(axis=0), 1) for row in places])
        .reshape(-1, len(precision))
        .astype(float)
    )
    return np.diag(precision) + alpha * joined.T @ joined


def fm_entities(
    indptr, places, values, table, bias, own, own_bias, prior, prior_bias, precision, alpha, offset
):
    """The posterior means of the vectors and biases of one side (n, rank + 1), and what they leave of the
    ratings.
    """
    found, left = [], []
    for e in range(len(indptr) - 1):
        rows = range(indptr[e], indptr[e + 1])
        joined = (
            np.array([np.append(table[places[r]].sum(axis=0), 1) for r in rows])
            .reshape(-1, len(precision))
            .astype(float)
        )
        target = np.array(
            [values[r] - fm_score(table[places[r]].astype(float), bias[places[r]], offset) for r in rows]
        )
        pull = precision * np.append(prior[e], prior_bias[e]) + alpha * joined.T @ target
        solution = np.linalg.solve(
            fm_precision(places[indptr[e] : indptr[e + 1]], table, precision, alpha), pull
        )
        found.append(solution)
        left.append(target - joined @ solution)
    return np.array(found), np.concatenate(left)


def fm_spread(at, values, scores, others, weights, precision, alpha, cuts):
    """ln of the posterior density of an entity's spread, but for a constant: of a normal prior around 0 and
    its rows, whose other spreads add up to `others`."""
    deviation = np.exp(at + others) / np.sqrt(alpha * weights)
    if len(cuts):
        level = values.astype(int)
        above, below = (
            norm.cdf((cuts[level + 1] - scores) / deviation),
            norm.cdf((cuts[level] - scores) / deviation),
        )
        likelihood = np.log(np.maximum(above - below, 1e-300))
    else:
        likelihood = norm.logpdf(values, scores, deviation)
    return likelihood.sum() - 0.5 * precision * at**2
