"""Kernels that release the GIL, run on row ranges by a few threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from recspark.kernels.csr import balanced_cuts

#: ranges a call is cut into, whatever the number of threads: sums over ranges then have the same bits on any machine
CHUNKS = 64


def over_rows(kernel: Callable[..., Any], work: np.ndarray, threads: int, *arguments: Any) -> list[Any]:
    """Call ``kernel(lo, hi, *arguments)`` on row ranges of equal `work` (one number a row); the results in row order."""
    cuts = balanced_cuts(work, CHUNKS)
    ranges = [(lo, hi) for lo, hi in zip(cuts[:-1], cuts[1:], strict=True) if hi > lo]
    if threads == 1:
        return [kernel(lo, hi, *arguments) for lo, hi in ranges]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda bounds: kernel(*bounds, *arguments), ranges))
