"""Seeded data of MovieLens's shape with a known noise floor.

A whole data set for the demo, bare arrays for benchmarks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from recspark.config import Option, Section, above, at_least, one_of
from recspark.data.generated.long_tail import draw_items, popularity, user_counts
from recspark.data.generated.planted import (
    LEVELS,
    biases,
    factors,
    interaction,
    noise_floor,
    plant_items,
    plant_users,
    to_levels,
)

#: the mean of ML-1M's ratings
MEAN = 3.58
#: 2000-04-25T00:00:00Z, the year ML-1M begins in, and three years, in seconds
START, SPAN = 956_620_800, 3 * 365 * 86_400
#: item popularity is constant within an epoch and drifts from one to the next
EPOCHS = 12


class SyntheticOptions(Section):
    """The size of the generated data set, and the share of noise in a rating."""

    name = "synthetic"
    users = Option(int, 2000, "number of users", at_least(1))
    items = Option(int, 1500, "number of items", at_least(31))
    ratings = Option(
        int, 200_000, "number of ratings: per user at least 20, at most 66 % of the items", at_least(20)
    )
    rank = Option(int, 8, "number of planted factors", at_least(1))
    noise = Option(
        float, 0.8, "standard deviation of the noise on a rating before it is rounded, in stars", above(0)
    )
    drift = Option(
        float, 1.0, "how much biases and popularity change over the three years; 0: not at all", at_least(0)
    )
    levels = Option(str, "integer", "rating scale: 1, 2 .. 5 or 0.5, 1 .. 5", one_of(*LEVELS))
    seed = Option(int, 42, "seed of every draw", at_least(0))


class DataSet(TypedDict):
    """The tables of a data set, the RMSE of an oracle on its ratings, and the rating scale."""

    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    noise_floor: float
    levels: str


def generate(options: SyntheticOptions) -> DataSet:
    """Draw a data set; the same options give the same tables.

    ``score = mean + b_u + b_i + (d_u + d_i) tau + <p_u, q_i>`` with tau in [-1/2, 1/2] the time of the
    rating, d the drift of a bias, and p, q depending on demographics, genres and year;
    ``rating = round(score + noise N(0, 1))`` on the scale.

    Returns
    -------
    dict
        ``ratings`` (user_id, item_id, rating, timestamp), ``users`` (user_id, gender, age, occupation, zip)
        and ``items`` (item_id, title, year, genres) as pandas frames, sorted by id and time; ``noise_floor``,
        the RMSE on these ratings of an oracle that knows every score (see
        :func:`~recspark.data.generated.planted.noise_floor`); ``levels``, the rating scale.
    """
    users, user_factors = plant_users(_rng(options, "users"), options.users, options.rank)
    items, item_factors = plant_items(_rng(options, "items"), options.items, options.rank)
    fame = _rng(options, "fame").standard_normal(options.items)
    user, item, time = _draw_pairs(options, fame)
    score = _drifting_biases(options, fame, user, item, time - 0.5) + interaction(
        user, item, user_factors, item_factors
    )
    score += MEAN - score.mean()
    rating = to_levels(
        score + options.noise * _rng(options, "noise").standard_normal(score.size), options.levels
    )
    ratings = pd.DataFrame(
        {
            "user_id": user + 1,
            "item_id": item + 1,
            "rating": rating,
            "timestamp": START + (time * SPAN).astype(int),
        }
    )
    return {
        "ratings": ratings.astype({"user_id": "int64", "item_id": "int64"}),
        "users": users,
        "items": items,
        "noise_floor": noise_floor(rating, score, options.noise, options.levels),
        "levels": options.levels,
    }


def _rng(options: SyntheticOptions, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose: a change in one draw does not change the others."""
    return np.random.default_rng([options.seed, *purpose.encode()])


