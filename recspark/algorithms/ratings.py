"""Ratings as algorithms read them: rows of one side as CSR, blocks of rows, cells between two blocks.

Also the deviation of an id, which needs no model: how far its ratings lie from the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from recspark.kernels.arrays.csr import Entries

SIDES = ("users", "items")
#: roles of rows: the first trains, the others are only watched
ROLES = ("train", "validation", "test")

#: work of a row beside the work of its ratings, in ratings: solving a rank-64 system costs about as much as
#: 32 ratings
ROW_WORK = 32
#: work of an entity of a sampler beside the work of its rows, in rows
ENTITY_WORK = 16
#: a user range of a grid of cells, and the item ranges that it meets at once
Visit = tuple[int, tuple[int, ...]]
#: number of ratings that the mean rating counts for
DAMPING = 5.0


def other(side: str) -> str:
    """The side that is not `side`."""
    return "items" if side == "users" else "users"


@dataclass(frozen=True)
class CSR:
    """Rows of entries, of which weights may be empty: all are 1.

    Their arrays are indptr int64 (rows + 1), indices int32, values and weights float32.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    @property
    def entries(self) -> Entries:
        """The arrays as kernels take them."""
        return Entries(self.indptr, self.indices, self.values, self.weights)

    @property
    def work(self) -> np.ndarray:
        """The cost of each row, for cuts of equal work."""
        return np.diff(self.indptr) + ROW_WORK


@dataclass(frozen=True)
class Block:
    """The data of one task of a step; `needed` is empty if it reads every source row."""

    train: CSR
    needed: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    watched: dict[str, CSR] = field(default_factory=dict)


def without_ratings(n: int) -> Block:
    """A block of n rows without ratings."""
    none = np.empty(0, np.float32)
    return Block(CSR(np.zeros(n + 1, np.int64), np.empty(0, np.int32), none, none))


@dataclass(frozen=True)
class Cells:
    """The ratings between a user block and an item block, cut into a grid of g x g cells.

    Each cell suits one thread and its cache.

    users, items
        int32 positions inside their blocks; cell after cell; inside a cell users take turns.
    offsets
        int64 (g * g + 1): cell (a, b) of user range a and item range b has the entries
        ``offsets[a g + b] ... offsets[a g + b + 1]``.
    runs, first_runs
        int64, starts of runs of entries without a row in common, and the place of each cell's first run among
        them (`in_runs`).
    item_cuts
        int64 (g + 1): the item ranges.
    rated_indptr, rated_indices
        The same pairs as CSR by user, items ascending.
    untrained
        int64 positions of items that no training row of the fit has, ascending.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    runs: np.ndarray
    first_runs: np.ndarray
    item_cuts: np.ndarray
    rated_indptr: np.ndarray
    rated_indices: np.ndarray
    untrained: np.ndarray

    @property
    def grid(self) -> int:
        """The number of parts that items, and so users, are cut into."""
        return len(self.item_cuts) - 1


def stages(grid: int, seed: tuple[int, ...], threads: int, pairs: bool) -> Iterator[list[list[Visit]]]:
    """Lists of areas that share no row.

    Threads take one area each, and its visits one after the other; the order is drawn anew for every epoch.

    User range a meets item range ``a ^ s`` in step s, so both ranges of every visit come from a visit of step
    s - 1. An area is a square of visits, as wide as there is work for all threads: a core meets the rows that
    are in its cache, and seldom waits for the others. The order within a row is the same for any width, and
    so is the outcome.

    With `pairs` two item ranges go together, a pair drawn anew for every epoch, so that any two items are
    compared at some time.
    """
    draw = np.random.default_rng(seed)
    ranges = draw.permutation(grid).tolist()
    if pairs:
        groups = [tuple(ranges[k : k + 2]) for k in range(0, grid, 2)]
        for shift in draw.permutation(grid).tolist():
            yield [[((k + shift) % grid, group)] for k, group in enumerate(groups)]
        return
    areas = threads if grid % threads == 0 else grid
    width = grid // areas
    for step in range(areas):
        yield [
            [(a, (ranges[b],)) for a, b in _square(area * width, (area ^ step) * width, width)]
            for area in range(areas)
        ]


def _square(first: int, second: int, width: int) -> list[tuple[int, int]]:
    """The visits of a square of ranges, quarter by quarter.

    In every row and column they are in the order of steps.

    >>> _square(0, 0, 2)
    [(0, 0), (1, 1), (0, 1), (1, 0)]
    """
    if width == 1:
        return [(first, second)]
    half = width // 2
    corners = ((0, 0), (half, half), (0, half), (half, 0))
    return [visit for down, right in corners for visit in _square(first + down, second + right, half)]


def damped_deviation(csr: CSR, level: float) -> np.ndarray:
    """``sum w (r - level) / (sum w + DAMPING)`` of each row, float64."""
    deviations = csr.values - level
    if not len(csr.weights):
        return _row_sums(csr, deviations) / (np.diff(csr.indptr) + DAMPING)
    return _row_sums(csr, csr.weights * deviations) / (_row_sums(csr, csr.weights) + DAMPING)


def as_columns(bias: np.ndarray, deviation: np.ndarray) -> dict[str, np.ndarray]:
    """Both as columns of a model's table."""
    columns = {"bias": bias, "deviation": deviation}
    return {name: np.ascontiguousarray(column, np.float32) for name, column in columns.items()}


def _row_sums(csr: CSR, values: np.ndarray) -> np.ndarray:
    return np.diff(np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])[csr.indptr])
