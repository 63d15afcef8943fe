"""Rows of ALS on a CUDA card: `recspark.kernels.cuda` on whole blocks.

Entries stay on the card as long as the arrays of their block exist, factors as long as their state. So where
one process runs all iterations, only sums leave the card, and factors when they are written.
"""

from __future__ import annotations

import platform
from functools import cache

import numpy as np

from recspark.algorithms.devices import NoCard
from recspark.algorithms.ratings import CSR
from recspark.kernels import als


class Cuda:
    """See `recspark.algorithms.devices.Device`; blocks of several threads take turns."""

    def __init__(self, number: int) -> None:
        from recspark.kernels.cuda import als as kernels
        from recspark.kernels.cuda.card import Card

        self._kernels, self._card = kernels, Card(number)

    def solve_rows(
        self,
        csr: CSR,
        source: als.Source,
        own: als.Side,
        penalty: als.Penalty,
        how: tuple[bool, bool],
        threads: int,
    ) -> tuple[als.Side, float]:
        """Solve all rows; the result stays on the card.

        Parameters
        ----------
        csr, source, own, penalty, how, threads
            See `recspark.algorithms.devices.Device.solve_rows`; factors may have any sign.
        """
        biased, nonnegative = how
        if nonnegative:
            raise NotImplementedError("nonnegative rows are solved by the processor alone")
        with self._card.taken():
            return self._kernels.solve_rows(self._card, csr.entries, source, own, penalty, biased)

    def squared_error(
        self, csr: CSR, source: als.Side, own: als.Side, bounds: als.Bounds, threads: int
    ) -> tuple[float, float]:
        """Measure all entries.

        Parameters
        ----------
        csr, source, own, bounds, threads
            See `recspark.algorithms.devices.Device.squared_error`.
        """
        with self._card.taken():
            return self._kernels.squared_error(self._card, csr.entries, source, own, bounds)

    def gram(self, factors: np.ndarray) -> np.ndarray:
        """Add up all rows; the result is an array of the host."""
        with self._card.taken():
            return self._kernels.gram(self._card, factors)


def device(granted: list[str] | None) -> Cuda:
    """The first of the granted cards; the first of the machine if nobody hands out cards (None).

    Raises
    ------
    NoCard
        If there is none.
    """
    if granted is not None and not granted:
        raise NoCard(
            "Spark gave this task none, which takes spark.task.resource.gpu.amount = 1 on a cluster, and one "
            "task at a time on a local master (tasks = 'one')"
        )
    number, cards = (granted or ["0"])[0], _cards()
    if not number.isdecimal() or int(number) >= cards:
        raise NoCard(f"Spark gave this task card {number}, and {platform.node()} shows this process {cards}")
    return _opened(int(number))


def _cards() -> int:
    """The number of cards that this process sees, at least 1."""
    try:
        from numba import cuda
    except ImportError as error:
        raise NoCard(f"numba can't use one here ({error})") from None
    if not cuda.is_available():
        raise NoCard(
            f"{platform.node()} has no NVIDIA driver with a card, or lacks the extra cuda12 or cuda13 of "
            "recspark"
        )
    return len(cuda.gpus)


@cache
def _opened(number: int) -> Cuda:
    from recspark.kernels.cuda import layout, simulator

    if layout.SIMULATED:
        simulator.prepare()
    return Cuda(number)
