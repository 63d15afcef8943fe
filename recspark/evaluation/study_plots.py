"""The figures of a tuning: the course of its trials, and the Params that made the difference.

`trials` has one row per trial: number, state (complete, pruned, failed ...), value, and the Params by name.
An `axis` is the searched range of a Param: ``{"log": bool}`` for numbers, ``{"choices": [...]}`` for others.
Values far behind the best are drawn at the edge, as triangles, so that values near the best stay distinct.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from recspark.evaluation.plots import BLUE, GREY, ORANGE, VERMILION, new_figure, tidy

#: values are drawn at their place up to this far from the best, in distances of the median from the best
_REACH = 3.0
_COLOURS = "viridis"
_COLUMNS = 4


class Axis(TypedDict, total=False):
    """Where a Param was searched: numbers, evenly or by their logarithms; or choices."""

    log: bool
    choices: Sequence[object]


class _Style(TypedDict, total=False):
    """What matplotlib's ``scatter`` takes beside the points."""

    color: str
    c: pd.Series
    cmap: str
    norm: Normalize
    edgecolors: str
    linewidths: float


def plot_history(trials: pd.DataFrame, metric: str, minimize: bool) -> Figure:
    """The values of the trials in their order, and the best so far."""
    figure, axes = new_figure("Trials", "trial", f"{metric} on the validation rows")
    complete, shown = _complete(trials), _Shown(trials, minimize)
    best = complete["value"].cummin() if minimize else complete["value"].cummax()
    axes.step(
        complete["number"],
        best,
        where="post",
        color=BLUE,
        linewidth=2,
        label=f"best so far: {best.iloc[-1]:.4f}",
    )
    shown.scatter(axes, complete["number"], complete["value"], color=BLUE, label="complete")
    pruned = trials[(trials["state"] == "pruned") & trials["value"].notna()]
    if len(pruned):
        shown.scatter(
            axes, pruned["number"], pruned["value"], color=ORANGE, label="pruned, where it ended", marker="x"
        )
    failed = trials[trials["state"] == "failed"]
    if len(failed):
        at_edge = np.full(len(failed), shown.worst)
        axes.plot(
            failed["number"], at_edge, "|", color=VERMILION, markersize=14, markeredgewidth=2, label="failed"
        )
    if shown.cuts:
        axes.scatter([], [], s=36, marker=shown.beyond, color=GREY, label="further behind")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def plot_importances(importances: Mapping[str, float]) -> Figure:
    """The share of each Param, the largest at the top."""
    figure, axes = new_figure("What made the difference", "share of importance (PED-ANOVA)", "")
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color=BLUE, height=0.6)
    axes.bar_label(bars, [f"{importances[name]:.0%}" for name in names], padding=4)
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(visible=False, axis="y")
    return figure


