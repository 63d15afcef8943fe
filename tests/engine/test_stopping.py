import numpy as np
import pytest

from recspark.algorithms.stopping import best_iteration, should_stop


def history(values, key="validation_rmse"):
    return [{"iteration": i + 1, "objective": 1.0, key: value} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "tol", "patience", "stop"),
    [
        ([1.0, 0.9, 0.8], 0.0, 1, False),
        ([1.0, 0.9, 0.9], 0.0, 1, True),
        ([1.0, 0.9, 0.91, 0.92], 0.0, 3, False),
        ([1.0, 0.9, 0.91, 0.92, 0.93], 0.0, 3, True),
        ([1.0, 0.9995], 0.001, 1, True),
        ([], 0.0, 1, False),
    ],
)
def test_validation_stops_after_patience_without_gain(values, tol, patience, stop):
    assert should_stop(history(values), tol, patience) is stop


def test_without_validation_only_tol_stops():
    flat = history([1.0, 1.0, 1.0], key="objective")
    assert not should_stop(flat, 0.0, 1)
    assert should_stop(flat, 1e-6, 1)
    assert not should_stop(history([1.0, 0.9], key="objective"), 0.01, 1)


def test_the_model_is_the_best_validated_iteration_else_the_last():
    assert best_iteration(history([1.0, 0.8, 0.9])) == 2
    assert best_iteration(history([1.0, 0.8, 0.9], key="train_rmse")) == 3


def test_test_rows_are_watched_but_decide_nothing():
    rows = [
        {"iteration": i + 1, "objective": 1 / (i + 1), "test_rmse": value}
        for i, value in enumerate([0.5, 0.9, 0.9, 0.9, 0.9])
    ]
    assert best_iteration(rows) == 5 and not should_stop(rows, 0.0, 1)
    assert np.isfinite(rows[-1]["objective"])
