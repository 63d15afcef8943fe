"""What a rating costs as data grow: seconds of preparing and of an iteration, and memory of the worker, by
number of generated ratings.

    python benchmarks/bench_scale.py [1 3 10 30 100] [--rank 64] [--blocks 1]

A size is a process of its own. Users grow with the ratings (143 ratings each), items stay 10,677, so the work
of a rating is the same for all sizes, and a flat column is linear growth. Prints a table, and keeps the
figures in benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from als_contender import load, spark_session
from peak_memory import watch

from recspark.models import ALS, MatrixFactorization

RESULTS = Path(__file__).parent / "results" / "scale.json"
MODELS = {"als": (ALS, {}), "mf": (MatrixFactorization, {"optimizer": "adagrad", "stepSize": 0.05})}
FILES, ITERATIONS = 8, 4
COLUMNS = {
    "model": "model",
    "ratings": "M ratings",
    "prepare_us": "prepare, us a rating",
    "iteration_ns": "iteration, ns a rating",
    "memory_bytes": "peak memory, bytes a rating",
    "fit_seconds": "whole fit, s",
}


def write_ratings(millions: int, folder: Path) -> None:
    """The ratings of a size as Parquet: what a fit reads in production, and nothing that Spark holds in
    memory.
    """
    table = pa.table(dict(zip(("user", "item", "rating"), load(f"s{millions}m"), strict=True)))
    for number, first in enumerate(range(0, len(table), -(-len(table) // FILES))):
        pq.write_table(table.slice(first, -(-len(table) // FILES)), folder / f"{number}.parquet")


def measure(name: str, millions: int, rank: int, blocks: int) -> dict[str, object]:
    """One fit of `ITERATIONS`, and what it cost."""
    estimator, params = MODELS[name]
    params = params | {"rank": rank, "userBlocks": blocks, "itemBlocks": blocks, "tasks": "blocks"}
    with tempfile.TemporaryDirectory() as scratch:
        source, work = Path(scratch, "ratings"), Path(scratch, "work")
        source.mkdir(), work.mkdir()
        write_ratings(millions, source)
        spark = spark_session("local[2]")
        ratings = spark.read.parquet(str(source))
        # starts the workers, compiles the kernels
        estimator(**params, maxIter=1).fit(ratings.limit(10_000))
        idle = max(watch(work, lambda: time.sleep(1))["encode"].values())
        fitted = []
        peaks = watch(
            work,
            lambda: fitted.append(estimator(**params, maxIter=ITERATIONS, workDir=str(work)).fit(ratings)),
        )
        spark.stop()
    summary, count = fitted[0].summary, millions * 1_000_000
    seconds = statistics.median(row["seconds"] for row in summary.history)
    prepared = summary.fit_seconds - sum(row["seconds"] for row in summary.history)
    peak = max(at.get("private", 0) + at.get("mapped", 0) for at in peaks.values()) - idle
    costs = {
        "prepare_us": prepared / count * 1e6,
        "iteration_ns": seconds / count * 1e9,
        "memory_bytes": peak * 2**20 / count,
    }
    return {
        "model": name,
        "ratings": millions,
        "rank": rank,
        "blocks": blocks,
        **costs,
        "fit_seconds": summary.fit_seconds,
    }


def table(rows: list[dict[str, object]]) -> str:
    """The figures in Markdown."""
    lines = [" | ".join(COLUMNS.values()), " | ".join(["---"] * len(COLUMNS))]
    lines += [
        " | ".join(f"{row[key]:.3g}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS)
        for row in rows
    ]
    for name in {row["model"]: None for row in rows}:
        costs = np.array([row["iteration_ns"] for row in rows if row["model"] == name])
        lines.append(f"{name}: largest / smallest iteration cost | {costs.max() / costs.min():.2f}")
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("millions", nargs="*", type=int, default=[1, 3, 10])
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument(
        "--one",
        metavar="MODEL",
        choices=MODELS,
        help="measure this model at one size and print a line of JSON",
    )
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.millions[0], options.rank, options.blocks)))
        return
    rows = []
    for name in MODELS:
        for millions in options.millions:
            command = [
                sys.executable,
                __file__,
                str(millions),
                "--one",
                name,
                "--rank",
                str(options.rank),
                "--blocks",
                str(options.blocks),
            ]
            rows.append(
                json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    RESULTS.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": rows}, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
