"""The AUC of watched preferences: its formula, its samples, and that blocks do not change it."""

import doctest

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.algorithms import ranks
from recspark.algorithms.ratings import CSR
from recspark.models import ALS


def test_the_auc_is_the_share_of_pairs_in_order():
    nan = np.nan
    scores = np.float32([[1, 2, 3, nan], [5, 5, nan, nan], [nan, nan, nan, nan], [1, 2, 3, 4]])
    total, users = ranks.auc_sum(scores, np.array([0, 0, 1, 2]), np.float32([2.5, 0, 5, 1]))
    # user 0: (2/3 + 0) / 2, user 1: equal scores count half, user 2 has no other item, user 3 prefers nothing
    assert (total, users) == (pytest.approx(1 / 3 + 1 / 2), 2)


def test_many_pairs_are_compared_in_parts(monkeypatch):
    draw = np.random.default_rng(0)
    scores, owner, score = draw.random((9, 30)), np.sort(draw.integers(0, 9, 100)), draw.random(100)
    whole = ranks.auc_sum(scores, owner, score)
    monkeypatch.setattr(ranks, "_AT_ONCE", 7)
    assert ranks.auc_sum(scores, owner, score) == whole


def test_pairs_of_some_rows():
    csr = CSR(
        np.array([0, 2, 2, 5]),
        np.int32([0, 2, 1, 2, 3]),
        np.float32([1, 2, 3, 4, 5]),
        np.empty(0, np.float32),
    )
    found = ranks.pairs_of(csr, np.array([2, 0]), np.array([10, 11, 12, 13]))
    assert [column.tolist() for column in found] == [[0, 0, 0, 1, 1], [11, 12, 13, 10, 12], [3, 4, 5, 1, 2]]
    assert [len(column) for column in ranks.pairs_of(csr, np.array([], int), np.array([]))] == [0, 0, 0]


def test_examples():
    assert not doctest.testmod(ranks).failed and doctest.testmod(ranks).attempted


@pytest.fixture(scope="module")
def clicks(spark):
    """Users like the items of one of four groups; one click in six is held back."""
    draw = np.random.default_rng(3)
    cells = [
        (user, item)
        for user in range(120)
        for item in range(60)
        if draw.random() < (0.4 if user % 4 == item % 4 else 0.06)
    ]
    rows = [(*cell, 1.0, bool(draw.random() < 1 / 6)) for cell in cells]
    return spark.createDataFrame(rows, "user int, item int, rating float, held boolean")


ALS_OF_CLICKS = {
    "rank": 8,
    "alpha": 5.0,
    "implicitPrefs": True,
    "maxIter": 3,
    "patience": 2,
    "validationCol": "held",
}


def curve(clicks, blocks=1):
    summary = ALS(**ALS_OF_CLICKS, userBlocks=blocks, itemBlocks=blocks).fit(clicks).summary
    return [row["validation_auc"] for row in summary.history]


@pytest.mark.parametrize("blocks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 8))])
def test_blocks_do_not_change_the_auc(clicks, blocks):
    # factors differ in their last digits, so two items of nearly equal scores may change places: 1 pair of a
    # user is about .0002
    assert curve(clicks, blocks) == pytest.approx(curve(clicks), abs=1e-3)


def test_the_log_says_what_stops_the_fit(clicks, caplog):
    caplog.set_level("INFO", "recspark.fit")
    model = ALS(**ALS_OF_CLICKS).fit(clicks)
    assert (
        "ALS: the fit stops by the AUC of the validation rows" in caplog.text
        and "iteration 1: validation_auc 0." in caplog.text
    )
    assert not any(key.endswith("_rmse") for key in model.summary.history[0])


def test_the_auc_is_that_of_the_samples(spark):
    """With more users and items than the samples have."""
    n_users, n_items, draw = ranks.USERS + 100, ranks.ITEMS + 100, np.random.default_rng(1)
    rows = [
        (user, int(item), place == 3)
        for user in range(n_users)
        for place, item in enumerate(draw.integers(0, n_items, 4))
    ]
    frame = spark.createDataFrame(
        [(*row[:2], 1.0, row[2]) for row in rows], "user int, item int, rating float, held boolean"
    )
    model = ALS(rank=4, implicitPrefs=True, maxIter=1, validationCol="held").fit(frame)
    users, items = list(model.scorer.user_ids), list(model.scorer.item_ids)
    scores, found, own = model.scorer.scores(np.arange(len(users))), [], {}
    for user, item, held in rows:
        own.setdefault(user, ([], []))[held].append(item)
    others = ranks.sample(42, len(items), ranks.ITEMS, np.array([], int))
    for place in ranks.sample(42, len(users), ranks.USERS, np.array([], int)):
        train, held = own[users[place]]
        free = scores[place][[other for other in others if items[other] not in train + held]]
        preferred = [scores[place][items.index(item)] for item in held if item in items]
        if preferred:
            found.append(np.mean([np.mean(free < score) + np.mean(free == score) / 2 for score in preferred]))
    assert model.summary.history[0]["validation_auc"] == pytest.approx(np.mean(found), abs=1e-5)


def test_the_best_iteration_has_the_highest_auc(clicks):
    als = ALS(
        rank=20, alpha=40.0, regParam=0.001, implicitPrefs=True, maxIter=20, patience=2, validationCol="held"
    )
    summary = als.fit(clicks).summary
    curve = [row["validation_auc"] for row in summary.history]
    assert summary.best_iteration == 1 + int(np.argmax(curve)) and len(curve) < 20


def test_rows_without_preference_are_not_preferred(clicks):
    held = clicks.filter("held").withColumn("rating", F.lit(0.0))
    als = ALS(rank=4, implicitPrefs=True, maxIter=2).watch(validation=held)
    assert "validation_auc" not in als.fit(clicks.filter("not held")).summary.history[0]
