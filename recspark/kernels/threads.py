"""Kernels that release the GIL, run by a few threads: on row ranges, or on any list of arguments."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from recspark.kernels.arrays.csr import balanced_cuts

#: most ranges that a call is cut into, and the least work of one. They depend on the work alone, not on
#: the number of threads: sums over ranges have the same bits on any machine
RANGES, LEAST_WORK = 64, 50_000

#: address space that a thread may take: its stack, and the C library's reserve for what it allocates
THREAD_SPACE = 256 << 20


Item = TypeVar("Item")
Result = TypeVar("Result")


class AddressSpace(NamedTuple):
    """Address space in bytes: the limit of the process (0: none), and the amount in use."""

    limit: int
    used: int


def address_space() -> AddressSpace:
    """The limit to the address space of this process, such as that of Spark's Python workers."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit in (-1, resource.RLIM_INFINITY):
        return AddressSpace(0, 0)
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[0]) if statm.exists() else 0
    return AddressSpace(limit, pages * resource.getpagesize())


def affordable(threads: int) -> int:
    """`threads`, or as many as the address space has room for.

    A thread without room never starts, and its caller would wait without end.
    """
    limit, used = address_space()
    return max(1, min(threads, (limit - used) // THREAD_SPACE)) if limit else threads


def over_rows(
    kernel: Callable[..., Result], work: np.ndarray, threads: int, *arguments: object
) -> list[Result]:
    """Call ``kernel(lo, hi, *arguments)`` on row ranges of equal `work` (one number per row).

    Returns the results in row order.
    """
    cuts = balanced_cuts(work, int(np.clip(work.sum() // LEAST_WORK, 1, RANGES)))
    ranges = [(lo, hi) for lo, hi in zip(cuts[:-1], cuts[1:], strict=True) if hi > lo]
    return in_threads(lambda bounds: kernel(*bounds, *arguments), ranges, threads)


def in_threads(call: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Call `call` on every item, `threads` at a time; the results in the order of the items."""
    results: dict[int, Result] = {}
    # threads take the next item until none is left, without a queue: a call may last less than a millisecond
    numbers = iter(range(len(items)))

    def take() -> None:
        for number in numbers:
            results[number] = call(items[number])

    helpers = min(affordable(threads), len(items)) - 1
    if helpers < 1:
        take()
        return [results[number] for number in range(len(items))]
    with ThreadPoolExecutor(helpers) as pool:
        running = [pool.submit(take) for _ in range(helpers)]
        take()
        for helper in running:
            helper.result()
    return [results[number] for number in range(len(items))]
