"""The classes of MLlib and of recspark under the same names, some data, and the fits that many tests look
at.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from pyspark.ml import classification, recommendation, regression
from pyspark.ml.linalg import Vectors

from recspark import models

NAMES = ("ALS", "ALSModel", "FMRegressor", "FMRegressionModel", "FMClassifier", "FMClassificationModel")
MLLIB = {
    name: getattr(module, name)
    for module in (recommendation, regression, classification)
    for name in NAMES
    if hasattr(module, name)
}
RECSPARK = {name: getattr(models, name) for name in NAMES}


@pytest.fixture(scope="session", params=["mllib", "recspark"])
def library(request):
    """Both libraries, one after the other: MLlib is the control."""
    return SimpleNamespace(name=request.param, **(MLLIB if request.param == "mllib" else RECSPARK))


@pytest.fixture(scope="session")
def ratings(spark):
    """(user int, item int, rating double): 12 users and 9 items, half of the pairs."""
    draw = np.random.default_rng(1)
    table = 1 + draw.random((12, 2)) @ draw.random((2, 9))
    rows = [(u, i, float(table[u, i])) for u in range(12) for i in range(9) if (u + i) % 2]
    return spark.createDataFrame(rows, "user int, item int, rating double").coalesce(1).cache()


@pytest.fixture(scope="session")
def vectors(spark):
    """(label double, y double, w double, features): 80 rows of 7 columns, one user and one item each."""
    draw = np.random.default_rng(2)
    pairs = [(int(draw.integers(4)), int(draw.integers(3))) for _ in range(80)]
    rows = [
        (float((u + i) % 2), float(u * i + 1), 1.0 + k % 3, Vectors.sparse(7, [u, 4 + i], [1.0, 1.0]))
        for k, (u, i) in enumerate(pairs)
    ]
    return spark.createDataFrame(rows, ["label", "y", "w", "features"]).coalesce(1).cache()


@pytest.fixture(scope="session")
def als(library, ratings):
    """A fitted ALSModel."""
    return library.ALS(rank=2, maxIter=8, regParam=0.01, seed=3).setNumBlocks(1).fit(ratings)


@pytest.fixture(scope="session")
def regression_model(library, vectors):
    """A fitted FMRegressionModel."""
    return library.FMRegressor(
        labelCol="y", solver="adamW", factorSize=2, maxIter=60, stepSize=0.1, seed=3
    ).fit(vectors)


@pytest.fixture(scope="session")
def classification_model(library, vectors):
    """A fitted FMClassificationModel."""
    return library.FMClassifier(solver="adamW", factorSize=2, maxIter=60, stepSize=0.1, seed=3).fit(vectors)
