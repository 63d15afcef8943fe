"""The planted parts of generated data: people, movies, biases, factors and the rating scale.

And the error that no model can beat.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from scipy.special import ndtr

#: lowest level, highest level and step of each rating scale
LEVELS = {"integer": (1.0, 5.0, 1.0), "half": (0.5, 5.0, 0.5)}
GENRES = (
    "Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
AGES = (1, 18, 25, 35, 45, 50, 56)
OCCUPATIONS = 21
FIRST_YEAR, LAST_YEAR = 1920, 2000
_TITLE_WORDS = (
    "Quiet Broken Golden Last Secret Burning "
    "Silver Wild Lost Perfect Midnight Electric Crimson Hollow Gentle Iron".split(),
    "River Letter Garden Stranger Summer Machine "
    "Promise Señor Empire Café Detective Daughter Train Shadow Harvest Waltz".split(),
    [
        "",
        ", The",
        ", A",
        " II",
        ": The Return",
        " of Paris",
        " of the Sea",
        ' "Take Two"',
        " & Sons",
        "'s End",
        "!",
        "?",
        " 3000",
    ],
)
_CHUNK = 1 << 20


def biases(rng: np.random.Generator, n_users: int, fame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Biases of users and items in stars, float32.

    Famous items are better liked (correlation about 0.4, as in ML-1M).
    """
    user_bias = 0.4 * rng.standard_normal(n_users)
    item_bias = 0.5 * (0.4 * fame + 0.9 * rng.standard_normal(fame.size))
    return user_bias.astype(np.float32), item_bias.astype(np.float32)


def factors(rng: np.random.Generator, known: np.ndarray, share: float, rank: int) -> np.ndarray:
    """Factors, float32, (n, rank), such that ``<p_u, q_i>`` has variance 1/4.

    `share` of their variance is explained by the known attributes (one-hot, (n, m), m = 0 for none).
    """
    explained = known @ rng.standard_normal((known.shape[1], rank))
    explained = (explained - explained.mean(axis=0)) / (explained.std() + 1e-12)
    own = rng.standard_normal(explained.shape)
    unit = np.sqrt(share) * explained + np.sqrt(1 - share) * own
    return (unit * (0.25 / rank) ** 0.25).astype(np.float32)


def plant_users(rng: np.random.Generator, n: int, rank: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The users table with ML-1M's codes and shares, and the users' factors, which depend on it."""
    male = rng.random(n) < 0.72
    age = rng.choice(len(AGES), n, p=(0.04, 0.18, 0.35, 0.20, 0.09, 0.08, 0.06))
    occupation = np.minimum(rng.exponential(7, n).astype(int), OCCUPATIONS - 1)
    users = pd.DataFrame(
        {
            "user_id": np.arange(1, n + 1),
            "gender": np.where(male, "M", "F"),
            "age": np.array(AGES, np.int32)[age],
            "occupation": occupation.astype(str),
            "zip": [f"{code:05d}" for code in rng.integers(501, 99_951, n)],
        }
    )
    known = np.hstack([male[:, None], np.eye(len(AGES))[age], np.eye(OCCUPATIONS)[occupation]])
    return users, factors(rng, known, 0.3, rank)


def plant_items(rng: np.random.Generator, n: int, rank: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The items table, and the items' factors, which depend on it.

    Recent years and some genres are more frequent.
    """
    year = LAST_YEAR - np.minimum(rng.exponential(14, n).astype(np.int32), LAST_YEAR - FIRST_YEAR)
    liking = np.log(rng.dirichlet(np.full(len(GENRES), 2.0))) + rng.gumbel(size=(n, len(GENRES)))
    n_genres = 1 + rng.binomial(3, 0.25, n)
    of_genre = (-liking).argsort(axis=1).argsort(axis=1) < n_genres[:, None]
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, n + 1),
            "title": _titles(rng, n),
            "year": year,
            "genres": [[GENRES[genre] for genre in np.flatnonzero(row)] for row in of_genre],
        }
    )
    decade = (year - FIRST_YEAR) // 10
    known = np.hstack([of_genre, np.eye(decade.max() + 1)[decade]])
    return items, factors(rng, known, 0.5, rank)


def _titles(rng: np.random.Generator, n: int) -> list[str]:
    """Distinct titles, some with accents, quotes and colons that a reader of files must handle."""
    titles = [f"{first} {second}{end}" for first, second, end in product(*_TITLE_WORDS)]
    order = rng.permutation(max(n, len(titles)))[:n]
    parts, numbers = np.divmod(order, len(titles))
    return [
        titles[number] + (f" Part {part + 1}" if part else "")
        for part, number in zip(parts, numbers, strict=True)
    ]


def interaction(
    user: np.ndarray, item: np.ndarray, user_factors: np.ndarray, item_factors: np.ndarray
) -> np.ndarray:
    """``<p_u, q_i>`` for each (user, item), float32, in chunks of bounded memory."""
    scores = np.empty(user.size, np.float32)
    for start in range(0, user.size, _CHUNK):
        rows = slice(start, start + _CHUNK)
        np.einsum("nk,nk->n", user_factors[user[rows]], item_factors[item[rows]], out=scores[rows])
    return scores


def to_levels(score: np.ndarray, levels: str) -> np.ndarray:
    """Round each score to the nearest level of the scale, float32."""
    low, high, step = LEVELS[levels]
    return np.clip(np.round(score / step) * step, low, high).astype(np.float32)


def expected_rating(score: np.ndarray, noise: float, levels: str) -> np.ndarray:
    """The mean rating given the planted score: ``E[r | s] = low + step * sum_j Phi((s - t_j) / noise)``.

    ``t_j = low + (j + 1/2) step`` are the borders between neighbouring levels, Phi the normal distribution
    function: each border passed adds one step to a rating that is ``s + noise * N(0, 1)``, rounded and
    clipped.
    """
    low, high, step = LEVELS[levels]
    borders = np.arange(low, high, step) + step / 2
    return low + step * sum(ndtr((score - border) / noise) for border in borders)


def noise_floor(rating: np.ndarray, score: np.ndarray, noise: float, levels: str) -> float:
    """The RMSE of the oracle that knows every planted score: ``sqrt(mean((r - E[r | s])^2))``, in stars."""
    return float(np.sqrt(np.mean((rating - expected_rating(score, noise, levels)) ** 2)))
