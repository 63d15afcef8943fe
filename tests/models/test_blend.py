"""Blends: weights against ridge regression written out, what a penalty does, rows without a prediction,
saving and loading.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.errors import RecsparkError
from recspark.models import ALS, Baseline
from recspark.models.blend import (
    FOLDS,
    PENALTIES,
    BlendModel,
    Weights,
    fit_weights,
    fold_moments,
    model_rmse,
    ridge,
    squared_error,
)
from recspark.models.saving import load_model


def drawn(rows=200, models=3, seed=0):
    """Predictions of models that see one truth through noise, the first ones less of it; and ratings."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(3.5, 1, rows)
    predictions = truth[:, None] + draw.normal(0, 1, (rows, models)) * (0.3 + 0.3 * np.arange(models))
    return predictions, truth + draw.normal(0, 0.3, rows)


def moments_of(predictions, ratings, folds):
    z = np.column_stack([np.ones(len(ratings)), predictions, ratings])
    return np.array([z[folds == fold].T @ z[folds == fold] for fold in range(FOLDS)])


@given(st.integers(0, 1000), st.integers(2, 5), st.floats(0, 10))
@settings(max_examples=20, deadline=None)
def test_the_weights_are_the_minimum(seed, models, penalty):
    predictions, ratings = drawn(60, models, seed)
    intercept, weights = ridge(moments_of(predictions, ratings, np.zeros(60)).sum(axis=0), penalty)

    def cost(b, w):
        return np.mean((ratings - b - predictions @ w) ** 2) + penalty * np.sum((w - 1 / models) ** 2)

    direction = np.random.default_rng(seed + 1).normal(size=models + 1)
    for step in (1e-2, -1e-2):
        assert cost(intercept + step * direction[0], weights + step * direction[1:]) > cost(
            intercept, weights
        )


def test_squared_errors_come_from_sums():
    predictions, ratings = drawn()
    weights = np.array([0.5, 0.3, 0.1])
    [total] = moments_of(predictions, ratings, np.zeros(200))[:1]
    assert squared_error(total, 0.2, weights) == pytest.approx(
        np.sum((ratings - 0.2 - predictions @ weights) ** 2)
    )


def test_cross_validation_is_the_slow_one():
    predictions, ratings = drawn(80)
    folds = np.arange(80) % FOLDS
    found = fit_weights(moments_of(predictions, ratings, folds))

    def error(penalty):
        errors = np.empty(80)
        for fold in range(FOLDS):
            other = folds != fold
            x = np.column_stack([np.ones(other.sum()), predictions[other]])
            # the penalty as rows of their own, sqrt(n penalty) (w - 1 / m) = 0
            extra = np.sqrt(other.sum() * penalty) * np.eye(4)[1:]
            left, right = np.vstack([x, extra]), np.concatenate([ratings[other], extra.sum(axis=1) / 3])
            solved = np.linalg.lstsq(left, right)[0]
            errors[~other] = (
                ratings[~other] - np.column_stack([np.ones((~other).sum()), predictions[~other]]) @ solved
            )
        return np.mean(errors**2)

    slow = {penalty: error(penalty) for penalty in PENALTIES}
    assert found.penalty == min(slow, key=slow.get) and found.rmse == pytest.approx(
        np.sqrt(min(slow.values()))
    )


def test_a_blend_is_better_than_its_models_and_the_better_ones_count_more():
    predictions, ratings = drawn(5000)
    moments = moments_of(predictions, ratings, np.arange(5000) % FOLDS)
    found = fit_weights(moments)
    assert found.rmse < min(model_rmse(moments)) - 0.01 and list(found.weights) == sorted(
        found.weights, reverse=True
    )
    assert model_rmse(moments) == pytest.approx(
        np.sqrt(np.mean((ratings[:, None] - predictions) ** 2, axis=0))
    )


