"""Lists on Spark against the slow twin; MLlib's result schema; cold users; layouts and row order that must
not matter.
"""

import doctest
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.ml.recommendation import ALS as MLlibALS
from pyspark.sql import functions as F

from recspark.errors import RecsparkError
from recspark.ids import TEXT, WHOLE
from recspark.models.factors import lists as lists_module
from recspark.models.factors import recommend as recommend_module
from recspark.models.factors.lists import Question
from recspark.models.factors.model import FactorModel
from recspark.models.files import ModelFiles
from recspark.models.folder import FactorFacts, write_facts
from recspark.models.serving.response import Response
from recspark.models.serving.scorer import StoredScorer
from tests import reference

N_USERS, N_ITEMS, RANK = 23, 17, 3


def model_of(spark, folder, users, items, mean=0.0, clip=None, biased=True, response=None, text=False):
    """A model with the given (ids, factors, biases) a side."""
    folder = f"{folder}/{uuid.uuid4().hex}"
    for side, (ids, factors, biases) in (("users", users), ("items", items)):
        table = pd.DataFrame(
            {
                "id": ids,
                "count": 1,
                "features": list(factors),
                "bias": biases * float(biased),
                "deviation": biases,
            }
        )
        kind = "string" if text else "int"
        spark.createDataFrame(table).select(
            F.col("id").cast(kind),
            F.col("count").cast("bigint"),
            F.col("features").cast("array<float>"),
            F.col("bias").cast("float"),
            F.col("deviation").cast("float"),
        ).coalesce(1).write.parquet(f"{folder}/{side}")
    kinds = dict.fromkeys(("users", "items"), TEXT if text else WHOLE)
    facts = FactorFacts(
        kind="als",
        can=("lists",),
        rank=len(items[1][0]),
        mean=mean,
        level=3.0,
        biased=biased,
        clip=clip,
        id_kinds=kinds,
        response=response or Response(),
    )
    write_facts(folder, facts)
    return FactorModel(folder=folder, userCol="user", itemCol="item")


def sides(seed=0, text=False):
    """Small whole factors: scores are exact, and ties are many."""
    rng = np.random.default_rng(seed)
    for count, first in ((N_USERS, 100), (N_ITEMS, 500)):
        ids = np.arange(first, first + 2 * count, 2)
        yield (
            [f"id-{id}" for id in ids] if text else ids,
            rng.integers(-2, 3, (count, RANK)).astype(np.float32),
            rng.integers(-2, 3, count).astype(np.float32),
        )


@pytest.fixture(scope="module")
def tables():
    return list(sides())


@pytest.fixture(scope="module")
def model(spark, tmp_path_factory, tables):
    return model_of(spark, tmp_path_factory.mktemp("model"), *tables, mean=3.5)


