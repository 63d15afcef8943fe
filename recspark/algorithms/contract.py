"""What an algorithm on blocks is: the engine knows nothing else of it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recspark.algorithms.ratings import Block, Cells

State = dict[str, np.ndarray]

#: rows (positions in a block) for which a start is given, their factors and biases
Given = tuple[np.ndarray, np.ndarray, np.ndarray]


class Solver(Protocol):
    """An algorithm on blocks. It is pickled into tasks; it holds hyper-parameters, never data."""

    #: the number of factors
    rank: int
    #: what an iteration is made of: a name in `recspark.engine.sweeps.SWEEPS`
    sweep: str
    #: keys of a state that hold one row per id; all others are summed over blocks before a step reads them
    row_arrays: tuple[str, ...]
    #: whether watched rows are preferences, which are ranked (`recspark.algorithms.ranks`), not ratings
    ranks: bool
    #: start of what is random
    seed: int
    #: what to change where a fit diverges
    remedy: str

    def start(
        self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None
    ) -> State:
        """The state of a block before the first iteration.

        Parameters
        ----------
        first
            The position of the block's first row.
        given, added
            Rows, with the factors and biases that they start with, and that are then added; in the unit of
            models.
        """

    def step(
        self, side: str, block: Block, source: State, own: State, threads: int
    ) -> tuple[State, dict[str, float]]:
        """The block's new state from the other side's, and sums that `summarize` gets added up over tasks
        (sweeps on sides).
        """

    def step_pair(
        self, cells: Cells, users: State, items: State, iteration: int, pair: tuple[int, int], threads: int
    ) -> tuple[State, State, dict[str, float]]:
        """New states of a block of users and a block of items from the ratings between them, and sums (sweep
        on strata).
        """

    def watch(self, block: Block, source: State, own: State, threads: int) -> dict[str, float]:
        """Sums over the rows of a user block once an iteration is over (all sweeps but the alternating
        one).
        """

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """Metrics of an iteration: ``train_rmse``, ``objective``, ``validation_rmse`` or ``validation_auc``
        ...
        """

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns of the model's table of this side."""
