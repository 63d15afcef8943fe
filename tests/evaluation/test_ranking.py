"""Ranking on Spark: equal to slow twins and to the plain worker function, for any blocks, ids and scorers."""

import math

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from recspark.errors import RecsparkError
from recspark.evaluation import ranking
from recspark.evaluation.ranking import metric_names, per_user_ranking, rank_users, ranking_metrics
from tests.evaluation import reference_metrics as reference
from tests.evaluation.dummy_scorer import ArrayScorer

N_USERS, N_ITEMS, KS = 30, 40, [3, 10]


@pytest.fixture(scope="module")
def world():
    """Users 100.., items 1000..; tied scores; user 131 and item 1040 are unknown to the model; user 105 likes
    nothing.
    """
    rng = np.random.default_rng(5)
    scorer = ArrayScorer(
        np.arange(100, 100 + N_USERS),
        np.arange(1000, 1000 + N_ITEMS),
        rng.integers(0, 12, (N_USERS, N_ITEMS)),
    )
    pairs = [
        (user, item) for user in [*range(100, 100 + N_USERS), 131] for item in range(1000, 1000 + N_ITEMS + 1)
    ]
    fate = rng.choice(["seen", "test", "none"], len(pairs), p=[0.2, 0.15, 0.65])
    seen = pd.DataFrame(
        [pair for pair, what in zip(pairs, fate, strict=True) if what == "seen"],
        columns=["user_id", "item_id"],
    )
    test = pd.DataFrame(
        [pair for pair, what in zip(pairs, fate, strict=True) if what == "test"],
        columns=["user_id", "item_id"],
    )
    test["rating"] = np.where(test["user_id"] == 105, 1.0, rng.integers(1, 6, len(test)).astype(float))
    return scorer, test, seen


def expected_rows(scorer, test, seen, threshold):
    rows = {}
    positions = {item: position for position, item in enumerate(scorer.item_ids.tolist())}
    for user, ratings in test.groupby("user_id"):
        relevant = {
            positions.get(item, -item) for item in ratings.loc[ratings["rating"] >= threshold, "item_id"]
        }
        known = user in scorer.user_ids
        rows[user] = {"known": known, "n_relevant": len(relevant)}
        if known and relevant:
            scores = scorer.matrix[user - 100].tolist()
            left_out = {positions.get(item) for item in seen.loc[seen["user_id"] == user, "item_id"]}
            rows[user]["auc"] = reference.auc(scores, left_out, relevant)
            rows[user]["map"] = reference.ranking_metrics(scores, left_out, relevant, 10 * N_ITEMS)["map"]
            for k in KS:
                metrics = reference.ranking_metrics(scores, left_out, relevant, k)
                rows[user] |= {f"{name}_at_{k}": value for name, value in metrics.items()}
    return rows


def as_relevant(test, threshold):
    return test.assign(relevant=test["rating"] >= threshold)


def test_the_worker_function_equals_the_slow_twin(world):
    scorer, test, seen = world
    table = rank_users(as_relevant(test, 3.0), seen, scorer, KS).set_index("user_id")
    expected = expected_rows(scorer, test, seen, 3.0)
    assert set(table.index) == set(expected) and 131 in table.index
    for user, row in expected.items():
        assert table.loc[user, list(row)].tolist() == pytest.approx(
            list(row.values()), abs=1e-12, nan_ok=True
        )
    for user in (105, 131):
        assert table.loc[user, ["n_candidates", *metric_names(KS)]].isna().all()


