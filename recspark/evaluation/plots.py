"""The figures of a run: learning curves, predicted against actual ratings, residuals.

They are made without a display and without global state.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from recspark.errors import RecsparkError

#: Okabe and Ito (2008): distinct for any colour vision, and in print by their lightness
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#5F5F5F",
)
RUN_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000")
#: the sets of a curve row with their line styles, and with their colours if there is one run
LINES = {"train": (0, (4, 2)), "validation": "solid", "test": "solid"}
SET_COLOURS = {"train": ORANGE, "validation": BLUE, "test": GREEN}
#: line style of test rows if validation rows have the solid line
SECOND_LINE = (0, (7, 2, 1, 2))
#: as many decimals as a tick needs
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g}%")
#: most levels named on an axis
MAX_TICKS = 12


def plot_curves(
    curve_rows: Iterable[Mapping[str, object]] | pd.DataFrame, unit: str = "rating units"
) -> Figure:
    """RMSE of each epoch: one line style per set, one colour per run.

    A dot marks each run's best epoch, with its value in the legend.

    Parameters
    ----------
    curve_rows : rows or DataFrame
        ``epoch`` and any of ``train_rmse, validation_rmse, test_rmse`` (null if not measured), and ``run``, a
        name, if there are several. The best epoch is that of the validation set, else of the test set, else
        of the training set.
    unit : str
        The unit of the RMSE.

    Raises
    ------
    RecsparkError
        If there is no row, no epoch or no RMSE, or there are more runs than colours.
    """
    rows = pd.DataFrame(curve_rows)
    sets = [name for name in LINES if f"{name}_rmse" in rows and rows[f"{name}_rmse"].notna().any()]
    if "epoch" not in rows or not sets:
        raise RecsparkError(
            f"no curve to plot: rows need epoch and one of {', '.join(LINES)}_rmse, and hold "
            f"{list(rows.columns)}"
        )
    runs = list(rows.groupby("run", sort=False)) if "run" in rows else [("", rows)]
    if len(runs) > len(RUN_COLOURS):
        raise RecsparkError(
            f"{len(runs)} runs can't be told apart in one figure: draw at most {len(RUN_COLOURS)}"
        )
    lines = LINES | ({"test": SECOND_LINE} if "validation" in sets else {})
    judge = next(name for name in ("validation", "test", "train") if name in sets)
    figure, axes = new_figure("RMSE by epoch", "epoch", f"RMSE ({unit})")
    entries = []
    for (run, curve), run_colour in zip(runs, RUN_COLOURS, strict=False):
        colours = SET_COLOURS if len(runs) == 1 else dict.fromkeys(sets, run_colour)
        for name in sets:
            axes.plot(*_points(curve, name).T, color=colours[name], linestyle=lines[name], linewidth=2)
        best = _mark_best(axes, _points(curve, judge), colours[judge])
        if len(runs) == 1:
            entries = [
                (colours[name], lines[name], f"{name}{best if name == judge else ''}") for name in sets
            ]
        else:
            entries.append((run_colour, "solid", f"{run}: {judge}{best}"))
    if len(runs) > 1:
        entries += [(GREY, lines[name], name) for name in sets]
    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2, label=text)
        for colour, line, text in entries
    ]
    axes.legend(handles=handles, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _points(curve: pd.DataFrame, name: str) -> np.ndarray:
    """The measured points (epoch, RMSE) of a set."""
    return curve[["epoch", f"{name}_rmse"]].dropna().sort_values("epoch").to_numpy(float)


def _mark_best(axes: Axes, points: np.ndarray, colour: str) -> str:
    """Mark the lowest point with a dot, and return its value in words."""
    if not len(points):
        return ", not measured"
    epoch, best = points[np.argmin(points[:, 1])]
    axes.plot([epoch], [best], "o", color=colour, markersize=7)
    return f", best {best:.4f} at {epoch:g}"


def plot_distribution(histogram: pd.DataFrame) -> Figure:
    """The distributions of the ratings of the test set and of their predictions.

    Bars: the share of rows at each rating level, actual beside predicted and rounded to the nearest level.
    Curve: the raw predictions, as the share per unit of rating. `histogram` is that of
    :func:`recspark.evaluation.ratings.histogram`.
    """
    series = {
        name: rows.set_index("value")["n"] / rows["n"].sum() for name, rows in histogram.groupby("series")
    }
    levels = series["actual"].index.to_numpy()
    step = np.diff(levels).min() if len(levels) > 1 else 1.0
    figure, axes = new_figure("Predicted and actual ratings", "rating", "share of test rows")
    axes.bar(levels - 0.2 * step, series["actual"], 0.38 * step, color=SKY, label="actual")
    axes.bar(
        levels + 0.2 * step, series["rounded"], 0.38 * step, color=ORANGE, label="predicted, nearest level"
    )
    raw = series["predicted"]
    width = raw.index[1] - raw.index[0]
    # a bin's share is scaled to the width of a level, so that curve and bars share an axis
    axes.step(
        raw.index,
        raw * (step / width),
        where="mid",
        color=VERMILION,
        linewidth=1.6,
        label="predicted, raw (per level width)",
    )
    axes.set_xlim(levels[0] - 1, levels[-1] + 1)
    axes.set_xticks(levels[:: math.ceil(len(levels) / MAX_TICKS)])
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.margins(y=0.15)
    axes.legend(frameon=False)
    return figure


def plot_biases(histogram: pd.DataFrame, unit: str = "rating units") -> Figure:
    """The distribution of learned biases: the share of each side in bins of equal width.

    `histogram` has the columns side (users, items), bias (the middle of a bin) and n (ids in it). A side
    without biases, all in the bin of 0, is left out. `unit` is the unit of a score.
    """
    figure, axes = new_figure("Learned biases", f"bias ({unit})", "share of users or items in a bin")
    styles = {"items": (BLUE, "solid"), "users": (VERMILION, (0, (5, 2)))}
    for side, rows in histogram.groupby("side", sort=True):
        if not rows.loc[rows["n"] > 0, "bias"].any():
            continue
        colour, line = styles[side]
        share = rows["n"] / rows["n"].sum()
        mean = float((rows["bias"] * share).sum())
        spread = float(np.sqrt(((rows["bias"] - mean) ** 2 * share).sum()))
        label = f"{side}: mean {mean:.2f}, deviation {spread:.2f}"
        axes.step(rows["bias"], share, where="mid", color=colour, linestyle=line, linewidth=2, label=label)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.yaxis.set_major_formatter(_PERCENT)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    else:
        axes.set_title("all are 0", loc="right")
    return figure


def plot_residuals(slices: pd.DataFrame) -> Figure:
    """Mean and standard deviation of ``prediction - rating`` by rating level and by item popularity.

    Each level shows its share of rows. `slices` is the table of
    :func:`recspark.evaluation.ratings.slice_table`. Bands are one standard deviation each way.
    """
    figure = Figure(figsize=(10.5, 4.8), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _residual_panel(
        left,
        slices[slices["slice"] == "rating"],
        "By rating level",
        "actual rating, over its share of test rows",
    )
    label = "training ratings of the item (from), over their share of test rows"
    _residual_panel(right, slices[slices["slice"] == "item_popularity"], "By item popularity", label)
    left.set_ylabel("prediction - rating (rating units)")
    right.legend(frameon=False, loc="best")
    return figure


def _residual_panel(axes: Axes, rows: pd.DataFrame, title: str, label: str) -> None:
    rows = rows[rows["n"] > 0]
    places, bias = np.arange(len(rows)), rows["bias"].to_numpy(float)
    spread = np.sqrt(np.maximum(rows["rmse"].to_numpy(float) ** 2 - bias**2, 0))
    tidy(axes, title, label, "")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.errorbar(places, bias, spread, fmt="none", ecolor=SKY, elinewidth=9, label="± 1 standard deviation")
    axes.plot(places, bias, "o", color=BLUE, markersize=6, label="mean")
    shares = rows["n"] / max(1, rows["n"].sum())
    names = [_tick(level, share) for level, share in zip(rows["level"], shares, strict=True)]
    every = max(1, math.ceil(len(rows) / MAX_TICKS))
    axes.set_xticks(places[::every], names[::every])


def _tick(level: str, share: float) -> str:
    """A level over its share.

    A bin such as 100-299 is named by its lower edge, as whole names would not fit.
    """
    lower = re.sub(r"(?<=\d)-.*", "", level)
    return f"{lower}\n<1%" if 0 < share < 0.01 else f"{lower}\n{share:.0%}"


def plot_differences(
    table: pd.DataFrame, metric: str, confidence: float, unit: str = "rating units"
) -> Figure:
    """Differences of models from the first one, with intervals: one row per model, the best at the top.

    `table` has the columns model, value, difference, low and high; the last three are null for the first
    model. Intervals that don't meet the line at 0 are drawn full, others pale.
    """
    first, others = (
        table.iloc[0],
        table.iloc[1:].sort_values("value", ascending=metric not in ("rmse", "mae")),
    )
    figure, axes = new_figure(f"{metric} beside that of {first['model']} ({first['value']:.4f})", "", "")
    places = np.arange(len(others))
    certain = (others["low"] * others["high"] > 0).to_numpy()
    for place, sure, row in zip(places, certain, others.itertuples(), strict=True):
        colour = BLUE if sure else SKY
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=5, solid_capstyle="butt")
        axes.plot([row.difference], [place], "o", color=colour, markersize=9, markeredgecolor="white")
        axes.annotate(
            f"{row.difference:+.4f}", (row.difference, place), (0, 9), textcoords="offset points", ha="center"
        )
    axes.axvline(0, color=GREY, linewidth=1.5)
    axes.set_yticks(places, others["model"])
    axes.set_ylim(-0.7, len(others) - 0.3)
    better = "left" if metric in ("rmse", "mae") else "right"
    measured = unit if better == "left" else "mean over users"
    axes.set_xlabel(
        f"difference of {metric} ({measured}), with its {100 * confidence:.4g}% interval; {better} is better"
    )
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    axes.grid(visible=False, axis="y")
    return figure


def new_figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of one panel, with title and axis labels."""
    figure = Figure(figsize=(7.5, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    tidy(axes, title, x, y)
    return figure, axes


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title, labels and grid, the same for all panels."""
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
