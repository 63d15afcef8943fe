"""The id index: a dense position for every user and item, for any order or partitioning of the ratings.

A position is the rank of its id, so an index is a pure function of the set of ids. Ids are whole numbers or
strings.
"""

from __future__ import annotations

from functools import reduce
from itertools import accumulate
from typing import TypedDict

import msgspec
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import IntegralType, StringType

from recspark.errors import RecsparkError
from recspark.lake.fingerprints import fingerprint
from recspark.lake.lake import Lake
from recspark.lake.manifests import IndexManifest, Manifest

SIDES = {"users": "user_id", "items": "item_id"}
#: positions are int32
LARGEST_POSITION = 2**31 - 1

Id = int | str

_SAMPLE = 1024
_RANGES = 64


class IndexSummary(TypedDict):
    """The rows of the index and of the ratings; whether nothing had to be done."""

    product: str
    unchanged: bool
    ratings: int
    users: int
    items: int


def build_index(df: DataFrame, column: str) -> DataFrame:
    """Number the distinct ids of `column` from 0 in ascending order (strings by their UTF-8 bytes).

    Ids are cut into ranges that are sorted side by side: no step sorts or holds all of them in one task. Two
    small jobs run at once (the borders of the ranges, their sizes); the ids are shuffled twice, the rows
    once, already counted by id.

    Returns
    -------
    DataFrame
        ``id`` (the type of `column`), ``position int`` (0-based, dense), ``count bigint`` (rows of `df` with
        that id).

    Raises
    ------
    RecsparkError
        If an id is null, of another type, or there are more than 2^31 - 1.
    """
    return _number(_counted(df, column), column, 0)


def append_index(index: DataFrame, df: DataFrame, column: str) -> DataFrame:
    """Extend `index` by the rows of `df`: known ids keep their position, new ids get the next ones.

    New ids are in ascending order. ``count`` becomes the rows behind the old index plus those of `df`.
    Columns and errors are as in :func:`build_index`.
    """
    added = _counted(df, column)
    if (known := index.schema["id"].dataType) != (given := added.schema["id"].dataType):
        raise RecsparkError(
            f"column {column} is {given.simpleString()}, but the ids of the index are {known.simpleString()}"
        )
    more = added.withColumnRenamed("count", "more")
    total = F.col("count") + F.coalesce("more", F.lit(0))
    kept = index.join(more, "id", "left").select("id", "position", total.alias("count"))
    size = index.agg(F.coalesce(F.max("position") + 1, F.lit(0))).first()[0]
    return kept.unionByName(_number(added.join(index, "id", "left_anti"), column, size))


def add_positions(df: DataFrame, index: DataFrame, column: str, position: str) -> DataFrame:
    """Add column `position` with the position of each id in `column`, null for unknown ids."""
    return df.join(
        index.select(F.col("id").alias(column), F.col("position").alias(position)), column, "left"
    ).select(*df.columns, position)


def restore_ids(df: DataFrame, index: DataFrame, position: str, column: str) -> DataFrame:
    """Add column `column` with the id of each position: the inverse of :func:`add_positions`."""
    return df.join(
        index.select(F.col("position").alias(position), F.col("id").alias(column)), position, "left"
    ).select(*df.columns, column)


def index_stage(spark: SparkSession, lake: Lake) -> IndexSummary:
    """Publish ``index/users`` and ``index/items`` from ``tables/ratings``, unless they are current.

    Returns the summary ``{product, unchanged, ratings, users, items}``; ``unchanged`` is true if there was
    nothing to do.
    """
    if current := _current(lake):
        # without a lock: who has nothing to write need not wait for readers
        return _summary(current, unchanged=True)
    with lake.reading("tables"), lake.writing("index"):
        if current := _current(lake):
            return _summary(current, unchanged=True)
        source = lake.require("tables", Manifest, "ingest").fingerprint
        index_fingerprint = _fingerprint(source)
        ratings = spark.read.parquet(lake.path("tables/ratings"))
        with lake.publish("index", index_fingerprint) as publication:
            sizes = {
                side: _write_side(publication.path(side), ratings, column) for side, column in SIDES.items()
            }
            manifest = IndexManifest(
                fingerprint=index_fingerprint,
                source=source,
                ratings=ratings.count(),
                users=sizes["users"],
                items=sizes["items"],
            )
            publication.manifest = manifest
        return _summary(manifest, unchanged=False)


def _fingerprint(source: str) -> str:
    return fingerprint("index", source)


def _current(lake: Lake) -> IndexManifest | None:
    """The manifest of the index, if it is of the tables as they are."""
    tables, made = lake.manifest("tables", Manifest), lake.manifest("index", IndexManifest)
    is_current = tables and made and made.fingerprint == _fingerprint(tables.fingerprint)
    return made if is_current else None


