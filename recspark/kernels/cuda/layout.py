"""Who computes what on a card: tiles of a Gram matrix, and slots of entries.

**Tiles.** A Gram matrix of order n = `TILE` q is held as the q (q + 1) / 2 tiles on and below the diagonal of
its q x q tiles, one thread per tile. Tile (i, j) has the unknowns ``i + q a`` and ``j + q b`` for a, b in
0 ... TILE - 1: neighbouring threads then read neighbouring floats of a source row. To the solver the order of
unknowns does not matter; it sees unknown ``i + q a`` at position ``TILE i + a``. For n = 16, q = 2::

    position     0  1  2  3  4  5  6  7 |  8  9 10 11 12 13 14 15
    unknown      0  2  4  6  8 10 12 14 |  1  3  5  7  9 11 13 15
    tiles       (0, 0)                  |
                (1, 0)                  | (1, 1)

In memory tiles are the last axis, (TILE * TILE, tiles): element ``TILE b + a`` of all tiles lies together.

**Slots.** A row of very many entries is cut into several slots of equal length, so that it does not keep one
multiprocessor busy while all others wait. Rows are ordered by the length of their slots, longest first.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba.core import config

#: rows and columns of a Gram matrix that one thread holds, and their product: numba wants the sizes of arrays
#: as names
TILE = 8
ELEMENTS = TILE * TILE
#: entries whose source rows are in shared memory at a time
PANEL = 16
#: numba's simulator runs a Python thread for each thread: there blocks are small
SIMULATED = bool(config.ENABLE_CUDASIM)
#: most threads of a block that fills Gram matrices
THREADS = 8 if SIMULATED else 256
#: most bytes of shared memory of a block: what every card gives without being asked
SHARED_BYTES = 48 << 10
#: most entries of a slot
SLOT = 2048
#: largest number of factors: the shared memory of `Shape.solver_bytes` ends soon after it
MOST_RANK = 768


class Shape(NamedTuple):
    """The sizes of the kernels for a number of factors.

    Parameters
    ----------
    rank, width
        The number of factors, and the next multiple of `TILE`: the columns of rows on the card.
    sides, tiles
        Tiles along the diagonal of a Gram matrix, and all tiles on and below it.
    chunk
        Threads that work on one slot. If there are more tiles, several blocks share a slot.
    groups
        Slots of one block.
    panel
        Entries in shared memory at a time.
    """

    rank: int
    width: int
    sides: int
    tiles: int
    chunk: int
    groups: int
    panel: int

    @property
    def stride(self) -> int:
        """Floats of a panel in shared memory; the last few keep groups apart in its banks."""
        return self.panel * self.width + self.sides

    @property
    def solvers(self) -> int:
        """Threads that solve one row."""
        return 3 if SIMULATED else 32 if self.width <= 64 else 64 if self.width <= 128 else 128

    @property
    def fits(self) -> bool:
        """Whether the matrix of a row lies in shared memory while it is solved."""
        return self.solver_bytes + 4 * ELEMENTS * (self.tiles | 1) <= SHARED_BYTES

    @property
    def solver_bytes(self) -> int:
        """Shared memory of a block that solves a row, without the matrix."""
        return 4 * (ELEMENTS + (TILE + 5) * self.width) + 20 * self.solvers


def shape_of(rank: int) -> Shape:
    """The sizes for `rank` factors, from 1 to `MOST_RANK`."""
    sides = -(-rank // TILE)
    tiles, panel = sides * (sides + 1) // 2, PANEL if sides <= 32 else PANEL // 4
    chunk = min(tiles, THREADS)
    room = SHARED_BYTES // (4 * (panel * (TILE * sides + 3) + sides))
    return Shape(rank, TILE * sides, sides, tiles, chunk, max(1, min(THREADS // chunk, room)), panel)


@cache
def tile_pairs(sides: int) -> np.ndarray:
    """(i, j) of each tile, uint32 (tiles, 2): row after row of the lower half."""
    return np.array([(i, j) for i in range(sides) for j in range(i + 1)], np.uint32)


def tile_places(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the Gram matrix of each element of each tile, both (TILE * TILE, tiles)."""
    within, pairs = np.arange(TILE * TILE)[:, None], tile_pairs(sides)
    return pairs[:, 0] + sides * (within % TILE), pairs[:, 1] + sides * (within // TILE)


class Order(NamedTuple):
    """The rows of a block in the order of the work.

    Parameters
    ----------
    rows
        int32 (n,): row numbers, longest slots first, rows without entries last.
    slots
        int64 (n + 1,): the row at place p has the slots ``slots[p] ... slots[p + 1]``.
    starts, stops
        int64 (slots,): the range of entries of each slot.
    """

    rows: np.ndarray
    slots: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


def order_of(indptr: np.ndarray, longest: int) -> Order:
    """Cut rows into slots of at most `longest` entries.

    >>> order = order_of(np.array([0, 2, 2, 9]), longest=4)
    >>> order.rows.tolist(), order.slots.tolist()
    ([2, 0, 1], [0, 2, 3, 3])
    >>> order.starts.tolist(), order.stops.tolist()
    ([2, 6, 0], [6, 9, 2])
    """
    counts = np.diff(indptr)
    parts = -(-counts // longest)
    lengths = -(-counts // np.maximum(parts, 1))
    rows = np.argsort(-lengths, kind="stable")
    slots = np.concatenate([[0], np.cumsum(parts[rows])]).astype(np.int64)
    owner = np.repeat(rows, parts[rows])
    number = np.arange(slots[-1]) - np.repeat(slots[:-1], parts[rows])
    starts = indptr[owner] + number * lengths[owner]
    stops = np.minimum(starts + lengths[owner], indptr[owner + 1])
    return Order(rows.astype(np.int32), slots, starts.astype(np.int64), stops.astype(np.int64))


def batches(slots: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Ranges of places whose rows have at most `most` slots together, or one row each.

    >>> batches(np.array([0, 2, 3, 3, 8]), 3)
    [(0, 3), (3, 4)]
    """
    found, first, n = [], 0, len(slots) - 1
    while first < n:
        last = int(np.searchsorted(slots, slots[first] + most, side="right")) - 1
        last = min(max(last, first + 1), n)
        found.append((first, last))
        first = last
    return found
