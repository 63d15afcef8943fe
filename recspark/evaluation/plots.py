"""The figures of a run: learning curves, predicted against actual ratings, residuals. Made without a display or global state."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recspark.errors import RecsparkError

#: Okabe and Ito (2008): told apart with any colour vision, and in print by their lightness
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#5F5F5F"
RUN_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
#: the sets of a curve row, by the line that shows them, and by their colour where there is one run
LINES = {"train": (0, (1, 1.2)), "validation": "solid", "test": (0, (5, 2))}
SET_COLOURS = {"train": ORANGE, "validation": BLUE, "test": GREEN}
#: levels named on an axis, at most
MAX_TICKS = 12


def plot_curves(curve_rows: Iterable[Mapping[str, Any]] | pd.DataFrame) -> Figure:
    """RMSE of each epoch: a line style a set, a colour a run, and a dot at each run's best epoch, its value in the legend.

    Parameters
    ----------
    curve_rows : rows or DataFrame
        ``epoch`` and any of ``train_rmse, validation_rmse, test_rmse`` (null where not measured), and ``run``, a name, where
        there are several. The best epoch is that of the validation set, else of the test set, else of the training set.

    Raises
    ------
    RecsparkError
        Where there is no row, no epoch or no RMSE.
    """
    rows = pd.DataFrame(curve_rows)
    sets = [name for name in LINES if f"{name}_rmse" in rows and rows[f"{name}_rmse"].notna().any()]
    if "epoch" not in rows or not sets:
        raise RecsparkError(f"no curve to plot: rows need epoch and one of {', '.join(LINES)}_rmse, and hold {list(rows.columns)}")
    runs = list(rows.groupby("run", sort=False)) if "run" in rows else [("", rows)]
    judge = next(name for name in ("validation", "test", "train") if name in sets)
    figure, axes = _figure("RMSE by epoch", "epoch", "RMSE (rating units)")
    for number, (run, curve) in enumerate(runs):
        for name in sets:
            points = curve[["epoch", f"{name}_rmse"]].dropna().sort_values("epoch").to_numpy(float)
            colour = SET_COLOURS[name] if len(runs) == 1 else RUN_COLOURS[number % len(RUN_COLOURS)]
            label = f"{run} {name}".strip()
            if name == judge and len(points):
                epoch, best = points[np.argmin(points[:, 1])]
                axes.plot([epoch], [best], "o", color=colour, markersize=7)
                label += f", best {best:.4f} at {epoch:g}"
            axes.plot(*points.T, color=colour, linestyle=LINES[name], linewidth=2, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def plot_distribution(histogram: pd.DataFrame) -> Figure:
    """How the ratings of the test set and the predictions for them are spread.

    Bars: the share of rows at each rating level, actual beside predicted and rounded to the nearest level. Curve: the raw
    predictions, as the share a unit of rating. `histogram` is that of :func:`recspark.evaluation.ratings.histogram`.
    """
    series = {name: rows.set_index("value")["n"] / rows["n"].sum() for name, rows in histogram.groupby("series")}
    levels = series["actual"].index.to_numpy()
    step = np.diff(levels).min() if len(levels) > 1 else 1.0
    figure, axes = _figure("Predicted and actual ratings", "rating", "share of test rows")
    axes.bar(levels - 0.2 * step, series["actual"], 0.38 * step, color=SKY, label="actual")
    axes.bar(levels + 0.2 * step, series["rounded"], 0.38 * step, color=ORANGE, label="predicted, nearest level")
    raw = series["predicted"]
    width = raw.index[1] - raw.index[0]
    # a bin's share is scaled to what a level's width would hold, so that curve and bars have one axis
    axes.step(raw.index, raw * (step / width), where="mid", color=VERMILION, linewidth=1.6, label="predicted, raw (per level width)")
    axes.set_xlim(levels[0] - 1, levels[-1] + 1)
    axes.set_xticks(levels[:: math.ceil(len(levels) / MAX_TICKS)])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(y=0.15)
    axes.legend(frameon=False)
    return figure


def plot_biases(histogram: pd.DataFrame) -> Figure:
    """How the learned biases of users and items are spread: the share of each side in bins of equal width.

    `histogram` has the columns side (users, items), bias (the middle of a bin) and n (ids in it).
    """
    figure, axes = _figure("Learned biases", "bias (rating units)", "share of the side, a bin")
    for (side, rows), colour, style in zip(histogram.groupby("side", sort=True), (BLUE, VERMILION), ("solid", (0, (5, 2))), strict=False):
        share = rows["n"] / rows["n"].sum()
        mean = float((rows["bias"] * share).sum())
        spread = float(np.sqrt(((rows["bias"] - mean) ** 2 * share).sum()))
        axes.step(rows["bias"], share, where="mid", color=colour, linestyle=style, linewidth=2, label=f"{side}: mean {mean:.2f}, deviation {spread:.2f}")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False)
    return figure


def plot_residuals(slices: pd.DataFrame) -> Figure:
    """Mean and spread of ``prediction - rating`` by rating level and by item popularity, with each level's share of rows.

    `slices` is the table of :func:`recspark.evaluation.ratings.slice_table`. Bands are one standard deviation each way.
    """
    figure = Figure(figsize=(10.5, 4.8), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _residual_panel(left, slices[slices["slice"] == "rating"], "By rating level", "actual rating, over its share of test rows")
    label = "training ratings of the item (from), over their share of test rows"
    _residual_panel(right, slices[slices["slice"] == "item_popularity"], "By item popularity", label)
    left.set_ylabel("prediction - rating (rating units)")
    right.legend(frameon=False, loc="best")
    return figure


def _residual_panel(axes: Axes, rows: pd.DataFrame, title: str, label: str) -> None:
    rows = rows[rows["n"] > 0]
    places, bias = np.arange(len(rows)), rows["bias"].to_numpy(float)
    spread = np.sqrt(np.maximum(rows["rmse"].to_numpy(float) ** 2 - bias**2, 0))
    _tidy(axes, title, label, "")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.errorbar(places, bias, spread, fmt="none", ecolor=SKY, elinewidth=9, label="± 1 standard deviation")
    axes.plot(places, bias, "o", color=BLUE, markersize=6, label="mean")
    shares = rows["n"] / max(1, rows["n"].sum())
    names = [_tick(level, share) for level, share in zip(rows["level"], shares, strict=True)]
    every = max(1, math.ceil(len(rows) / MAX_TICKS))
    axes.set_xticks(places[::every], names[::every])


def _tick(level: str, share: float) -> str:
    """A level over its share; of a bin such as 100-299 the lower edge says enough, and a row of whole names would not fit."""
    lower = re.sub(r"(?<=\d)-.*", "", level)
    return f"{lower}\n<1%" if 0 < share < 0.01 else f"{lower}\n{share:.0%}"


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    _tidy(axes, title, x, y)
    return figure, axes


def _tidy(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
