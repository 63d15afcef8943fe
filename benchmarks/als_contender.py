"""One contender of bench_als.py in a process of its own: fit, time, measure the loss, print one JSON line.

    python benchmarks/als_contender.py recspark --data s10m --rank 64 --iterations 1 4 --master local[2]

Fits of few and of many iterations give the seconds an iteration: their difference, so start-up and data
preparation drop out. They are run in the order few, many, many, few, so that what gets faster (a JVM that
warms up) or slower with time drops out too. `fit_seconds` is the quicker of the longer fits as a whole, from
a DataFrame that Spark holds in memory, session warm.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from recspark.data.generated.synthetic import ratings_arrays

Ratings = tuple[np.ndarray, np.ndarray, np.ndarray]


def load(name: str) -> Ratings:
    """(user, item, rating) of a data set: generated (s1m, s10m, ...) or MovieLens from RECSPARK_DATA."""
    if name.startswith("s"):
        millions = int(name[1:-1])
        scale = millions / 10
        return ratings_arrays(n_users=round(69_878 * scale), n_items=10_677, nnz=millions * 1_000_000, seed=1)
    import zipfile

    archive = zipfile.ZipFile(Path(os.environ["RECSPARK_DATA"]) / f"{name}.zip")
    member, separator = {"ml-100k": ("ml-100k/u.data", "\t"), "ml-1m": ("ml-1m/ratings.dat", "::")}[name]
    text = archive.read(member).decode("latin-1").replace(separator, "\t")
    table = pd.read_csv(io.StringIO(text), sep="\t", header=None)
    codes = [pd.factorize(table[column], sort=True)[0].astype(np.int32) for column in (0, 1)]
    return codes[0], codes[1], table[2].to_numpy(np.float32)


def dataframe(spark, ratings: Ratings):
    """The ratings as a cached DataFrame (user, item, rating, confidence) that came from Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tempfile.mkdtemp()
    table = pa.table(
        {"user": ratings[0], "item": ratings[1], "rating": ratings[2], "confidence": 1 + ratings[2]}
    )
    half = len(table) // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        pq.write_table(part, f"{folder}/{number}.parquet")
    frame = spark.read.parquet(folder).cache()
    frame.count()
    return frame


def factors_of(table, n: int, rank: int) -> np.ndarray:
    rows = table.toPandas()
    out = np.zeros((n, rank))
    out[rows["id"]] = np.stack(rows["features"])
    return out


def explicit_loss(ratings: Ratings, x: np.ndarray, y: np.ndarray, reg: float) -> float:
    """sum (r - <x, y>)^2 + reg (sum n_u |x_u|^2 + sum n_i |y_i|^2)."""
    user, item, rating = ratings
    error = 0.0
    for lo in range(0, len(user), 1_000_000):
        part = slice(lo, lo + 1_000_000)
        error += ((rating[part] - np.einsum("ij,ij->i", x[user[part]], y[item[part]])) ** 2).sum()
    sizes = (x**2).sum(1) @ np.bincount(user, minlength=len(x)) + (y**2).sum(1) @ np.bincount(
        item, minlength=len(y)
    )
    return float(error + reg * sizes)


def implicit_loss(ratings: Ratings, x: np.ndarray, y: np.ndarray, reg: float) -> float:
    """sum over all pairs of c (1[rated] - <x, y>)^2 + reg (|X|^2 + |Y|^2), c = 1 + r where rated, else 1."""
    user, item, rating = ratings
    loss = np.sum((x.T @ x) * (y.T @ y))
    for lo in range(0, len(user), 1_000_000):
        part = slice(lo, lo + 1_000_000)
        score = np.einsum("ij,ij->i", x[user[part]], y[item[part]])
        confidence = 1.0 + rating[part]
        loss += (confidence * (1 - score) ** 2 - score**2).sum()
    return float(loss + reg * ((x**2).sum() + (y**2).sum()))


def spark_session(master: str):
    from recspark.engine.spark.session import build_session

    return build_session(
        "bench-als", {"spark.master": master, "spark.driver.memory": "8g", "spark.executor.memory": "6g"}
    )


