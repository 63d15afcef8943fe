"""Ingest side by side with Spark's own bare CSV -> Parquet, alternating in one session on the same generated
file.

    python benchmarks/bench_ingest.py [--rows 10000000] [--rounds 3] [--master local[2]]

The file is a ratings.csv in ML-20M's layout and of s10m's shape. "spark" is what reading it costs with
nothing checked: `spark.read.schema(...).csv(...).write.parquet(...)`. "recspark" is the whole stage: digest
of the source, row rules, quarantine, duplicates, users, items, manifest. Writes
benchmarks/results/ingest.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from pyspark.sql import SparkSession

from recspark.data.generated.synthetic import ratings_arrays
from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.lake.lake import Lake

SCHEMA = "userId bigint, movieId bigint, rating float, timestamp bigint"
TARGET = 2.5


def write_csv(folder: Path, rows: int) -> str:
    """A folder with the ratings.csv and movies.csv of an edition, `rows` ratings."""
    scale = rows / 10_000_000
    user, item, rating = ratings_arrays(
        n_users=max(50, round(69_878 * scale)), n_items=10_677, nnz=rows, seed=1
    )
    moments = np.random.default_rng(1).integers(800_000_000, 1_500_000_000, rows)
    folder.mkdir(parents=True)
    table = pa.table({"userId": user + 1, "movieId": item + 1, "rating": rating, "timestamp": moments})
    pacsv.write_csv(table, folder / "ratings.csv", pacsv.WriteOptions(quoting_header="none"))
    movies = (f"{item},Title {item} (1999),Drama|Comedy" for item in range(1, 10_678))
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies, ""]))
    return str(folder)


def run_spark(spark: SparkSession, source: str, target: str) -> None:
    spark.read.schema(SCHEMA).csv(f"{source}/ratings.csv", header=True).write.parquet(target)


def run_recspark(spark: SparkSession, source: str, target: str) -> None:
    ingest(spark, Lake(target), DataOptions(source=source), QualityOptions())


def seconds(run: Callable, spark: SparkSession, source: str, target: str) -> float:
    start = time.perf_counter()
    run(spark, source, target)
    elapsed = time.perf_counter() - start
    shutil.rmtree(target)
    return elapsed


def race(spark: SparkSession, scratch: Path, rows: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every run; one small run of each goes first, so that no contender pays for starting Python
    or the JIT.
    """
    source, warm = write_csv(scratch / "source", rows), write_csv(scratch / "warm", 300_000)
    contenders = {"spark": run_spark, "recspark": run_recspark}
    for run in contenders.values():
        seconds(run, spark, warm, str(scratch / "target"))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        # the order changes from round to round, so that neither always finds the file in the page cache
        for name in sorted(contenders, reverse=number % 2 == 0):
            times[name].append(seconds(contenders[name], spark, source, str(scratch / "target")))
            print(f"round {number + 1}: {name} {times[name][-1]:.1f} s", file=sys.stderr)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ingest.json")
    arguments = parser.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.driver.memory": "4g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    spark = SparkSession.builder.master(arguments.master).config(map=settings).getOrCreate()
    scratch = Path(tempfile.mkdtemp())
    try:
        times = race(spark, scratch, arguments.rows, arguments.rounds)
    finally:
        shutil.rmtree(scratch)
        spark.stop()
    ratio = statistics.median(
        ours / bare for ours, bare in zip(times["recspark"], times["spark"], strict=True)
    )
    result = {
        "rows": arguments.rows,
        "master": arguments.master,
        "seconds": times,
        "ratio": round(ratio, 3),
        "target": TARGET,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
