"""What Spark finds out about, and derives from, the tables that workers have written."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.data.folder import locate
from recspark.data.layout import arrow_schema
from recspark.data.load import row_digest

#: a table for Spark: its path and its schema as DDL
Table = tuple[str, str]


def distinct_ids(spark: SparkSession, tables: Iterable[Table], column: str, schema: str) -> DataFrame:
    """One row for each id in `tables`, with the other columns of `schema` null."""
    ids = reduce(DataFrame.unionAll, [_read(spark, table).select(column) for table in tables]).distinct()
    columns = [name_type.split() for name_type in schema.split(",")]
    return ids.select([F.col(name) if name == column else F.lit(None).cast(type_).alias(name) for name, type_ in columns])


def with_links(spark: SparkSession, items: Table, links: Table) -> DataFrame:
    """Items with the ids that other catalogues give them, null where `links` has none."""
    rows = _read(spark, items)
    return rows.drop("imdb_id", "tmdb_id").join(_read(spark, links), "item_id", "left").select(rows.columns)


def count_and_digest(path: str, schema: str) -> tuple[int, int]:
    """Rows of a table on disk, and the sum of the digests of its parts (:func:`recspark.data.load.row_digest`)."""
    rows, digest = 0, 0
    for batch in _dataset(path, schema).to_batches():
        rows += len(batch)
        digest += row_digest(pa.Table.from_batches([batch]))
    return rows, digest


def count_rows(path: str, schema: str) -> int:
    """Rows of a table on disk, by the footers of its files."""
    return _dataset(path, schema).count_rows()


def _dataset(path: str, schema: str) -> ds.Dataset:
    fs, folder = locate(path)
    return ds.dataset(folder, schema=arrow_schema(schema), filesystem=fs, format="parquet")


def _read(spark: SparkSession, table: Table) -> DataFrame:
    path, schema = table
    return spark.read.schema(schema).parquet(path)