def fit_spark(options: argparse.Namespace, ratings: Ratings) -> dict[str, object]:
    """MLlib's ALS and recspark's: the same Params on the same DataFrame."""
    spark = spark_session(options.master)
    frame = dataframe(spark, ratings)
    shared = {
        "rank": options.rank,
        "regParam": options.reg,
        "userCol": "user",
        "itemCol": "item",
        "ratingCol": "rating",
        "seed": 7,
    }
    blocks = {"numUserBlocks": options.blocks, "numItemBlocks": options.blocks}
    if options.engine == "recspark":
        from recspark.models import ALS

        extra = {"threads": options.threads, **blocks}
        if options.master.startswith("spark://"):
            extra = {"workDir": tempfile.mkdtemp()}
        if options.implicit:
            extra |= {"weightCol": "confidence", "regPower": 0.0, "solver": options.solver}
    else:
        from pyspark.ml.recommendation import ALS

        extra = blocks
    if options.implicit:
        extra["implicitPrefs"] = True
    seconds = []
    # a first fit warms the JVM and loads the kernels
    longest = ALS(**shared, **extra, maxIter=1).fit(frame)
    for iterations in abba(options.iterations):
        started = time.perf_counter()
        fitted = ALS(**shared, **extra, maxIter=iterations).fit(frame)
        seconds.append(time.perf_counter() - started)
        longest = fitted if iterations == options.iterations[1] else longest
    x = factors_of(longest.userFactors, ratings[0].max() + 1, options.rank)
    y = factors_of(longest.itemFactors, ratings[1].max() + 1, options.rank)
    spark.stop()
    return {"seconds": seconds, "loss": loss_of(options, ratings, x, y)}


def abba(iterations: tuple[int, int]) -> tuple[int, int, int, int]:
    """Few, many, many, few."""
    few, many = iterations
    return few, many, many, few


def slope(seconds: list[float], iterations: tuple[int, int]) -> float:
    """Seconds an iteration, from fits in the order of `abba`."""
    first, second, third, fourth = seconds
    return (second + third - first - fourth) / 2 / (iterations[1] - iterations[0])


def fit_implicit(options: argparse.Namespace, ratings: Ratings) -> dict[str, object]:
    """The package implicit: conjugate gradient, as many threads."""
    import threadpoolctl
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    threadpoolctl.threadpool_limits(1, "blas")
    user, item, rating = ratings
    matrix = csr_matrix((1 + rating, (user, item)))
    seconds, longest = [], None
    for iterations in abba(options.iterations):
        fitted = AlternatingLeastSquares(
            factors=options.rank,
            regularization=options.reg,
            iterations=iterations,
            num_threads=options.threads,
            random_state=7,
            use_cg=True,
        )
        started = time.perf_counter()
        fitted.fit(matrix, show_progress=False)
        seconds.append(time.perf_counter() - started)
        longest = fitted if iterations == options.iterations[1] else longest
    x, y = longest.user_factors.astype(np.float64), longest.item_factors.astype(np.float64)
    return {"seconds": seconds, "loss": loss_of(options, ratings, x, y)}


def loss_of(options: argparse.Namespace, ratings: Ratings, x: np.ndarray, y: np.ndarray) -> float:
    return (implicit_loss if options.implicit else explicit_loss)(ratings, x, y, options.reg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=("recspark", "mllib", "implicit"))
    parser.add_argument("--data", default="s10m")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--reg", type=float, default=0.05)
    parser.add_argument("--iterations", type=int, nargs=2, default=(1, 4), metavar=("FEW", "MANY"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=4, help="blocks a side of MLlib")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--implicit", action="store_true")
    parser.add_argument("--solver", default="auto", choices=("auto", "cholesky", "cg"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    result = (fit_implicit if options.engine == "implicit" else fit_spark)(options, load(options.data))
    print(
        json.dumps(
            {
                "engine": options.engine,
                **result,
                "per_iteration": slope(result["seconds"], options.iterations),
                "fit_seconds": min(result["seconds"][1:3]),
            }
        )
    )


if __name__ == "__main__":
    main()
