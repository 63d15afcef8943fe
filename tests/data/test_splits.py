"""Splits: every row once, whatever the order; the right rows; the product and its report."""

import zipfile
from collections import Counter
from functools import reduce

import numpy as np
import pandas as pd
import pytest
from chispa import assert_df_equality
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame

from recspark.data.splitting.rules import FOLDED, PART, RULES, draw, time_at
from recspark.data.splitting.splits import SplitOptions, cold_report, part_names, split, split_stage
from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.lake.lake import Lake

SCHEMA = "user_id bigint, item_id bigint, rating float, timestamp bigint"
few = settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def ratings(n_users=40, n_items=60, share=0.4, seed=0, span=10_000_000):
    """Unique pairs in a random order, with times that have ties."""
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((n_users, n_items)) < share)
    order = rng.permutation(user.size)
    time = 1_000_000_000 + rng.integers(0, span, user.size) // 1000 * 1000
    return pd.DataFrame(
        {
            "user_id": user[order] + 1,
            "item_id": item[order] + 1,
            "rating": rng.integers(1, 6, user.size) * 1.0,
            "timestamp": time,
        }
    )


def parts_of(spark, frame, schema=SCHEMA, partitions=3, **options):
    """The pairs of each part, after checking that every row is in exactly one."""
    df = spark.createDataFrame(frame.astype(object).where(frame.notna(), None), schema).repartition(
        partitions
    )
    labelled = (
        RULES[options.get("kind", "random")](df, SplitOptions(**options))
        .select("user_id", "item_id", PART)
        .toPandas()
    )
    assert Counter(zip(labelled.user_id, labelled.item_id, strict=False)) == Counter(
        zip(frame.user_id, frame.item_id, strict=False)
    )
    parts = {
        part: set(zip(rows.user_id, rows.item_id, strict=False)) for part, rows in labelled.groupby(PART)
    }
    assert sum(map(len, parts.values())) == len(frame)
    return {part: parts.get(part, set()) for part in part_names(SplitOptions(**options))}


def folds_of(kind):
    return {"folds": 3, "fold": "2"} if kind in FOLDED else {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RULES)
@few
@given(
    seed=st.integers(0, 1000),
    partitions=st.integers(1, 7),
    as_type=st.sampled_from(["int", "bigint", "string"]),
)
def test_parts_ignore_order_partitions_and_id_type(spark, kind, seed, partitions, as_type):
    frame = ratings(12, 15, seed=seed)
    options = {"kind": kind, "validationFraction": 0.2, "testFraction": 0.3, "seed": seed, **folds_of(kind)}
    expected = parts_of(spark, frame, partitions=1, **options)
    shuffled = frame.sample(frac=1, random_state=seed)
    if as_type == "string":
        shuffled = shuffled.astype({"user_id": str, "item_id": str})
        expected = {
            part: {(str(user), str(item)) for user, item in pairs} for part, pairs in expected.items()
        }
    assert (
        parts_of(spark, shuffled, SCHEMA.replace("_id bigint", f"_id {as_type}"), partitions, **options)
        == expected
    )


@pytest.mark.parametrize("kind", RULES)
def test_parts_have_the_columns_of_the_ratings_and_nothing_is_lost(spark, kind):
    df = spark.createDataFrame(ratings(5, 30), SCHEMA).withColumnRenamed("rating", "weight")
    parts = split(df, SplitOptions(kind=kind, testFraction=0.3, validationFraction=0.2))
    assert all(table.schema == df.schema for table in parts.values())
    assert_df_equality(reduce(DataFrame.union, parts.values()), df, ignore_row_order=True)


def test_random_shares_are_binomial(spark):
    frame = ratings(300, 200, 0.35)
    parts = parts_of(spark, frame, testFraction=0.1, validationFraction=0.2)
    for part, share in (("test", 0.1), ("validation", 0.9 * 0.2), ("train", 0.9 * 0.8)):
        deviation = np.sqrt(share * (1 - share) / len(frame))
        assert abs(len(parts[part]) / len(frame) - share) < 4 * deviation


def test_another_seed_is_another_split(spark):
    frame = ratings()
    first, second = (parts_of(spark, frame, seed=seed)["test"] for seed in (1, 2))
    overlap = len(first & second) / len(first)
    assert overlap < 0.3


