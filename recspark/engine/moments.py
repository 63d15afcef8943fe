"""The share of each side in the variance of values: the method of moments for random effects."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

#: the least share of a side: without any effect in the data it still starts with a variance, which a sampler
#: can shrink
LEAST_SHARE = 0.01

#: the share of a side of which no entity has two rows: a sampler finds a smaller one sooner than a larger one
UNKNOWN_SHARE = 0.1

#: the least share of the noise
LEAST_NOISE = 0.05


def pair_moments(
    entities: np.ndarray, side: int, value: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The mean product of two values of the same entity of a side, and how often they share other entities.

    With W and Q the sums of an entity's weights and of their squares, both are means over pairs,

        sum over entities of ((sum w z)^2 - sum (w z)^2) / (W - Q / W)  /  sum over entities of W,

    where for the second one (sum w z)^2 - sum (w z)^2 is counted over pairs that share the other entity, with
    z = 1.

    Parameters
    ----------
    entities
        Positions of each row's entities, int (n, sides); -1 for none, and never -1 on `side`.
    side
        The side, a column of `entities`.
    value
        z of mean 0, (n,).
    weight
        w >= 0, (n,); None: all 1.

    Returns ------- The mean product, and for each side the share of pairs that share an entity of it,
    (sides,), which is 1 for `side`; all 0 if no entity has two rows.
    """
    entity, w = entities[:, side], np.ones(len(value)) if weight is None else weight.astype(np.float64)
    total, squares = np.bincount(entity, w), np.bincount(entity, w * w)
    pairs = total - np.divide(squares, total, out=np.zeros_like(total), where=total > 0)
    several = pairs > 1e-9 * total
    shares = np.zeros(entities.shape[1])
    if not several.any():
        return 0.0, shares
    each = np.divide(1.0, pairs, out=np.zeros_like(pairs), where=several) / total[several].sum()
    product = each @ (np.bincount(entity, w * value) ** 2 - np.bincount(entity, np.square(w * value)))
    shares[side] = 1.0
    for other in range(entities.shape[1]):
        if other == side:
            continue
        rows = np.flatnonzero(entities[:, other] >= 0)
        key = (
            entity[rows].astype(np.int64) * (int(entities[:, other].max(initial=0)) + 1)
            + entities[rows, other]
        )
        found, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        both, both_squares = (
            np.bincount(inverse, w[rows], len(found)),
            np.bincount(inverse, w[rows] ** 2, len(found)),
        )
        shares[other] = each[entity[rows[first]]] @ (both**2 - both_squares)
    return float(product), shares


def variance_shares(products: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The variance of the effect of each side, if values have the variance 1.

    Rows that share entities of some sides have the sum of these sides' variances as their mean product (a
    user's effect is in each of the user's days, too): ``pairs @ variances = products``, solved for variances
    of at least 0.

    Parameters
    ----------
    products, pairs
        The results of `pair_moments` for each side: (sides,), (sides, sides).

    Returns
    -------
    (sides,), each at least `LEAST_SHARE`, `UNKNOWN_SHARE` for a side without pairs; their sum leaves at least
    `LEAST_NOISE`.
    """
    found = np.where(np.diagonal(pairs) > 0, np.maximum(nnls(pairs, products)[0], LEAST_SHARE), UNKNOWN_SHARE)
    return found * min(1.0, (1 - LEAST_NOISE) / found.sum())