def test_a_high_penalty_gives_the_plain_mean_and_equal_models_equal_weights():
    predictions, ratings = drawn()
    moments = moments_of(predictions, ratings, np.arange(200) % FOLDS)
    assert fit_weights(moments, 1e9).weights == pytest.approx([1 / 3] * 3)
    same = moments_of(predictions[:, [0, 0]], ratings, np.arange(200) % FOLDS)
    first, second = fit_weights(same, 0.0).weights
    assert first == pytest.approx(second)


COLUMNS = "user_id int, item_id int, rating float, a float, b double"


def test_sums_of_folds_on_spark(spark):
    predictions, ratings = drawn(300, 2)
    users, items = np.divmod(np.arange(300), 15)
    rows = pd.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "rating": ratings,
            "a": predictions[:, 0],
            "b": predictions[:, 1],
        }
    )
    odd = pd.DataFrame(
        {
            "user_id": [90, 91, 92],
            "item_id": 1,
            "rating": 3.0,
            "a": [np.nan, np.inf, 3.0],
            "b": [3.0, 3.0, None],
        }
    )
    df = spark.createDataFrame(
        pd.concat([rows, odd]).astype({"user_id": "int32", "item_id": "int32"}), COLUMNS
    )
    moments = fold_moments(df, ["a", "b"])
    z = np.column_stack(
        [np.ones(300), predictions.astype(np.float32)[:, 0], predictions[:, 1], ratings.astype(np.float32)]
    )
    np.testing.assert_allclose(moments.sum(axis=0), z.T @ z, rtol=1e-9)
    assert len(moments) == FOLDS and moments[:, 0, 0].min() > 30
    shuffled = fold_moments(df.orderBy("b").repartition(3), ["a", "b"])
    np.testing.assert_allclose(shuffled, moments, rtol=1e-12)
    assert not np.allclose(fold_moments(df, ["a", "b"], seed=1), moments)


def test_too_few_rows_are_an_error(spark):
    row = spark.createDataFrame([(1, 1, 3.0, 3.0, 3.0)], COLUMNS)
    with pytest.raises(RecsparkError, match="too few to fit weights on: they fill 1 of 5 folds"):
        fold_moments(row, ["a", "b"])


@pytest.fixture(scope="module")
def models(spark):
    draw = np.random.default_rng(0)
    rows = [
        (int(u), int(i), float(draw.integers(1, 6)))
        for u in range(12)
        for i in draw.choice(9, 6, replace=False)
    ]
    ratings = spark.createDataFrame(rows, "user_id int, item_id int, rating float").cache()
    columns = {"userCol": "user_id", "itemCol": "item_id", "maxIter": 2}
    return ratings, {
        "als": ALS(rank=2, **columns).fit(ratings),
        "base": Baseline(coldStartStrategy="nan", **columns).fit(ratings),
    }


def test_it_predicts_the_weighted_sum_and_is_the_same_once_loaded(models, tmp_path):
    ratings, fitted = models
    blend = BlendModel(fitted, Weights(0.25, (0.7, 0.2), 1e-3, 0.9))
    found = blend.transform(ratings).toPandas()
    assert found.columns.tolist() == ["user_id", "item_id", "rating", "prediction"]
    parts = [model.transform(ratings).toPandas()["prediction"] for model in fitted.values()]
    np.testing.assert_allclose(found["prediction"], 0.25 + 0.7 * parts[0] + 0.2 * parts[1], rtol=1e-5)
    blend.write().save(str(tmp_path / "blend"))
    loaded = load_model(str(tmp_path / "blend"))
    assert loaded.fitted == blend.fitted and list(loaded.models) == ["als", "base"]
    pd.testing.assert_frame_equal(loaded.transform(ratings).toPandas(), found)
    assert loaded.setPredictionCol("rated").transform(ratings).columns[-1] == "rated"


def test_a_row_that_a_model_does_not_predict_has_no_prediction(models, spark):
    _, fitted = models
    [row] = (
        BlendModel(fitted, Weights(0.0, (0.5, 0.5), 0.0, 1.0))
        .transform(spark.createDataFrame([(99, 1)], "user_id int, item_id int"))
        .collect()
    )
    assert np.isnan(row.prediction)
