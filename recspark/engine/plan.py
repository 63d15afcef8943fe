"""The plan of a fit: its data, its algorithm, its layout, and the steps that `recspark.engine.fit` runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from recspark.algorithms.contract import Shared
from recspark.engine.placement import Placement
from recspark.engine.spark.runner import Runner
from recspark.engine.storage import Store
from recspark.lake.lake import fingerprint

#: metrics of an iteration; the history of a fit is a list of them
Row = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """All that a fit needs, small enough to send with every task.

    Parameters
    ----------
    work
        The folder, or URI, in which the fit has its own folder.
    model
        The name of the folder of its outcome: no two fits share one.
    tol, patience
        See `recspark.algorithms.stopping.should_stop`.
    """

    #: folders of what an iteration writes: it stays in memory where one task does all
    states: ClassVar[tuple[str, ...]]
    #: folders of what `prepare` writes
    prepared: ClassVar[tuple[str, ...]]

    work: str
    model: str
    placement: Placement
    max_iter: int
    tol: float
    patience: int

    @property
    def root(self) -> str:
        """The fit's own folder: another input, algorithm or layout gets another one, so whatever is in it can
        be resumed.
        """
        return f"{self.work}/fit-{fingerprint(*self.identity)[:16]}"

    @property
    def threads(self) -> int:
        """Threads of one block."""
        return self.placement.kernel_threads

    @property
    @abstractmethod
    def identity(self) -> tuple[Any, ...]:
        """What the outcome depends on."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """The number of rows that train."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What to change where the fit diverges."""

    @abstractmethod
    def prepare(self, runner: Runner) -> None:
        """Write the blocks, and their states before the first iteration."""

    @abstractmethod
    def iterate(self, runner: Runner, iteration: int) -> Row:
        """Write the states after an iteration from those before; return its metrics."""

    @abstractmethod
    def is_done(self, history: Sequence[Row]) -> bool:
        """Whether these iterations are enough, before `max_iter` of them."""

    @abstractmethod
    def prune(self, store: Store, history: Sequence[Row]) -> None:
        """Delete the states that neither a resumed fit nor the model can need after these iterations."""

    @abstractmethod
    def kept(self, history: Sequence[Row]) -> list[int]:
        """The iterations that the model is made of, once these were all."""

    def best(self, history: Sequence[Row]) -> int:
        """The iteration that the model is best described by: the last one, unless the plan knows better."""
        return len(history)

    def shared(self, store: Store, kept: Sequence[int]) -> list[Shared]:
        """What all rows share in each kept iteration, for models that have samples."""
        return []

    @abstractmethod
    def export(self, runner: Runner, chains: Sequence[tuple[Self, list[int]]]) -> None:
        """Write the tables of the model from the kept iterations of all chains; this is the first."""
