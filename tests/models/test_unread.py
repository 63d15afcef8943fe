"""Params that a fit does not read: the table of each estimator against fits, and the one warning."""

import logging

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.linalg import Vectors

from recspark.errors import ConfigError
from recspark.models import ALS, Baseline, FMRanker, FMRegressor, MatrixFactorization, Popularity
from recspark.models.unread import unread

COLUMNS = {"userCol": "user_id", "itemCol": "item_id", "ratingCol": "label"}
#: setting -> estimator, Params, form of the data
SETTINGS = {
    "als": (ALS, {}, "ratings"),
    "als with penalties of both sides": (
        ALS,
        {"userRegParam": 0.1, "itemRegParam": 0.2, "biases": True},
        "ratings",
    ),
    "als implicit": (ALS, {"implicitPrefs": True, "alpha": 2.0}, "ratings"),
    "als of confidence, by cg": (
        ALS,
        {"implicitPrefs": True, "weightCol": "weight", "solver": "cg", "cgSteps": 2},
        "ratings",
    ),
    "mf": (MatrixFactorization, {}, "ratings"),
    "mf without biases": (MatrixFactorization, {"biases": False, "schedule": "inverse"}, "ratings"),
    "mf rbf": (MatrixFactorization, {"kernel": "rbf"}, "ratings"),
    "mf bpr": (MatrixFactorization, {"loss": "bpr"}, "ratings"),
    "mf softmax": (MatrixFactorization, {"loss": "softmax", "negatives": 3}, "ratings"),
    "mf ccl": (
        MatrixFactorization,
        {"loss": "ccl", "kernel": "cosine", "negatives": 3, "margin": -0.5},
        "ratings",
    ),
    "baseline als": (Baseline, {}, "ratings"),
    "baseline sgd": (Baseline, {"solver": "sgd"}, "ratings"),
    "popularity": (Popularity, {}, "ratings"),
    "vectors mcmc": (FMRegressor, {}, "vectors"),
    "vectors als": (FMRegressor, {"solver": "als", "regParam": 0.1}, "vectors"),
    "vectors sgd": (FMRegressor, {"solver": "sgd"}, "vectors"),
    "entities mcmc": (FMRegressor, {"groups": ["user", "item", "rated"]}, "entities"),
    "entities als": (
        FMRegressor,
        {"groups": ["user", "item", "rated"], "solver": "als", "regParam": 1.0},
        "entities",
    ),
    "rows sgd": (FMRegressor, {"groups": ["user", "item"], "solver": "sgd"}, "rows"),
    "rows mcmc": (FMRegressor, {"groups": ["user", "item", {"group": "rated", "scope": "past"}]}, "rows"),
    "ranker": (FMRanker, {"groups": ["user", "item"]}, "rows"),
    "ranker softmax": (
        FMRanker,
        {"groups": ["user", "item"], "loss": "softmax", "negatives": 3},
        "rows",
    ),
}
#: another value of each Param; those of columns and files are read by their own tests
OTHER = {
    "alpha": 9.0,
    "cgSteps": 1,
    "patience": 1,
    "miniBatchFraction": 0.5,
    "regParam": 0.7,
    "userRegParam": 0.9,
    "itemRegParam": 0.8,
    "biasRegParam": 0.77,
    "regPower": 0.3,
    "tol": 0.9,
    "seed": 7,
    "rank": 3,
    "maxIter": 3,
    "center": True,
    "biases": True,
    "nonnegative": True,
    "decay": 0.9,
    "gamma": 3.0,
    "standardize": True,
    "stepSize": 0.013,
    "schedule": "exponential",
    "optimizer": "adam",
    "batchSize": 4,
    "l1RegParam": 0.2,
    "biasL1RegParam": 0.3,
    "initStdev": 0.3,
    "negatives": 2,
    "temperature": 0.4,
    "margin": -0.2,
    "negativeWeight": 3.0,
    "initStd": 0.4,
    "factorSize": 3,
    "burnIn": 2,
    "samples": 2,
    "chains": 2,
    "featureRegParam": 3.3,
    "order": 3,
    "groupRegParam": {"user": 2.0},
    "fitLinear": False,
    "fitIntercept": False,
    "userBlocks": 2,
    "itemBlocks": 2,
    "tasks": "blocks",
    "threads": 1,
    "featuresCol": "other",
    "stdevCol": "stdev",
    "levelsCol": "levels",
    "clip": True,
}
#: how a fit is laid out, which never changes a model, or only what transform adds
LAYOUT = {"userBlocks", "itemBlocks", "tasks", "threads", "clip", "stdevCol", "levelsCol", "featuresCol"}


