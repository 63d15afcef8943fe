"""Kernels that release the GIL, run on row ranges by a few threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from recspark.kernels.csr import balanced_cuts

#: ranges that a call is cut into at most, and the least work of one. They depend on the work alone, not on the number of
#: threads: sums over ranges have the same bits on any machine
RANGES, LEAST_WORK = 64, 50_000


def over_rows(kernel: Callable[..., Any], work: np.ndarray, threads: int, *arguments: Any) -> list[Any]:
    """Call ``kernel(lo, hi, *arguments)`` on row ranges of equal `work` (one number a row); the results in row order."""
    cuts = balanced_cuts(work, int(np.clip(work.sum() // LEAST_WORK, 1, RANGES)))
    ranges = [(lo, hi) for lo, hi in zip(cuts[:-1], cuts[1:], strict=True) if hi > lo]
    results: list[Any] = [None] * len(ranges)
    # threads take the next range until none is left, without a queue: a call may last less than a millisecond
    numbers = iter(range(len(ranges)))

    def take() -> None:
        for number in numbers:
            results[number] = kernel(*ranges[number], *arguments)

    with ThreadPoolExecutor(max(threads - 1, 1)) as pool:
        helpers = [pool.submit(take) for _ in range(threads - 1)]
        take()
        for helper in helpers:
            helper.result()
    return results
