"""Pairs of users and items with MovieLens's long tails of activity and popularity.

Each pair (user, item) is drawn once.
"""

from __future__ import annotations

import numba
import numpy as np

from recspark.errors import ConfigError

#: MovieLens publishes users with at least this many ratings
LEAST_RATINGS = 20
#: no user rates more than this share of the items
LARGEST_SHARE = 0.66


def skewed_lognormal(normal: np.ndarray, spread: float, bend: float) -> np.ndarray:
    """``exp(spread z - bend z^2)``: a lognormal whose upper tail is cut short.

    MovieLens's activity and popularity have this shape.
    """
    return np.exp(spread * normal - bend * normal**2)


def user_counts(rng: np.random.Generator, n_users: int, n_items: int, nnz: int) -> np.ndarray:
    """Ratings per user, int64, with the sum `nnz`, between LEAST_RATINGS and LARGEST_SHARE of the items.

    ``n_u = 20 + c x_u`` cut at the largest, x_u skewed lognormal (fitted to ML-1M and ML-10M), c solved by
    bisection.
    """
    largest = int(LARGEST_SHARE * n_items)
    if not n_users * LEAST_RATINGS <= nnz <= n_users * largest or n_items > nnz:
        raise ConfigError(
            f"{nnz} ratings of {n_items} items by {n_users} users are not possible: "
            f"each user gives {LEAST_RATINGS} to {largest}, and each item gets at least one"
        )
    activity = skewed_lognormal(rng.standard_normal(n_users), 1.4, 0.06)
    low, high = 0.0, largest / activity.min()
    for _ in range(80):
        scale = (low + high) / 2
        fits = np.minimum(LEAST_RATINGS + scale * activity, largest).astype(np.int64).sum() <= nnz
        low, high = (scale, high) if fits else (low, scale)
    counts = np.minimum(LEAST_RATINGS + low * activity, largest).astype(np.int64)
    room = np.flatnonzero(counts < largest)
    counts[room[: nnz - counts.sum()]] += 1
    return counts


def popularity(normal: np.ndarray) -> np.ndarray:
    """Relative popularity of items from standard normals (fitted between ML-1M and ML-10M), float64."""
    return skewed_lognormal(normal, 2.1, 0.17)


def draw_items(counts: np.ndarray, weights: np.ndarray, epoch: np.ndarray, seed: int) -> np.ndarray:
    """Draw ``counts[u]`` distinct items for each user, in proportion to the popularity of the user's epoch.

    Successive sampling without replacement, popular items tend to come first. Item ``u mod n_users`` of a
    random order is always user u's first, so that every item is rated.

    Successive sampling without replacement, popular items tending to come first. Item ``u mod n_users`` of a
    random order is always user u's first, so that every item is rated.

    Parameters
    ----------
    counts : int64, (n_users,)
    weights : float64, (n_epochs, n_items)
    epoch : int64, (n_users,), the row of `weights` that each user draws by

    Returns
    -------
    int32, (counts.sum(),), user by user
    """
    cumulative = np.cumsum(weights, axis=1)
    order = np.random.default_rng([seed, 7]).permutation(weights.shape[1]).astype(np.int32)
    return _draw_items(counts, weights, cumulative / cumulative[:, -1:], epoch, order, np.uint64(seed))


@numba.njit(cache=True)
def _uniform(state: np.ndarray) -> float:
    """The next number in [0, 1) of a splitmix64 stream (Steele et al. 2014).

    `state` is uint64, (1,), and is advanced.
    """
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True)
def _draw_items(counts, weights, cumulative, epoch, order, seed):
    n_users, n_items = counts.size, order.size
    items = np.empty(counts.sum(), np.int32)
    drawn_by = np.full(n_items, -1, np.int64)
    state = np.empty(1, np.uint64)
    end = 0
    for user in range(n_users):
        start, end = end, end + counts[user]
        state[0] = (seed << np.uint64(32)) ^ (np.uint64(user) * np.uint64(0xD1342543DE82EF95))
        at = start
        for first in range(user, n_items, n_users):
            items[at] = order[first]
            drawn_by[order[first]] = user
            at += 1
        if counts[user] > n_items // 4:
            _race(items[at:end], weights[epoch[user]], drawn_by, user, state)
        else:
            _reject(items[at:end], cumulative[epoch[user]], drawn_by, user, state)
    return items


@numba.njit(cache=True)
def _reject(items, cumulative, drawn_by, user, state):
    """Fill `items` by drawing with replacement and dropping repeated items: fast for few of many."""
    at = 0
    while at < items.size:
        item = np.searchsorted(cumulative, _uniform(state), side="right")
        if drawn_by[item] != user:
            drawn_by[item] = user
            items[at] = item
            at += 1


@numba.njit(cache=True)
def _race(items, weights, drawn_by, user, state):
    """The same law as `_reject`, by first arrivals of exponential clocks.

    Its cost does not grow with the share drawn.
    """
    arrival = np.empty(weights.size)
    for item in range(weights.size):
        arrival[item] = -np.log1p(-_uniform(state)) / weights[item]
        if drawn_by[item] == user:
            arrival[item] = np.inf
    items[:] = np.argsort(arrival)[: items.size]