@pytest.fixture(scope="module")
def seen_pairs(tables):
    rng = np.random.default_rng(1)
    cells = rng.choice(N_USERS * N_ITEMS, 120, replace=False)
    pairs = {(int(tables[0][0][cell // N_ITEMS]), int(tables[1][0][cell % N_ITEMS])) for cell in cells}
    # one user has seen everything
    return pairs | {(int(tables[0][0][4]), int(item)) for item in tables[1][0]}


@pytest.fixture(scope="module")
def seen(spark, seen_pairs):
    unknown = [(100, 9999), (9999, 500), (None, 500), (100, None)]
    return spark.createDataFrame([*sorted(seen_pairs), *unknown], "user int, item int").repartition(3)


def expected(dst, src, n, seen=(), allowed=None, mean=3.5):
    """The twin's lists by id: {dst: [(src, rating)]}."""
    places = {id: place for place, id in enumerate(src[0])}
    hidden = [[places[b] for a, b in seen if a == id and b in places] for id in dst[0]]
    if allowed is not None:
        hidden = [[*row, *(place for id, place in places.items() if id not in allowed)] for row in hidden]
    found = reference.best_items(dst[1], src[1], src[2], n, hidden)
    return {
        id: [(src[0][item], mean + own + score) for item, score in row]
        for id, own, row in zip(dst[0], dst[2], found, strict=True)
    }


def collected(df, array="recommendations"):
    rows = df.collect()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: [tuple(entry) for entry in row[array]] for row in rows}


@pytest.mark.parametrize("n", [1, 5, 40])
def test_all_users_without_seen_is_a_full_sort(model, tables, n):
    assert collected(model.recommendForAllUsers(n)) == expected(*tables, n)


def test_seen_items_are_left_out(model, tables, seen, seen_pairs):
    found = collected(model.recommendForAllUsers(5, seen=seen))
    assert found == expected(*tables, 5, seen_pairs)
    assert found[108] == []


@pytest.mark.slow
def test_seen_items_by_the_path_of_their_files(spark, model, tables, seen, seen_pairs, tmp_path):
    """Several files with several row groups, nulls among the rows, columns in another order beside one
    more.
    """
    with_nulls = seen.unionAll(spark.createDataFrame([(None, 500), (100, None)], "user int, item int"))
    frame = with_nulls.select(F.lit("x").alias("other"), "item", "user")
    places = [str(tmp_path / "one"), f"file://{tmp_path / 'two'}"]
    frame.filter("user is null or user % 4 = 0").coalesce(1).write.option("parquet.block.size", 64).parquet(
        places[0]
    )
    frame.filter("user % 4 != 0").repartition(3).write.parquet(places[1])
    assert collected(model.recommendForAllUsers(5, seen=places)) == expected(*tables, 5, seen_pairs)
    asked = spark.createDataFrame([(100,), (7,)], "user int")
    rows = model.recommendForUserSubset(asked, 5, seen=places, fallback=True).collect()
    assert {row.user: row.cold for row in rows} == {100: False, 7: True}
    with pytest.raises(RecsparkError, match="can't be read as Parquet"):
        model.recommendForAllUsers(5, seen=str(tmp_path / "nowhere"))
    frame.withColumn("user", F.col("user").cast("string")).write.parquet(str(tmp_path / "text"))
    with pytest.raises(RecsparkError, match="column 'user' holds strings"):
        model.recommendForAllUsers(5, seen=str(tmp_path / "text"))


def test_all_items_get_users(model, tables, seen, seen_pairs):
    users, items = tables
    assert collected(model.recommendForAllItems(4)) == expected(items, users, 4)
    turned = {(item, user) for user, item in seen_pairs}
    assert collected(model.recommendForAllItems(4, seen=seen)) == expected(items, users, 4, turned)


def test_subsets_drop_unknown_ids_and_duplicates(spark, model, tables, seen, seen_pairs):
    users, items = tables
    asked = spark.createDataFrame([(100,), (100,), (142,), (7,), (None,)], "user int")
    every = expected(users, items, 5, seen_pairs)
    assert collected(model.recommendForUserSubset(asked, 5, seen=seen)) == {
        user: every[user] for user in (100, 142)
    }
    asked = spark.createDataFrame([(502,), (7,)], "item bigint")
    assert collected(model.recommendForItemSubset(asked, 3)) == {502: expected(items, users, 3)[502]}


@pytest.mark.slow
def test_candidates_and_blocked(spark, model, tables, seen, seen_pairs):
    candidates = spark.createDataFrame([(500,), (506,), (508,), (510,), (9999,), (None,)], "item int")
    blocked = spark.createDataFrame([(506,), (530,)], "item int")
    found = collected(model.recommendForAllUsers(3, seen=seen, candidates=candidates, blocked=blocked))
    assert found == expected(*tables, 3, seen_pairs, {500, 508, 510})
    found = collected(model.recommendForAllUsers(3, blocked=blocked))
    assert found == expected(*tables, 3, (), set(tables[1][0]) - {506, 530})
    assert set(
        map(
            len,
            collected(model.recommendForAllUsers(3, candidates=candidates.filter("item > 9000"))).values(),
        )
    ) == {0}


@pytest.mark.parametrize(("lists", "blocks"), [(20_000, 2), (5, 6), (1, N_USERS + 1)])
def test_same_lists_for_any_number_of_blocks_and_order_of_rows(
    model, tables, seen, seen_pairs, lists, blocks, monkeypatch
):
    monkeypatch.setattr(recommend_module, "BLOCK_LISTS", lists)
    assert model._question("users", "items", 5, False).blocks == blocks
    shuffled = seen.orderBy(F.rand(blocks)).repartition(blocks)
    assert collected(model.recommendForAllUsers(5, seen=shuffled)) == expected(*tables, 5, seen_pairs)


def test_a_worker_takes_blocks_in_any_pieces(model, tables, seen, seen_pairs, monkeypatch):
    # the worker's functions without Spark, on small chunks and batches
    monkeypatch.setattr(lists_module, "CHUNK_ROWS", 10)
    monkeypatch.setattr(lists_module, "BATCH_ENTRIES", 12)
    question = model._question("users", "items", 5, False)
    ids = seen.select(F.col("user").alias("dst"), F.col("item").alias("src")).dropna().toArrow()
    pieces = list(question.scatter(ids.to_batches(max_chunksize=7)))
    assert len(pieces) > 5
    batches = list(question.lists(iter(pieces[::-1])))
    assert max(batch.num_rows for batch in batches) <= 2
    rows = [row for batch in batches for row in batch.to_pylist()]
    found = {row["user"]: [tuple(entry.values()) for entry in row["recommendations"]] for row in rows}
    assert found == expected(*tables, 5, seen_pairs)


def test_ids_of_strings(spark, tmp_path):
    tables = list(sides(text=True))
    model = model_of(spark, tmp_path, *tables, mean=3.5, text=True)
    pairs = {(tables[0][0][u], tables[1][0][i]) for u, i in ((0, 1), (0, 2), (3, 3))}
    seen = spark.createDataFrame(sorted(pairs), "user string, item string")
    assert collected(model.recommendForAllUsers(6, seen=seen)) == expected(*tables, 6, pairs)
    with pytest.raises(
        RecsparkError, match="holds whole numbers, but the model was trained on ids that are strings"
    ):
        model.recommendForUserSubset(spark.createDataFrame([(1,)], "user int"), 3)
    asked = spark.createDataFrame([("id-100",), ("new",)], "user string")
    rows = {row.user: row for row in model.recommendForUserSubset(asked, 3, fallback=True).collect()}
    assert not rows["id-100"].cold and rows["new"].cold


@pytest.mark.slow
def test_cold_users_get_the_largest_biases_that_they_have_not_seen(spark, model, tables):
    asked = spark.createDataFrame([(100,), (1,), (2,), (1,)], "user int")
    seen = spark.createDataFrame([(1, 500), (1, 9999), (2, 514), (100, 500)], "user int, item int")
    blocked = spark.createDataFrame([(502,)], "item int")
    rows = {
        row.user: row
        for row in model.recommendForUserSubset(asked, 4, seen=seen, blocked=blocked, fallback=True).collect()
    }
    ids, _, biases = tables[1]
    for user, hidden in ((1, {500, 502}), (2, {514, 502})):
        ranked = sorted((-bias, id) for id, bias in zip(ids, biases, strict=True) if id not in hidden)[:4]
        assert rows[user].cold
        assert [tuple(entry) for entry in rows[user].recommendations] == [
            (id, 3.0 - bias) for bias, id in ranked
        ]
    assert not rows[100].cold and len(rows) == 3
    without = model.recommendForUserSubset(asked, 4, fallback=True).filter("cold").collect()
    assert [len(row.recommendations) for row in without] == [4, 4]


def test_ratings_are_those_of_transform(spark, tmp_path):
    rng = np.random.default_rng(5)
    ids, factors = np.arange(30), rng.standard_normal((2, 30, 8)).astype(np.float32)
    biases = rng.standard_normal((2, 30)).astype(np.float32)
    both = [(ids, factors[side], biases[side]) for side in range(2)]
    variants = [
        {"clip": [1.0, 5.0], "mean": 3.5},
        {"biased": False},
        {"response": {"kernel": "sigmoid", "low": 1.0, "high": 5.0, "gamma": 1.0}, "mean": 0.3},
        {"response": {"kernel": "rbf", "low": 1.0, "high": 5.0, "gamma": 0.1}},
    ]
    for variant in variants:
        model = model_of(spark, tmp_path, *both, **variant)
        lists = model.recommendForAllUsers(30).toPandas().set_index("user")["recommendations"]
        predicted = model.scorer.predict(np.repeat(ids, 30), np.tile(ids, 30)).reshape(30, 30)
        for user in ids:
            items, ratings = (
                [entry["item"] for entry in lists[user]],
                [entry["rating"] for entry in lists[user]],
            )
            assert sorted(items) == ids.tolist()
            np.testing.assert_allclose(ratings, predicted[user, items], rtol=2e-5, atol=2e-5)
            assert (np.diff(ratings) <= 1e-5).all(), variant


def test_similar_items_by_cosine(spark, model, tables):
    ids, factors, _ = tables[1]
    lengths = np.linalg.norm(factors.astype(np.float64), axis=1)
    assert (lengths > 0).all()
    cosine = factors.astype(np.float64) @ factors.T / np.outer(lengths, lengths)
    found = collected(model.similarItems(None, 5), "similar")
    assert found.keys() == set(ids)
    for place, id in enumerate(ids):
        assert id not in dict(found[id])
        best = np.sort(np.delete(cosine[place], place))[::-1][:5]
        np.testing.assert_allclose([similarity for _, similarity in found[id]], best, atol=1e-6)
    assert collected(model.similarItems([502, 7], 5), "similar") == {502: found[502]}
    assert collected(model.similarItems(spark.createDataFrame([(502,)], "item int"), 5), "similar") == {
        502: found[502]
    }
    assert model.similarItems([502], 5).columns == ["item", "similar"]


def test_a_row_without_direction_is_like_none(spark, tmp_path):
    ids, factors = np.arange(4), np.array([[1, 0], [0, 0], [2, 0], [-1, 0]], np.float32)
    model = model_of(spark, tmp_path, (ids, factors, np.zeros(4)), (ids, factors, np.zeros(4)))
    found = collected(model.similarUsers(None, 5), "similar")
    assert found == {0: [(2, 1.0), (3, -1.0)], 1: [], 2: [(0, 1.0), (3, -1.0)], 3: [(0, -1.0), (2, -1.0)]}


def test_schema_is_mllib_s(spark, model):
    ratings = spark.createDataFrame(
        [(1, 1, 3.0), (1, 2, 4.0), (2, 2, 5.0)], "user int, item int, rating float"
    )
    theirs = MLlibALS(rank=2, maxIter=1, seed=1).fit(ratings)
    pairs = [
        (theirs.recommendForAllUsers(2), model.recommendForAllUsers(2)),
        (theirs.recommendForAllItems(2), model.recommendForAllItems(2)),
        (theirs.recommendForUserSubset(ratings, 2), model.recommendForUserSubset(ratings, 2)),
        (theirs.recommendForItemSubset(ratings, 2), model.recommendForItemSubset(ratings, 2)),
    ]
    for one, other in pairs:
        assert other.schema == one.schema


@pytest.mark.slow
def test_same_lists_as_mllib(spark, tmp_path):
    rng = np.random.default_rng(2)
    cells = rng.choice(20 * 15, 150, replace=False)
    rows = [(int(cell // 15), int(cell % 15), float(rng.integers(1, 6))) for cell in cells]
    theirs = MLlibALS(rank=4, maxIter=3, seed=1).fit(
        spark.createDataFrame(rows, "user int, item int, rating float")
    )
    both = []
    for table in (theirs.userFactors, theirs.itemFactors):
        rows = table.orderBy("id").toPandas()
        both.append((rows["id"].to_numpy(), np.stack(rows["features"]), np.zeros(len(rows))))
    model = model_of(spark, tmp_path, *both)
    ours, others = collected(model.recommendForAllUsers(6)), collected(theirs.recommendForAllUsers(6))
    best, theirs_best = (
        {user: [item for item, _ in row] for user, row in lists.items()} for lists in (ours, others)
    )
    assert best == theirs_best
    for user, row in ours.items():
        np.testing.assert_allclose(
            [rating for _, rating in row], [rating for _, rating in others[user]], rtol=1e-5
        )


@pytest.mark.parametrize("n", [0, -3, 2.5, "ten"])
def test_a_list_has_a_length(model, n):
    with pytest.raises(RecsparkError, match="must be a whole number, at least 1"):
        model.recommendForAllUsers(n)


def test_wrong_columns_are_named(spark, model):
    with pytest.raises(RecsparkError, match="column 'user' is not in the data"):
        model.recommendForUserSubset(spark.createDataFrame([(1,)], "user_id int"), 3)
    with pytest.raises(RecsparkError, match="column 'item' is not in the data"):
        model.recommendForAllUsers(3, seen=spark.createDataFrame([(1,)], "user int"))


@given(
    st.integers(0, 2**31),
    st.integers(1, 30),
    st.integers(1, 9),
    st.sampled_from([np.int32, np.int64, object]),
)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_workers_agree_with_the_twin(tmp_path, monkeypatch, seed, n, blocks, kind):
    # without Spark: any ids in any order, blocks, candidates, seen rows
    from pyspark.sql.types import ArrayType, FloatType, LongType, StringType, StructField, StructType

    from recspark.models.serving.scorer import Scorer, Side

    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, 2)
    ids = [rng.permutation(40)[:count] for count in counts]
    ids = [
        np.array([f"{id:02d}" for id in side], object) if kind is object else side.astype(kind)
        for side in ids
    ]
    both = [
        (side, *(rng.integers(-2, 3, size).astype(np.float32) for size in ((len(side), 2), len(side))))
        for side in ids
    ]
    users, items = (Side(side, factors, biases, biases) for side, factors, biases in both)
    scorer = Scorer(users, items, 0.5, 3.0, True, None)
    monkeypatch.setattr(lists_module, "load_cached", lambda files: scorer)
    text = StringType() if kind is object else LongType()
    entry = StructType([StructField("i", text), StructField("r", FloatType())])
    schema = StructType([StructField("u", text), StructField("l", ArrayType(entry))])
    allowed = rng.choice(ids[1], rng.integers(0, len(ids[1]) + 1), replace=False)
    question = Question(
        StoredScorer(ModelFiles("", "", "")), "users", "items", n, False, allowed, None, blocks, 1, schema
    )
    pairs = [
        (ids[0][rng.integers(counts[0])], ids[1][rng.integers(counts[1])]) for _ in range(rng.integers(0, 30))
    ]
    import pyarrow as pa

    batches = []
    if pairs:
        columns = [
            pa.array([pair[place] for pair in pairs], pa.string() if kind is object else pa.int64())
            for place in range(2)
        ]
        batches = list(question.scatter(iter([pa.RecordBatch.from_arrays(columns, ["dst", "src"])])))
    empty = pa.RecordBatch.from_pydict(
        {"block": pa.array(range(blocks), pa.int32()), "pairs": pa.array([b""] * blocks)}
    )
    rows = [row for batch in question.lists(iter([*batches, empty])) for row in batch.to_pylist()]
    found = {row["u"]: [tuple(entry.values()) for entry in row["l"]] for row in rows}
    # of equal scores the lower id, wherever it stands
    order = np.argsort(ids[1])
    by_id = tuple(column[order] for column in both[1])
    assert found == expected(both[0], by_id, n, set(pairs), set(allowed), mean=0.5)


def test_docstrings():
    failed, attempted = doctest.testmod(lists_module)
    assert attempted and not failed
