"""Rows of ALS on the processor: `recspark.kernels.als` on ranges of rows, by threads."""

from __future__ import annotations

from functools import cache

import numpy as np

from recspark.algorithms.ratings import CSR
from recspark.kernels import als
from recspark.kernels.threads import over_rows

#: rows of a piece of a Gram matrix
PIECE = 4096


class Cpu:
    """See `recspark.algorithms.devices.Device`."""

    def solve_rows(
        self,
        csr: CSR,
        source: als.Source,
        own: als.Side,
        penalty: als.Penalty,
        how: tuple[bool, bool],
        threads: int,
    ) -> tuple[als.Side, float]:
        """Solve all rows, ranges of rows side by side.

        Parameters
        ----------
        csr, source, own, penalty, how, threads
            See `recspark.algorithms.devices.Device.solve_rows`.
        """
        rows = als.Side(np.array(own.factors), np.array(own.bias))
        read = als.Source(als.padded_rows(np.asarray(source.factors)), np.asarray(source.bias), source.gram)
        penalties = over_rows(als.solve_rows, csr.work, threads, csr.entries, read, rows, penalty, *how)
        return rows, float(np.sum(penalties))

    def squared_error(
        self, csr: CSR, source: als.Side, own: als.Side, bounds: als.Bounds, threads: int
    ) -> tuple[float, float]:
        """Measure all entries, ranges of rows side by side.

        Parameters
        ----------
        csr, source, own, bounds, threads
            See `recspark.algorithms.devices.Device.squared_error`.
        """
        sides = (als.Side(*map(np.asarray, side)) for side in (source, own))
        ranges = over_rows(als.squared_error, csr.work, threads, csr.entries, *sides, *bounds)
        error, weight = np.sum(ranges, axis=0) if ranges else (0.0, 0.0)
        return float(error), float(weight)

    def gram(self, factors: np.ndarray) -> np.ndarray:
        """Add up pieces of `PIECE` rows."""
        rows = als.padded_rows(np.asarray(factors))
        n = len(rows)
        return np.sum([als.gram(lo, min(lo + PIECE, n), rows) for lo in range(0, n or 1, PIECE)], axis=0)


@cache
def device() -> Cpu:
    """The processor."""
    return Cpu()
