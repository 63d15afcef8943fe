"""The devices that solve rows of ALS, each a module found by name: `cpu`, `cuda`.

    cpu     the kernels of `recspark.kernels.als`, by threads
    cuda    a card of this machine, by `recspark.kernels.cuda`; there is an error if there is none
    auto    a card where there is one, else the processor

Spark gives a task its card (``spark.task.resource.gpu.amount``), and the task passes it on by `grant`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

import numpy as np

from recspark.algorithms.ratings import CSR
from recspark.errors import RecsparkError
from recspark.kernels.als import Bounds, Penalty, Side, Source

#: values of the Param `device`
DEVICES = ("cpu", "cuda", "auto")


class Device(Protocol):
    """What a device does with the rows of a block."""

    def solve_rows(
        self, csr: CSR, source: Source, own: Side, penalty: Penalty, how: tuple[bool, bool], threads: int
    ) -> tuple[Side, float]:
        """Solve all rows: see `recspark.kernels.als.solve_rows`.

        Parameters
        ----------
        csr
            The entries of the rows.
        source
            The side that is read; its factors are not padded.
        own
            The rows before; they are not changed.
        penalty
            The constants of the objective.
        how
            Whether biases are fitted, and whether factors must be at least 0.
        threads
            Number of threads of the kernels.

        Returns
        -------
        Side, float
            The new rows, and the sum of their penalties.
        """

    def squared_error(
        self, csr: CSR, source: Side, own: Side, bounds: Bounds, threads: int
    ) -> tuple[float, float]:
        """``sum w (r - p)^2`` and ``sum w`` of all entries: see `recspark.kernels.als.squared_error`.

        Parameters
        ----------
        csr, source, own, threads
            As of `solve_rows`.
        bounds
            The mean, and the range of predictions.
        """

    def gram(self, factors: np.ndarray) -> np.ndarray:
        """``F'F`` of all rows: see `recspark.kernels.als.gram`."""


class NoCard(Exception):
    """There is no card for this process; the text says why."""


#: the numbers of the cards that Spark gave to the task of this process; None: nobody hands out cards here
_granted: list[str] | None = None


def grant(addresses: Sequence[str] | None) -> None:
    """Take note of the cards that the task of this process may use: their numbers on this machine.

    None: all of them, because nobody else asks for one.
    """
    global _granted
    _granted = None if addresses is None else list(addresses)


def find(name: str) -> Device:
    """The device of this name (`DEVICES`).

    Raises
    ------
    RecsparkError
        If a card is asked for and there is none for this process.
    """
    if name != "cpu":
        try:
            return import_module(f"{__name__}.cuda").device(_granted)
        except NoCard as reason:
            if name == "cuda":
                raise RecsparkError(
                    f"device = 'cuda' finds no card: {reason}; allowed are 'cpu', and 'auto', which takes a "
                    "card where there is one"
                ) from None
    return import_module(f"{__name__}.cpu").device()
