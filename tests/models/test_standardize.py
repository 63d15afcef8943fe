"""Params `standardize` of ALS and MatrixFactorization: one setting of penalties and steps for ratings of any
unit.
"""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from recspark.algorithms.ratings import CSR, without_ratings
from recspark.engine.encode import Parts
from recspark.kernels.arrays.csr import csr_from_coo
from recspark.models import ALS, MatrixFactorization
from recspark.models.factors.row_solvers import row_solver
from recspark.models.factors.tables import FactorTables

UNIT, ORIGIN = 20.0, 7.0
FITS = {
    "als": ALS(rank=3, maxIter=4, regParam=0.3, center=True, biases=True),
    "als of uncentered factors": ALS(rank=3, maxIter=4, regParam=0.3),
    "sgd": MatrixFactorization(rank=3, maxIter=4, stepSize=0.05),
    "adagrad": MatrixFactorization(rank=3, maxIter=4, stepSize=0.1, optimizer="adagrad"),
    "full batch": MatrixFactorization(rank=3, maxIter=4, stepSize=0.1, optimizer="adam", batchSize=0),
    "absolute": MatrixFactorization(rank=3, maxIter=4, stepSize=0.05, loss="absolute"),
}


@pytest.fixture(scope="module")
def ratings(spark):
    rng = np.random.default_rng(4)
    pairs = [(u, i) for u in range(60) for i in range(30) if rng.random() < 0.5]
    user, item = np.array(pairs).T
    score = 3 + rng.normal(0, 0.5, 60)[user] + rng.normal(0, 0.5, 30)[item] + rng.normal(0, 0.5, len(user))
    return spark.createDataFrame(pd.DataFrame({"user": user, "item": item, "rating": score})).cache()


def predictions(model, rows):
    return model.transform(rows).orderBy("user", "item").toPandas()["prediction"].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in ("als", "sgd") else pytest.param(name, marks=pytest.mark.slow) for name in FITS]
)
def test_a_change_of_unit_changes_only_the_unit_of_predictions(ratings, name):
    origin = 0.0 if "uncentered" in name else ORIGIN
    fit = FITS[name].copy().setParams(standardize=True)
    scaled = ratings.withColumn("rating", F.col("rating") * UNIT + origin)
    plain, found = predictions(fit.fit(ratings), ratings), predictions(fit.fit(scaled), ratings)
    np.testing.assert_allclose(found, plain * UNIT + origin, atol=1e-3 * UNIT)
    if name.startswith("als"):  # steps of gradient descent that are not standardized diverge here
        assert np.abs(predictions(FITS[name].fit(scaled), ratings) - found).max() > 0.1 * UNIT


@pytest.mark.parametrize("name", ["als", "sgd"])
def test_a_saved_start_keeps_its_unit(ratings, tmp_path, name):
    scaled = ratings.withColumn("rating", F.col("rating") * UNIT + ORIGIN)
    fit = FITS[name].copy().setParams(standardize=True)
    model = fit.fit(scaled)
    model.write().save(str(tmp_path / "model"))
    again = fit.copy().setParams(initialModel=str(tmp_path / "model"), maxIter=0).fit(scaled)
    np.testing.assert_allclose(predictions(again, ratings), predictions(model, ratings), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["als", "sgd"])
def test_new_rows_are_solved_in_the_unit_of_the_model(ratings, name):
    """The row of a user from the user's ratings, the other side fixed: by models of ratings in two units."""
    rng = np.random.default_rng(1)
    items, values = np.arange(12, dtype=np.int32), rng.normal(3, 1, 12)
    found = []
    for unit, origin in ((1.0, 0.0), (UNIT, ORIGIN)):
        fit = FITS[name].copy().setParams(standardize=True)
        model = fit.fit(ratings.withColumn("rating", F.col("rating") * unit + origin))
        tables = FactorTables.read(model.folder)
        facts, table = tables.facts, tables.tables["items"]
        solver = row_solver(facts, epochs=5, rate=None)
        csr = CSR(
            *csr_from_coo(
                np.zeros(12, np.int32),
                items,
                (values * unit + origin).astype(np.float32),
                np.empty(0, np.float32),
                1,
                30,
            )
        )
        fixed = {"factors": table.features, "bias": table.bias}
        row = solver.solve("users", csr, fixed, solver.start("users", 60, 1), 1)
        mean = facts.mean + row["bias"][0] + fixed["bias"] + fixed["factors"] @ row["factors"][0]
        found.append((mean - origin) / unit)
    np.testing.assert_allclose(found[1], found[0], atol=2e-3)


def test_kernels_with_a_range_have_no_use_for_it(ratings, caplog):
    MatrixFactorization(rank=2, maxIter=1, kernel="sigmoid", standardize=True).fit(ratings)
    assert "standardize" in caplog.text and "have no effect here" in caplog.text


def test_side_vectors_are_added_in_the_unit_of_models():
    parts = Parts("", (), 3, 3.0, 270.0, 7.0, 107.0, "", False, False, 270.0, 30_000.0, {}, {})
    solver = MatrixFactorization(rank=2, standardize=True)._solver(parts)
    block, rows = (
        without_ratings(2),
        (np.array([1]), np.array([[3.0, -4.0]], np.float32), np.array([5.0], np.float32)),
    )
    plain, moved = (
        solver.export("users", block, solver.start("users", 0, block, None, added), 1)
        for added in (None, rows)
    )
    assert solver.unit > 10
    np.testing.assert_allclose(moved["features"] - plain["features"], [[0, 0], [3, -4]], atol=1e-4)
    np.testing.assert_allclose(moved["bias"] - plain["bias"], [0, 5], atol=1e-4)
