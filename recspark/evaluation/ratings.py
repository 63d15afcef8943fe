"""Rating metrics (RMSE, MAE, R2, bias), overall and by slices, from one aggregation over the test rows.

Spark turns the test rows into a *cube*: one row per combination of slice keys, with the count and the moments
of the ratings and errors in it. Its size depends on the rating scale, not on the number of test rows, and
everything else - the totals, each slice, the histogram - is a sum of its rows, made on the driver in float64.
Definitions: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import RecsparkError

#: lower edges of the bins of a user's or an item's number of training ratings: about three per factor of ten,
#: the last one open
COUNT_EDGES = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
#: columns of :func:`slice_table`
SLICES = ("slice", "level", "n", "unpredicted", "rmse", "mae", "bias")
#: columns of :func:`histogram`
HISTOGRAM = ("series", "value", "n")
#: names by whether a test row's user, and its item, are new to the model
WARMTH = {
    (False, False): "warm",
    (True, False): "new user",
    (False, True): "new item",
    (True, True): "both new",
}


def rating_cube(predictions: DataFrame, train: DataFrame, bins_per_unit: int) -> pd.DataFrame:
    """Count and moments of the test rows for every combination of slice keys: the one Spark aggregation.

    Parameters
    ----------
    predictions : DataFrame
        user_id, item_id, rating, prediction. A prediction that is null, NaN or infinite counts as
        unpredicted.
    train : DataFrame
        user_id, item_id: the rows that tell how much was known of each user and item. Shuffled once per side.
    bins_per_unit : int
        Ratings and predictions are binned to a grid of ``1 / bins_per_unit``.

    Returns
    -------
    pandas.DataFrame
        Keys ``user_count, item_count`` (lower edges of COUNT_EDGES), ``rating`` (on the grid),
        ``predicted_bin`` (``floor(prediction * bins_per_unit)``, null if unpredicted); ``rows``, and over
        the predicted rows ``n``, ``rating_mean``, ``rating_variance`` (population), sums ``error``,
        ``absolute_error``, ``squared_error``.

    Raises
    ------
    RecsparkError
        If there is no test row, or one without a rating.
    """
    value = F.col("prediction").cast("double")
    finite = value.isNotNull() & ~F.isnan(value) & (F.abs(value) != math.inf)
    rows = (
        predictions.select(
            "user_id", "item_id", F.col("rating").cast("double"), F.when(finite, value).alias("prediction")
        )
        .join(_counts(train, "user_id", "user_count"), "user_id", "left")
        .join(_counts(train, "item_id", "item_count"), "item_id", "left")
    )
    error = F.col("prediction") - F.col("rating")
    rating = F.when(error.isNotNull(), F.col("rating"))
    cube = rows.groupBy(
        _count_bin("user_count"),
        _count_bin("item_count"),
        (F.round(F.col("rating") * bins_per_unit) / bins_per_unit).alias("rating"),
        F.floor(F.col("prediction") * bins_per_unit).cast("double").alias("predicted_bin"),
    ).agg(
        F.count("*").alias("rows"),
        F.count(error).alias("n"),
        F.avg(rating).alias("rating_mean"),
        F.var_pop(rating).alias("rating_variance"),
        F.sum(error).alias("error"),
        F.sum(F.abs(error)).alias("absolute_error"),
        F.sum(error * error).alias("squared_error"),
    )
    return _checked(cube.toPandas())


def _counts(train: DataFrame, key: str, name: str) -> DataFrame:
    return train.groupBy(key).agg(F.count("*").alias(name))


def _count_bin(count: str) -> Column:
    """The lower edge of the bin that `count` falls in; ids without training rows have a count of 0."""
    known = F.coalesce(F.col(count), F.lit(0))
    return F.greatest(*(F.when(known >= edge, F.lit(edge)) for edge in COUNT_EDGES)).alias(count)


def _checked(cube: pd.DataFrame) -> pd.DataFrame:
    if cube.empty:
        raise RecsparkError("there is nothing to evaluate: the test set holds no rows")
    missing = int(cube.loc[cube["rating"].isna(), "rows"].sum())
    if missing:
        raise RecsparkError(f"{missing} test rows have no rating (null or NaN): every test row must have one")
    return cube


def rating_metrics(cube: pd.DataFrame) -> dict[str, float]:
    """RMSE, MAE, R2 and bias of all predicted rows, with the counts of predicted and unpredicted ones.

    ``rmse = sqrt(mean(e^2))``, ``mae = mean(|e|)``, ``bias = mean(e)`` with ``e = prediction - rating``, in
    rating units; ``r2 = 1 - sum(e^2) / sum((rating - mean(rating))^2)``, NaN if all ratings are equal. Raise
    RecsparkError if no row has a prediction.
    """
    total = _summary(cube)
    if total["n"] == 0:
        raise RecsparkError(
            f"there is nothing to evaluate: not one of {total['unpredicted']} test rows has a finite "
            "prediction"
        )
    n, means = cube["n"], cube["rating_mean"]
    mean = (n * means).sum() / total["n"]
    # the sum of squares within the cells plus that between them, instead of a difference of two large sums
    spread = (n * cube["rating_variance"]).sum() + (n * (means - mean) ** 2).sum()
    r2 = 1 - cube["squared_error"].sum() / spread if spread > 0 else math.nan
    metrics = {"rmse": total["rmse"], "mae": total["mae"], "r2": r2, "bias": total["bias"]}
    return {name: float(value) for name, value in metrics.items()} | {
        "predicted_rows": float(total["n"]),
        "unpredicted_rows": float(total["unpredicted"]),
    }


def slice_table(cube: pd.DataFrame) -> pd.DataFrame:
    """Metrics of each level of the slices, in order (columns SLICES).

    The slices are ``warmth``, ``user_activity``, ``item_popularity`` and ``rating``. Levels without a test
    row are left out; levels without predictions have n = 0 and NaN metrics.
    """
    warmth = [WARMTH[key] for key in zip(cube["user_count"] == 0, cube["item_count"] == 0, strict=True)]
    order = list(WARMTH.values())
    return pd.concat(
        [
            _slice(
                cube,
                "warmth",
                pd.Series([order.index(name) for name in warmth], cube.index),
                order.__getitem__,
            ),
            _slice(cube, "user_activity", cube["user_count"], _count_label),
            _slice(cube, "item_popularity", cube["item_count"], _count_label),
            _slice(cube, "rating", cube["rating"], "{:g}".format),
        ],
        ignore_index=True,
    )


def _slice(cube: pd.DataFrame, name: str, keys: pd.Series, label: Callable[..., str]) -> pd.DataFrame:
    rows = [
        {"slice": name, "level": label(key)} | _summary(cells) for key, cells in cube.groupby(keys, sort=True)
    ]
    return pd.DataFrame(rows, columns=list(SLICES))


def _summary(cells: pd.DataFrame) -> dict[str, float]:
    """Counts, and the metrics that are means over the predicted rows; NaN without predictions."""
    n = int(cells["n"].sum())
    squared, absolute, error = (
        cells[f"{kind}error"].sum() / n if n else math.nan for kind in ("squared_", "absolute_", "")
    )
    return {
        "n": n,
        "unpredicted": int(cells["rows"].sum()) - n,
        "rmse": math.sqrt(squared),
        "mae": absolute,
        "bias": error,
    }


def _count_label(edge: int) -> str:
    """The bin of COUNT_EDGES that begins at `edge`, in words.

    >>> _count_label(0), _count_label(10), _count_label(100000)
    ('0', '10-29', '100000+')
    """
    following = [other for other in COUNT_EDGES if other > edge]
    if not following:
        return f"{edge}+"
    return f"{edge}-{following[0] - 1}" if following[0] - 1 > edge else str(edge)


def histogram(cube: pd.DataFrame, bins_per_unit: int) -> pd.DataFrame:
    """Distributions of the ratings and the predictions of all predicted rows (columns HISTOGRAM).

    There are three series. ``actual``: rows per rating level; ``rounded``: predictions per nearest rating
    level, halves upwards; ``predicted``: a full grid of bins of width ``1 / bins_per_unit`` by their centres,
    which ends one unit beyond the lowest and the highest level; its outermost bins hold all predictions
    outside. ``rounded`` is exact if all midpoints of neighbouring levels are multiples of ``1 /
    bins_per_unit`` (20 serves whole and half stars), else to the nearest bin.
    """
    cells = cube[cube["n"] > 0]
    levels = np.sort(cells["rating"].unique())
    actual = cells.groupby("rating")["n"].sum().reindex(levels)
    midpoints = (levels[1:] + levels[:-1]) / 2 * bins_per_unit
    nearest = np.searchsorted(midpoints, cells["predicted_bin"], side="right")
    rounded = np.bincount(nearest, cells["n"], len(levels))
    grid = np.arange(math.floor((levels[0] - 1) * bins_per_unit), math.ceil((levels[-1] + 1) * bins_per_unit))
    places = np.clip(cells["predicted_bin"], grid[0], grid[-1]).to_numpy(np.int64) - grid[0]
    predicted = np.bincount(places, cells["n"], len(grid))
    parts = [
        ("actual", levels, actual),
        ("rounded", levels, rounded),
        ("predicted", (grid + 0.5) / bins_per_unit, predicted),
    ]
    frames = [
        pd.DataFrame({"series": name, "value": values, "n": np.asarray(n, np.int64)})
        for name, values, n in parts
    ]
    return pd.concat(frames, ignore_index=True)[list(HISTOGRAM)]
