"""An id is never taken for another: for ids of any type, predictions of rows do not depend on the rows beside
them.
"""

import datetime
import unicodedata
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from recspark.errors import RecsparkError
from recspark.ids import IdIndex
from recspark.models import ALS, Baseline, FMClassifier, FMRegressor, MatrixFactorization, Popularity

BIG = 2**53
CAFE = "café"
#: Spark's type of ids, ids that train, others that are near them
IDS = {
    "long": ("bigint", [BIG, BIG + 1, 1, -7, 2**63 - 1], [BIG + 2, 0, 2, -(2**63)]),
    "int": ("int", [1, 2, -3, 2**31 - 1], [0, 4, -(2**31)]),
    "decimal": (
        "decimal(20,0)",
        [Decimal(BIG), Decimal(BIG + 1), Decimal(1), Decimal(5)],
        [Decimal(2), Decimal(BIG + 2)],
    ),
    "double": ("double", [1.0, 2.0, float(BIG), -4.0], [3.0, float(BIG - 1), float("nan")]),
    "string": (
        "string",
        ["1", " 1", "1 ", unicodedata.normalize("NFC", CAFE), unicodedata.normalize("NFD", CAFE), "", "NULL"],
        ["01", "1.0", CAFE.upper(), "null", "\t1", "cafe"],
    ),
    "date": (
        "date",
        [datetime.date(2020, 1, day) for day in (1, 2, 3)] + [datetime.date(1, 1, 1)],
        [datetime.date(2020, 2, 1)],
    ),
}
MODELS = {
    "als": lambda: ALS(rank=2, maxIter=2, biases=True, center=True, userCol="user_id", itemCol="item_id"),
    "mf": lambda: MatrixFactorization(rank=2, maxIter=2, userCol="user_id", itemCol="item_id"),
    "baseline": lambda: Baseline(maxIter=2, userCol="user_id", itemCol="item_id"),
    "popularity": lambda: Popularity(userCol="user_id", itemCol="item_id"),
    "fm": lambda: FMRegressor(groups=["user", "item"], factorSize=2, maxIter=4, labelCol="rating"),
    "fm sgd": lambda: FMRegressor(
        groups=["user", "item", "rated"], factorSize=2, maxIter=2, solver="sgd", labelCol="rating"
    ),
    "fm rows": lambda: FMRegressor(
        groups=["user", "item"], factorSize=2, maxIter=2, solver="sgd", order=3, labelCol="rating"
    ),
}


def training_rows(spark, users, items):
    """Each user has rated each item, by another number each: two ids that were mixed up would show."""
    rows = [
        (u, i, float(1 + (3 * a + 5 * b + a * b) % 7))
        for a, u in enumerate(IDS[users][1])
        for b, i in enumerate(IDS[items][1])
    ]
    return frame(spark, users, items, rows).coalesce(1)


def frame(spark, users, items, rows):
    return spark.createDataFrame(rows, f"user_id {IDS[users][0]}, item_id {IDS[items][0]}, rating float")


def predictions(model, df):
    """By the number of the row."""
    return {row.n: row.prediction for row in model.transform(df).select("n", "prediction").collect()}


