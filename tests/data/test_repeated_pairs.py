"""Repeated pairs of user and item: which row stays, or what their sum is; and events that have no rating."""

import functools
import random
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from recspark.data import work
from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.data.quality import repeated_rows
from recspark.errors import ConfigError
from recspark.lake.lake import Lake

ANYTHING = QualityOptions(maxBadFraction=1.0)
#: values whose float64 sum depends on the order in which they are added
VALUES = ["1e16", "1", "-1e16", "0.1", "3e-9", "7.25", "1e8", "-33.3"]


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def csv(path, header, lines):
    path.write_text("\n".join([header, *lines, ""]))
    return str(path)


def rows(spark, lake, table="ratings"):
    return sorted(map(tuple, spark.read.parquet(lake.path(f"tables/{table}")).collect()), key=str)


def counts(lake):
    facts = lake.read_json("tables/manifest.json")["tables"]["ratings"]
    return tuple(facts.get(key) for key in ("read", "kept", "merged", "quarantined"))


def test_events_without_a_rating_count_one_each(spark, lake, tmp_path):
    lines = ["a,x,30", "b,x,10", "a,x,20", "a,y,", "a,x,", ",x,1", "a,y,", "c"]
    data = DataOptions(
        source=csv(tmp_path / "clicks.csv", "user_id,item_id,timestamp", lines), ratingColumn=""
    )
    summary = ingest(spark, lake, data, ANYTHING)
    assert rows(spark, lake) == [("a", "x", 3.0, 30), ("a", "y", 2.0, None), ("b", "x", 1.0, 10)]
    assert (summary["read"], summary["ratings"], summary["merged"], summary["quarantined"]) == (8, 3, 3, 2)
    assert counts(lake) == (8, 3, 3, 2) and summary["reasons"] == {"field_count": 1, "null_id": 1}
    assert (
        lake.read_json("tables/manifest.json")["tables"]["ratings"]["schema"]
        == "user_id string, item_id string, rating float, timestamp bigint"
    )


@pytest.mark.parametrize("rule", ["last", "first"])
def test_events_may_stay_single(spark, lake, tmp_path, rule):
    source = csv(tmp_path / "clicks.csv", "user_id,item_id,timestamp", ["1,1,30", "1,1,10", "1,2,5"])
    ingest(spark, lake, DataOptions(source=source, ratingColumn="", duplicates=rule), ANYTHING)
    assert rows(spark, lake) == [(1, 1, 1.0, 30 if rule == "last" else 10), (1, 2, 1.0, 5)]
    assert counts(lake) == (3, 2, None, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sum", "mean"])
def test_a_merged_pair_is_the_same_in_any_order_and_any_cut(spark, tmp_path, monkeypatch, rule):
    lines = [
        f"{user},{item},{value},{n}"
        for n, value in enumerate(VALUES)
        for user in range(6)
        for item in range(user % 3 + 1)
    ]
    expected = defaultdict(list)
    for line in lines:
        user, item, value, _ = line.split(",")
        expected[int(user), int(item)].append(float(value))
    found, digests = [], set()
    for seed, size in ((1, 1 << 20), (2, 40), (3, 150)):
        monkeypatch.setattr(work, "plan", functools.partial(work.plan, chunk_bytes=size))
        lake = Lake(str(tmp_path / f"lake-{seed}"))
        shuffled = random.Random(seed).sample(lines, len(lines))
        source = csv(tmp_path / f"{seed}.csv", "user_id,item_id,rating,timestamp", shuffled)
        ingest(spark, lake, DataOptions(source=source, duplicates=rule), QualityOptions())
        found.append(rows(spark, lake))
        digests.add(lake.read_json("tables/manifest.json")["tables"]["ratings"]["digest"])
        assert counts(lake) == (len(lines), len(expected), len(lines) - len(expected), 0)
        monkeypatch.undo()
    assert found[0] == found[1] == found[2] and len(digests) == 1
    for user, item, rating, timestamp in found[0]:
        values = sorted(expected[user, item])
        total = functools.reduce(lambda a, b: a + b, values, 0.0)
        assert rating == np.float32(total if rule == "sum" else total / len(values))
        assert timestamp == len(VALUES) - 1


def test_sums_keep_the_digits_that_a_table_has_not(spark, lake, tmp_path):
    source = csv(
        tmp_path / "a.csv",
        "user_id,item_id,rating",
        [f"1,1,{16777216 + n}" for n in range(3)] + ["1,1,-33554433"],
    )
    ingest(spark, lake, DataOptions(source=source, duplicates="sum"), QualityOptions())
    assert rows(spark, lake) == [(1, 1, float(3 * 16777216 + 3 - 33554433), None)]


def test_first_is_the_mirror_of_last():
    columns = {"user_id": [1, 1, 1, 2, 2], "timestamp": [5, None, 5, 7, 7]}
    table = pa.table(columns, schema=pa.schema([("user_id", pa.int64()), ("timestamp", pa.int64())]))
    assert repeated_rows(table, ["user_id"]).tolist() == [0, 1, 3]
    assert repeated_rows(table, ["user_id"], "first").tolist() == [0, 2, 4]


@pytest.mark.parametrize("size", [30, 1 << 20])
def test_the_first_stays_across_chunks(spark, lake, tmp_path, monkeypatch, size):
    monkeypatch.setattr(work, "plan", functools.partial(work.plan, chunk_bytes=size))
    lines = ["1,1,5,30", "2,1,4,30", "1,1,3,10", "2,1,2,40", "1,1,1,10"]
    source = csv(tmp_path / "a.csv", "user_id,item_id,rating,timestamp", lines)
    ingest(spark, lake, DataOptions(source=source, duplicates="first"), ANYTHING)
    assert rows(spark, lake) == [(1, 1, 3.0, 10), (2, 1, 4.0, 30)]
    assert sorted(row[2] for row in rows(spark, lake, "quarantine")) == [2, 5, 6]


def test_a_missing_rating_column_names_the_option(spark, lake, tmp_path):
    source = csv(tmp_path / "clicks.csv", "user_id,item_id", ["1,1"])
    with pytest.raises(
        ConfigError,
        match=r'has no column rating, .* or data.ratingColumn = "" where rows are events without a rating',
    ):
        ingest(spark, lake, DataOptions(source=source), QualityOptions())
    with pytest.raises(ConfigError) as raised:
        ingest(spark, lake, DataOptions(source=source, userColumn="who"), QualityOptions())
    assert "has no column who, rating" in str(raised.value)
