"""Rows on their way from the JVM to Python: 10 M rows of three columns to workers that only count them.

    python benchmarks/bench_crossing.py [--rows 10_000_000]
    SPARK_REMOTE=sc://HOST:15002 python benchmarks/bench_crossing.py     # through Spark Connect

Prints the seconds of each way: the median and the lowest of five, after one that does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType

from recspark.engine.spark.crossing import on_partitions

BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"


def count(batches: Iterator[pa.RecordBatch]) -> int:
    return sum(batch.num_rows for batch in batches)


def counts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_pydict({"rows": [count(batches)]})


@F.arrow_udf(LongType())
def ones(user: pa.Array, item: pa.Array, rating: pa.Array) -> pa.Array:
    return pa.repeat(pa.scalar(1, pa.int64()), len(user))


def show(name: str, call: Callable[[], object]) -> None:
    call()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    print(f"{name:45} {statistics.median(seconds):6.2f} s, lowest {min(seconds):.2f}", flush=True)


def mapped(rows: DataFrame) -> object:
    return rows.mapInArrow(counts, "rows bigint").collect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parser.parse_args()
    builder = SparkSession.builder
    if "SPARK_REMOTE" not in os.environ:
        builder = builder.master("local[2]").config("spark.driver.memory", "4g")
    spark = builder.getOrCreate()
    with tempfile.TemporaryDirectory() as folder:
        made = spark.range(0, options.rows, 1, 4).selectExpr(
            "id % 70000 as user", "id % 10000 as item", "cast(id % 5 as float) as rating"
        )
        made.write.mode("overwrite").parquet(folder)
        rows = spark.read.parquet(folder)
        show("reading alone", lambda: rows.write.format("noop").mode("overwrite").save())
        show("on_partitions, as a fit does it", lambda: on_partitions(rows, count))
        for size in (1_000, 10_000, 100_000, 1_000_000):
            spark.conf.set(BATCH, size)
            show(f"mapInArrow, {size} rows per batch", lambda: mapped(rows))
        spark.conf.set(BATCH, 10_000)
        show("mapInArrow, one column of three", lambda: mapped(rows.select("rating")))
        show("arrow_udf of three columns, summed", lambda: rows.agg(F.sum(ones(*rows.columns))).collect())
    spark.stop()


if __name__ == "__main__":
    main()
