"""A fit in a process of its own, for tests that kill it:
``python fit_job.py MASTER WORK OUT BLOCKS MAX_ITER [SABOTAGE]``.

SABOTAGE is a file: the Python worker that finds it missing in the middle of the fit creates it and kills
itself.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from recspark.algorithms.als import ALSSolver
from recspark.engine.spark.session import build_session
from recspark.models import ALS


def fit(spark, work, blocks, max_iter, estimator=ALS):
    """Fit generated ratings; gives the factors of both sides and where the fit was resumed."""
    rng = np.random.default_rng(3)
    cells = rng.choice(300 * 200, 20_000, replace=False)
    rows = [
        (int(c // 200), int(c % 200), float(r))
        for c, r in zip(cells, rng.integers(1, 6, len(cells)), strict=True)
    ]
    ratings = spark.createDataFrame(rows, "user int, item int, rating float").coalesce(2)
    options = {"rank": 16, "center": True, "biases": True, "threads": 1}
    options |= {"userBlocks": blocks, "itemBlocks": blocks, "tasks": "blocks"}
    model = estimator(maxIter=max_iter, workDir=str(work), **options).fit(ratings)
    tables = {
        side: table.orderBy("id").toPandas()
        for side, table in (("users", model.userFactors), ("items", model.itemFactors))
    }
    return {side: np.stack(table["features"]) for side, table in tables.items()} | {
        "resumed_at": model.summary.resumed_at
    }


class Saboteur(ALSSolver):
    """Dies once, after a few steps."""

    def step(self, side, block, source, own, threads):
        marker = Path(os.environ["SABOTAGE"])
        if side == "users" and np.abs(own["bias"]).max() > 0 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(side, block, source, own, threads)


class Sabotaged(ALS):
    """ALS with a worker that dies."""

    def _solver(self, parts):
        return Saboteur(**vars(super()._solver(parts)))


def main(master, work, out, blocks, max_iter, sabotage=""):
    """Fit on a session of its own and keep the result in `out`."""
    os.environ["SABOTAGE"] = sabotage
    spark = build_session(
        "fit-job",
        {"spark.master": master, "spark.driver.memory": "1g", "spark.executorEnv.SABOTAGE": sabotage},
    )
    np.savez(out, **fit(spark, work, int(blocks), int(max_iter), Sabotaged if sabotage else ALS))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
