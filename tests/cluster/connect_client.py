"""What test_connect.py tries on a Spark Connect server: ``python connect_client.py sc://HOST:PORT WORK``; a
JSON report on stdout.
"""

import json
import sys

import numpy as np
from pyspark.ml import Pipeline
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from recspark.engine.spark.session import parallelism
from recspark.errors import RecsparkError
from recspark.models import ALS, Baseline, FMRegressor, MatrixFactorization, Popularity
from recspark.models.saving import load_model


def ratings_on(spark):
    rng = np.random.default_rng(1)
    cells = rng.choice(80 * 60, 2000, replace=False)
    rows = [
        (int(c // 60), f"i{c % 60}", float(r))
        for c, r in zip(cells, rng.integers(1, 6, len(cells)), strict=True)
    ]
    return spark.createDataFrame(rows, "user int, item string, rating float")


def fitted(estimator, ratings):
    """Rows that are predicted, and their RMSE."""
    predicted = estimator.fit(ratings).transform(ratings)
    error = F.sqrt(F.avg((F.col("rating") - F.col("prediction")) ** 2))
    row = predicted.agg(F.count("prediction").alias("rows"), error.alias("rmse")).first()
    return row.asDict()


def saved(ratings, work):
    """A model that was written and read again, and its lists."""
    model = ALS(rank=4, maxIter=3, workDir=f"{work}/als").fit(ratings)
    model.write().save(f"{work}/model")
    lists = load_model(f"{work}/model").recommendForAllUsers(5, seen=ratings).collect()
    same = sorted(lists) == sorted(model.recommendForAllUsers(5, seen=ratings).collect())
    return {"users": len(lists), "length": min(len(row.recommendations) for row in lists), "same": same}


def overwritten(ratings, work):
    """Each kind of stage written twice and read again; and what MLlib's programs ask of a model."""
    estimator = ALS(rank=2, maxIter=1, workDir=f"{work}/twice")
    model = estimator.fit(ratings)
    stages = {"als": estimator, "als-model": model, "pipeline": Pipeline(stages=[estimator])}
    stages["pipeline-model"] = stages["pipeline"].fit(ratings)
    for name, stage in stages.items():
        for _ in range(2):
            stage.write().overwrite().save(f"{work}/{name}")
    loaded = [type(stage).load(f"{work}/{name}").uid == stage.uid for name, stage in stages.items()]
    return [*loaded, model._java_obj.parent().getRank(), model.itemFactors.schema["id"].nullable]


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except RecsparkError as error:
        return f"{type(error).__name__}: {error}"


def on_another_python(estimator, ratings):
    """A fit by a client whose Python, by its functions, is older than the server's."""
    from types import SimpleNamespace

    from pyspark.sql.connect import udf

    from recspark.engine.spark import session

    session._checked.clear()
    real, udf.sys = udf.sys, SimpleNamespace(version_info=(3, 8))
    try:
        estimator.fit(ratings)
    finally:
        udf.sys = real


def main(url, work):
    spark = SparkSession.builder.remote(url).getOrCreate()
    ratings = ratings_on(spark)
    folder = {"workDir": f"{work}/fits"}
    renamed = ratings.withColumnsRenamed({"user": "user_id", "item": "item_id"})
    report = {
        "cores": parallelism(spark),
        "als": attempt(fitted, ALS(rank=4, maxIter=3, center=True, biases=True, **folder), ratings),
        "als-2x2": attempt(
            fitted,
            ALS(rank=4, maxIter=3, userBlocks=2, itemBlocks=2, tasks="blocks", center=True, **folder),
            ratings,
        ),
        "mf": attempt(fitted, MatrixFactorization(rank=4, maxIter=5, **folder), ratings),
        "baseline": attempt(fitted, Baseline(**folder), ratings),
        "fm": attempt(
            fitted,
            FMRegressor(groups=["user", "item"], labelCol="rating", solver="mcmc", maxIter=10, **folder),
            renamed,
        ),
        "popularity": attempt(fitted, Popularity(**folder), ratings),
        "saved": attempt(saved, ratings, work),
        "overwritten": attempt(overwritten, ratings, work),
        "another python": attempt(on_another_python, ALS(rank=2, maxIter=1, **folder), ratings),
        "no work folder": attempt(fitted, ALS(rank=4, maxIter=1), ratings),
    }
    print(json.dumps(report))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