@pytest.mark.parametrize("users_a_time", [1, 7])
def test_scores_are_made_for_a_few_users_at_a_time(world, monkeypatch, users_a_time):
    scorer, test, seen = world
    expected = rank_users(as_relevant(test, 3.0), seen, scorer, KS)
    monkeypatch.setattr(ranking, "SCORE_BYTES", users_a_time * 4 * N_ITEMS)
    largest = 0

    class Watched(ArrayScorer):
        def scores(self, user_positions):
            nonlocal largest
            largest = max(largest, len(user_positions))
            assert user_positions.dtype == np.int32
            return super().scores(user_positions)

    found = rank_users(
        as_relevant(test, 3.0), seen, Watched(scorer.user_ids, scorer.item_ids, scorer.matrix), KS
    )
    assert largest == users_a_time
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("blocks", [1, 3, 100])
def test_spark_equals_the_worker_function(spark, world, blocks):
    scorer, test, seen = world
    expected = rank_users(as_relevant(test, 3.0), seen, scorer, KS).sort_values("user_id", ignore_index=True)
    # int on one side and bigint on the other: equal ids must meet
    seen_rows = (
        spark.createDataFrame(seen).selectExpr("cast(user_id as int) user_id", "item_id").repartition(3)
    )
    per_user = per_user_ranking(spark.createDataFrame(test), seen_rows, scorer, KS, 3.0, blocks)
    assert per_user.schema.simpleString().startswith(
        "struct<user_id:bigint,known:boolean,n_relevant:int,n_candidates:int,precision_at_3:"
    )
    found = per_user.toPandas().sort_values("user_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_sampled_metrics_come_last(spark, world):
    scorer, test, seen = world
    rows = as_relevant(test, 3.0)
    plain, both = (rank_users(rows, seen, scorer, KS, negatives=negatives) for negatives in (None, 5))
    pd.testing.assert_frame_equal(both[plain.columns], plain)
    more = [f"sampled_{name}_at_{k}" for k in KS for name in ("hit_rate", "ndcg", "mrr")]
    assert list(both.columns) == [*plain.columns, *more] == [*plain.columns[:4], *metric_names(KS, 5)]
    ranked = both[both["n_candidates"].notna()]
    assert len(ranked) < len(both) and ranked[more].notna().all(axis=None)
    # an item is higher among few others than among all
    assert (ranked["sampled_hit_rate_at_3"] > ranked["recall_at_3"] - 1e-9).all()
    assert (ranked["sampled_hit_rate_at_3"] >= ranked["sampled_ndcg_at_3"]).all()
    df, seen_rows = spark.createDataFrame(test), spark.createDataFrame(seen)
    found = ranking_metrics(per_user_ranking(df, seen_rows, scorer, KS, 3.0, negatives=5))
    assert found["sampled_mrr_at_10"] == pytest.approx(ranked["sampled_mrr_at_10"].mean())


def test_means_and_counts(spark, world):
    scorer, test, seen = world
    per_user = per_user_ranking(spark.createDataFrame(test), spark.createDataFrame(seen), scorer, KS, 3.0)
    metrics = ranking_metrics(per_user)
    rows = list(expected_rows(scorer, test, seen, 3.0).values())
    ranked = [row for row in rows if "recall_at_3" in row]
    for name in metric_names(KS):
        values = [row[name] for row in ranked if not math.isnan(row[name])]
        assert metrics[name] == pytest.approx(math.fsum(values) / len(values), abs=1e-12)
    assert metrics["users_without_relevant"] == sum(row["n_relevant"] == 0 for row in rows) >= 1
    assert metrics["unknown_users"] == 1
    assert metrics["ranked_users"] == len(ranked) == len(rows) - metrics["users_without_relevant"] - 1
    assert metrics["auc_users"] <= metrics["ranked_users"]


def one_user(scores, test_items, seen_items, k=2):
    test = pd.DataFrame({"user_id": 7, "item_id": test_items, "relevant": True})
    seen = pd.DataFrame({"user_id": [7] * len(seen_items), "item_id": seen_items})
    return rank_users(test, seen, ArrayScorer([7], np.arange(len(scores)), [scores]), [k]).iloc[0]


def test_ties_go_to_the_lower_position():
    assert one_user([5, 5, 5], [0], [], k=1)["hit_rate_at_1"] == 1
    assert one_user([5, 5, 5], [1], [], k=1)["hit_rate_at_1"] == 0
    assert one_user([5, 5, 5], [1], [])["auc"] == 0.5


def test_seen_items_make_room():
    row = one_user([9, 8, 7, 6], [2], [0, 1], k=1)
    assert (row["mrr_at_1"], row["n_candidates"]) == (1, 2)


def test_items_without_a_rank_stay_in_the_denominators():
    row = one_user([9, 8, 7], [0, 99], [], k=2)  # 99: unknown to the model
    assert (row["recall_at_2"], row["map_at_2"], row["auc"]) == (0.5, 0.5, 1)
    row = one_user([9, 8, 7], [0, 1], [1], k=2)  # 1: in the test set, but seen
    assert (row["recall_at_2"], row["n_candidates"]) == (0.5, 2)
    row = one_user([9, math.nan, 7], [1], [], k=2)  # 1: no score
    assert (row["recall_at_2"], row["n_candidates"]) == (0, 2)
    assert math.isnan(row["auc"])


def test_map_is_the_average_precision_of_the_whole_ranking():
    row = one_user([9, 8, 7, 6], [1, 3], [], k=1)
    assert (row["map_at_1"], row["map"]) == (0, (1 / 2 + 2 / 4) / 2)
    assert one_user([9, 8], [0, 97, 98, 99], [], k=1)["map"] == 1 / 4  # more relevant items than candidates


def test_a_test_item_counts_once_however_often_it_is_listed():
    assert one_user([9, 8, 7], [0, 0, 2], [1, 1], k=1)["recall_at_1"] == 0.5


def test_scores_of_the_wrong_shape_are_refused():
    with pytest.raises(
        RecsparkError,
        match=r"ArrayScorer.scores gave an array of shape \(1, 2\): it must be \(1, 3\), users x items",
    ):
        test = pd.DataFrame({"user_id": [7], "item_id": [1], "relevant": [True]})
        rank_users(test, test[:0], ArrayScorer([7], [1, 2, 3], [[1, 2]]), [1])


def test_string_ids(spark):
    scorer = ArrayScorer(["ann", "bob"], ["x", "y", "z"], [[3, 2, 1], [1, 2, 3]])
    test = spark.createDataFrame(
        [("ann", "z", 5.0), ("bob", "z", 5.0)], "user_id string, item_id string, rating float"
    )
    seen = spark.createDataFrame([("ann", "x")], "user_id string, item_id string")
    found = {row["user_id"]: row["mrr_at_5"] for row in per_user_ranking(test, seen, scorer, [5]).collect()}
    assert found == {"ann": 0.5, "bob": 1.0}


def test_nobody_to_rank(spark):
    scorer = ArrayScorer([1], [1, 2], [[1, 2]])
    test = spark.createDataFrame([(2, 1, 3.0)], "user_id bigint, item_id bigint, rating float")
    seen = spark.createDataFrame([], "user_id bigint, item_id bigint")
    metrics = ranking_metrics(per_user_ranking(test, seen, scorer, [5]))
    assert (metrics["ranked_users"], metrics["unknown_users"], metrics["auc_users"]) == (0, 1, 0)
    assert math.isnan(metrics["ndcg_at_5"]) and math.isnan(metrics["auc"])


def test_controls():
    """Random scores: AUC one half, hits by chance; true scores: the best there is; popularity stands
    between.
    """
    rng = np.random.default_rng(9)
    users, items = np.arange(400), np.arange(300)
    popularity = 1 / (1 + items)
    taste = np.log(popularity) + rng.normal(0, 1.5, (400, 300))
    rows = [(user, item) for user in users for item in np.argsort(-taste[user])[:8]]
    test = pd.DataFrame(rows, columns=["user_id", "item_id"]).assign(relevant=True)
    seen = pd.DataFrame({"user_id": [], "item_id": []}, dtype=np.int64)
    scores = {"random": rng.random((400, 300)), "popular": np.tile(popularity, (400, 1)), "true": taste}
    found = {
        name: rank_users(test, seen, ArrayScorer(users, items, s), [10]).mean() for name, s in scores.items()
    }
    # 3,200 relevant places: the standard error of a random AUC is 0.29 / sqrt(3200) = 0.005
    assert found["random"]["auc"] == pytest.approx(0.5, abs=0.02)
    assert found["random"]["precision_at_10"] == pytest.approx(8 / 300, abs=0.008)
    assert found["true"]["auc"] == 1 and found["true"]["ndcg_at_10"] == pytest.approx(1)
    assert found["random"]["auc"] + 0.1 < found["popular"]["auc"] < 0.99


def test_blocks_of_users_are_tasks_of_their_own(spark, world):
    """Small ones, too: by itself Spark makes one task of them, and one core works."""
    scorer, test, seen = world
    found = per_user_ranking(
        spark.createDataFrame(test), spark.createDataFrame(seen), scorer, KS, threshold=4, blocks=8
    )
    assert found.select(F.spark_partition_id()).distinct().count() > 2
