"""Figures of a report that runs do not have: the long tail, all ratings, and curves of any metric."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from recspark.evaluation import plots

#: share of the most rated users or items that a report counts the ratings of
HEAD = 0.2


def plot_long_tail(sides: Mapping[str, pd.DataFrame]) -> Figure:
    """Ratings of a user or item by its rank, both on logarithmic axes.

    `sides` has for each side a table of columns ``count`` (number of ratings) and ``n`` (ids with so many).
    """
    figure, axes = plots.new_figure(
        "Ratings per user and item", "rank, the most rated first", "number of ratings"
    )
    styles = {"items": (plots.BLUE, "solid"), "users": (plots.VERMILION, (0, (5, 2)))}
    for side, rows in sides.items():
        ordered = rows.sort_values("count", ascending=False)
        last = ordered["n"].cumsum().to_numpy()
        # the first and the last rank of each number of ratings
        ranks = np.stack([np.r_[1, last[:-1] + 1], last], axis=1).ravel()
        colour, line = styles[side]
        axes.plot(
            ranks,
            ordered["count"].repeat(2),
            color=colour,
            linestyle=line,
            linewidth=2,
            label=side,
            marker=".",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.legend(frameon=False)
    return figure


def head_share(rows: pd.DataFrame) -> float:
    """The share of all ratings that the most rated ids have, `HEAD` of all ids.

    >>> head_share(pd.DataFrame({"count": [1, 6], "n": [4, 1]}))
    0.6
    """
    ordered = rows.sort_values("count", ascending=False)
    head = max(1, round(HEAD * ordered["n"].sum()))
    before = ordered["n"].cumsum() - ordered["n"]
    taken = (head - before).clip(lower=0).clip(upper=ordered["n"])
    return float((taken * ordered["count"]).sum() / (ordered["n"] * ordered["count"]).sum())


def plot_ratings(rows: pd.DataFrame) -> Figure:
    """The number of ratings at each level or, of a scale without levels, in each bin.

    `rows` has the columns ``rating`` (the level, or the lower edge), ``n``, and ``width`` (0 for a level).
    """
    figure, axes = plots.new_figure("Ratings", "rating", "share of all ratings")
    values, share = rows["rating"].to_numpy(float), rows["n"] / rows["n"].sum()
    width = float(rows["width"].iloc[0])
    if width:
        axes.bar(values, share, 0.94 * width, align="edge", color=plots.SKY)
    else:
        step = float(np.diff(values).min()) if len(values) > 1 else 1.0
        axes.bar(values, share, 0.8 * step, color=plots.SKY)
        axes.set_xticks(values[:: -(-len(values) // plots.MAX_TICKS)])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    return figure


def plot_history(history: pd.DataFrame) -> Figure | None:
    """The curve of a fit: its RMSE, else its AUC, else its objective; None if there is none of these."""
    if any(column.endswith("_rmse") for column in history):
        return plots.plot_curves(history.rename(columns={"iteration": "epoch"}), "rating units")
    found = [column for column in history if column.endswith("_auc")] or [
        column for column in history if column == "objective"
    ]
    if not found:
        return None
    name = "AUC" if found[0].endswith("_auc") else "objective"
    figure, axes = plots.new_figure(f"{name} by iteration", "iteration", name)
    for column, colour in zip(found, plots.RUN_COLOURS, strict=False):
        axes.plot(history["iteration"], history[column], color=colour, linewidth=2, marker=".", label=column)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(found) > 1:
        axes.legend(frameon=False)
    return figure
