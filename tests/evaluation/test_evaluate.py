"""The evaluation stage: everything together, its options, what it writes, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.evaluate import EvaluationOptions, evaluate, write
from recspark.evaluation.ranking import metric_names
from recspark.lake.lake import Lake
from tests.evaluation.dummy_scorer import ArrayScorer

RATINGS = "user_id bigint, item_id bigint, rating float, timestamp bigint"


@pytest.fixture(scope="module")
def rows(spark):
    train = spark.createDataFrame([(1, 1, 5.0, 0), (1, 2, 3.0, 0), (2, 1, 4.0, 0)], RATINGS)
    predictions = spark.createDataFrame(
        [(1, 3, 5.0, 1, 4.5), (1, 4, 2.0, 1, 3.0), (2, 3, 4.0, 1, None)], f"{RATINGS}, prediction float"
    )
    scorer = ArrayScorer([1, 2], [1, 2, 3, 4], [[9, 8, 7, 6], [1, 4, 3, 2]])
    return predictions, train, scorer


@pytest.fixture(scope="module")
def result(spark, rows):
    predictions, train, scorer = rows
    return evaluate(spark, predictions, train, EvaluationOptions(ks=[1, 2], relevantThreshold=4), scorer)


def test_all_metrics_are_flat_floats(result):
    rating = {"rmse", "mae", "r2", "bias", "predicted_rows", "unpredicted_rows"}
    users = {"ranked_users", "auc_users", "users_without_relevant", "unknown_users"}
    assert set(result.metrics) == rating | users | set(metric_names([1, 2]))
    assert all(type(value) is float for value in result.metrics.values())
    assert result.metrics["rmse"] == pytest.approx(np.sqrt((0.25 + 1) / 2))
    assert result.metrics["unpredicted_rows"] == 1
    # user 1 has seen items 1 and 2 and likes 3, which comes first; user 2 has seen item 1 and likes 3, which
    # follows 2
    assert result.metrics["mrr_at_2"] == (1 + 1 / 2) / 2
    assert result.metrics["hit_rate_at_1"] == 0.5
    assert result.metrics["auc"] == (1 + 1 / 2) / 2


def test_seen_rows_other_than_the_training_rows(spark, rows):
    predictions, train, scorer = rows
    seen = spark.createDataFrame([(2, 2)], "user_id bigint, item_id bigint")
    found = evaluate(
        spark, predictions, train, EvaluationOptions(ks=[1]), scorer, train.select(*seen.columns).union(seen)
    )
    per_user = {row["user_id"]: row["mrr_at_1"] for row in found.per_user.collect()}
    assert per_user == {1: 1.0, 2: 1.0}


def test_no_ranking_without_a_scorer_or_where_it_is_switched_off(spark, rows):
    predictions, train, scorer = rows
    for options, given in ((EvaluationOptions(), None), (EvaluationOptions(ranking=False), scorer)):
        found = evaluate(spark, predictions, train, options, given)
        assert found.per_user is None and "auc" not in found.metrics


def test_predictions_that_are_no_ratings_are_only_ranked(spark, tmp_path, rows):
    predictions, train, scorer = rows
    found = evaluate(spark, predictions, train, EvaluationOptions(ratings=False, ks=[1]), scorer)
    assert "rmse" not in found.metrics and found.metrics["hit_rate_at_1"] == 0.5
    write(Lake(str(tmp_path)), "ranks", found)
    assert {path.name for path in (tmp_path / "metrics/ranks").iterdir()} == {
        "per_user.parquet",
        "manifest.json",
    }


def test_an_evaluation_of_nothing_is_refused():
    with pytest.raises(
        ConfigError, match="evaluation.ranking = False is not allowed with evaluation.ratings = False"
    ):
        EvaluationOptions(ratings=False, ranking=False)


def test_write(spark, tmp_path, result):
    lake = Lake(str(tmp_path / "lake"))
    write(lake, "als", result, "f00d")
    stored = json.loads((tmp_path / "lake/metrics/als.json").read_text())
    assert stored == pytest.approx(result.metrics)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "lake/metrics/als/slices.parquet"), result.slices
    )
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "lake/metrics/als/histogram.parquet"), result.histogram
    )
    assert spark.read.parquet(lake.path("metrics/als/per_user.parquet")).count() == 2
    assert lake.is_current("metrics/als", "f00d")


def test_undefined_metrics_are_null_in_json(spark, tmp_path, rows):
    predictions, train, _ = rows
    found = evaluate(spark, predictions.where("item_id = 4"), train, EvaluationOptions())
    assert np.isnan(found.metrics["r2"])
    write(Lake(str(tmp_path)), "one", found)
    assert json.loads((tmp_path / "metrics/one.json").read_text())["r2"] is None


@pytest.mark.parametrize("ks", [[], [0], [5, 5], [2.5], ["10"], [True]])
def test_ks_are_checked(ks):
    with pytest.raises(
        ConfigError,
        match="evaluation.ks = .* is not allowed: it must be a list, not empty, of different whole numbers",
    ):
        EvaluationOptions(ks=ks)


def test_a_missing_column_is_named(spark, rows):
    predictions, train, _ = rows
    with pytest.raises(
        RecsparkError, match="predictions has no column prediction: it has user_id, item_id, rating"
    ):
        evaluate(spark, predictions.drop("prediction"), train, EvaluationOptions())