def grow_index(spark: SparkSession, lake: Lake, batch: str) -> None:
    """Append the ids of the ratings in `batch` (``updates/ID``) to the lake's index, at most once.

    Old positions stay. Counts grow by the pairs that neither the tables nor an earlier batch has. The index
    keeps its fingerprint, so that the stage leaves it alone until the tables change. If there is no index
    yet, nothing happens: the stage will build it from the tables.
    """
    with lake.reading("tables", batch), lake.writing("index"):
        manifest = lake.manifest("index", IndexManifest)
        if manifest is not None and batch not in manifest.updates:
            _grow(spark, lake, batch, manifest)


def _grow(spark: SparkSession, lake: Lake, batch: str, manifest: IndexManifest) -> None:
    known = ["tables/ratings", *(f"{earlier}/ratings" for earlier in manifest.updates)]
    batch_pairs, *known_pairs = (
        spark.read.parquet(lake.path(table)).select(*SIDES.values()) for table in (f"{batch}/ratings", *known)
    )
    added = _new_pairs(batch_pairs, reduce(DataFrame.unionAll, known_pairs)).cache()
    with lake.publish("index", manifest.fingerprint) as publication:
        for side, column in SIDES.items():
            append_index(spark.read.parquet(lake.path(f"index/{side}")), added, column).write.parquet(
                publication.path(side)
            )
        sizes = {side: spark.read.parquet(publication.path(side)).count() for side in SIDES}
        publication.manifest = msgspec.structs.replace(
            manifest, ratings=manifest.ratings + added.count(), updates=(*manifest.updates, batch), **sizes
        )
    added.unpersist()


def _new_pairs(batch: DataFrame, known: DataFrame) -> DataFrame:
    """The rows of `batch` that are not in `known`, which may be large: it is read but not shuffled."""
    again = known.join(F.broadcast(batch), batch.columns, "left_semi")
    return batch.join(F.broadcast(again), batch.columns, "left_anti")


def _write_side(path: str, ratings: DataFrame, column: str) -> int:
    build_index(ratings, column).write.parquet(path)
    return ratings.sparkSession.read.parquet(path).count()


def _summary(manifest: IndexManifest, unchanged: bool) -> IndexSummary:
    return {
        "product": "index",
        "unchanged": unchanged,
        "ratings": manifest.ratings,
        "users": manifest.users,
        "items": manifest.items,
    }


def _counted(df: DataFrame, column: str) -> DataFrame:
    kind = df.schema[column].dataType
    if not isinstance(kind, (IntegralType, StringType)):
        raise RecsparkError(
            f"column {column} is {kind.simpleString()}: an id must be a whole number or a string"
        )
    return df.groupBy(F.col(column).alias("id")).count()


def _number(counted: DataFrame, column: str, start: int) -> DataFrame:
    """Give the ids of `counted` the positions from `start` on, in ascending order."""
    ranged = counted.withColumn("range", _range_of(F.col("id"), _borders(counted)))
    sizes = dict(ranged.groupBy("range").count().collect())
    if None in sizes:
        rows = counted.where(F.col("id").isNull()).first()["count"]
        raise RecsparkError(f"column {column} is null in {rows} rows: every row needs an id")
    *offsets, size = accumulate((sizes.get(number, 0) for number in range(_RANGES)), initial=start)
    if size - 1 > LARGEST_POSITION:
        raise RecsparkError(f"{size} ids are too many: an index holds at most {LARGEST_POSITION + 1}")
    in_range = F.row_number().over(Window.partitionBy("range").orderBy("id"))
    position = F.lit(offsets)[F.col("range")] + in_range - 1
    return ranged.select("id", position.cast("int").alias("position"), "count")


def _borders(counted: DataFrame) -> list[Id]:
    """Ids that cut all ids into at most _RANGES ranges of about equal size.

    They are quantiles of a sample drawn by a hash.
    """
    sample = counted.select("id").dropna().orderBy(F.xxhash64("id"), "id").limit(_SAMPLE)
    ids = sorted(row.id for row in sample.collect())
    step = -(-len(ids) // _RANGES) or 1
    return ids[step::step]


def _range_of(value: Column, borders: list[Id], first: int = 0) -> Column:
    """The number of borders at or below `value`, by binary search; null for null."""
    if not borders:
        return F.when(value.isNotNull(), F.lit(first))
    middle = len(borders) // 2
    below, above = (
        _range_of(value, borders[:middle], first),
        _range_of(value, borders[middle + 1 :], first + middle + 1),
    )
    return F.when(value < F.lit(borders[middle]), below).otherwise(above)