def test_draws_are_uniform_and_unrelated_between_purposes(spark):
    df = spark.range(50_000)
    numbers = df.select(draw(7, "row", "id").alias("row"), draw(7, "user", "id").alias("user")).toPandas()
    deciles = np.histogram(numbers["row"], 10, (0, 1))[0]
    assert numbers.min().min() >= 0 and numbers.max().max() < 1
    assert np.abs(deciles - 5000).max() < 5 * np.sqrt(5000 * 0.9)
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.02


@pytest.mark.parametrize("kind", FOLDED)
def test_folds_partition_the_rows(spark, kind):
    frame = ratings(60, 30)
    folds = [parts_of(spark, frame, kind=kind, folds=4, fold=str(fold + 1)) for fold in range(4)]
    held_out = [parts["test"] | parts.get("update", set()) for parts in folds]
    assert sum(map(len, held_out)) == len(frame)
    assert set.union(*held_out) == set(zip(frame.user_id, frame.item_id, strict=False))
    assert min(map(len, held_out)) > 0.1 * len(frame)


@pytest.mark.parametrize("cut", [{"folds": 5, "fold": "2"}, {"testFraction": 0.2}])
def test_stratified_takes_its_share_of_every_item_that_has_enough_rows(spark, cut):
    frame = pd.concat(
        [ratings(60, 30), ratings(200, 5, share=0.015).assign(item_id=lambda rows: rows.item_id + 100)]
    )
    test = Counter(item for _, item in parts_of(spark, frame, kind="stratified", **cut)["test"])
    counts = Counter(frame.item_id.tolist())
    assert min(counts.values()) < 5 < max(counts.values())
    for item, n in counts.items():
        assert test[item] in ({n // 5, -(-n // 5)} if n >= 5 else {0})


def test_temporal_cuts_are_exact_and_keep_equal_times_together(spark):
    frame = ratings(50, 80, seed=3, span=300_000)
    parts = parts_of(spark, frame, kind="temporal", testFraction=0.2, validationFraction=0.25)
    times = np.sort(frame.timestamp)
    test_from = times[len(times) - round(0.2 * len(times)) - 1]
    before = times[times <= test_from]
    validation_from = before[len(before) - round(0.25 * len(before)) - 1]
    time = frame.timestamp
    expected = {
        "test": time > test_from,
        "validation": (time > validation_from) & (time <= test_from),
        "train": time <= validation_from,
    }
    assert parts == {
        part: set(zip(frame.user_id[rows], frame.item_id[rows], strict=False))
        for part, rows in expected.items()
    }
    assert len(parts["test"]) <= 0.2 * len(frame) + 1


@pytest.mark.parametrize("share", [1e-9, 0.25, 0.5, 0.9, 1.0])
def test_time_at_is_the_exact_quantile(spark, share):
    times = np.sort(np.random.default_rng(5).integers(-3_000_000, 1_500_000_000, 999))
    df = spark.createDataFrame(pd.DataFrame({"timestamp": times}))
    assert time_at(df, share) == times[max(1, round(share * 999)) - 1]


def newest(frame, n):
    """The pairs of each user's n newest rows, where no times are equal."""
    rows = frame.sort_values("timestamp").groupby("user_id").tail(n)
    return set(zip(rows.user_id, rows.item_id, strict=False))


def without_ties(frame, seed=0):
    return frame.assign(timestamp=np.random.default_rng(seed).permutation(len(frame)) + 10**9)


@pytest.mark.parametrize(("options", "n"), [({"kind": "leave_one_out"}, 1), ({"kind": "last", "n": 3}, 3)])
def test_newest_rows_of_each_user(spark, options, n):
    frame = without_ties(ratings())
    parts = parts_of(spark, frame, validationFraction=0.1, **options)
    assert parts["test"] == newest(frame, n)
    assert parts["validation"] == newest(frame, 2 * n) - newest(frame, n)


def test_last_fraction_of_each_user(spark):
    frame = without_ties(ratings())
    parts = parts_of(spark, frame, kind="last", testFraction=0.25)
    given_by, tested = Counter(frame.user_id), Counter(user for user, _ in parts["test"])
    assert all(abs(tested[user] - 0.25 * count) <= 0.5 for user, count in given_by.items())
    pairs = list(zip(frame.user_id, frame.item_id, strict=True))
    oldest_test = frame[[pair in parts["test"] for pair in pairs]].groupby("user_id").timestamp.min()
    newest_train = frame[[pair in parts["train"] for pair in pairs]].groupby("user_id").timestamp.max()
    assert (newest_train < oldest_test).all()


def test_every_user_keeps_a_training_row(spark):
    frame = pd.DataFrame(
        [(1, 1, 3.0, 5), (2, 1, 3.0, 5), (2, 2, 3.0, 6), (3, 1, 3.0, 1), (3, 2, 3.0, 2), (3, 3, 3.0, 3)]
    )
    frame.columns = ["user_id", "item_id", "rating", "timestamp"]
    parts = parts_of(spark, frame, kind="last", n=2, validationFraction=0.5)
    assert parts == {"train": {(1, 1), (2, 1), (3, 1)}, "validation": set(), "test": {(2, 2), (3, 2), (3, 3)}}


def test_rows_without_time_are_the_oldest_and_ties_do_not_follow_item_ids(spark):
    frame = without_ties(ratings(200, 20)).astype({"timestamp": object})
    frame.loc[frame.index % 2 == 0, "timestamp"] = None
    timed = frame.dropna()
    assert parts_of(spark, frame, kind="leave_one_out")["test"] >= {
        pair for pair in newest(timed, 1) if (frame.user_id == pair[0]).sum() > 1
    }
    left_out = parts_of(spark, frame.assign(timestamp=None), kind="leave_one_out")["test"]
    assert 8 < np.mean([item for _, item in left_out]) < 13


def test_new_users_are_held_out_whole_and_halved_by_time(spark):
    frame = without_ties(ratings(100, 30))
    parts = parts_of(spark, frame, kind="new_users", testFraction=0.2, validationFraction=0.1)
    users = {part: {user for user, _ in pairs} for part, pairs in parts.items()}
    assert not (users["update"] | users["test"]) & (users["train"] | users["validation"])
    assert users["test"] <= users["update"]
    assert 8 <= len(users["update"]) <= 34
    assert parts["validation"]
    times = dict(zip(zip(frame.user_id, frame.item_id, strict=False), frame.timestamp, strict=False))
    for user in users["test"]:
        older, newer = (
            [times[pair] for pair in parts[part] if pair[0] == user] for part in ("update", "test")
        )
        assert max(older) < min(newer) and len(older) - len(newer) in (0, 1)


def test_temporal_needs_times(spark):
    frame = ratings(4, 10).astype({"timestamp": object})
    frame.loc[0, "timestamp"] = None
    with pytest.raises(DataRejected, match=f"1 of {len(frame)} ratings have none"):
        parts_of(spark, frame, kind="temporal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "by_moon"}, "split.kind = 'by_moon' .* one of given, random, stratified"),
        ({"testFraction": 1.0}, "split.testFraction = 1.0 .* between 0 and 1"),
        ({"validationFraction": 1.0}, "split.validationFraction = 1.0 .* at least 0 and less than 1"),
        ({"name": "../r90"}, r"split.name = '../r90' .* letters, digits"),
        ({"kind": "given"}, "split.fold = None .* needs the name"),
        ({"kind": "given", "fold": "../tables"}, "split.fold = '../tables'"),
        (
            {"kind": "temporal", "folds": 5, "fold": "1"},
            "split.folds = 5 .* kind random or stratified or new_users",
        ),
        ({"folds": 5, "fold": "6"}, "split.fold = '6' .* must be 1 to 5"),
        ({"folds": 5}, "split.fold = None .* must be 1 to 5"),
        ({"fold": "1"}, "split.fold = '1' .* set split.folds"),
        ({"n": 2}, "split.n = 2 .* use kind last"),
        ({"fraction": 0.5}, "unknown key split.fraction: did you mean split.testFraction"),
    ],
)
def test_options_that_are_not_allowed(options, message):
    with pytest.raises(ConfigError, match=message):
        SplitOptions(**options).require_fold()


def test_fold_and_name_may_look_like_numbers():
    options = SplitOptions(folds=5, fold=2, name=90)
    assert (options.fold, options.name, SplitOptions.name) == ("2", "90", "split")


def test_given_is_not_a_rule_for_one_table(spark):
    with pytest.raises(ConfigError, match="comes? from the tables that ingest wrote"):
        split(spark.createDataFrame(ratings(3, 5), SCHEMA), SplitOptions(kind="given", fold="u1"))


def test_cold_report_counts_rows_with_unseen_users_and_items(spark):
    train = spark.createDataFrame([(1, 1), (1, 2), (2, 1)], "user_id int, item_id int")
    test = spark.createDataFrame([(1, 1), (2, 3), (9, 1), (9, 2), (9, 9)], "user_id int, item_id int")
    assert cold_report(train, test) == {"rows": 5, "user": 3, "item": 2, "both": 1, "share": 0.8}


@pytest.fixture
def lake(spark, tmp_path):
    """A lake with ratings, and a given split of them in which item 60 and user 40 occur in test only."""
    lake, frame = Lake(str(tmp_path)), ratings()
    df = spark.createDataFrame(frame, SCHEMA)
    unseen = (df.item_id == 60) | (df.user_id == 40)
    with lake.publish("tables", "abc") as tables:
        df.write.parquet(tables.path("ratings"))
        df.where(~unseen).write.parquet(tables.path("given/u1/train"))
        df.where(unseen).write.parquet(tables.path("given/u1/test"))
    return lake


@pytest.mark.parametrize("kind", ["random", "last", "new_users"])
def test_stage_publishes_every_row_once(spark, lake, kind):
    summary = split_stage(spark, lake, SplitOptions(kind=kind, name="s", validationFraction=0.1))
    names = {"train", "validation", "test"} | ({"update"} if kind == "new_users" else set())
    written = {name: spark.read.parquet(lake.path(f"splits/s/{name}")) for name in names}
    frame = ratings()
    together = pd.concat([table.toPandas() for table in written.values()])
    pd.testing.assert_frame_equal(
        together.sort_values(["user_id", "item_id"], ignore_index=True),
        frame.astype({"rating": "float32"}).sort_values(["user_id", "item_id"], ignore_index=True),
    )
    assert summary["counts"] == {name: table.count() for name, table in written.items()}
    assert lake.read_json("splits/s/manifest.json")["counts"] == summary["counts"]
    assert summary["cold"]["share"] == (1.0 if kind == "new_users" else 0.0)


def test_stage_is_a_no_op_where_current_and_follows_its_options(spark, lake):
    first = split_stage(spark, lake, SplitOptions(name="s"))
    made = lake.read_json("splits/s/manifest.json")
    again = split_stage(spark, lake, SplitOptions(name="s"))
    assert (first["unchanged"], again["unchanged"]) == (False, True)
    assert again == first | {"unchanged": True} and lake.read_json("splits/s/manifest.json") == made
    assert split_stage(spark, lake, SplitOptions(name="s", seed=1))["counts"] != first["counts"]


def test_stage_takes_given_rows_and_reports_cold_ones(spark, lake):
    summary = split_stage(
        spark, lake, SplitOptions(kind="given", fold="u1", name="u1", validationFraction=0.2)
    )
    frame = ratings()
    item, user = frame.item_id == 60, frame.user_id == 40
    assert summary["counts"]["test"] == (item | user).sum() == summary["cold"]["rows"]
    expected = {
        "rows": (item | user).sum(),
        "user": user.sum(),
        "item": item.sum(),
        "both": (item & user).sum(),
        "share": 1.0,
    }
    assert summary["cold"] == expected
    assert 0.1 < summary["counts"]["validation"] / (len(frame) - summary["counts"]["test"]) < 0.3


def test_stage_refuses_what_it_cannot_split(spark, lake, tmp_path):
    with pytest.raises(ConfigError, match="gives no such split"):
        split_stage(spark, lake, SplitOptions(kind="given", fold="u9"))
    with pytest.raises(DataRejected, match="no row of .* is left for test"):
        split_stage(spark, lake, SplitOptions(testFraction=1e-12))
    with pytest.raises(RecsparkError, match="run `recspark ingest` first"):
        split_stage(spark, Lake(str(tmp_path / "empty")), SplitOptions())
    assert not lake.exists("splits/default")


@pytest.mark.long
def test_ml_1m(spark, movielens, tmp_path):
    with zipfile.ZipFile(movielens / "ml-1m.zip") as archive:
        archive.extract("ml-1m/ratings.dat", tmp_path)
    lake = Lake(str(tmp_path))
    with lake.publish("tables", "ml-1m") as tables:
        spark.read.csv(str(tmp_path / "ml-1m/ratings.dat"), SCHEMA, sep="::").write.parquet(
            tables.path("ratings")
        )
    random = split_stage(spark, lake, SplitOptions(name="r90"))
    assert sum(random["counts"].values()) == 1_000_209
    assert abs(random["counts"]["test"] - 100_021) < 4 * np.sqrt(1_000_209 * 0.09)
    assert random["cold"]["user"] == 0 and 0 < random["cold"]["item"] < 40
    left_out = split_stage(spark, lake, SplitOptions(kind="leave_one_out", name="loo"))
    assert left_out["counts"] == {"train": 1_000_209 - 6040, "validation": 0, "test": 6040}
