"""A fit in a process of its own, for tests that kill it: ``python fit_job.py MASTER WORK OUT BLOCKS MAX_ITER [SABOTAGE]``.

SABOTAGE is a file: the Python worker that finds it missing in the middle of the fit creates it and kills itself.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from recspark.engine.session import build_session
from recspark.models import ALS
from recspark.models.als_solver import ALSSolver


def ratings(spark):
    rng = np.random.default_rng(3)
    cells = rng.choice(300 * 200, 20_000, replace=False)
    rows = [(int(c // 200), int(c % 200), float(r)) for c, r in zip(cells, rng.integers(1, 6, len(cells)), strict=True)]
    return spark.createDataFrame(rows, "user int, item int, rating float").coalesce(2)


class Saboteur(ALSSolver):
    """Dies once, after a few steps."""

    def step(self, side, block, source, own, threads):
        marker = Path(os.environ["SABOTAGE"])
        if side == "users" and np.abs(own["bias"]).max() > 0 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(side, block, source, own, threads)


class Sabotaged(ALS):
    def _solver(self, parts):
        return Saboteur(**vars(super()._solver(parts)))


def main(master, work, out, blocks, max_iter, sabotage=""):
    conf = {"spark.master": master, "spark.driver.memory": "1g", "spark.executorEnv.SABOTAGE": sabotage}
    os.environ["SABOTAGE"] = sabotage
    spark = build_session("fit-job", conf)
    estimator = (Sabotaged if sabotage else ALS)(
        rank=16, maxIter=int(max_iter), center=True, biases=True, workDir=work, userBlocks=int(blocks), itemBlocks=int(blocks), threads=1
    )
    model = estimator.fit(ratings(spark))
    tables = {side: table.orderBy("id").toPandas() for side, table in (("users", model.userFactors), ("items", model.itemFactors))}
    arrays = {side: np.stack(table["features"]) for side, table in tables.items()}
    np.savez(out, **arrays, resumed_at=model.summary.resumed_at)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
