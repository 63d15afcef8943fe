"""The control of every ranking: it counts ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recspark.algorithms.contract import Given, NoSteps, State
from recspark.algorithms.ratings import Block, as_columns


@dataclass(frozen=True)
class CountSolver(NoSteps):
    """A factorization without factors, whose fit is its start.

    An item's bias is the number of its ratings, a user's bias is 0.
    """

    rank: int = 0
    mean: float = 0.0
    level: float = 0.0
    biased: bool = True

    sweep = "simultaneous"
    row_arrays = ("factors", "bias")
    ranks = False
    seed = 0
    remedy = "there is nothing to change: counts don't diverge"
    clip = (-math.inf, math.inf)

    def start(
        self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None
    ) -> State:
        """The numbers of ratings, float32: exact up to 2^24.

        Parameters
        ----------
        side, first, block, given, added
            See `recspark.algorithms.contract.Solver.start`.
        """
        counts = np.diff(block.train.indptr)
        bias = counts if side == "items" else np.zeros(len(counts))
        return {"factors": np.empty((len(counts), 0), np.float32), "bias": bias.astype(np.float32)}

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """No metrics."""
        return {}

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns features (empty), bias and deviation, which are the same.

        Parameters
        ----------
        side, block, state, n_other
            See `recspark.algorithms.contract.Solver.export`.
        """
        return {"features": state["factors"], **as_columns(state["bias"], state["bias"])}