def plot_slices(trials: pd.DataFrame, axes_of: Mapping[str, Axis], metric: str, minimize: bool) -> Figure:
    """The values of complete trials against each Param alone: later trials darker, the best with a ring."""
    complete, shown = _complete(trials), _Shown(trials, minimize)
    best = complete["value"].astype(float).idxmin() if minimize else complete["value"].astype(float).idxmax()
    columns = min(_COLUMNS, len(axes_of))
    rows = math.ceil(len(axes_of) / columns)
    figure = Figure(figsize=(3.2 * columns + 1.2, 3.4 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    order = Normalize(0, max(1, complete["number"].max()))
    for panel, (name, axis) in zip(panels.flat, axes_of.items(), strict=False):
        tidy(panel, "", name, "")
        places, ticks = _places(complete[name], axis)
        style: _Style = {
            "c": complete["number"],
            "cmap": f"{_COLOURS}_r",
            "norm": order,
            "edgecolors": "white",
            "linewidths": 0.5,
        }
        shown.scatter(panel, places, complete["value"], **style)
        panel.plot(
            places[best],
            shown.best,
            "o",
            color=VERMILION,
            markersize=13,
            markerfacecolor="none",
            markeredgewidth=2,
        )
        if ticks:
            panel.set_xticks(range(len(ticks)), ticks)
            panel.margins(x=0.2)
        elif axis.get("log"):
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_locator(NullLocator())
    for panel in panels.flat[len(axes_of) :]:
        panel.set_axis_off()
    for row in panels:
        row[0].set_ylabel(f"{metric} on the validation rows")
    figure.suptitle("Trials by each Param", x=0.01, ha="left", fontweight="bold")
    figure.colorbar(
        ScalarMappable(order, f"{_COLOURS}_r"),
        ax=panels,
        label="trial",
        ticks=MaxNLocator(integer=True, nbins=5),
    )
    return figure


def plot_parallel(trials: pd.DataFrame, axes_of: Mapping[str, Axis], metric: str, minimize: bool) -> Figure:
    """One line per complete trial through its Params to its value.

    The better the trial, the darker its line; the best one has a colour of its own.
    """
    complete, shown = _complete(trials), _Shown(trials, minimize)
    figure = Figure(figsize=(2.0 * (len(axes_of) + 1) + 2.0, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    scales = [_Scale(complete[name], axis) for name, axis in axes_of.items()] + [
        _Scale(shown.clip(complete["value"]), {})
    ]
    heights = np.column_stack([scale.heights for scale in scales])
    order = Normalize(*sorted((shown.best, shown.worst)))
    colours = f"{_COLOURS}{'' if minimize else '_r'}"
    mapped = ScalarMappable(order, colours)
    ranked = complete["value"].rank(ascending=not minimize, method="first")
    for place in np.argsort(ranked.to_numpy()):
        best = ranked.iloc[place] == len(complete)
        colour, width = (VERMILION, 3) if best else (mapped.to_rgba(complete["value"].iloc[place]), 1.2)
        axes.plot(heights[place], label="the best" if best else None, color=colour, linewidth=width)
    tidy(axes, "Trials through all Params", "", "")
    backed = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
    for place, scale in enumerate(scales):
        axes.axvline(place, color=GREY, linewidth=1)
        for height, text in scale.ticks:
            axes.annotate(
                text,
                (place, height),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                bbox=backed,
            )
    axes.set_xticks(range(len(scales)), [*axes_of, f"{metric}, validation"])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    figure.colorbar(mapped, ax=axes, label=f"{metric} on the validation rows")
    return figure


def _complete(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[trials["state"] == "complete"]


class _Shown:
    """The range of values that is drawn."""

    def __init__(self, trials: pd.DataFrame, minimize: bool) -> None:
        values = _complete(trials)["value"].astype(float)
        self.best, last = (values.min(), values.max()) if minimize else (values.max(), values.min())
        far = self.best + _REACH * (values.median() - self.best)
        self.worst = (min if minimize else max)(far, last) if far != self.best else last
        self.cuts = self.worst != last
        self.beyond = "^" if minimize else "v"

    def clip(self, values: pd.Series) -> pd.Series:
        """`values`, of which those beyond the range are moved to its edge."""
        return values.astype(float).clip(*sorted((self.best, self.worst)))

    def scatter(
        self,
        axes: Axes,
        x: pd.Series,
        values: pd.Series,
        marker: str = "o",
        label: str | None = None,
        **style: Unpack[_Style],
    ) -> None:
        """Draw points, with triangles at the edge for points beyond it.

        Parameters
        ----------
        axes
            The panel to draw on.
        x, values
            Coordinates of the points.
        marker, label
            The marker of points within the range, and their name in the legend.
        style
            More arguments of matplotlib's ``scatter``.
        """
        clipped = self.clip(values)
        beyond = (clipped != values.astype(float)) & (clipped == self.worst)
        for mask, mark, text in ((~beyond, marker, label), (beyond, self.beyond, None)):
            points = style.copy()
            if "c" in points:
                points["c"] = points["c"][mask]
            if mark == "x":  # a cross has no edge to colour
                points.pop("edgecolors", None)
                points.pop("linewidths", None)
            axes.scatter(x[mask], clipped[mask], s=36, marker=mark, label=text, zorder=3, **points)


def _places(values: pd.Series, axis: Axis) -> tuple[pd.Series, list[str]]:
    """The places of values on an axis, and for choices their names."""
    if "choices" not in axis:
        return values.astype(float), []
    choices = list(axis["choices"])
    return values.map(choices.index), [str(choice) for choice in choices]


class _Scale:
    """One axis of the parallel coordinates: heights of values from 0 to 1, and its ticks (height, text)."""

    def __init__(self, values: pd.Series, axis: Axis) -> None:
        places, names = _places(values, axis)
        numbers = np.log(places) if axis.get("log") else places
        low, high = (0, len(names) - 1) if names else (numbers.min(), numbers.max())
        span = (high - low) or 1
        self.heights = ((numbers - low) / span).to_numpy(float)
        if names:
            self.ticks = [(number / span, name) for number, name in enumerate(names)]
        else:
            marks = np.linspace(low, high, 5) if high > low else [low]
            self.ticks = [
                ((mark - low) / span, f"{np.exp(mark) if axis.get('log') else mark:.3g}") for mark in marks
            ]
