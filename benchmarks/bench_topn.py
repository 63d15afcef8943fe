"""Top-10 lists for all users side by side: recspark and MLlib with the same factors, alternating, each in a
process of its own.

    python benchmarks/bench_topn.py [--rounds 3] [--data s10m] [--rank 64]

Both read one model, fitted here once. The seconds are those from the call to all lists written to Spark's
noop sink, the median of three runs in a warm session, after four that load the model, compile and warm the
JVM; the first of these is given, too. recspark leaves out the items that each user has rated, read from
Parquet, which MLlib can't do; it is also timed without. Writes benchmarks/results/topn.json and the table
between the marks in README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

import numpy as np
from als_contender import dataframe, load, spark_session
from pyspark.sql import DataFrame
from report import keep, run_contender, show

TARGET = 12
#: users whose lists are compared
COMPARED = 2000
#: what recspark leaves out, and how it is given
LEFT_OUT = {
    "seen": "what each user rated, by the path of Parquet files; by MLlib nothing",
    "frame": "what each user rated, by a DataFrame; by MLlib nothing",
    "nothing": "nothing; {same:.2%} the same item in the same place",
}


def prepare(folder: str, options: argparse.Namespace) -> None:
    """Fit a model; keep it as recspark's, and as MLlib's: an empty one of the same rank, filled with the same
    factors.
    """
    from pyspark.ml.recommendation import ALS as MLlibALS

    from recspark.models import ALS

    spark = spark_session(options.master)
    ratings = dataframe(spark, load(options.data))
    ratings.select("user", "item").coalesce(2).write.parquet(f"{folder}/seen")
    shared = {"rank": options.rank, "regParam": 0.05, "seed": 7, "maxIter": 1}
    model = ALS(**shared | {"maxIter": 3}).fit(ratings)
    model.write().save(f"{folder}/recspark")
    MLlibALS(**shared).fit(ratings.limit(10)).write().save(f"{folder}/mllib")
    for side in ("userFactors", "itemFactors"):
        getattr(model, side).write.mode("overwrite").parquet(f"{folder}/mllib/{side}")
    spark.stop()


def contend(engine: str, folder: str, options: argparse.Namespace) -> None:
    """Time one contender and print a line of JSON; its lists for some users go to a file."""
    spark = spark_session(options.master)
    result: dict[str, object] = {"engine": engine}
    if engine == "mllib":
        from pyspark.ml.recommendation import ALSModel

        model = ALSModel.load(f"{folder}/mllib")
        for factors in (model.userFactors, model.itemFactors):
            factors.cache().count()
        result["nothing"] = timed(lambda: model.recommendForAllUsers(options.n))
    else:
        from recspark.models import ALSModel

        model = ALSModel.load(f"{folder}/recspark")
        seen = spark.read.parquet(f"{folder}/seen")
        result["seen"] = timed(lambda: model.recommendForAllUsers(options.n, seen=f"{folder}/seen"))
        result["frame"] = timed(lambda: model.recommendForAllUsers(options.n, seen=seen))
        result["nothing"] = timed(lambda: model.recommendForAllUsers(options.n))
        pairs = model.recommendForAllUsers(options.n, seen=f"{folder}/seen").selectExpr(
            "user", "inline(recommendations)"
        )
        result["seen_left_out"] = bool(pairs.join(seen, ["user", "item"], "left_semi").isEmpty())
    rows = (
        model.recommendForAllUsers(options.n)
        .filter(f"user < {COMPARED}")
        .orderBy("user")
        .toPandas()["recommendations"]
    )
    np.save(f"{folder}/{engine}.npy", [[entry["item"] for entry in row] for row in rows])
    spark.stop()
    print(json.dumps(result))


def timed(make: Callable[[], DataFrame]) -> dict[str, float]:
    """Seconds that all lists take: the first time, and the median of three after four."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        make().write.format("noop").mode("overwrite").save()
        times.append(time.perf_counter() - started)
    return {"first": times[0], "warm": statistics.median(times[4:])}


def race(options: argparse.Namespace) -> dict[str, object]:
    """`rounds` pairs, alternating who goes first."""
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, options)
        shared = [
            "--folder",
            folder,
            "--data",
            options.data,
            "--rank",
            str(options.rank),
            "--n",
            str(options.n),
        ]
        for number in range(options.rounds):
            order = ("recspark", "mllib") if number % 2 == 0 else ("mllib", "recspark")
            pair = {
                engine: run_contender(
                    "bench_topn.py", *shared, "--master", options.master, "--contender", engine
                )
                for engine in order
            }
            ours, theirs = (np.load(f"{folder}/{engine}.npy") for engine in ("recspark", "mllib"))
            pairs.append(
                {
                    "ours": pair["recspark"],
                    "peer": pair["mllib"],
                    "same_places": float((ours == theirs).mean()),
                }
            )
            print(
                f"  {pairs[-1]['ours']['seen']['warm']:.2f} s against "
                f"{pairs[-1]['peer']['nothing']['warm']:.2f} s",
                file=sys.stderr,
            )
    ratios = {
        left: [pair["peer"]["nothing"]["warm"] / pair["ours"][left]["warm"] for pair in pairs]
        for left in LEFT_OUT
    }
    return {
        "text": f"{options.data}, rank {options.rank}, top {options.n} for all users",
        "seconds": {left: medians(pair["ours"][left] for pair in pairs) for left in ratios},
        "peer_seconds": medians(pair["peer"]["nothing"] for pair in pairs),
        "ratio": {left: statistics.median(values) for left, values in ratios.items()},
        "ratios": ratios,
        "seen_left_out": all(pair["ours"]["seen_left_out"] for pair in pairs),
        "same_places": min(pair["same_places"] for pair in pairs),
        "pairs": pairs,
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
    }


def medians(times: Iterable[dict[str, float]]) -> dict[str, float]:
    rows = list(times)
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def table(result: dict[str, object]) -> str:
    """A row with seen items left out, a row without."""
    lines = [
        "| work | left out | recspark s (first call) | mllib s (first call) | ratio (median, range) | to "
        "reach |",
        "|---|---|---|---|---|---|",
    ]
    peer = result["peer_seconds"]
    for left, text in LEFT_OUT.items():
        own, ratios = result["seconds"][left], result["ratios"][left]
        lines.append(
            f"| {result['text']} | {text.format(same=result['same_places'])} | {own['warm']:.3g} "
            f"({own['first']:.3g}) "
            f"| {peer['warm']:.3g} ({peer['first']:.3g}) "
            f"| **{result['ratio'][left]:.1f}** ({min(ratios):.1f}-{max(ratios):.1f}) | {TARGET} "
            "|"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", default="s10m")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--contender", choices=("recspark", "mllib"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contend(options.contender, options.folder, options)
        return
    result = race(options)
    keep("topn", result)
    show("topn", table(result))


if __name__ == "__main__":
    main()
