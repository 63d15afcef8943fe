"""Kernels that release the GIL, run by a few threads: on row ranges, or on any list of arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    return in_threads(lambda bounds: kernel(*bounds, *arguments), ranges, threads)


def in_threads(call: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """Call `call` on every item, `threads` at a time; the results in the order of the items."""
    results: list[Any] = [None] * len(items)
    # threads take the next item until none is left, without a queue: a call may last less than a millisecond
    numbers = iter(range(len(items)))

    def take() -> None:
        for number in numbers:
            results[number] = call(items[number])

    helpers = min(threads, len(items)) - 1
    with ThreadPoolExecutor(max(helpers, 1)) as pool:
        running = [pool.submit(take) for _ in range(helpers)]
        take()
        for helper in running:
            helper.result()
    return results
