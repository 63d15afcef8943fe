"""The metrics of one user: worked examples of docs/metrics.md, slow twins, bounds, and Spark's own
RankingMetrics.
"""

import doctest
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.evaluation import user_metrics
from recspark.evaluation.user_metrics import METRICS_AT_K, SAMPLED, auc, average_precision, sampled
from tests.evaluation import reference_metrics as reference


@pytest.mark.parametrize(
    ("name", "k", "expected"),
    [
        # the running example of docs/metrics.md: ranks 1, 3 and 7, and a fourth relevant item that the model
        # does not know
        ("precision", 5, 2 / 5),
        ("precision", 10, 3 / 10),
        ("recall", 5, 2 / 4),
        (
            "ndcg",
            5,
            (1 / math.log2(2) + 1 / math.log2(4))
            / (1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4) + 1 / math.log2(5)),
        ),
        ("capped_recall", 5, 2 / 4),
        ("capped_recall", 2, 1 / 2),
        ("ndcg", 2, 1 / (1 + 1 / math.log2(3))),
        ("map", 5, (1 / 1 + 2 / 3) / 4),
        ("map", 2, (1 / 1) / 2),
        ("mrr", 5, 1.0),
        ("hit_rate", 5, 1.0),
    ],
)
def test_worked_examples(name, k, expected):
    assert METRICS_AT_K[name](np.array([1, 3, 7]), 4, k) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", METRICS_AT_K)
def test_edges(name):
    metric = METRICS_AT_K[name]
    nothing, behind, perfect = np.array([], np.int64), np.array([11, 12]), np.arange(1, 4)
    assert metric(nothing, 2, 10) == 0
    assert metric(behind, 2, 10) == 0
    assert metric(perfect, 3, 3) == 1
    assert metric(perfect, 3, 2) == (2 / 3 if name == "recall" else 1)


def test_auc_edges():
    assert math.isnan(auc(np.array([], np.float64), 5))
    assert math.isnan(auc(np.array([1.0, 2.0]), 2))
    assert auc(np.array([1.0, 2.0]), 5) == 1
    assert auc(np.array([4.0, 5.0]), 5) == 0
    assert auc(np.array([3.0, 3.0]), 5) == 0.5  # all five candidates tied


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_metrics_equal_their_slow_twin(data):
    scores = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0]), min_size=1, max_size=20))
    seen = data.draw(st.sets(st.integers(0, len(scores) - 1)))
    relevant = data.draw(st.sets(st.integers(0, len(scores) + 2), min_size=1)) - seen | {len(scores) + 3}
    k = data.draw(st.integers(1, 25))
    ranking = reference.ranked_list(scores, seen)
    ranks = np.array([rank for rank, item in enumerate(ranking, start=1) if item in relevant], np.int32)
    expected = reference.ranking_metrics(scores, seen, relevant, k)
    found = {name: metric(ranks, len(relevant), k) for name, metric in METRICS_AT_K.items()}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [2, 10])
def test_spark_agrees_where_it_defines_the_same(spark, k):
    """Spark's precision, recall, NDCG and MAP at k have our denominators; it has no MRR and no AUC."""
    from pyspark.ml.evaluation import RankingEvaluator

    cases = [
        ([1.0, 6, 2, 7, 8, 3, 9, 4, 5], [1.0, 2, 3, 4, 5]),
        ([4.0, 1, 5, 6, 2, 7, 3], [1.0, 2, 3]),
        ([9.0, 8, 7, 6, 5], [1.0, 5]),
    ]
    cases = [
        ([float(item) for item in found], [float(item) for item in relevant]) for found, relevant in cases
    ]
    lists = spark.createDataFrame(cases, "prediction array<double>, label array<double>").coalesce(1)
    theirs = {
        "precision": "precisionAtK",
        "recall": "recallAtK",
        "ndcg": "ndcgAtK",
        "map": "meanAveragePrecisionAtK",
    }
    for name, metric in theirs.items():
        ranks = [
            np.array([found.index(item) + 1 for item in relevant if item in found], np.int64)
            for found, relevant in cases
        ]
        ours = [
            METRICS_AT_K[name](np.sort(r), len(relevant), k)
            for r, (_, relevant) in zip(ranks, cases, strict=True)
        ]
        assert np.mean(ours) == pytest.approx(
            RankingEvaluator(metricName=metric, k=k).evaluate(lists), abs=1e-12
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaTypeSafetyWarning")
@pytest.mark.parametrize("k", [1, 5, 20, 60])
def test_ranx_agrees_where_it_defines_the_same(k):
    """On random lists, some with items that no list has. Its AP at k divides by all relevant items."""
    from ranx import Qrels, Run, evaluate

    draw = np.random.default_rng(k)
    relevant, listed = {}, {}
    for user in range(40):
        ranking = draw.permutation(50)
        wanted = draw.choice(60, draw.integers(1, 40), replace=False)
        relevant[f"u{user}"] = {f"i{item}": 1 for item in wanted}
        listed[f"u{user}"] = {f"i{item}": 100.0 - place for place, item in enumerate(ranking)}
    names = ("precision", "recall", "ndcg", "mrr", "hit_rate")
    metrics = [f"{name}@{k}" for name in names] + ["map", f"map@{k}"]
    theirs = evaluate(Qrels(relevant), Run(listed), metrics, make_comparable=True)
    ours = {metric: [] for metric in metrics}
    for user, wanted in relevant.items():
        found = [rank for rank, item in enumerate(listed[user], start=1) if item in wanted]
        ranks, n = np.array(found, np.int64), len(wanted)
        for name in names:
            ours[f"{name}@{k}"].append(METRICS_AT_K[name](ranks, n, k))
        ours["map"].append(average_precision(ranks, n, max(n, 50)))
        ours[f"map@{k}"].append(average_precision(ranks, n, k) * min(n, k) / n)
    assert {name: np.mean(values) for name, values in ours.items()} == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("negatives", [1, 4, 7, 100])
def test_sampled_metrics_are_means_over_all_draws(k, negatives):
    # 12 candidates, relevant are those at ranks 2, 3 and 9, and one that is no candidate
    ranks, others = np.array([2, 3, 9]), [rank for rank in range(1, 13) if rank not in (2, 3, 9)]
    totals = np.zeros(3)
    draws = list(itertools.combinations(others, min(negatives, len(others))))
    for rank in ranks:
        for drawn in draws:
            found = 1 + sum(other < rank for other in drawn)
            if found <= k:
                totals += np.array([1, 1 / math.log2(found + 1), 1 / found]) / len(draws)
    assert sampled(ranks, 4, 12, negatives, k) == pytest.approx(tuple(totals / 4), abs=1e-9)
    assert len(SAMPLED) == 3


def test_sampled_metrics_without_anything_to_sample():
    assert sampled(np.array([], np.int64), 2, 5, 10, 3) == (0, 0, 0)
    assert sampled(np.array([1, 2]), 2, 2, 10, 3) == (1, 1, 1)
    # many candidates: the logarithms of factorials keep their digits
    hits, *_ = sampled(np.array([2001]), 1, 1_000_001, 99, 10)
    assert hits == pytest.approx(1 - 1e-16, abs=1e-6)


def test_docstrings():
    failed, attempted = doctest.testmod(user_metrics)
    assert attempted >= 7 and failed == 0


def test_examples_of_the_document():
    """Every figure of docs/metrics.md is the output of the line above it."""
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    failed, attempted = doctest.testfile(str(document), module_relative=False)
    assert attempted >= 10 and failed == 0
