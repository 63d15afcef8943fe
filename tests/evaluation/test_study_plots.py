"""The figures of a tuning: what they show, and that any study can be drawn."""

import numpy as np
import pandas as pd
import pytest

from recspark.evaluation.study_plots import plot_history, plot_importances, plot_parallel, plot_slices

AXES = {"regParam": {"log": True}, "rank": {"log": False}, "kernel": {"choices": ("linear", "rbf")}}


def study(n=20, seed=0):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame({"number": range(n), "state": "complete", "value": 0.9 + draw.gamma(2, 0.01, n)})
    params = {
        "regParam": 10 ** draw.uniform(-2, 0, n),
        "rank": draw.integers(4, 64, n),
        "kernel": draw.choice(["linear", "rbf"], n),
    }
    return table.assign(**params)


def drawn(figure):
    figure.canvas.draw()
    return figure


def test_history_shows_the_best_so_far_and_what_ended_early():
    table = study()
    table.loc[3, "state"], table.loc[[5], ["state", "value"]] = "pruned", ["failed", None]
    [axes] = drawn(plot_history(table, "rmse", True)).axes
    complete = table[table["state"] == "complete"]
    step = axes.lines[0]
    assert step.get_xdata().tolist() == complete["number"].tolist()
    assert step.get_ydata().tolist() == complete["value"].cummin().tolist()
    texts = [text.get_text() for text in axes.get_legend().get_texts() if text.get_text() != "further behind"]
    assert texts == [
        f"best so far: {complete['value'].min():.4f}",
        "complete",
        "pruned, where it ended",
        "failed",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "rmse on the validation rows")


@pytest.mark.parametrize("minimize", [True, False])
def test_values_far_from_the_best_stay_at_the_edge(minimize):
    table = study()
    table.loc[7, "value"] = 40.0 if minimize else -40.0
    [axes] = drawn(plot_history(table, "rmse", minimize)).axes
    low, high = axes.get_ylim()
    assert 0.8 < low < high < 1.1


def test_slices_have_a_panel_a_param():
    figure = drawn(plot_slices(study(), AXES, "rmse", True))
    panels = [axes for axes in figure.axes if axes.get_xlabel() in AXES]
    assert [panel.get_xlabel() for panel in panels] == list(AXES)
    assert panels[0].get_xscale() == "log" and panels[1].get_xscale() == "linear"
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["linear", "rbf"]
    assert panels[0].get_ylabel() == "rmse on the validation rows"


def test_parallel_coordinates_end_with_the_value_and_mark_the_best():
    table = study()
    axes = drawn(plot_parallel(table, AXES, "rmse", True)).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [*AXES, "rmse, validation"]
    [best] = [line for line in axes.lines if line.get_label() == "the best"]
    assert best.get_ydata()[-1] == 0 and len(best.get_ydata()) == 4
    assert best.get_ydata()[2] == ["linear", "rbf"].index(table.loc[table["value"].idxmin(), "kernel"])


def test_importances_are_in_their_order():
    [axes] = drawn(plot_importances({"rank": 0.7, "regParam": 0.3})).axes
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.7]
    assert [text.get_text() for text in axes.texts] == ["30%", "70%"]


@pytest.mark.parametrize("n", [1, 2])
def test_short_studies_can_be_drawn(n):
    table, axes = study(n), {"rank": {"log": False}}
    table["value"] = 0.9
    for figure in (
        plot_history(table, "auc", False),
        plot_slices(table, axes, "auc", False),
        plot_parallel(table, axes, "auc", False),
    ):
        drawn(figure)
