"""Where the sampler of factorization machines starts: near the truth on sparse data, and alike in any unit of
the labels.
"""

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F

from recspark.models import FMRegressor

USERS, ITEMS, ROWS = 4_000, 8_000, 20_000


def ids(rng, n, slope):
    """`ROWS` ids below `n`: each once, the others by a power law."""
    weights = (np.arange(1, n + 1) + 3.0) ** -slope
    return rng.permutation(np.concatenate([np.arange(n), rng.choice(n, ROWS - n, p=weights / weights.sum())]))


@pytest.fixture(scope="module")
def sparse(spark):
    """Ratings 1 to 10, two or three for most ids: training rows, test rows, and the RMSE that shrunken biases
    reach.
    """
    rng = np.random.default_rng(7)
    user, item = ids(rng, USERS, 0.95), ids(rng, ITEMS, 0.75)
    score = (
        7.6 + rng.normal(0, 1.0, USERS)[user] + rng.normal(0, 0.7, ITEMS)[item] + rng.normal(0, 1.35, ROWS)
    )
    frame = pd.DataFrame({"user_id": user, "item_id": item, "rating": np.clip(np.rint(score), 1, 10)})
    frame = frame.drop_duplicates(["user_id", "item_id"])
    test = rng.random(len(frame)) < 0.15
    best = shrunken_biases(frame[~test], frame[test])
    return spark.createDataFrame(frame[~test]).cache(), spark.createDataFrame(frame[test]).cache(), best


def shrunken_biases(train, test, user_penalty=2.0, item_penalty=4.0):
    """The test RMSE of mean and biases by alternating ridge solutions, with the penalties of the planted
    variances.
    """
    user, item, rest = train["user_id"], train["item_id"], train["rating"] - train["rating"].mean()
    b = np.zeros(USERS)
    for _ in range(20):
        c = np.bincount(item, rest - b[user], ITEMS) / (np.bincount(item, minlength=ITEMS) + item_penalty)
        b = np.bincount(user, rest - c[item], USERS) / (np.bincount(user, minlength=USERS) + user_penalty)
    predicted = np.clip(train["rating"].mean() + b[test["user_id"]] + c[test["item_id"]], 1, 10)
    return float(np.sqrt(np.mean((predicted - test["rating"]) ** 2)))


def rmse(model, rows):
    return (
        model.transform(rows).select(F.sqrt(F.avg((F.col("prediction") - F.col("rating")) ** 2))).first()[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_twenty_iterations_reach_shrunken_biases_on_sparse_data(sparse, ordered):
    """Biases that start at 0 are taken as evidence that there are none: 40 iterations then were 7 %
    behind.
    """
    train, test, best = sparse
    model = FMRegressor(groups=["user", "item"], labelCol="rating", maxIter=20, ordered=ordered).fit(train)
    assert rmse(model, test) < 1.01 * best


@pytest.mark.slow
def test_three_blocks_start_as_one_does(sparse):
    train, test, _ = sparse
    given = {"groups": ["user", "item"], "labelCol": "rating", "factorSize": 2, "maxIter": 2, "burnIn": 0}
    one = FMRegressor(**given).fit(train)
    three = FMRegressor(**given, userBlocks=3, itemBlocks=3, tasks="blocks").fit(train)
    assert rmse(three, test) == pytest.approx(rmse(one, test), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {},
        pytest.param({"chains": 2, "noisyChains": 1}, marks=pytest.mark.slow),
        pytest.param({"groups": ["user", "item", "day"]}, marks=pytest.mark.slow),
    ],
)
def test_a_change_of_unit_changes_only_the_unit_of_predictions(sparse, params):
    """Ratings 20 r + 7: to a thousandth of their standard deviation."""
    train, test, _ = sparse
    rows = [part.withColumn("timestamp", F.col("user_id") % 5 * 86_400) for part in (train, test)]
    fm = FMRegressor(
        **{"groups": ["user", "item"]} | params, labelCol="rating", factorSize=3, maxIter=6, stdevCol="stdev"
    )
    found = [
        fm.fit(part).transform(rows[1]).orderBy("user_id", "item_id").toPandas()
        for part in (rows[0], rescaled(rows[0]))
    ]
    compare(*found, train)
    difference = np.abs(found[1]["stdev"] - 20 * found[0]["stdev"])
    assert difference.max() < 0.02 * 20 * deviation(train)


@pytest.mark.slow
def test_a_change_of_unit_of_vectors(sparse):
    train, test, _ = sparse
    vector = F.udf(
        lambda u, i: Vectors.sparse(60, sorted({u % 40: 1.0, 40 + i % 20: 1.0}.items())), VectorUDT()
    )
    rows = [
        part.limit(2_000).withColumn("features", vector("user_id", "item_id")).cache()
        for part in (train, test)
    ]
    fm = FMRegressor(labelCol="rating", factorSize=2, maxIter=10)
    found = [
        fm.fit(part).transform(rows[1]).orderBy("user_id", "item_id").toPandas()
        for part in (rows[0], rescaled(rows[0]))
    ]
    compare(*found, train)


def rescaled(rows):
    return rows.withColumn("rating", F.col("rating") * 20 + 7)


def deviation(rows):
    return rows.select(F.stddev("rating")).first()[0]


def compare(plain, scaled, train):
    difference = np.abs(scaled["prediction"] - (20 * plain["prediction"] + 7))
    assert difference.max() < 1e-3 * 20 * deviation(train)


@pytest.mark.slow
def test_features_start_with_the_spread_of_entities(spark):
    """What a feature explains of entities with two rows each is found within a few iterations."""
    rng = np.random.default_rng(1)
    country, effect = rng.integers(0, 100, 4_000), rng.normal(0, 0.7, 100)
    users = pd.DataFrame(
        {"user_id": np.arange(4_000), "country": [f"country {number}" for number in country]}
    )
    frame = pd.DataFrame({"user_id": np.tile(users["user_id"], 3), "item_id": rng.integers(0, 30, 12_000)})
    frame["rating"] = 3 + np.tile(effect[country], 3) + rng.normal(0, 1.0, 12_000)
    train, test = (spark.createDataFrame(part).cache() for part in (frame[:8_000], frame[8_000:]))
    fm = FMRegressor(
        groups=["user", "item", "users.country"], labelCol="rating", factorSize=2, maxIter=12, burnIn=6
    )
    # the noise has 1; without the feature a user's two rows leave 1.12
    assert rmse(fm.tables(users=spark.createDataFrame(users)).fit(train), test) < 1.05


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"groups": ["user", "item"]}, {}])
def test_labels_that_are_all_alike_have_no_unit(spark, params):
    rng = np.random.default_rng(2)
    rows = [
        (int(u), int(i), Vectors.dense(rng.normal(size=2).tolist()), 3.3) for u in range(6) for i in range(5)
    ]
    train = spark.createDataFrame(rows, ["user_id", "item_id", "features", "label"]).coalesce(1)
    model = FMRegressor(factorSize=2, maxIter=5, **params).fit(train)
    assert model.transform(train).select(F.max(F.abs(F.col("prediction") - 3.3))).first()[0] < 0.5
