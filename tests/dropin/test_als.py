"""ALS and its model: ids, columns, cold ids, lists, and the factors as other estimators read them."""

import numpy as np
import pytest
from pyspark.errors import IllegalArgumentException
from pyspark.ml.clustering import KMeans
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.sql import functions as F

from recspark import models
from tests.dropin.conftest import MLLIB


def test_it_fits(library, als, ratings):
    evaluator = RegressionEvaluator(labelCol="rating")
    assert evaluator.evaluate(als.transform(ratings)) < 0.1
    assert als.rank == 2 and als.userFactors.count() == 12 and als.itemFactors.count() == 9


def test_predictions_are_products_of_factors(als, ratings):
    users, items = (
        {row.id: row.features for row in each.collect()} for each in (als.userFactors, als.itemFactors)
    )
    rows = als.transform(ratings).collect()
    expected = [np.dot(users[row.user], items[row.item]) for row in rows]
    np.testing.assert_allclose([row.prediction for row in rows], expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["byte", "short", "int", "bigint", "float", "double", "decimal(10,0)"])
def test_ids_of_every_numeric_type(als, ratings, kind):
    known = als.transform(ratings).orderBy("user", "item").toPandas().prediction
    cast = ratings.withColumns({name: F.col(name).cast(kind) for name in ("user", "item")})
    np.testing.assert_allclose(
        als.transform(cast).orderBy("user", "item").toPandas().prediction, known, rtol=1e-6
    )


def test_ids_and_ratings_that_are_refused(library, als, ratings):
    estimator = library.ALS(rank=1, maxIter=1, numUserBlocks=1, numItemBlocks=1)
    for name in ("user", "rating"):
        with pytest.raises(IllegalArgumentException):
            estimator.fit(ratings.withColumn(name, F.col(name).cast("boolean")))
        with pytest.raises(IllegalArgumentException):
            estimator.fit(ratings.drop(name))
    with pytest.raises(IllegalArgumentException):
        estimator.fit(ratings.withColumn("rating", F.col("rating").cast("string")))
    with pytest.raises(IllegalArgumentException):
        als.transform(ratings.withColumn("user", F.col("user").cast("string")))
    with pytest.raises(IllegalArgumentException):
        als.transform(ratings.drop("item"))


@pytest.mark.parametrize("column", ["user", "rating"])
def test_nulls_are_not_trained_on(library, ratings, column):
    from pyspark.errors import SparkRuntimeException

    from recspark.errors import RecsparkError

    gone = ratings.withColumn(column, F.when(F.col("user") > 2, F.col(column)))
    with pytest.raises(SparkRuntimeException if library.name == "mllib" else RecsparkError):
        library.ALS(rank=1, maxIter=1, numUserBlocks=1, numItemBlocks=1).fit(gone)


def test_cold_ids(als, spark):
    rows = spark.createDataFrame([(99, 1), (1, 99), (1, 2)], "user int, item int")
    found = als.transform(rows, {als.coldStartStrategy: "nan"}).collect()
    assert [np.isnan(row.prediction) for row in found] == [True, True, False]
    assert als.transform(rows, {als.coldStartStrategy: "drop"}).collect() == found[2:]


def test_schemas(als, ratings):
    assert _types(als.transform(ratings)) == {
        "user": ("integer", True),
        "item": ("integer", True),
        "rating": ("double", True),
        "prediction": ("float", False),
    }
    for factors in (als.userFactors, als.itemFactors):
        assert factors.columns == ["id", "features"]
        (id, features) = factors.schema.fields
        assert (id.dataType.simpleString(), id.nullable, features.nullable) == ("int", False, True)
        assert (features.dataType.simpleString(), features.dataType.containsNull) == ("array<float>", False)
    for lists, of, ranked in (
        (als.recommendForAllUsers(3), "user", "item"),
        (als.recommendForAllItems(3), "item", "user"),
        (als.recommendForUserSubset(ratings, 3), "user", "item"),
        (als.recommendForItemSubset(ratings, 3), "item", "user"),
    ):
        assert (
            lists.schema.simpleString()
            == f"struct<{of}:int,recommendations:array<struct<{ranked}:int,rating:float>>>"
        )
        assert [field.nullable for field in lists.schema] == [False, True]
        assert lists.schema["recommendations"].dataType.containsNull


def _types(frame):
    return {field.name: (field.dataType.typeName(), field.nullable) for field in frame.schema}


def test_other_estimators_take_the_factors(als):
    assert len(KMeans(k=2, seed=1).fit(als.itemFactors).clusterCenters()) == 2


def test_lists_are_the_best_scores(als):
    users, items = (
        {row.id: row.features for row in each.collect()} for each in (als.userFactors, als.itemFactors)
    )
    for row in als.recommendForAllUsers(4).collect():
        scores = sorted((np.dot(users[row.user], factors) for factors in items.values()), reverse=True)[:4]
        np.testing.assert_allclose([each.rating for each in row.recommendations], scores, rtol=1e-4)
    assert all(len(row.recommendations) == 12 for row in als.recommendForAllItems(1000).collect())


def test_lists_of_some(als, spark):
    asked = spark.createDataFrame([(1,), (1,), (99,), (None,)], "user int")
    [row] = als.recommendForUserSubset(asked, 2).collect()
    assert row.user == 1 and len(row.recommendations) == 2
    renamed = als.copy({als.userCol: "u", als.itemCol: "i"})
    [row] = renamed.recommendForUserSubset(asked.toDF("u"), 1).collect()
    assert row.u == 1 and row.recommendations[0].i in range(9)


def test_no_iteration_leaves_the_start(library, ratings):
    model = library.ALS(rank=3, maxIter=0, seed=5).setNumBlocks(1).fit(ratings)
    features = np.array([row.features for row in model.itemFactors.collect()])
    assert features.shape == (9, 3) and np.isfinite(features).all()
    if library.name == "recspark":
        assert model.summary.history == [] and model.transform(ratings).count() == ratings.count()


def test_a_pair_may_come_twice(library, ratings):
    twice = ratings.union(ratings)
    once, model = (
        library.ALS(rank=1, maxIter=6, regParam=0.0, seed=1).setNumBlocks(1).fit(rows)
        for rows in (ratings, twice)
    )
    np.testing.assert_allclose(
        *([row.prediction for row in each.transform(ratings).collect()] for each in (once, model)), atol=1e-2
    )


def test_implicit_and_nonnegative(library, ratings):
    counts = ratings.withColumn("rating", F.floor(F.abs("rating")))
    model = (
        library.ALS(rank=2, maxIter=3, implicitPrefs=True, alpha=5.0, nonnegative=True, seed=1)
        .setNumBlocks(1)
        .fit(counts)
    )
    assert min(min(row.features) for row in model.userFactors.collect()) >= 0
    assert model.transform(counts).agg(F.avg("prediction")).first()[0] > 0.4


def test_both_reach_the_same_error(ratings):
    """Rank 1 without a penalty has one best fit."""
    rmse = [
        RegressionEvaluator(labelCol="rating").evaluate(
            cls(rank=1, maxIter=8, regParam=1e-6, seed=1).setNumBlocks(1).fit(ratings).transform(ratings)
        )
        for cls in (MLLIB["ALS"], models.ALS)
    ]
    assert rmse[0] == pytest.approx(rmse[1], rel=1e-3)