#: models that look ids up by code of their own, with all kinds of ids; the others with one
LOOK_UPS = [("als", kinds) for kinds in (("long", "string"), ("decimal", "date"), ("double", "int"))]
LOOK_UPS += [("fm", kinds) for kinds in (("long", "string"), ("decimal", "date"))]
LOOK_UPS += [(name, ("long", "string")) for name in ("popularity", "fm sgd", "fm rows")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kinds"), LOOK_UPS)
def test_rows_beside_a_row_do_not_change_its_prediction(spark, name, kinds):
    users, items = kinds
    rows = training_rows(spark, users, items)
    model = MODELS[name]().fit(rows)
    asked = spark.createDataFrame(
        [(n, *row) for n, row in enumerate(rows.collect())],
        f"n int, user_id {IDS[users][0]}, item_id {IDS[items][0]}, rating float",
    )
    alone = predictions(model, asked.coalesce(1))
    assert name == "popularity" or len(set(alone.values())) > 1
    everything = [*IDS[users][1], *IDS[users][2], None], [*IDS[items][1], *IDS[items][2], None]

    @settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(*map(st.sampled_from, everything)), min_size=1, max_size=8), st.integers(1, 5))
    def holds(extra, partitions):
        others = frame(spark, users, items, [(*pair, 1.0) for pair in [*extra, (None, None)]])
        both = asked.unionByName(others.withColumn("n", F.lit(None).cast("int"))).repartition(partitions)
        found = predictions(model, both.where("n is not null or rating = 1"))
        assert {n: found[n] for n in alone} == alone

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["als", "popularity", "fm", "fm sgd", "fm rows"])
def test_a_null_does_not_change_its_neighbours(spark, name):
    model = MODELS[name]().fit(training_rows(spark, "long", "string"))
    rows = [(0, BIG, "1", 1.0), (1, BIG + 1, "1", 1.0), (2, None, "1", 1.0), (3, BIG, None, 1.0)]
    df = spark.createDataFrame(rows, "n int, user_id bigint, item_id string, rating float").coalesce(1)
    together, alone = predictions(model, df), [predictions(model, df.where(f"n = {n}"))[n] for n in range(4)]
    assert [together[n] for n in range(4)] == alone
    assert name == "popularity" or together[0] != together[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["als", "popularity", "fm", "fm sgd"])
def test_ids_of_another_kind_are_refused(spark, name):
    model = MODELS[name]().fit(training_rows(spark, "int", "int"))
    texts = training_rows(spark, "string", "int")
    kinds = "'user_id' holds strings, but the model was trained on ids that are whole numbers"
    with pytest.raises(RecsparkError, match=kinds):
        model.transform(texts)
    with pytest.raises(RecsparkError, match="column user_id holds an id that is not a whole number: 1.5"):
        MODELS[name]().fit(texts.withColumn("user_id", F.lit(1.5)))
    with pytest.raises(Exception, match="holds an id that is not a whole number: 1.5"):
        model.transform(texts.withColumn("user_id", F.lit(1.5))).collect()
    for wrong in (F.lit(True), F.current_timestamp(), F.array("item_id")):
        with pytest.raises(RecsparkError, match="an id must be a whole number, a string or a date"):
            model.transform(texts.withColumn("user_id", wrong))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["als", "fm", "fm sgd"])
def test_watched_rows_have_ids_like_those_that_train(spark, name):
    train = training_rows(spark, "int", "int")
    with pytest.raises(
        RecsparkError, match=r"watch\(validation=...\): column 'user_id' holds strings, but .* whole numbers"
    ):
        MODELS[name]().watch(validation=training_rows(spark, "string", "int")).fit(train)
    model = MODELS[name]().watch(validation=training_rows(spark, "decimal", "int")).fit(train)
    assert model.transform(train).count() == train.count()


@pytest.mark.slow
def test_tables_have_ids_like_those_that_train(spark):
    train = training_rows(spark, "int", "int")
    users = spark.createDataFrame([("1", "x"), ("2", "y")], "user_id string, job string")
    fm = FMRegressor(groups=["user", "item", "users.job"], factorSize=2, maxIter=2, labelCol="rating")
    with pytest.raises(RecsparkError, match=r"tables\(users=...\): column 'user_id' holds strings"):
        fm.tables(users=users).fit(train)
    with_null = spark.createDataFrame(
        [(1, "x"), (BIG, "y"), (BIG + 1, "z"), (None, "x")], "user_id bigint, job string"
    )
    assert fm.tables(users=with_null).fit(train)._stored("users").count_rows() == len(IDS["int"][1]) + 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["als", "fm", "fm sgd"])
def test_a_missing_id_does_not_train(spark, name):
    train = training_rows(spark, "long", "int")
    with pytest.raises(RecsparkError, match="null"):
        MODELS[name]().fit(train.union(spark.createDataFrame([(None, 1, 2.0)], train.schema)))


