"""The life of a model, index -> fit -> save -> load -> update -> recommend, for any small table of ratings
and ids of any type.

What must hold: no NaN anywhere; every user gets all items that it has not rated and none that it has, in the
order of their ratings; and all of it the same when the rows come in another order and in other partitions.
"""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recspark.data.index import build_index
from recspark.models import ALS, MatrixFactorization
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.models.serving.scorer import Scorer

IDS = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=4),
}
#: with what they fit: implicit feedback is above 0
ESTIMATORS = {
    "als": (ALS, {}),
    "biased als": (ALS, {"biases": True, "center": True}),
    "implicit als": (ALS, {"implicitPrefs": True, "alpha": 5.0}),
    "sgd": (MatrixFactorization, {"stepSize": 0.05}),
    "sigmoid": (MatrixFactorization, {"kernel": "sigmoid", "clip": True}),
}


@st.composite
def lives(draw, names):
    """(one of the estimators `names`, ratings that train, ratings that come later): tables user_id, item_id,
    rating, ids of some type.
    """
    name = draw(st.sampled_from(names))
    kinds = [draw(st.sampled_from(sorted(IDS, key=str))) for _ in range(2)]
    users, items = (draw(st.lists(IDS[kind], min_size=1, max_size=6, unique=True)) for kind in kinds)
    cells = st.lists(
        st.tuples(st.sampled_from(users), st.sampled_from(items)), min_size=1, max_size=15, unique=True
    )
    low = 0.5 if name == "implicit als" else -5
    schema = pa.schema(list(zip(("user_id", "item_id", "rating"), (*kinds, pa.float32()), strict=True)))

    def table():
        pairs = draw(cells)
        ratings = draw(st.lists(st.floats(low, 5, width=32), min_size=len(pairs), max_size=len(pairs)))
        columns = (*zip(*pairs, strict=True), ratings)
        return pa.table(
            [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema
        )

    return name, table(), table()


def lived(spark, folder, life, order, partitions):
    """{user: [(item, rating), ...]} after all of it, rows in the order of a seed."""
    name, train, batch = life
    draw = np.random.default_rng(order)
    train, batch = (table.take(pa.array(draw.permutation(len(table)))) for table in (train, batch))
    ratings = spark.createDataFrame(train).repartition(partitions)
    estimator, options = ESTIMATORS[name]
    columns = {"userCol": "user_id", "itemCol": "item_id"}
    estimator(rank=2, maxIter=3, userBlocks=1, **columns, **options).fit(ratings).write().overwrite().save(
        folder
    )
    folded, _ = fold_in(FactorTables.read(folder), batch, [train])
    folded.write(folder)
    model = estimator.model_class.load(folder)
    seen = ratings.unionByName(spark.createDataFrame(batch)).drop("rating")
    rows = model.recommendForAllUsers(50, seen=seen).collect()
    return {row.user_id: [tuple(entry) for entry in row.recommendations] for row in rows}


def check(spark, folder, life):
    _, train, batch = life
    rated = {
        pair
        for table in (train, batch)
        for pair in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True)
    }
    users, items = ({pair[place] for pair in rated} for place in range(2))
    lists = lived(spark, folder, life, 1, 1)
    assert {user: {item for item, _ in entries} for user, entries in lists.items()} == {
        user: {item for item in items if (user, item) not in rated} for user in users
    }
    for entries in lists.values():
        ratings = np.array([rating for _, rating in entries])
        assert np.isfinite(ratings).all() and (np.diff(ratings) <= 0).all()
    scorer = Scorer.load(folder)
    assert all(
        np.isfinite(array).all()
        for side in (scorer.users, scorer.items)
        for array in (side.factors, side.deviation)
    )
    n_users, n_items = len(scorer.users.ids), len(scorer.items.ids)
    assert np.isfinite(
        scorer.predict(scorer.users.ids.repeat(n_items), np.tile(scorer.items.ids, n_users))
    ).all()
    again = lived(spark, folder, life, 2, 3)
    assert again.keys() == lists.keys()
    for user, entries in lists.items():
        assert dict(again[user]) == pytest.approx(dict(entries), rel=1e-3, abs=1e-3)


def check_index(spark, life):
    train = life[1]
    for column in ("user_id", "item_id"):
        index = build_index(spark.createDataFrame(train), column).toPandas().sort_values("position")
        assert index["id"].tolist() == sorted(
            set(train[column].to_pylist()), key=lambda id: id.encode() if isinstance(id, str) else id
        )
        assert index["position"].tolist() == list(range(len(index))) and index["count"].sum() == len(train)


QUIET = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["biased als", "sgd"])
@given(data=st.data())
@settings(max_examples=2, **QUIET)
def test_a_model_lives(spark, tmp_path, name, data):
    check(spark, str(tmp_path / "model"), data.draw(lives([name])))


@pytest.mark.long
@given(lives(sorted(ESTIMATORS)))
@settings(max_examples=30, **QUIET)
def test_any_model_lives(spark, tmp_path, life):
    check_index(spark, life)
    check(spark, str(tmp_path / "model"), life)
