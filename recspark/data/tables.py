"""Facts that Spark finds in, and tables that it derives from, the tables that workers have written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import reduce

import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.data.formats.layout import arrow_schema
from recspark.data.load import row_digest
from recspark.data.quality import IDS
from recspark.data.schemas import PART, columns
from recspark.lake.folder import locate

log = logging.getLogger(__name__)

#: a table for Spark: its path and its schema as DDL
Table = tuple[str, str]


def distinct_ids(spark: SparkSession, tables: Iterable[Table], column: str, schema: str) -> DataFrame:
    """One row per id in `tables`, with the other columns of `schema` null."""
    ids = reduce(DataFrame.unionAll, [_read(spark, table).select(column) for table in tables]).distinct()
    types = columns(schema).items()
    return ids.select(
        [F.col(name) if name == column else F.lit(None).cast(type_).alias(name) for name, type_ in types]
    )


def add_ids(spark: SparkSession, table: Table, tables: Iterable[Table], column: str) -> int:
    """Add a row of nulls to `table` on disk for each id that occurs only in `tables`.

    Returns the number of added rows.
    """
    path, schema = table
    before = count_rows(path, schema)
    ids = distinct_ids(spark, tables, column, schema)
    ids.join(_read(spark, table).select(column), column, "left_anti").write.mode("append").parquet(path)
    added = count_rows(path, schema) - before
    if added and added == ids.count():
        log.warning(
            "no %s of the ratings is in their own table: is it the right file and column, and are ids "
            "written alike?",
            column,
        )
    return added


def write_parts(rows: DataFrame, places: Mapping[str, str]) -> DataFrame:
    """Write the rows of each part of a split to its place; returns the union, with one row per pair.

    Of a pair in several parts the row of the first one counts.
    """
    written: list[DataFrame] = []
    for part, place in places.items():
        rows.where(F.col(PART) == part).drop(PART).write.parquet(place)
        written.append(rows.sparkSession.read.parquet(place))
    union = written[0]
    for table in written[1:]:
        union = union.unionByName(table.join(union, [*IDS], "left_anti"))
    return union


def loaded_ratings(spark: SparkSession, ratings: Table, how: str | None) -> DataFrame:
    """The rows of `ratings`, whose repeated pairs are merged as `how` says."""
    return merged(spark, ratings, how) if how else _read(spark, ratings)


def merged(spark: SparkSession, ratings: Table, how: str) -> DataFrame:
    """One row per pair in `ratings`: the sum or mean of its ratings, and its last timestamp.

    A pair in several parts of a split has a row in each.

    Ratings are counted by value and summed as float64 from the lowest to the highest, so that neither the
    order of rows nor the partitions make a difference, not even in the last bit.
    """
    pair = [*IDS, *([PART] if PART in columns(ratings[1]) else [])]
    by_value = (
        _read(spark, ratings)
        .groupBy(*pair, "rating")
        .agg(F.count("*").alias("n"), F.max("timestamp").alias("timestamp"))
    )
    values = F.sort_array(F.collect_list(F.struct("rating", "n")))
    rows = by_value.groupBy(pair).agg(
        values.alias("values"), F.sum("n").alias("n"), F.max("timestamp").alias("timestamp")
    )
    total = F.aggregate("values", F.lit(0.0), lambda total, value: total + value["rating"] * value["n"])
    rating = total if how == "sum" else total / F.col("n")
    return rows.select(*pair, rating.cast("float").alias("rating"), "timestamp")


def with_links(spark: SparkSession, items: Table, links: Table) -> DataFrame:
    """Items with the ids of other catalogues, null if `links` has none."""
    rows = _read(spark, items)
    return rows.drop("imdb_id", "tmdb_id").join(_read(spark, links), "item_id", "left").select(rows.columns)


def count_and_digest(path: str, schema: str) -> tuple[int, int]:
    """Number of rows of a table on disk, and the sum of the digests of its parts.

    See :func:`recspark.data.load.row_digest`.
    """
    rows, digest = 0, 0
    for batch in _dataset(path, schema).to_batches():
        rows += len(batch)
        digest += row_digest(pa.Table.from_batches([batch]))
    return rows, digest


def count_rows(path: str, schema: str) -> int:
    """Number of rows of a table on disk, by the footers of its files."""
    return _dataset(path, schema).count_rows()


def _dataset(path: str, schema: str) -> ds.Dataset:
    fs, folder = locate(path)
    return ds.dataset(folder, schema=arrow_schema(schema), filesystem=fs, format="parquet")


def _read(spark: SparkSession, table: Table) -> DataFrame:
    path, schema = table
    return spark.read.schema(schema).parquet(path)
