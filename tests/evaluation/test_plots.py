"""The figures: what is drawn, read back from the axes, and that each renders."""

import io

import numpy as np
import pandas as pd
import pytest

from recspark.errors import RecsparkError
from recspark.evaluation.plots import plot_biases, plot_curves, plot_distribution, plot_residuals


def rendered(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    return figure.axes


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_of_one_run():
    rows = [
        {"epoch": epoch, "train_rmse": 1 / epoch, "validation_rmse": 0.9 + 0.01 * abs(epoch - 3)}
        for epoch in range(1, 6)
    ]
    (axes,) = rendered(plot_curves(rows))
    assert legend(axes) == ["train", "validation, best 0.9000 at 3"]
    assert axes.get_xlabel() == "epoch" and axes.get_ylabel() == "RMSE (rating units)"
    train, validation, dot = axes.lines
    np.testing.assert_allclose(train.get_xydata(), [(epoch, 1 / epoch) for epoch in range(1, 6)])
    assert train.get_color() != validation.get_color() == dot.get_color()
    assert (train.is_dashed(), validation.is_dashed()) == (True, False)
    np.testing.assert_allclose(dot.get_xydata(), [(3, 0.9)])


def test_curves_of_several_runs_differ_by_colour_and_sets_by_line():
    rows = pd.DataFrame(
        {
            "run": ["a", "a", "b"],
            "epoch": [1, 2, 1],
            "train_rmse": [1.0, 0.9, 0.8],
            "test_rmse": [1.0, None, 0.7],
        }
    )
    (axes,) = rendered(plot_curves(rows))
    assert legend(axes) == ["a: test, best 1.0000 at 1", "b: test, best 0.7000 at 1", "train", "test"]
    (a_train, a_test, _, b_train, b_test, _) = axes.lines
    assert a_train.get_color() == a_test.get_color() != b_train.get_color() == b_test.get_color()
    assert [line.is_dashed() for line in (a_train, a_test, b_train, b_test)] == [True, False, True, False]


def test_a_run_without_the_set_that_judges_says_so():
    rows = pd.DataFrame(
        {"run": ["a", "b"], "epoch": [1, 1], "train_rmse": [1.0, 0.8], "test_rmse": [1.0, None]}
    )
    (axes,) = rendered(plot_curves(rows))
    assert legend(axes)[1] == "b: test, not measured"


def test_more_runs_than_colours_are_refused():
    with pytest.raises(RecsparkError, match="8 runs can't be told apart in one figure: draw at most 7"):
        plot_curves([{"run": run, "epoch": 1, "test_rmse": 1.0} for run in "abcdefgh"])


@pytest.mark.parametrize(
    "rows", [[], [{"epoch": 1}], [{"train_rmse": 1.0}], [{"epoch": 1, "train_rmse": None}]]
)
def test_curves_without_points_are_refused(rows):
    with pytest.raises(RecsparkError, match="no curve to plot"):
        plot_curves(rows)


def test_distribution():
    grid = np.arange(0.025, 4, 0.05)
    raw = pd.DataFrame({"series": "predicted", "value": grid, "n": (np.abs(grid - 2) < 0.5).astype(int)})
    bars = pd.DataFrame(
        {"series": ["actual"] * 3 + ["rounded"] * 3, "value": [1.0, 2.0, 3.0] * 2, "n": [5, 10, 5, 0, 20, 0]}
    )
    (axes,) = rendered(plot_distribution(pd.concat([bars, raw])))
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.25, 0.5, 0.25, 0, 1, 0])
    assert len(legend(axes)) == 3
    curve = axes.lines[0].get_xydata()
    assert curve[:, 1].sum() * 0.05 == pytest.approx(1)  # a density over levels one unit apart


def test_residuals():
    columns = ["slice", "level", "n", "unpredicted", "rmse", "mae", "bias"]
    rows = [
        ("rating", "1", 10, 0, 1.25, 1.1, 1.0),
        ("rating", "5", 30, 0, 0.5, 0.4, -0.5),
        ("item_popularity", "0", 0, 4, np.nan, np.nan, np.nan),
        ("item_popularity", "100-299", 40, 0, 0.9, 0.7, 0.1),
        ("warmth", "warm", 40, 0, 0.9, 0.7, 0.1),
    ]
    left, right = rendered(plot_residuals(pd.DataFrame(rows, columns=columns)))
    assert [text.get_text() for text in left.get_xticklabels()] == ["1\n25%", "5\n75%"]
    assert [text.get_text() for text in right.get_xticklabels()] == ["100\n100%"]
    (bars,) = left.collections
    np.testing.assert_allclose(
        [segment[:, 1] for segment in bars.get_segments()], [[0.25, 1.75], [-0.5, -0.5]]
    )


def test_long_rating_scales_name_a_few_levels():
    rows = pd.DataFrame(
        {
            "slice": "rating",
            "level": [str(level) for level in range(1, 101)],
            "n": 1,
            "rmse": 1.0,
            "bias": 0.0,
        }
    )
    left, _ = rendered(plot_residuals(rows))
    assert len(left.get_xticklabels()) <= 12


def test_biases_name_both_sides_with_mean_and_deviation():
    rows = pd.DataFrame(
        {"side": ["items", "items", "users", "users"], "bias": [-0.5, 0.5, 0.0, 0.2], "n": [1, 1, 3, 1]}
    )
    [axes] = rendered(plot_biases(rows))
    assert legend(axes) == ["items: mean 0.00, deviation 0.50", "users: mean 0.05, deviation 0.09"]
    assert axes.get_xlabel() == "bias (rating units)"


def test_a_side_without_biases_is_left_out():
    rows = pd.DataFrame({"side": ["items", "items", "users"], "bias": [-0.5, 0.5, 0.0], "n": [1, 1, 3]})
    [axes] = rendered(plot_biases(rows, "score units"))
    assert legend(axes) == ["items: mean 0.00, deviation 0.50"] and axes.get_xlabel() == "bias (score units)"


def test_no_biases_at_all_are_said_to_be_0():
    [axes] = rendered(
        plot_biases(pd.DataFrame({"side": ["items", "users"], "bias": [0.0, 0.0], "n": [2, 3]}))
    )
    assert axes.get_legend() is None and axes.get_title("right") == "all are 0"
