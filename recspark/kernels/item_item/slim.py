"""Sparse linear models of items by coordinate descent."""

from __future__ import annotations

import numpy as np
from numba import njit

#: of each array: where the entries of a row begin, their columns, and their values
CSRArrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@njit(nogil=True, cache=True)
def descend(
    items: CSRArrays,
    targets: np.ndarray,
    candidates: CSRArrays,
    penalties: tuple[float, float],
    max_iter: int,
    tol: float,
    n_users: int,
) -> np.ndarray:
    """Weights of the candidates of each target, by coordinate descent.

    For target j with candidates C it minimises, over w >= 0,

        |x_j - sum_{i in C} w_i x_i|^2 / 2  +  l1 sum_i w_i  +  l2 / 2 sum_i w_i^2.

    A step sets one weight to its best value, ``max(0, x_i' r + |x_i|^2 w_i - l1) / (|x_i|^2 + l2)``, with r
    the residual. Its cost is the number of entries of x_i.

    Parameters
    ----------
    items
        CSR arrays of X' (items, users), float32.
    targets
        int (targets,): the items that weights are found for.
    candidates
        CSR arrays (targets, items) of their candidates; its values are not read.
    penalties
        l1 and l2.
    max_iter
        Most sweeps over the candidates of a target.
    tol
        A sweep that changes no weight by more is the last.
    n_users
        Number of users.

    Returns
    -------
    float32 array
        The weights, in the order of the candidates.

    Sources
    -------
    Ning, Karypis 2011, "SLIM: sparse linear methods for top-N recommender systems", equation 4. Friedman,
    Hastie, Tibshirani 2010, "Regularization paths for generalized linear models via coordinate descent",
    equation 5.
    """
    starts, users, values = items
    edges, columns, _ = candidates
    l1, l2 = penalties
    weights = np.zeros(len(columns), np.float32)
    residual, squares = np.zeros(n_users), np.zeros(len(starts) - 1)
    for item in range(len(squares)):
        for entry in range(starts[item], starts[item + 1]):
            squares[item] += values[entry] * values[entry]
    for row in range(len(targets)):
        residual[:] = 0.0
        for entry in range(starts[targets[row]], starts[targets[row] + 1]):
            residual[users[entry]] = values[entry]
        for _sweep in range(max_iter):
            largest = 0.0
            for place in range(edges[row], edges[row + 1]):
                low, high = starts[columns[place]], starts[columns[place] + 1]
                product, square = 0.0, squares[columns[place]]
                for entry in range(low, high):
                    product += values[entry] * residual[users[entry]]
                before = weights[place]
                after = np.float32(max(0.0, product + square * before - l1) / (square + l2))
                if after != before:
                    weights[place] = after
                    for entry in range(low, high):
                        residual[users[entry]] -= (after - before) * values[entry]
                    largest = max(largest, abs(after - before))
            if largest <= tol:
                break
    return weights
