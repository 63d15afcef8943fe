"""Compile all kernels once, so that later calls do not wait for numba.

It runs small fits of every kind of model, and uses the models.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from recspark import models
from recspark.engine.progress import log as FIT_LOG
from recspark.engine.spark.session import LOG as SESSION_LOG
from recspark.engine.spark.session import SparkOptions, is_remote, session
from recspark.errors import ConfigError
from recspark.evaluation.ranking import per_user_ranking
from recspark.kernels.cache import writable_folder

log = logging.getLogger("recspark")

_IDS = {"userCol": "user_id", "itemCol": "item_id"}
_BIASED = {"rank": 4, "maxIter": 2, "biases": True, **_IDS}
_ON_GROUPS = {"groups": ["user", "item", "rated"], "factorSize": 4, "maxIter": 4, "regParam": 0.1}
#: estimators and Params that together run every kernel
FITS: list[tuple[str, Mapping[str, object]]] = [
    ("ALS", {"rank": 4, "maxIter": 2, "center": True, "biases": True, **_IDS}),
    ("ALS", {"rank": 4, "maxIter": 2, "implicitPrefs": True, "solver": "cholesky", **_IDS}),
    ("ALS", {"rank": 4, "maxIter": 2, "implicitPrefs": True, "solver": "cg", **_IDS}),
    ("ALS", {"rank": 4, "maxIter": 2, "nonnegative": True, **_IDS}),
    *(
        ("MatrixFactorization", {**_BIASED, "loss": loss, "optimizer": optimizer})
        for loss, optimizer in (("squared", "adagrad"), ("squared", "adam"), ("bpr", "sgd"))
    ),
    ("MatrixFactorization", {"rank": 4, "maxIter": 2, "batchSize": 0, **_IDS}),
    ("Baseline", {"maxIter": 2, **_IDS}),
    ("Baseline", {"maxIter": 2, "solver": "sgd", **_IDS}),
    ("Popularity", _IDS),
    *(
        (kind, {**_ON_GROUPS, "solver": solver})
        for kind in ("FMRegressor", "FMClassifier")
        for solver in ("mcmc", "als", "sgd")
    ),
    ("FMRegressor", {**_ON_GROUPS, "chains": 2, "noisyChains": 1}),
    ("FMRegressor", {**_ON_GROUPS, "ordered": True, "labelCol": "rating"}),
    ("FMRegressor", {"factorSize": 4, "maxIter": 2}),
    ("FMRegressor", {"factorSize": 4, "maxIter": 2, "order": 3, "solver": "sgd"}),
    ("FMClassifier", {"factorSize": 4, "maxIter": 2, "solver": "mcmc"}),
    ("FMRanker", {**_ON_GROUPS, "solver": "sgd"}),
]


def warm(options: SparkOptions) -> dict[str, object]:
    """Run every kind of model on a few ratings.

    One task runs at a time unless a master is set, because two would compile the same kernels side by side.
    """
    started = time.perf_counter()
    for quieted in (FIT_LOG, SESSION_LOG):  # the progress of these fits, and that kernels are compiled
        quieted.setLevel(logging.ERROR)
    options = SparkOptions(**options.as_dict() | {"master": options.master or "local[1]"})
    with session("recspark warm", options) as spark:
        if is_remote(spark):
            raise ConfigError(
                "warm compiles on its own machine: run it where the workers of the Spark Connect server are, "
                "without SPARK_REMOTE"
            )
        ratings = _ratings(spark).cache()
        for number, (estimator, params) in enumerate(FITS, 1):
            log.info("%d of %d: %s ...", number, len(FITS), estimator)
            _run(estimator, params, ratings)
    return {"seconds": round(time.perf_counter() - started, 1), "folder": str(writable_folder())}


def _run(estimator: str, params: Mapping[str, object], ratings: DataFrame) -> None:
    """Fit and predict; if the model makes lists, make some and measure them."""
    model = getattr(models, estimator)(**params).fit(ratings)
    model.transform(ratings).collect()
    if "userCol" in params:
        seen = ratings.limit(50)
        model.recommendForAllUsers(3, seen=seen).collect()
        per_user_ranking(ratings, seen, model.scorer, [3], blocks=1).collect()


def _ratings(spark: SparkSession) -> DataFrame:
    """A few hundred ratings with the columns of every estimator: ids, labels of 0 and 1, vectors."""
    pairs = [(user, item) for user in range(30) for item in range(20) if (user * 7 + item * 3) % 4]
    rows = [
        (
            user,
            item,
            float(user * item % 5 + 1),
            float(user * item % 2),
            Vectors.sparse(50, [user, 30 + item], [1.0, 1.0]),
        )
        for user, item in pairs
    ]
    return spark.createDataFrame(rows, ["user_id", "item_id", "rating", "label", "features"])
