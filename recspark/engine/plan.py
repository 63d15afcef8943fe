"""The plan of a fit: its data, its algorithm, its layout, and the steps that `recspark.engine.fit` runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from recspark.algorithms.contract import Shared
from recspark.engine.placement import Placement
from recspark.engine.spark.runner import Runner
from recspark.engine.storage import Store
from recspark.lake.fingerprints import fingerprint

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
        The name of the model's folder, different for every fit.
    tol, patience
        See `recspark.algorithms.stopping.should_stop`.
    """

    #: folders that iterations write; if one task does all, their entries stay in memory
    states: ClassVar[tuple[str, ...]]
    #: folders that `prepare` writes
    prepared: ClassVar[tuple[str, ...]]

    work: str
    model: str
    placement: Placement
    max_iter: int
    tol: float
    patience: int

    @property
    def root(self) -> str:
        """The fit's own folder.

        Another input, algorithm or layout gets another folder, so all that is in it can be resumed.
        """
        return f"{self.work}/fit-{fingerprint(*self.made_from)[:16]}"

    @property
    def threads(self) -> int:
        """Threads of one block."""
        return self.placement.kernel_threads

    @property
    @abstractmethod
    def made_from(self) -> tuple[object, ...]:
        """All that the outcome depends on."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """The number of training rows."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """The advice for a fit that diverges."""

    @abstractmethod
    def prepare(self, runner: Runner) -> None:
        """Write the blocks, and their states before the first iteration."""

    @abstractmethod
    def iterate(self, runner: Runner, iteration: int) -> Row:
        """Write the states after an iteration from the states before it, and return its metrics."""

    @abstractmethod
    def is_done(self, history: Sequence[Row]) -> bool:
        """Whether these iterations are enough, although there are fewer than `max_iter`."""

    @abstractmethod
    def prune(self, store: Store, history: Sequence[Row]) -> None:
        """Delete the states that neither a resumed fit nor the model can need after these iterations."""

    @abstractmethod
    def kept(self, history: Sequence[Row]) -> list[int]:
        """The iterations that the model is made of, if the fit ends after these."""

    def best(self, history: Sequence[Row]) -> int:
        """The iteration that describes the model best: the last one by default."""
        return len(history)

    def shared(self, store: Store, kept: Sequence[int]) -> list[Shared]:
        """The values that all rows share in each kept iteration, for models that have samples."""
        return []

    @abstractmethod
    def export(self, runner: Runner, chains: Sequence[tuple[Self, list[int]]]) -> None:
        """Write the tables of the model from the kept iterations of all chains; this plan is the first."""
