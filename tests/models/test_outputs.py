"""Columns that models read and add, all kinds of models alike: nothing of the user's is overwritten, lost or
taken for something else.
"""

import numpy as np
import pytest
from pyspark.errors import IllegalArgumentException
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from recspark.errors import RecsparkError
from recspark.models import (
    ALS,
    Baseline,
    FMClassifier,
    FMRanker,
    FMRegressor,
    MatrixFactorization,
    Popularity,
)
from recspark.models.blend import BlendModel, Weights

KINDS = [
    "als",
    "mf",
    "baseline",
    "popularity",
    "groups",
    "rows",
    "classifier",
    "ranker",
    "vectors",
    "classifier of vectors",
    "blend",
]
#: names that are used inside somewhere, or once were
OWN = [
    "_probability",
    "_predicted",
    "_prediction",
    "predicted",
    "recspark_row",
    "_level",
    "_history",
    "_first_day",
    "_context",
    "_row",
    "level",
]


@pytest.fixture(scope="module")
def rows(spark):
    """(user_id, item_id, rating, timestamp, label, features): 10 users, 8 items."""
    draw = np.random.default_rng(0)
    found = [
        (
            u,
            i,
            float(draw.integers(1, 6)),
            1_000_000 + 1000 * int(draw.integers(500)),
            float((u + i) % 2),
            Vectors.dense([u, i, 1.0]),
        )
        for u in range(10)
        for i in range(8)
        if draw.random() < 0.7
    ]
    names = "user_id bigint, item_id bigint, rating double, timestamp bigint, label double"
    frame = spark.createDataFrame(found, [*(part.split()[0] for part in names.split(", ")), "features"])
    return frame.coalesce(1).cache()


@pytest.fixture(scope="module")
def models(rows):
    """A fitted model of each kind."""
    ids = {"userCol": "user_id", "itemCol": "item_id"}
    fm = {"factorSize": 2, "maxIter": 3, "labelCol": "rating"}
    found = {
        "als": ALS(rank=2, maxIter=1, **ids).fit(rows),
        "mf": MatrixFactorization(rank=2, maxIter=1, **ids).fit(rows),
        "baseline": Baseline(maxIter=1, **ids).fit(rows),
        "popularity": Popularity(**ids).fit(rows),
        "groups": FMRegressor(groups=["user", "item", "day"], **fm).fit(rows),
        "rows": FMRegressor(
            groups=["user", "item", {"group": "rated", "scope": "past"}], solver="sgd", **fm
        ).fit(rows),
        "classifier": FMClassifier(groups=["user", "item"], **fm | {"labelCol": "label"}).fit(rows),
        "ranker": FMRanker(groups=["user", "item"], **fm).fit(rows),
        "vectors": FMRegressor(**fm).fit(rows),
        "classifier of vectors": FMClassifier(**fm | {"labelCol": "label"}).fit(rows),
    }
    return found | {
        "blend": BlendModel(
            {name: found[name] for name in ("als", "classifier")}, Weights(0.5, (0.25, 0.75), 0.0, 0.0)
        )
    }


def outputs(model):
    """The Params of the columns that a model adds: a model of vectors has more from its estimator, but does
    not read them.
    """
    names = ("predictionCol", "probabilityCol", "rawPredictionCol", "stdevCol", "levelsCol")
    return {name: model.getParam(name) for name in names if name in type(model).hyperparameters()}


def predictions(frame, name="prediction"):
    return [
        row[0] for row in frame.orderBy("user_id", "item_id").select(f"`{name.replace('`', '``')}`").collect()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_refused(models, rows, kind):
    for name, param in outputs(models[kind]).items():
        for taken in ("rating", "user_id", "RATING"):
            with pytest.raises(IllegalArgumentException, match=f"column '{taken}' already exists") as caught:
                models[kind].transform(rows, {param: taken})
            assert isinstance(caught.value, RecsparkError), name


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_name_is_no_column(models, rows, kind):
    hidden = dict.fromkeys(outputs(models[kind]).values(), "")
    assert models[kind].transform(rows, hidden).columns == rows.columns


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_columns_of_any_kind(models, rows, kind):
    """A frame with all names that are used inside, and outputs with dots and backticks: the same predictions,
    all columns as before.
    """
    model = models[kind]
    more = rows.withColumns(
        {name: F.lit(number) for number, name in enumerate(OWN)} | {"a.b": F.lit("x"), "a`b": F.lit("y")}
    )
    named = {param: f"{name}.`x" for name, param in outputs(model).items()}
    found = model.transform(more, named)
    assert found.columns[: len(more.columns)] == more.columns
    assert sorted(found.columns[len(more.columns) :]) == sorted(named.values())
    assert predictions(found, "predictionCol.`x") == pytest.approx(predictions(model.transform(rows)))
    assert found.select(*OWN, "`a.b`").distinct().collect() == [(*range(len(OWN)), "x")]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("blend",)])
def test_names_in_another_case(models, rows, kind, spark):
    capitals = rows.toDF(*(name.upper() for name in rows.columns))
    found = models[kind].transform(capitals)
    assert found.columns[: len(rows.columns)] == capitals.columns
    assert predictions(found) == pytest.approx(predictions(models[kind].transform(rows)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["als", "mf", "baseline", "popularity"])
def test_inputs_of_any_name(models, rows, kind, spark):
    model, names = models[kind], {"user_id": "u.x", "item_id": "i`x", "rating": "r.`x"}
    odd = rows.select(*(F.col(old).alias(new) for old, new in names.items()))
    estimator = model.parent.setUserCol("u.x").setItemCol("i`x").setRatingCol("r.`x")
    again = estimator.fit(odd)
    expected = predictions(model.transform(rows))
    found = again.transform(odd, {again.coldStartStrategy: "drop"}).withColumnsRenamed(
        {new: old for old, new in names.items()}
    )
    assert predictions(found) == pytest.approx(expected, rel=1e-5)
    lists = again.recommendForAllUsers(2)
    assert lists.columns == ["u.x", "recommendations"] and lists.count() == 10
    assert again.recommendForUserSubset(odd, 2, seen=odd).count() == 10


def test_vectors_of_any_name(models, rows):
    odd = rows.select(F.col("features").alias("f.`x"), F.col("rating").alias("l.`x"), F.lit(1.0).alias("w.x"))
    model = FMRegressor(featuresCol="f.`x", labelCol="l.`x", weightCol="w.x", factorSize=2, maxIter=3).fit(
        odd
    )
    expected = models["vectors"].transform(rows)
    assert [row[-1] for row in model.transform(odd).collect()] == pytest.approx(
        [row[-1] for row in expected.collect()]
    )


def test_case_may_matter(models, rows, spark):
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        both = rows.withColumn("USER_ID", F.lit(-1).cast("bigint"))
        assert predictions(models["als"].transform(both)) == pytest.approx(
            predictions(models["als"].transform(rows))
        )
        with pytest.raises(RecsparkError, match="'user_id' is not in the data"):
            models["als"].transform(both.drop("user_id"))
    finally:
        spark.conf.unset("spark.sql.caseSensitive")


@pytest.mark.parametrize(
    ("name", "value"), [("userCol", "recommendations"), ("userCol", "cold"), ("itemCol", "rating")]
)
def test_lists_whose_columns_would_be_called_alike(models, name, value):
    with pytest.raises(RecsparkError, match=f"'{value}' already exists"):
        models["als"].copy({models["als"].getParam(name): value}).recommendForAllUsers(2)


def test_a_blend_leaves_nothing_of_its_models(models, rows):
    assert models["blend"].transform(rows).columns == [*rows.columns, "prediction"]
