"""One contender of bench_sgd.py in a process of its own: fit, time, measure test RMSE, print one JSON line.

    python benchmarks/sgd_contender.py recspark --data s10m --rank 64 --epochs 2 12

Fits of few and of many epochs give the seconds an epoch as in als_contender.py: by their difference. LIBMF
has no biases and no mean, so neither has recspark here; both use adagrad with one sum per row.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

import numpy as np
from als_contender import Ratings, abba, dataframe, factors_of, load, slope, spark_session


def halves(ratings: Ratings) -> tuple[Ratings, Ratings]:
    """90 % to train, 10 % to test, by a seeded draw."""
    test = np.random.default_rng(5).random(len(ratings[0])) < 0.1
    return tuple(column[~test] for column in ratings), tuple(column[test] for column in ratings)


def rmse(test: Ratings, prediction: np.ndarray) -> float:
    return float(np.sqrt(np.mean((test[2] - prediction) ** 2)))


def fit_recspark(options: argparse.Namespace, train: Ratings, test: Ratings) -> dict[str, object]:
    from recspark.models import MatrixFactorization

    spark = spark_session("local[2]")
    frame = dataframe(spark, train)
    shared = {
        "rank": options.rank,
        "optimizer": "adagrad",
        "stepSize": options.rate,
        "regParam": options.reg,
        "biases": False,
        "center": False,
    }
    shared |= {"threads": options.threads, "initStdev": 0.2, "seed": 7}
    seconds, longest = [], MatrixFactorization(**shared, maxIter=1).fit(frame)
    for epochs in abba(options.epochs):
        started = time.perf_counter()
        model = MatrixFactorization(**shared, maxIter=epochs).fit(frame)
        seconds.append(time.perf_counter() - started)
        longest = model if epochs == options.epochs[1] else longest
    x = factors_of(longest.userFactors, train[0].max() + 1, options.rank)
    y = factors_of(longest.itemFactors, train[1].max() + 1, options.rank)
    spark.stop()
    return {"seconds": seconds, "rmse": rmse(test, np.einsum("ij,ij->i", x[test[0]], y[test[1]]))}


def fit_libmf(options: argparse.Namespace, train: Ratings, test: Ratings) -> dict[str, object]:
    from libmf import mf

    rows = np.column_stack(train).astype(np.float32)
    seconds, longest = [], None
    for epochs in abba(options.epochs):
        model = mf.MF(
            k=options.rank,
            nr_threads=options.threads,
            nr_iters=epochs,
            eta=options.rate,
            lambda_p2=options.reg,
            lambda_q2=options.reg,
            quiet=True,
        )
        started = time.perf_counter()
        model.fit(rows)
        seconds.append(time.perf_counter() - started)
        longest = model if epochs == options.epochs[1] else longest
    # by the factors: the package's own predict mixes up rows; items that training lacks have NaN
    x, y = longest.p_factors(), longest.q_factors()
    prediction = np.einsum("ij,ij->i", x[test[0]], y[test[1]])
    return {
        "seconds": seconds,
        "rmse": rmse(test, np.where(np.isnan(prediction), train[2].mean(), prediction)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=("recspark", "libmf"))
    parser.add_argument("--data", default="s10m")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--reg", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, nargs=2, default=(2, 32), metavar=("FEW", "MANY"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    train, test = halves(load(options.data))
    result = (fit_recspark if options.engine == "recspark" else fit_libmf)(options, train, test)
    print(
        json.dumps(
            {
                "engine": options.engine,
                **result,
                "epochs": options.epochs[1],
                "per_epoch": slope(result["seconds"], options.epochs),
            }
        )
    )


if __name__ == "__main__":
    main()