def _draw_pairs(options: SyntheticOptions, fame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and times of the ratings, by user, then time.

    User and item are int32 positions, the time is a share of SPAN.
    """
    counts = user_counts(_rng(options, "activity"), options.users, options.items, options.ratings)
    elapsed, arrival = _visits(_rng(options, "visits"), counts)
    trend = 2 * options.drift * _rng(options, "trend").standard_normal(options.items)
    epochs = (np.arange(EPOCHS) + 0.5) / EPOCHS - 0.5
    item = draw_items(
        counts,
        popularity(fame) * np.exp(np.outer(epochs, trend)),
        (arrival * EPOCHS).astype(int),
        options.seed,
    )
    user = np.repeat(np.arange(options.users, dtype=np.int32), counts)
    return user, item, arrival[user] + elapsed


def _drifting_biases(
    options: SyntheticOptions, fame: np.ndarray, user: np.ndarray, item: np.ndarray, tau: np.ndarray
) -> np.ndarray:
    """``b_u + b_i + (d_u + d_i) tau`` for each rating."""
    user_bias, item_bias = biases(_rng(options, "biases"), options.users, fame)
    rng = _rng(options, "drift")
    user_drift, item_drift = (
        0.3 * options.drift * rng.standard_normal(size) for size in (options.users, options.items)
    )
    return user_bias[user] + item_bias[item] + (user_drift[user] + item_drift[item]) * tau


def _visits(rng: np.random.Generator, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The times of ratings as shares of SPAN: since the user's first, (nnz,), and of the first, (n_users,).

    As in ML-1M half of a user's ratings share a second with the one before, sessions have one rating in about
    20 seconds, one rating in 54 opens a new session, a median of 6 days after the last, and most users come
    early. The times of a user who would overrun the span are compressed.
    """
    nnz = counts.sum()
    pause = rng.exponential(40, nnz).astype(int) * (rng.random(nnz) < 0.5)
    pause += (rng.random(nnz) < 1 / 54) * rng.lognormal(np.log(6 * 86_400), 1.9, nnz).astype(int)
    first = np.cumsum(counts) - counts
    clock = np.cumsum(pause)
    elapsed = (clock - np.repeat(clock[first], counts)) / SPAN
    total = elapsed[first + counts - 1]
    elapsed *= np.repeat(np.minimum(1, 0.99 / np.maximum(total, 1e-12)), counts)
    return elapsed, rng.beta(1, 5, counts.size) * (1 - np.minimum(total, 0.99))


def ratings_arrays(
    n_users: int = 69_878,
    n_items: int = 10_677,
    nnz: int = 10_000_000,
    seed: int = 42,
    rank: int = 16,
    noise: float = 0.75,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw bare half-star ratings, by default "s10m", the shape of ML-10M: 10 M ratings in a few seconds.

    Pairs are unique, every user has at least 20 ratings and every item at least one. Biases, factors and
    noise are as in :func:`generate`, without attributes and time.

    Parameters
    ----------
    n_users, n_items, nnz
        Numbers of users, items and ratings.
    seed
        Seed of all draws.
    rank
        Number of planted factors.
    noise
        Standard deviation of the noise, in stars.

    Returns
    -------
    user : int32, (nnz,), ascending
    item : int32, (nnz,), in any order within a user
    rating : float32, (nnz,), 0.5, 1 .. 5

    Raises
    ------
    ConfigError
        If this many ratings do not fit this many users and items.
    """
    rng = np.random.default_rng(seed)
    fame = rng.standard_normal(n_items)
    counts = user_counts(rng, n_users, n_items, nnz)
    item = draw_items(counts, popularity(fame)[None], np.zeros(n_users, int), seed)
    user = np.repeat(np.arange(n_users, dtype=np.int32), counts)
    user_bias, item_bias = biases(rng, n_users, fame)
    score = interaction(
        user, item, *(factors(rng, np.empty((size, 0)), 0.0, rank) for size in (n_users, n_items))
    )
    score += user_bias[user]
    score += item_bias[item]
    score += np.float32(noise) * rng.standard_normal(nnz, np.float32)
    score += np.float32(MEAN - score.mean(dtype=np.float64))
    return user, item, to_levels(score, "half")


def write_movielens(tables: DataSet, folder: str | Path) -> None:
    """Write the output of :func:`generate` as the files of a MovieLens edition, for ingest.

    Integer levels take ML-1M's layout (``users.dat``, ``movies.dat``, ``ratings.dat``, latin-1), half stars
    ML-10M's (``movies.dat``, ``ratings.dat``, ``tags.dat``, UTF-8), which has no users. ``truth.json`` beside
    them holds the noise floor.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    integer = tables["levels"] == "integer"
    encoding = "latin-1" if integer else "utf-8"
    users, items, ratings = tables["users"], tables["items"], tables["ratings"]
    movies = zip(
        items["item_id"],
        items["title"] + " (" + items["year"].astype(str) + ")",
        items["genres"].str.join("|"),
        strict=True,
    )
    _write_rows(folder / "movies.dat", movies, encoding)
    stars = ratings["rating"].map("{:g}".format)
    _write_rows(
        folder / "ratings.dat",
        zip(ratings["user_id"], ratings["item_id"], stars, ratings["timestamp"], strict=True),
        encoding,
    )
    if integer:
        _write_rows(folder / "users.dat", users.itertuples(index=False), encoding)
    else:
        _write_rows(folder / "tags.dat", (), encoding)
    truth = {
        "noise_floor": tables["noise_floor"],
        "users": len(users),
        "items": len(items),
        "ratings": len(ratings),
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", "utf-8")


def _write_rows(path: Path, rows: Iterable[Iterable[object]], encoding: str) -> None:
    with path.open("w", encoding=encoding, newline="\n") as file:
        file.writelines("::".join(map(str, row)) + "\n" for row in rows)
