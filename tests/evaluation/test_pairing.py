"""Models side by side: sums of users, and rows that are not the same."""

import math

import pytest

from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.goals import lower_is_better
from recspark.evaluation.pairing import pair_rows, pair_users

ROWS = [(1, 10, 4.0), (1, 11, 3.0), (2, 10, 5.0), (3, 12, 1.0)]


@pytest.fixture
def predictions(spark):
    def make(*predicted, rows=ROWS):
        table = [(*row, value) for row, value in zip(rows, predicted, strict=True)]
        return spark.createDataFrame(
            table, "user_id int, item_id int, rating float, prediction float"
        ).repartition(3)

    return make


def test_sums_of_each_user(predictions):
    found = pair_rows({"a": predictions(4.0, 4.0, 3.0, 1.0), "b": predictions(3.0, 3.0, 5.0, 3.0)}, "rmse")
    assert found.weights.tolist() == [2, 1, 1] and found.rows == 4
    assert found.totals.tolist() == [[1, 1], [4, 0], [0, 4]]
    found = pair_rows({"a": predictions(4.0, 4.0, 3.0, 1.0), "b": predictions(3.0, 3.0, 5.0, 3.0)}, "mae")
    assert found.totals.tolist() == [[1, 1], [2, 0], [0, 2]]


def test_what_one_model_leaves_out_is_left_out_for_all_and_counted(predictions):
    found = pair_rows(
        {"a": predictions(4.0, math.nan, 3.0, 1.0), "b": predictions(3.0, 3.0, 5.0, None)}, "rmse"
    )
    assert found.missing == {"a": 1, "b": 1} and found.rows == 2
    assert found.weights.tolist() == [1, 1] and found.totals.tolist() == [[0, 1], [4, 0]]
    with pytest.raises(RecsparkError, match="not one of the test rows has a value of every model"):
        pair_rows({"a": predictions(*[math.nan] * 4), "b": predictions(3.0, 3.0, 5.0, None)}, "rmse")


OTHERS = [
    [(1, 10, 4.0), (1, 11, 3.0), (2, 10, 5.0), (3, 13, 1.0)],
    [(1, 10, 4.0), (1, 11, 3.0), (2, 10, 5.0)],
    [(1, 10, 4.0), (1, 11, 3.0), (2, 10, 5.0), (3, 12, 2.0)],
]


@pytest.mark.parametrize(
    ("rows", "strange"),
    [*zip(OTHERS, (2, 1, 1), strict=True)],
    ids=["another item", "a row fewer", "another rating"],
)
def test_different_rows_are_an_error(predictions, rows, strange):
    other = predictions(*[3.0] * len(rows), rows=rows)
    with pytest.raises(
        RecsparkError, match=f"a and b were measured on different test rows: {strange} are not those of all"
    ):
        pair_rows({"a": predictions(*[3.0] * 4), "b": other}, "rmse")


def test_values_of_users(spark):
    def table(*rows):
        return spark.createDataFrame(rows, "user_id string, n_relevant int, ndcg_at_10 double, auc double")

    one = table(("u", 2, 0.5, 0.9), ("v", 1, 0.25, None), ("w", 0, None, None))
    two = table(("v", 1, 0.75, 0.5), ("w", 0, None, None), ("u", 2, 0.0, 0.8))
    found = pair_users({"one": one, "two": two}, "ndcg_at_10")
    assert found.weights.tolist() == [1, 1] and found.totals.tolist() == [[0.5, 0.0], [0.25, 0.75]]
    assert found.missing == {"one": 1, "two": 1}
    assert pair_users({"one": one, "two": two}, "auc").missing == {"one": 2, "two": 1}
    with pytest.raises(RecsparkError, match="one was not measured by ndcg_at_5"):
        pair_users({"one": one, "two": two}, "ndcg_at_5")
    with pytest.raises(RecsparkError, match="different test users: 1 are not"):
        pair_users(
            {"one": one, "two": table(("v", 2, 0.75, 0.5), ("w", 0, None, None), ("u", 2, 0.0, 0.8))}, "auc"
        )


def test_which_way_is_better():
    assert lower_is_better("x", "rmse", [10]) and lower_is_better("x", "log_loss", [10], labels=True)
    assert not lower_is_better("x", "ndcg_at_10", [10]) and not lower_is_better("x", "r2", [10])
    for metric, labels in (("ndcg_at_5", False), ("bias", False), ("rmse", True)):
        with pytest.raises(
            ConfigError, match=f"x = '{metric}' is not allowed: it must be one of .*ndcg_at_10"
        ):
            lower_is_better("x", metric, [10], labels)
