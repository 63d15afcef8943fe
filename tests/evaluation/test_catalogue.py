"""Catalogue metrics equal slow twins that read like docs/metrics.md."""

import doctest
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recspark.evaluation import catalogue
from recspark.evaluation.catalogue import catalogue_metrics, gini
from recspark.evaluation.evaluate import EvaluationOptions, evaluate
from recspark.models import ALS


def twin(lists, train, k):
    """lists: item lists by user; train: (user, item) pairs."""
    train, lists = set(train), {user: items[:k] for user, items in lists.items()}
    users = {
        item: {u for u, i in train if i == item}
        for item in {i for _, i in train} | {i for items in lists.values() for i in items}
    }
    shown = {item: sum(item in items for items in lists.values()) for item in users}
    n_users = len({u for u, _ in train})
    entries = [item for items in lists.values() for item in items]
    mean = lambda values: math.fsum(values) / len(values) if values else math.nan  # noqa: E731
    own = {user: [len(users[i]) for u, i in train if u == user] for user in lists}
    fame = mean([mean(numbers) for numbers in own.values() if numbers])
    lifted = mean([mean([len(users[i]) for i in items]) for items in lists.values() if items])

    def cosine(a, b):
        return (
            len(users[a] & users[b]) / math.sqrt(len(users[a]) * len(users[b]))
            if users[a] and users[b]
            else 0.0
        )

    counts = sorted(shown[item] for item in users if users[item])
    return {
        f"coverage_at_{k}": sum(count > 0 for count in counts) / len(counts) if counts else math.nan,
        f"gini_at_{k}": (
            sum(abs(a - b) for a in counts for b in counts) / (2 * len(counts) * sum(counts))
            if sum(counts)
            else math.nan
        ),
        f"novelty_at_{k}": mean([-math.log2(max(len(users[item]), 1) / max(n_users, 1)) for item in entries]),
        f"popularity_bias_at_{k}": lifted / fame - 1 if fame else math.nan,
        f"diversity_at_{k}": mean(
            [
                mean([1 - cosine(a, b) for a, b in combinations(items, 2)])
                for items in lists.values()
                if len(items) > 1
            ]
        ),
    }


def frames(spark, lists, train, ids=int):
    kind = {int: "bigint", str: "string"}[ids]
    given = [(ids(user), [ids(item) for item in items]) for user, items in lists.items()]
    pairs = [(ids(user), ids(item)) for user, item in train]
    of_users = spark.createDataFrame(given, f"user_id {kind}, list array<{kind}>")
    return of_users, spark.createDataFrame(pairs, f"user_id {kind}, item_id {kind}")


LISTS = {1: [10, 20, 30], 2: [20, 10], 3: [40], 4: [10, 50, 20, 30]}
TRAIN = [
    (1, 40),
    (1, 50),
    (2, 30),
    (2, 40),
    (3, 10),
    (3, 20),
    (3, 20),
    (5, 10),
    (5, 20),
    (6, 10),
    (6, 60),
    (4, 60),
]


@pytest.mark.parametrize("ids", [int, str])
def test_they_equal_their_twins(spark, ids):
    found = catalogue_metrics(*frames(spark, LISTS, TRAIN, ids), [1, 3])
    expected = twin(LISTS, TRAIN, 1) | twin(LISTS, TRAIN, 3)
    assert found == pytest.approx(expected, nan_ok=True) and set(found) == set(expected)
    assert found["coverage_at_3"] == 5 / 6 and math.isnan(found["diversity_at_1"])


pairs = st.tuples(st.integers(0, 5), st.integers(0, 6))


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.integers(0, 5), st.lists(st.integers(0, 7), max_size=4, unique=True), max_size=4),
    st.lists(pairs, min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_any_lists(spark, lists, train, k):
    assert catalogue_metrics(*frames(spark, lists, train), [k]) == pytest.approx(
        twin(lists, train, k), nan_ok=True
    )


@pytest.mark.slow
def test_diversity_of_a_sample_and_of_many_users_at_once(spark, monkeypatch):
    draw = np.random.default_rng(0)
    lists = {user: draw.permutation(30)[:5].tolist() for user in range(40)}
    train = [
        (user, item) for user in range(60) for item in draw.permutation(30)[: draw.integers(1, 20)].tolist()
    ]
    monkeypatch.setattr(catalogue, "USERS_AT_ONCE", 7)
    assert catalogue_metrics(*frames(spark, lists, train), [5]) == pytest.approx(twin(lists, train, 5))
    monkeypatch.setattr(catalogue, "DIVERSE_LISTS", 10)
    sampled = catalogue_metrics(*frames(spark, lists, train), [5])["diversity_at_5"]
    assert sampled == pytest.approx(twin(lists, train, 5)["diversity_at_5"], abs=0.1)


@pytest.mark.slow
def test_an_evaluation_has_them_where_it_is_asked(spark):
    draw = np.random.default_rng(1)
    rows = [(u, i, float(draw.integers(1, 6))) for u in range(30) for i in draw.permutation(20)[:8].tolist()]
    ratings = spark.createDataFrame(rows, "user_id int, item_id int, rating float")
    train, test = (
        ratings.where("(user_id + item_id) % 4 > 0").cache(),
        ratings.where("(user_id + item_id) % 4 = 0"),
    )
    model = ALS(rank=3, maxIter=3, userCol="user_id", itemCol="item_id").fit(train)
    result = evaluate(
        spark, model.transform(test), train, EvaluationOptions(catalogue=True, ks=[2, 5]), model.scorer
    )
    lists = {row.user_id: row.list for row in result.per_user.where("list is not null").collect()}
    expected = {
        row.user_id: [item.item_id for item in row.recommendations]
        for row in model.recommendForAllUsers(5, seen=train).collect()
        if row.user_id in lists
    }
    assert lists == expected
    known = [(row.user_id, row.item_id) for row in train.collect()]
    wanted = twin(lists, known, 2) | twin(lists, known, 5)
    assert {name: result.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert not {*wanted} & {
        *evaluate(spark, model.transform(test), train, EvaluationOptions(), model.scorer).metrics
    }


def test_gini_of_no_counts_is_not_defined():
    assert math.isnan(gini(np.zeros(3))) and math.isnan(gini(np.empty(0)))
    assert doctest.testmod(catalogue).failed == 0
