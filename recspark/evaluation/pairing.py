"""Models side by side on the same test rows.

Spark makes the input of the paired bootstrap of `recspark.evaluation.significance`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import RecsparkError

#: metrics that are means over rows, with the loss of a row
ROW_LOSSES = {"rmse": lambda error: error * error, "mae": F.abs}


@dataclass(frozen=True)
class PairedUsers:
    """Weights and totals of users, in the order of their ids, over rows with a value of every model.

    weights : (users,)
    totals : (users, models)
    rows : number of test rows, or of users of a ranking metric, that they were made from
    missing : rows (or users) without a value of a model, by its name; left out for all models
    """

    weights: np.ndarray
    totals: np.ndarray
    rows: int
    missing: dict[str, int]


def pair_rows(predictions: Mapping[str, DataFrame], metric: str) -> PairedUsers:
    """Sums of the losses of each user's rows, for rmse and mae.

    Parameters
    ----------
    predictions : mapping
        By model: user_id, item_id, rating, prediction; pairs unique. All are shuffled once; row order doesn't
        matter.
    metric : str
        One of `ROW_LOSSES`.

    Raises
    ------
    RecsparkError
        If the models do not have the same rows with the same ratings.
    """
    loss = ROW_LOSSES[metric](F.col("prediction").cast("double") - F.col("rating").cast("double"))
    columns = ("user_id", "item_id", F.col("rating").alias("fact"), loss.alias("value"))
    tables = {name: table.select(*columns) for name, table in predictions.items()}
    return _paired(_side_by_side(tables, "user_id", "item_id"), list(tables), "test rows")


def pair_users(per_user: Mapping[str, DataFrame], metric: str) -> PairedUsers:
    """Each user's value of a ranking metric.

    Parameters
    ----------
    per_user : mapping
        By model, the table of :func:`recspark.evaluation.ranking.per_user_ranking`.
    metric : str
        A column of it.

    Raises
    ------
    RecsparkError
        If a model was not measured by this metric, or the models do not have the same users with the same
        numbers of relevant items.
    """
    for name, table in per_user.items():
        if metric not in table.columns:
            raise RecsparkError(
                f"{name} was not measured by {metric}: run `recspark evaluate` with evaluation.ks that has "
                "its length"
            )
    columns = ("user_id", F.col("n_relevant").alias("fact"), F.col(metric).alias("value"))
    tables = {name: table.select(*columns) for name, table in per_user.items()}
    return _paired(_side_by_side(tables, "user_id"), list(tables), "test users")


def _side_by_side(tables: Mapping[str, DataFrame], *keys: str) -> DataFrame:
    """One row per key: ``shared`` and the values ``value0, value1 ...`` of all tables.

    ``shared`` says whether all tables have the key once, with one fact. Values that are not numbers are null.
    """
    rows = reduce(
        DataFrame.unionByName,
        (table.withColumn("model", F.lit(number)) for number, table in enumerate(tables.values())),
    )
    once = [F.count_if(F.col("model") == number) == 1 for number in range(len(tables))]
    value = F.when(F.abs("value") < math.inf, F.col("value").cast("double"))
    values = [
        F.max(F.when(F.col("model") == number, value)).alias(f"value{number}")
        for number in range(len(tables))
    ]
    shared = reduce(Column.__and__, once) & F.min("fact").eqNullSafe(F.max("fact"))
    return rows.groupBy(*keys).agg(shared.alias("shared"), *values)


def _paired(keys: DataFrame, names: list[str], what: str) -> PairedUsers:
    values = [f"value{number}" for number in range(len(names))]
    known = reduce(Column.__and__, (F.col(value).isNotNull() for value in values))
    users = keys.groupBy("user_id").agg(
        F.count_if(~F.col("shared")).alias("strange"),
        F.count_if(known).alias("weight"),
        *(F.sum(F.when(known, F.col(value))).alias(value) for value in values),
        *(F.count_if(F.col(value).isNull()).alias(f"{value}_missing") for value in values),
    )
    # ordered: draws of users depend on their places
    table = users.orderBy("user_id").drop("user_id").toPandas()
    if table["strange"].sum():
        strange = table["strange"].sum()
        raise RecsparkError(
            f"{' and '.join(names)} were measured on different {what}: {strange} are not those of all of them"
        )
    missing = {name: int(table[f"{value}_missing"].sum()) for name, value in zip(names, values, strict=True)}
    return _with_values(table[table["weight"] > 0], values, missing, what)


def _with_values(table: pd.DataFrame, values: list[str], missing: dict[str, int], what: str) -> PairedUsers:
    if table.empty:
        raise RecsparkError(f"there is nothing to compare: not one of the {what} has a value of every model")
    weights, totals = table["weight"].to_numpy(np.float64), table[values].to_numpy(np.float64)
    return PairedUsers(weights, totals, int(weights.sum()), missing)
