"""Metrics of labels against scikit-learn, their edges, and the worked example of docs/metrics.md."""

import doctest
import math

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql.types import DoubleType, StructField, StructType
from sklearn import metrics as sk

from recspark.errors import RecsparkError
from recspark.evaluation import labels
from recspark.evaluation.evaluate import EvaluationOptions, evaluate
from recspark.evaluation.labels import label_metrics, roc_auc

ROWS = "rating double, prediction double"


def test_the_example_of_the_docs(spark):
    rows = spark.createDataFrame([(1.0, 0.9), (1.0, 0.6), (0.0, 0.6), (0.0, 0.2), (1.0, None)], ROWS)
    found = label_metrics(rows)
    assert found["roc_auc"] == pytest.approx((1 + 1 + 0.5 + 1) / 4) == 0.875
    assert found["log_loss"] == pytest.approx(
        -(math.log(0.9) + math.log(0.6) + math.log(0.4) + math.log(0.8)) / 4
    )
    assert found["brier"] == pytest.approx((0.01 + 0.16 + 0.36 + 0.04) / 4)
    assert found["accuracy"] == 3 / 4 and found["positive_share"] == 1 / 2
    assert (found["predicted_rows"], found["unpredicted_rows"]) == (4, 1)
    assert all(type(value) is float for value in found.values())


def test_the_same_as_scikit_learn_in_any_order(spark):
    draw = np.random.default_rng(3)
    y = draw.integers(0, 2, 400)
    p = np.round(np.clip(0.25 + 0.4 * y + draw.normal(0, 0.3, 400), 0.01, 0.99), 2)
    rows = spark.createDataFrame(list(zip(y.astype(float).tolist(), p.tolist(), strict=True)), ROWS)
    found = label_metrics(rows.repartition(3, "prediction"))
    expected = {
        "roc_auc": sk.roc_auc_score(y, p),
        "log_loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p),
        "accuracy": np.mean((p >= 0.5) == y),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_classifiers_probability_ranks_and_its_prediction_decides(spark):
    schema = StructType(
        [
            StructField("rating", DoubleType()),
            StructField("prediction", DoubleType()),
            StructField("probability", VectorUDT()),
        ]
    )
    rows = [(1.0, 0.0, Vectors.dense(0.4, 0.6)), (0.0, 0.0, Vectors.dense(0.7, 0.3))]
    found = label_metrics(spark.createDataFrame(rows, schema))
    assert (
        found["roc_auc"] == 1
        and found["accuracy"] == 1 / 2
        and found["log_loss"] == pytest.approx(-(math.log(0.6) + math.log(0.7)) / 2)
    )


def test_scores_beyond_0_and_1_only_rank(spark):
    found = label_metrics(spark.createDataFrame([(1.0, 3.0), (0.0, -1.0)], ROWS))
    assert (
        found["roc_auc"] == 1
        and found["accuracy"] == 1
        and math.isnan(found["log_loss"])
        and math.isnan(found["brier"])
    )


def test_certainty_that_is_wrong_costs_much_but_not_everything(spark):
    found = label_metrics(spark.createDataFrame([(1.0, 0.0), (0.0, 0.5)], ROWS))
    assert found["log_loss"] == pytest.approx((-math.log(1e-15) + math.log(2)) / 2)


def test_one_label_alone_has_no_auc():
    assert math.isnan(roc_auc(np.array([2, 1]), np.array([0, 0])))
    assert doctest.testmod(labels).failed == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "the test set holds no rows"),
        ([(1.0, None), (0.0, math.nan)], "not one of 2 test rows has a finite prediction"),
        ([(1.0, 0.5), (4.0, 0.5), (None, 0.5)], "2 test rows have a label that is neither 0 nor 1"),
    ],
)
def test_what_is_refused(spark, rows, words):
    with pytest.raises(RecsparkError, match=words):
        label_metrics(spark.createDataFrame(rows, ROWS))


def test_evaluate_takes_them_in_place_of_rating_metrics(spark):
    rows = spark.createDataFrame([(1, 1, 1.0, 0.7), (1, 2, 0.0, 0.2)], f"user_id int, item_id int, {ROWS}")
    found = evaluate(spark, rows, rows, EvaluationOptions(), labels=True)
    assert (
        found.metrics["roc_auc"] == 1
        and "rmse" not in found.metrics
        and found.slices is None
        and found.histogram is None
    )
