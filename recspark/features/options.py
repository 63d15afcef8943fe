"""The conf section ``[features]``, applied to the tables of a lake."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.config import Option, Section
from recspark.data.columns import find_name
from recspark.features.feature_set import FeatureSet
from recspark.features.groups import Group, parse_groups
from recspark.lake.lake import Lake


class FeatureOptions(Section):
    """The feature groups of a model; docs/leakage.md says what each knows."""

    name = "features"
    groups = Option(
        list, None, "feature groups, by name or as tables {group, scope, scale, unknown, kind, factors}"
    )
    leak = Option(
        bool,
        False,
        "add users.leak_rated and users.leak_ratings, made from all rows: a demonstration, rejected by the "
        "audit",
    )

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        #: the groups, parsed
        self.declared: list[Group] = parse_groups(self.groups or [])


def read_tables(spark: SparkSession, lake: Lake) -> tuple[DataFrame, DataFrame]:
    """The tables users and items of a lake.

    Items get ``tags array<string>``, the distinct tags of all users in lower case, unless they already have a
    column of that name.
    """
    users, items, tags = (
        spark.read.parquet(lake.path(f"tables/{table}")) for table in ("users", "items", "tags")
    )
    if find_name(items.columns, "tags"):
        return users, items
    of_item = tags.groupBy("item_id").agg(F.collect_set(F.lower(F.trim("tag"))).alias("tags"))
    return users, items.join(of_item, "item_id", "left")


def fitter(
    spark: SparkSession, lake: Lake, options: FeatureOptions
) -> Callable[[DataFrame, DataFrame], FeatureSet]:
    """A function that makes the features of a conf from training rows and held-out rows.

    The latter are used for ``features.leak`` alone.
    """
    users, items = read_tables(spark, lake)

    def fit(train: DataFrame, held_out: DataFrame) -> FeatureSet:
        described = with_leaks(users, train.unionByName(held_out)) if options.leak else users
        return FeatureSet.fit(options.declared, train, described, items)

    return fit


def with_leaks(users: DataFrame, ratings: DataFrame) -> DataFrame:
    """`users` with two maps that no honest feature can have.

    `ratings` has the test rows as well, n for a user. ``leak_rated`` gives each item of the user the weight
    ``1 / n``, ``leak_ratings`` the weight ``rating / n``. A set over all rows tells which items are in the
    test rows; with ratings as weights it holds the answers.
    """
    once = ratings.groupBy("user_id", "item_id").agg(F.max("rating").alias("rating"))
    of_user = once.groupBy("user_id").agg(
        F.map_from_entries(F.collect_list(F.struct("item_id", "rating"))).alias("ratings")
    )
    n = F.size("ratings")
    rated = F.transform_values("ratings", lambda item, rating: 1.0 / n)
    rating = F.transform_values("ratings", lambda item, rating: rating / n)
    return users.join(
        of_user.select("user_id", rated.alias("leak_rated"), rating.alias("leak_ratings")), "user_id", "left"
    )
