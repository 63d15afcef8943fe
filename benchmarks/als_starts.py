"""The objective of ALS after few iterations, MLlib's and recspark's, on real ratings: means of three seeds.

python benchmarks/als_starts.py ml-latest-small.zip        # or ml-1m.zip
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from pyspark.ml import recommendation
from pyspark.sql import DataFrame

import recspark.models as models
from recspark.data.formats.generic import DataOptions
from recspark.data.ingest import ingest
from recspark.data.quality import QualityOptions
from recspark.engine.spark.session import SparkOptions, session
from recspark.lake.lake import Lake

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.reference import explicit_objective

PROBLEMS = {
    "explicit": {},
    "nonnegative": {"nonnegative": True},
    "implicit": {"implicitPrefs": True, "alpha": 1.0},
}
REG, ITERATIONS, SEEDS = 0.1, (3, 5, 10), (1, 2, 3)


def objective(model: models.ALSModel, kind: str, entries: tuple[np.ndarray, ...]) -> float:
    """What both minimise; the implicit one is summed over all pairs by Gram matrices."""
    user, item, rating = entries
    tables = [side.toPandas().sort_values("id") for side in (model.userFactors, model.itemFactors)]
    x, y = (np.stack(table["features"].to_numpy()).astype(float) for table in tables)
    user, item = (
        np.searchsorted(table["id"].to_numpy(), ids) for table, ids in zip(tables, (user, item), strict=True)
    )
    if kind != "implicit":
        return explicit_objective(user, item, rating, x, y, REG)
    score, confidence = np.einsum("ij,ij->i", x[user], y[item]), 1 + rating
    sizes = (x**2).sum(1) @ np.bincount(user, minlength=len(x)) + (y**2).sum(1) @ np.bincount(
        item, minlength=len(y)
    )
    return float(
        (confidence * (1 - score) ** 2 - score**2).sum() + np.sum((x.T @ x) * (y.T @ y)) + REG * sizes
    )


def means(
    library: object, ratings: DataFrame, entries: tuple[np.ndarray, ...], kind: str, iterations: int
) -> float:
    """The mean objective over the seeds."""
    columns = {"userCol": "user_id", "itemCol": "item_id", "ratingCol": "rating"}
    params = {
        "rank": 10,
        "maxIter": iterations,
        "regParam": REG,
        "numUserBlocks": 2,
        "numItemBlocks": 2,
        "checkpointInterval": 2,
    }
    fits = (library.ALS(**columns, **params, **PROBLEMS[kind], seed=seed).fit(ratings) for seed in SEEDS)
    return float(np.mean([objective(model, kind, entries) for model in fits]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a MovieLens archive")
    source = parser.parse_args().source
    with tempfile.TemporaryDirectory() as folder, session("als_starts", SparkOptions()) as spark:
        spark.sparkContext.setCheckpointDir(f"{folder}/checkpoints")
        lake = Lake(f"{folder}/lake")
        ingest(spark, lake, DataOptions(source=source), QualityOptions())
        ratings = (
            spark.read.parquet(lake.path("tables/ratings"))
            .select("user_id", "item_id", "rating")
            .repartition(2)
            .cache()
        )
        frame = ratings.toPandas()
        entries = tuple(frame[name].to_numpy() for name in ("user_id", "item_id", "rating"))
        for kind in PROBLEMS:
            for iterations in ITERATIONS:
                ours, theirs = (
                    means(library, ratings, entries, kind, iterations) for library in (models, recommendation)
                )
                print(
                    f"{kind:12s} {iterations:3d} iterations: recspark {ours:.0f}, MLlib {theirs:.0f}, "
                    f"{100 * (ours / theirs - 1):+.1f} %"
                )


if __name__ == "__main__":
    main()
