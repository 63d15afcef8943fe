"""The id index: dense ranks of ids of any type, invertible, the same for any order and partitioning."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recspark.data.index import add_positions, append_index, build_index, index_stage, restore_ids
from recspark.errors import RecsparkError
from recspark.lake.lake import Lake

few = settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
IDS = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9),
    "string": st.text("aZ09 -é日\U0001f3ac", max_size=3),
}


def frame(spark, ids, kind="bigint", partitions=3):
    return spark.createDataFrame([(value,) for value in ids], f"user_id {kind}").repartition(partitions)


def expected(ids):
    """Slow twin: (id, rank, count) in ascending order; Python orders text by code point, which is the order
    of its UTF-8 bytes.
    """
    counts = Counter(ids)
    return [(value, position, counts[value]) for position, value in enumerate(sorted(counts))]


def rows(index):
    return sorted((tuple(row) for row in index.collect()), key=lambda row: row[1])


@pytest.mark.parametrize("kind", IDS)
@few
@given(data=st.data(), partitions=st.integers(1, 5))
def test_positions_are_ranks_whatever_the_order_and_partitions(spark, kind, data, partitions):
    ids = data.draw(st.lists(IDS[kind], max_size=60))
    index = build_index(frame(spark, ids, kind, partitions), "user_id")
    assert index.dtypes == [("id", kind), ("position", "int"), ("count", "bigint")]
    assert rows(index) == expected(ids)


@pytest.mark.parametrize("kind", ["bigint", "string"])
def test_many_ranges_are_dense_and_in_order(spark, kind):
    """More ids than the sample that the borders come from, unevenly spread."""
    ids = spark.range(20_000).selectExpr(f"cast(id * id * id as {kind}) as user_id")
    index = build_index(ids, "user_id").toPandas().sort_values("position")
    assert (
        (index.position == np.arange(20_000)).all()
        and index["id"].is_monotonic_increasing
        and (index["count"] == 1).all()
    )


def test_append_keeps_positions_and_numbers_new_ids_after_them(spark):
    index = build_index(frame(spark, [30, 10, 10, 50]), "user_id")
    longer = append_index(index, frame(spark, [40, 50, 20, 40]), "user_id")
    assert rows(longer) == [(10, 0, 2), (30, 1, 1), (50, 2, 2), (20, 3, 1), (40, 4, 2)]
    assert longer.schema.simpleString() == index.schema.simpleString()


@pytest.mark.slow
def test_append_to_an_empty_index_is_a_build(spark):
    assert rows(append_index(build_index(frame(spark, []), "user_id"), frame(spark, [7, 5]), "user_id")) == [
        (5, 0, 1),
        (7, 1, 1),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "ids", "unknown"), [("bigint", [9, 4, 9, 7], 8), ("string", ["b", "007", "b", "ä"], "zz")]
)
def test_ids_are_restored(spark, kind, ids, unknown):
    df = frame(spark, ids, kind)
    index = build_index(df, "user_id")
    positioned = add_positions(frame(spark, [*ids, unknown], kind), index, "user_id", "user")
    assert positioned.columns == ["user_id", "user"]
    assert positioned.where("user is null").collect() == [(unknown, None)]
    restored = restore_ids(positioned.select("user"), index, "user", "user_id")
    assert Counter(row.user_id for row in restored.collect()) == Counter([*ids, None])


@pytest.mark.parametrize(
    ("kind", "ids", "message"),
    [
        ("bigint", [1, None, 2, None], "user_id is null in 2 rows"),
        ("string", [None], "user_id is null in 1 rows"),
        ("double", [1.5], "column user_id is double: an id must be a whole number or a string"),
    ],
)
def test_what_is_not_an_id_is_refused(spark, kind, ids, message):
    with pytest.raises(RecsparkError, match=message):
        build_index(frame(spark, ids, kind), "user_id")


def test_append_refuses_ids_of_another_type(spark):
    with pytest.raises(RecsparkError, match="user_id is string, but the ids of the index are bigint"):
        append_index(build_index(frame(spark, [1]), "user_id"), frame(spark, ["1"], "string"), "user_id")


def test_stage_publishes_both_sides_once(spark, tmp_path):
    lake = Lake(str(tmp_path))
    with pytest.raises(RecsparkError, match="run `recspark ingest` first"):
        index_stage(spark, lake)
    ratings = spark.createDataFrame(
        [(1, "b", 3.0), (1, "a", 4.0), (5, "a", 2.0)], "user_id bigint, item_id string, rating float"
    )
    with lake.publish("tables", "abc") as tables:
        ratings.write.parquet(tables.path("ratings"))
    summary = index_stage(spark, lake)
    assert summary == {"product": "index", "unchanged": False, "ratings": 3, "users": 2, "items": 2}
    assert rows(spark.read.parquet(lake.path("index/users"))) == [(1, 0, 2), (5, 1, 1)]
    assert rows(spark.read.parquet(lake.path("index/items"))) == [("a", 0, 2), ("b", 1, 1)]
    made = lake.read_json("index/manifest.json")
    assert (
        index_stage(spark, lake) == summary | {"unchanged": True}
        and lake.read_json("index/manifest.json") == made
    )
    with lake.publish("tables", "abd") as tables:
        ratings.limit(1).write.parquet(tables.path("ratings"))
    assert index_stage(spark, lake)["ratings"] == 1
