"""Rating metrics and slices against slow twins, and every edge case that docs/metrics.md names."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest

from recspark.errors import RecsparkError
from recspark.evaluation import ratings
from recspark.evaluation.ratings import histogram, rating_cube, rating_metrics, slice_table
from tests.evaluation import reference_metrics as reference

SCHEMA = "user_id bigint, item_id bigint, rating float, prediction double"


def frame(spark, rows, schema=SCHEMA):
    return spark.createDataFrame(rows, schema)


@pytest.fixture(scope="module")
def train(spark):
    """User 1 has 12 ratings, users 2 and 3 one each; item 1 has 3, items 2-12 one each."""
    return frame(
        spark, [(1, item) for item in range(1, 13)] + [(2, 1), (3, 1)], "user_id bigint, item_id bigint"
    )


@pytest.fixture(scope="module")
def many():
    """500 test rows of random users, items, half-star ratings and predictions, some of them not there."""
    rng = np.random.default_rng(11)
    rating = rng.integers(1, 11, 500) / 2
    prediction = rating + rng.normal(0.2, 0.8, 500)
    prediction[:5] = [math.nan, math.inf, -math.inf, 7.0, -3.0]
    columns = {
        "user_id": rng.integers(1, 8, 500),
        "item_id": rng.integers(1, 20, 500),
        "rating": rating,
        "prediction": prediction,
    }
    return [
        (*row[:3], None if i == 9 else row[3])
        for i, row in enumerate(zip(*(c.tolist() for c in columns.values()), strict=True))
    ]


@pytest.fixture(scope="module")
def cube(spark, many, train):
    return rating_cube(frame(spark, many), train, 20)


def test_metrics_equal_their_slow_twin(many, cube):
    metrics = rating_metrics(cube)
    pairs = [(row[3], row[2]) for row in many if row[3] is not None and math.isfinite(row[3])]
    expected = reference.rating_metrics(pairs) | {"predicted_rows": 496, "unpredicted_rows": 4}
    assert len(pairs) == 496
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert all(type(value) is float for value in metrics.values())


def test_worked_examples(spark, train):
    """The figures of docs/metrics.md, sections Rating metrics and Histogram."""
    rows = [(1, 1, 5.0, 4.5), (1, 2, 3.0, 3.5), (1, 3, 4.0, 4.0), (1, 4, 2.0, None)]
    metrics = rating_metrics(rating_cube(frame(spark, rows), train, 20))
    expected = {
        "rmse": math.sqrt((0.25 + 0.25 + 0) / 3),
        "mae": 1 / 3,
        "bias": 0,
        "r2": 1 - 0.5 / (1 + 1 + 0),
    }
    assert metrics == pytest.approx(expected | {"predicted_rows": 3, "unpredicted_rows": 1})
    cells = pd.DataFrame(
        {
            "rating": [1.0, 2.0, 3.0, 3.0],
            "predicted_bin": np.floor(np.array([1.49, 1.5, 2.5, 9]) * 20),
            "n": 1,
        }
    )
    table = histogram(cells, 20)
    assert table.loc[table["series"] == "rounded", "n"].tolist() == [1, 1, 2]


def test_partitioning_and_row_order_do_not_matter(spark, many, train, cube):
    shuffled = rating_cube(frame(spark, many[::-1]).repartition(7), train, 20)
    assert rating_metrics(shuffled) == pytest.approx(rating_metrics(cube), rel=1e-12)


def test_r2_is_exact_for_ratings_far_from_zero(spark, train):
    rows = [
        (1, 1, 1e6 + level, 1e6 + level + error)
        for level, error in ((0, 0.25), (1, -0.25), (2, 0.5), (3, 0.0))
    ]
    metrics = rating_metrics(rating_cube(frame(spark, rows, SCHEMA.replace("float", "double")), train, 20))
    assert metrics["r2"] == pytest.approx(1 - 0.375 / 5, abs=1e-12)


def test_slices_equal_their_slow_twin(many, cube):
    table = slice_table(cube)
    user_count, item_count = {1: 12, 2: 1, 3: 1}, dict.fromkeys(range(2, 13), 1) | {1: 3}
    bins = {0: "0", 1: "1-2", 3: "3-9", 12: "10-29"}
    warm = {
        (True, True): "warm",
        (False, True): "new user",
        (True, False): "new item",
        (False, False): "both new",
    }
    of_row = {
        "warmth": lambda row: warm[row[0] in user_count, row[1] in item_count],
        "user_activity": lambda row: bins[user_count.get(row[0], 0)],
        "item_popularity": lambda row: bins[item_count.get(row[1], 0)],
        "rating": lambda row: f"{row[2]:g}",
    }
    assert list(table.columns) == list(ratings.SLICES)
    assert list(dict.fromkeys(table["slice"])) == list(of_row)
    for name, level_of in of_row.items():
        found = table[table["slice"] == name].set_index("level")
        assert set(found.index) == {level_of(row) for row in many}
        for level, row in found.iterrows():
            pairs = [(r[3], r[2]) for r in many if level_of(r) == level]
            finite = [pair for pair in pairs if pair[0] is not None and math.isfinite(pair[0])]
            assert (row["n"], row["unpredicted"]) == (len(finite), len(pairs) - len(finite))
            errors = np.array([prediction - rating for prediction, rating in finite])
            expected = [np.sqrt(np.mean(errors**2)), np.mean(np.abs(errors)), np.mean(errors)]
            assert row[["rmse", "mae", "bias"]].tolist() == pytest.approx(expected, rel=1e-12)


def test_levels_stand_in_order(cube):
    table = slice_table(cube)
    assert table.loc[table["slice"] == "rating", "level"].tolist() == [
        "0.5",
        "1",
        "1.5",
        "2",
        "2.5",
        "3",
        "3.5",
        "4",
        "4.5",
        "5",
    ]
    assert table.loc[table["slice"] == "warmth", "level"].tolist() == [
        "warm",
        "new user",
        "new item",
        "both new",
    ]
    assert table.loc[table["slice"] == "user_activity", "level"].tolist() == ["0", "1-2", "10-29"]


def test_a_slice_without_predictions_is_there_with_nan(spark, train):
    rows = [(1, 1, 4.0, 4.5), (99, 1, 3.0, math.nan), (99, 2, 2.0, None)]
    cube = rating_cube(frame(spark, rows), train, 20)
    table = slice_table(cube).set_index(["slice", "level"])
    cold = table.loc[("warmth", "new user")]
    assert (cold["n"], cold["unpredicted"]) == (0, 2)
    assert np.isnan(cold[["rmse", "mae", "bias"]].astype(float)).all()
    assert rating_metrics(cube)["unpredicted_rows"] == 2


def test_r2_of_equal_ratings_is_undefined(spark, train):
    metrics = rating_metrics(rating_cube(frame(spark, [(1, 1, 4.0, 3.5), (1, 2, 4.0, 4.0)]), train, 20))
    assert math.isnan(metrics["r2"])
    assert metrics["rmse"] == pytest.approx(math.sqrt(0.125))
    assert metrics["bias"] == -0.25


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the test set holds no rows"),
        ([(1, 1, 4.0, math.nan), (1, 2, 4.0, None)], "not one of 2 test rows has a finite prediction"),
        ([(1, 1, None, 3.0), (1, 2, math.nan, 3.0), (1, 3, 4.0, 3.0)], "2 test rows have no rating"),
    ],
)
def test_nothing_is_passed_over_in_silence(spark, train, rows, message):
    with pytest.raises(RecsparkError, match=message):
        rating_metrics(rating_cube(frame(spark, rows), train, 20))


def test_histogram_counts_levels_and_bins(spark, train):
    predictions = [0.2, 1.49, 1.5, 2.25, 2.5, 2.74, 2.999, 3.0, 9.0, math.nan]
    rows = [
        (1, item, rating, p)
        for item, (p, rating) in enumerate(zip(predictions, [1, 1, 2, 2, 2, 3, 3, 3, 3, 3], strict=True))
    ]
    table = histogram(rating_cube(frame(spark, [(u, i, float(r), p) for u, i, r, p in rows]), train, 20), 20)
    levels = {name: rows.set_index("value")["n"].to_dict() for name, rows in table.groupby("series")}
    assert levels["actual"] == {1.0: 2, 2.0: 3, 3.0: 4}
    assert levels["rounded"] == {
        1.0: 2,
        2.0: 2,
        3.0: 5,
    }  # halves upwards; what lies outside goes to the outermost level
    raw = pd.Series(levels["predicted"])
    assert raw.index.tolist() == pytest.approx(
        [0.025 + 0.05 * i for i in range(80)]
    )  # 0 to 4: a unit on both sides
    assert raw.sum() == 9
    assert raw.iloc[-1] == 1  # 9.0
    assert raw.loc[raw.index.to_series().between(2.95, 3.0)].tolist() == [1]


def test_half_stars_are_rounded_exactly(many, cube):
    table = histogram(cube, 20)
    finite = [row[3] for row in many if row[3] is not None and math.isfinite(row[3])]
    expected = (
        pd.Series(np.clip(np.floor(np.array(finite) * 2 + 0.5) / 2, 0.5, 5)).value_counts().sort_index()
    )
    found = table[table["series"] == "rounded"].set_index("value")["n"]
    assert found[found > 0].to_dict() == expected.to_dict()


def test_string_ids(spark):
    schema = "user_id string, item_id string"
    predictions = frame(spark, [("a", "x", 3.0, 3.5)], f"{schema}, rating float, prediction float")
    cube = rating_cube(predictions, frame(spark, [("a", "y")], schema), 20)
    assert slice_table(cube).query("slice == 'warmth'")["level"].tolist() == ["new item"]


def test_docstrings():
    failed, attempted = doctest.testmod(ratings)
    assert attempted > 0 and failed == 0