@pytest.mark.parametrize("types", [("decimal", "date"), ("string", "long")])
def test_lists_answer_in_the_ids_of_the_user(spark, types):
    users, items = types
    model = MODELS["als"]().fit(training_rows(spark, users, items))
    kind = {"decimal": "bigint", "string": "string"}[users]
    rows = model.recommendForAllUsers(20).collect()
    assert dict(model.recommendForAllUsers(1).dtypes)["user_id"] == kind
    assert {row.user_id for row in rows} == set(IDS[users][1])
    assert {entry.item_id for row in rows for entry in row.recommendations} == set(IDS[items][1])
    some = spark.createDataFrame([(IDS[users][1][0],), (None,)], f"user_id {IDS[users][0]}")
    assert [row.user_id for row in model.recommendForUserSubset(some, 2).collect()] == IDS[users][1][:1]


@pytest.mark.slow
def test_similar_items_take_ids_as_people_have_them(spark):
    model = MODELS["als"]().fit(training_rows(spark, "string", "int"))
    known = IDS["int"][1]
    for ids in (
        known[:2],
        np.array(known[:2]),
        [np.int64(id) for id in known[:2]],
        [float(id) for id in known[:2]],
        [*known[:2], 2**40],
    ):
        assert {row.item_id for row in model.similarItems(ids, 2).collect()} == set(known[:2])
    with pytest.raises(
        RecsparkError, match="holds strings, but the model was trained on ids that are whole numbers"
    ):
        model.similarItems(["1"], 2)
    with pytest.raises(
        RecsparkError, match="holds whole numbers, but the model was trained on ids that are strings"
    ):
        model.similarUsers([1], 2)
    for wrong in (known[0], [1.5], [1, "1"]):
        with pytest.raises(RecsparkError):
            model.similarItems(wrong, 2)
    with pytest.raises(RecsparkError, match="'ab' is not a list of ids"):
        model.similarUsers("ab", 2)
    with pytest.raises(RecsparkError, match="not a whole number: 1.5"):
        model.recommendForAllUsers(2, candidates=spark.createDataFrame([(1.5,)], "item_id double"))


@pytest.mark.slow
def test_a_classifier_refuses_as_well(spark):
    rows = training_rows(spark, "int", "int").withColumn("label", (F.col("rating") > 3).cast("double"))
    model = FMClassifier(groups=["user", "item"], factorSize=2, maxIter=3).fit(rows)
    with pytest.raises(RecsparkError, match="trained on ids that are whole numbers"):
        model.transform(rows.withColumn("item_id", F.col("item_id").cast("string")))


@pytest.mark.parametrize("name", IDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_index_finds_each_id_and_nothing_else(name, data):
    arrow = {"int": pa.int32(), "string": pa.string(), "date": pa.date32()}.get(name, pa.int64())
    plain = {"decimal": int, "double": int}.get(name, lambda id: id)
    known = [plain(id) for id in IDS[name][1]]
    others = [plain(id) for id in IDS[name][2] if id == id]
    asked = data.draw(st.lists(st.sampled_from([*known, *others, None]), max_size=12))
    found = IdIndex(pa.array(known, arrow)).positions(pa.array(asked, arrow), unknown=-2, null=-1)
    assert found.tolist() == [-1 if id is None else known.index(id) if id in known else -2 for id in asked]


def test_an_index_reads_what_pandas_makes_of_ids():
    index = IdIndex(pa.array([BIG, BIG + 1, 3]))
    assert index.positions(np.array([3.0, np.nan])).tolist() == [2, -1]
    assert index.positions(np.array([BIG + 1, None, 3], object)).tolist() == [1, -1, 2]
    assert index.positions(pa.array([2**64 - 1, 3], pa.uint64())).tolist() == [-1, 2]
    for bad in (np.array([1.5]), np.array([float(BIG) + 2]), pa.array(["3"])):
        with pytest.raises(RecsparkError):
            index.positions(bad)
