"""What a fit is: its data, its algorithm, its layout; and how its files are called."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from recspark.algorithms.ratings import SIDES
from recspark.engine.encode import Parts
from recspark.engine.placement import Placement
from recspark.lake.lake import fingerprint


@dataclass(frozen=True)
class Plan:
    """Everything that a fit needs, small enough to send with every task. `model` names the folder of its
    outcome: no two fits share one.
    """

    work: str
    model: str
    parts: Parts
    solver: Any
    placement: Placement
    max_iter: int
    tol: float
    patience: int
    #: folder of model tables (users, items: id, features, bias) to start from; ids that it lacks start as
    #: without it
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
        """The fit's own folder: another input, algorithm or layout gets another one, so whatever is in it can
        be resumed.
        """
        identity = (
            self.parts.digest,
            type(self.solver).__name__,
            asdict(self.solver),
            self.blocks,
            self.initial,
            self.added,
        )
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