@pytest.fixture(scope="module")
def rows(spark):
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, (12, 9), (70, 2)), axis=0)
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(timestamp=np.arange(len(pairs)))
    frame["label"] = rng.integers(1, 6, len(pairs)) + 0.5 * (frame["user_id"] % 3)
    frame["weight"] = 2.0 + frame["item_id"] % 4
    frame["features"] = [Vectors.dense(row) for row in rng.normal(size=(len(pairs), 4)).tolist()]
    tuples = [tuple(row) for row in frame.itertuples(index=False)]
    return spark.createDataFrame(tuples, frame.columns.tolist()).coalesce(1).cache()


def estimator_of(setting, **more):
    estimator, params, form = SETTINGS[setting]
    shared = COLUMNS if form == "ratings" else {"labelCol": "label", "initStd": 0.2}
    shared = shared | ({"maxIter": 6} if "maxIter" in estimator.hyperparameters() else {})
    return estimator(**shared | params | more), form


def outcome(setting, rows, **more):
    """What a fit predicts, and how many iterations it had."""
    model = estimator_of(setting, **more)[0].fit(rows)
    found = (
        model.transform(rows.drop("prediction"))
        .orderBy("user_id", "item_id")
        .select("prediction")
        .toPandas()["prediction"]
    )
    return found.to_numpy(np.float64), len(model.summary.history)


def same(a, b):
    return a[1] == b[1] and np.array_equal(a[0], b[0], equal_nan=True)


#: groups are fitted by several jobs each
GROUPED = {setting for setting, (*_, form) in SETTINGS.items() if form in ("entities", "rows")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", [pytest.param(name, marks=pytest.mark.slow) if name in GROUPED else name for name in SETTINGS]
)
def test_what_is_declared_unread_changes_nothing(rows, caplog, setting):
    estimator, form = estimator_of(setting)
    # orders and penalties of groups are not only unread there, but refused
    refused = {"order", "groupRegParam"} if form in ("rows", "vectors") and setting != "rows sgd" else set()
    names = set(unread(estimator, form)) - set(SETTINGS[setting][1]) - refused
    assert names
    plain = outcome(setting, rows)
    with caplog.at_level(logging.WARNING, "recspark.fit"):
        assert same(plain, outcome(setting, rows, **{name: OTHER[name] for name in names})), names
    [warning] = [record for record in caplog.records if "have no effect here" in record.message]
    assert all(name in warning.message for name in names)


@pytest.mark.parametrize(
    "setting",
    [pytest.param(name, marks=pytest.mark.slow if name == "als" else pytest.mark.long) for name in SETTINGS],
)
def test_every_other_param_is_read(rows, setting):
    estimator, form = estimator_of(setting)
    plain = outcome(setting, rows)
    unknown = []
    for name in OTHER.keys() - LAYOUT - set(unread(estimator, form)):
        if not estimator.hasParam(name) or (
            estimator.isDefined(name) and estimator.getOrDefault(name) == OTHER[name]
        ):
            continue
        try:
            if same(plain, outcome(setting, rows, **{name: OTHER[name]})):
                unknown.append(name)
        except ConfigError:
            pass  # refused, which is as good
    # the seed orders the visits of cells, and so few ratings are one cell
    assert set(unknown) <= ({"seed"} if setting == "baseline sgd" else set())


def test_nothing_is_said_of_what_is_read_or_not_set(rows, caplog):
    with caplog.at_level(logging.WARNING, "recspark.fit"):
        ALS(**COLUMNS, rank=2, maxIter=1, regParam=0.3, blockSize=128, checkpointInterval=2).fit(rows)
    assert not [record for record in caplog.records if record.name == "recspark.fit"]


def test_a_grid_over_an_unread_param_is_told(rows, caplog):
    fm = FMRegressor(maxIter=1)
    with caplog.at_level(logging.WARNING, "recspark.fit"):
        fm.fit(rows, {fm.regParam: 0.5, fm.stepSize: 0.3})
    [record] = caplog.records
    assert record.message == (
        "FMRegressor: these Params are set and have no effect here: regParam, stepSize (solver = 'mcmc')"
    )


@pytest.mark.parametrize("name", Popularity._useless)
def test_what_popularity_cannot_do_is_refused(rows, name):
    value = {"initialScale": 2.0, "clip": True}.get(name, "x")
    with pytest.raises(ConfigError, match=f"{name} = .* is not allowed with Popularity"):
        Popularity(**COLUMNS, **{name: value}).fit(rows)
