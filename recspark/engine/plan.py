"""What a fit is: its data, its algorithm, its layout; and how its files are called."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from recspark.data.lake import fingerprint
from recspark.engine.blocks import SIDES, Block, Cells
from recspark.engine.encode import Parts
from recspark.engine.placement import Placement

State = dict[str, np.ndarray]

#: rows (positions in a block) for which a start is given, their factors and biases
Given = tuple[np.ndarray, np.ndarray, np.ndarray]


class Solver(Protocol):
    """An algorithm on blocks. It is pickled into tasks; it holds hyper-parameters, never data."""

    #: the number of factors
    rank: int
    #: what an iteration is made of: a name in `recspark.engine.sweeps.SWEEPS`
    sweep: str
    #: keys of a state that hold one row an id; all others are summed over blocks before a step reads them
    row_arrays: tuple[str, ...]
    #: whether watched rows are preferences, which are ranked (`recspark.engine.ranks`), not ratings
    ranks: bool
    #: start of what is random
    seed: int
    #: what to change where a fit diverges
    remedy: str

    def start(self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None) -> State:
        """The state of a block before the first iteration.

        Parameters
        ----------
        first
            The position of the block's first row.
        given, added
            Rows, with the factors and biases that they start with, and that are then added; in the unit of models.
        """

    def step(self, side: str, block: Block, source: State, own: State, threads: int) -> tuple[State, dict[str, float]]:
        """The block's new state from the other side's, and sums that `summarize` gets added up over tasks (sweeps on sides)."""

    def step_pair(
        self, cells: Cells, users: State, items: State, iteration: int, pair: tuple[int, int], threads: int
    ) -> tuple[State, State, dict[str, float]]:
        """New states of a block of users and a block of items from the ratings between them, and sums (sweep on strata)."""

    def watch(self, block: Block, source: State, own: State, threads: int) -> dict[str, float]:
        """Sums over the rows of a user block once an iteration is over (all sweeps but the alternating one)."""

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """Metrics of an iteration: ``train_rmse``, ``objective``, ``validation_rmse`` or ``validation_auc`` ..."""

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns of the model's table of this side."""


@dataclass(frozen=True)
class Plan:
    """Everything that a fit needs, small enough to send with every task. `model` names the folder of its outcome: no two fits share one."""

    work: str
    model: str
    parts: Parts
    solver: Any
    placement: Placement
    max_iter: int
    tol: float
    patience: int
    #: folder of model tables (users, items: id, features, bias) to start from; ids that it lacks start as without it
    initial: str | None = None
    #: folder of tables of the same columns that are added to the starting factors and biases
    added: str | None = None

    @property
    def blocks(self) -> dict[str, int]:
        """The number of blocks of each side."""
        return self.placement.blocks

    @property
    def threads(self) -> int:
        """Threads of one block."""
        return self.placement.kernel_threads

    @property
    def root(self) -> str:
        """The fit's own folder: another input, algorithm or layout gets another one, so whatever is in it can be resumed."""
        identity = (self.parts.digest, type(self.solver).__name__, asdict(self.solver), self.blocks, self.initial, self.added)
        return f"{self.work}/fit-{fingerprint(*identity)[:16]}"

    def side_jobs(self, side: str) -> list[tuple[str, int]]:
        """(side, block) of every block of a side."""
        return [(side, block) for block in range(self.blocks[side])]

    @property
    def jobs(self) -> list[tuple[str, int]]:
        """(side, block) of every block."""
        return [job for side in SIDES for job in self.side_jobs(side)]


def factors(side: str, iteration: int, block: int, stage: int | None = None) -> str:
    """The entry of a block's state after an iteration, or after one of its stages."""
    within = "" if stage is None else f"-stage-{stage:05d}"
    return f"factors/{side}-{iteration:05d}-{block:05d}{within}"
