"""Alternating least squares on a card: the problem of `recspark.kernels.als`, a whole block at a time.

Two kernels share the work of a half step: `recspark.kernels.cuda.gram` fills the normal equations of a batch
of rows, `recspark.kernels.cuda.solve` solves them. Sums are added up in an order that depends on the data
alone, so a fit has the same bits from run to run.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numba import cuda

from recspark.kernels import als
from recspark.kernels.arrays.csr import Entries
from recspark.kernels.cuda.card import Card, on_card, to_host
from recspark.kernels.cuda.error import (
    ENTRIES,
    LANES,
    SUM_BLOCKS,
    SUM_THREADS,
    add_slots,
    error_kernel,
    sum_columns,
)
from recspark.kernels.cuda.gram import Slots, Systems, fill_kernel
from recspark.kernels.cuda.layout import (
    ELEMENTS,
    SLOT,
    Order,
    Shape,
    batches,
    order_of,
    shape_of,
    tile_pairs,
    tile_places,
)
from recspark.kernels.cuda.solve import Rows, Solved, solve_kernel
from recspark.kernels.linalg import padded

#: most bytes of normal equations that are on the card at a time
BATCH_BYTES = 512 << 20

#: rows of a slot of a dense Gram matrix: enough slots for all multiprocessors
DENSE_SLOT = 256


class Block(NamedTuple):
    """The entries of a block on the card, with the order of its rows.

    Parameters
    ----------
    order
        The order, on the host.
    entries, slots
        The entries and the slots, on the card.
    owner
        int32 (slots,) on the card: the row of each slot.
    weighted
        Whether entries have weights.
    """

    order: Order
    entries: Entries
    slots: Slots
    owner: np.ndarray
    weighted: bool


def solve_rows(
    card: Card,
    entries: Entries,
    source: als.Source,
    own: als.Side,
    penalty: als.Penalty,
    biased: bool,
) -> tuple[als.Side, float]:
    """Solve all rows of a block, each exactly; see `recspark.kernels.als.solve_rows`.

    The processor solves rows again whose penalty is lost in rounding, or whose matrix is not positive
    definite.

    Parameters
    ----------
    card
        The card.
    entries
        The entries of each row; the indices are rows of `source`.
    source
        The side that is read, on the card or on the host; its factors are not padded.
    own
        The rows before. They are not changed, and only the processor reads them.
    penalty
        The constants of the objective.
    biased
        Whether biases are fitted.

    Returns
    -------
    Side, float
        The new rows, which stay on the card, and the sum of their penalties.
    """
    rank, n = own.factors.shape[1], len(entries.indptr) - 1
    shape, block = shape_of(rank), _on_card(card, entries)
    rows = _rows(card, entries, block.order, len(source.gram) > 0, penalty.power)
    read = _side(card, source.factors, source.bias, shape)
    pairs, prior = _pairs(card, shape), card.send(_as_tiles(source.gram, shape))
    solved = Solved(
        cuda.device_array((max(1, n), shape.width), np.float32),
        cuda.device_array(max(1, n), np.float32),
        cuda.device_array((max(1, n), 2), np.float64),
    )
    solve = solve_kernel(shape, shape.fits, biased, als.NEGLIGIBLE)
    scales = float(penalty.reg), float(penalty.bias_reg)
    for first, last in batches(block.order.slots, _most_slots(shape)):
        slots = int(block.order.slots[first]), int(block.order.slots[last])
        systems = _fill(card, shape, block, slots, read, penalty.mean, biased)
        solve[last - first, shape.solvers](first, rows, systems, prior, pairs, scales, solved)
    found = als.Side(on_card(card, solved.factors, (n, rank)), on_card(card, solved.bias, (n,)))
    total, doubtful = _sums(solved.checks) if n else (0.0, 0.0)
    if not doubtful:
        return found, total
    checks = to_host(solved.checks)
    chosen = np.flatnonzero(checks[:, 1])
    found, part = _by_processor(chosen, entries, source, own, found, penalty, biased)
    return found, total - float(checks[chosen, 0].sum()) + part


def squared_error(
    card: Card, entries: Entries, source: als.Side, own: als.Side, bounds: als.Bounds
) -> tuple[float, float]:
    """``sum w (r - p)^2`` and ``sum w`` over all entries of a block.

    See `recspark.kernels.als.squared_error`.

    Parameters
    ----------
    card
        The card.
    entries
        The entries of each row of `own`; the indices are rows of `source`.
    source, own
        Both sides, on the card or on the host, not padded.
    bounds
        The mean, and the range of predictions.
    """
    if not len(entries.values):
        return 0.0, 0.0
    shape, block = shape_of(own.factors.shape[1]), _on_card(card, entries)
    sides = (_side(card, *each, shape) for each in (source, own))
    errors = cuda.device_array((len(block.order.starts), 2), np.float64)
    kernel = error_kernel(shape.width, block.weighted)
    kernel[len(errors), LANES * ENTRIES](block.owner, block.slots, block.entries, *sides, bounds, errors)
    error, weight = _sums(errors)
    return error, weight


def gram(card: Card, factors: np.ndarray) -> np.ndarray:
    """``F'F`` of all rows, on the host, in the form of `recspark.kernels.als.gram`."""
    n, rank = factors.shape
    shape, out = shape_of(rank), np.zeros((padded(rank), padded(rank)), np.float32)
    if not n:
        return out
    block = card.held((), partial(_dense, card, n), "dense", n)
    rows = _side(card, factors, np.zeros(n, np.float32), shape)
    total = cuda.device_array((ELEMENTS, shape.tiles), np.float32)
    most, count = _most_slots(shape), len(block.order.starts)
    for first in range(0, count, most):
        slots = first, min(first + most, count)
        systems = _fill(card, shape, block, slots, rows, np.float32(0), False)
        add_slots[ELEMENTS, min(32, shape.tiles)](systems.grams, slots[1] - first, first > 0, total)
    places, whole = tile_places(shape.sides), np.zeros((shape.width, shape.width), np.float32)
    whole[places] = whole[places[::-1]] = to_host(total)
    out[:rank, :rank] = np.triu(whole[:rank, :rank])
    return out


def _on_card(card: Card, entries: Entries) -> Block:
    """The entries of a block, sent at the first call."""
    return card.held(tuple(entries), lambda: _sent(card, entries, order_of(entries.indptr, SLOT)), "block")


def _dense(card: Card, n: int) -> Block:
    """One row that has an entry for every source row."""
    none = np.empty(0, np.float32)
    indptr, indices = np.array([0, n]), np.arange(n, dtype=np.int32)
    return _sent(card, Entries(indptr, indices, np.zeros(n, np.float32), none), order_of(indptr, DENSE_SLOT))


def _sent(card: Card, entries: Entries, order: Order) -> Block:
    owner = card.send(np.repeat(order.rows, np.diff(order.slots)))
    slots = Slots(card.send(order.starts), card.send(order.stops))
    return Block(order, Entries(*map(card.send, entries)), slots, owner, len(entries.weights) > 0)


def _rows(card: Card, entries: Entries, order: Order, implicit: bool, power: float) -> Rows:
    """Order, weight and penalty scale of the rows of a block, sent at the first call."""

    def send() -> Rows:
        weights = entries.weights if len(entries.weights) else np.ones_like(entries.values)
        weight, positive = (
            np.diff(np.concatenate([[0.0], np.cumsum(each, dtype=np.float64)])[entries.indptr])
            for each in (weights, entries.values > 0)
        )
        scale = (positive if implicit else weight) ** power
        return Rows(*map(card.send, (order.rows, order.slots, weight, scale)))

    return card.held(tuple(entries), send, "rows", implicit, power)


def _side(card: Card, factors: np.ndarray, bias: np.ndarray, shape: Shape) -> als.Side:
    return als.Side(card.rows(factors, shape.width), card.vector(bias))


def _pairs(card: Card, shape: Shape) -> np.ndarray:
    return card.held((), lambda: card.send(tile_pairs(shape.sides)), "pairs", shape.sides)


def _most_slots(shape: Shape) -> int:
    return max(1, BATCH_BYTES // (4 * ELEMENTS * shape.tiles + 16 * shape.width + 8))


def _fill(
    card: Card,
    shape: Shape,
    block: Block,
    slots: tuple[int, int],
    source: als.Side,
    mean: np.float32,
    biased: bool,
) -> Systems:
    """The normal equations of a range of slots. The next call overwrites them."""
    first, count = slots[0], slots[1] - slots[0]
    size = min(_most_slots(shape), 1 << max(0, count - 1).bit_length())
    systems = card.held((), lambda: _systems(shape, size), "systems", shape.tiles, size)
    if count:
        fill = fill_kernel(shape, block.weighted, biased)
        blocks = -(-count // shape.groups), -(-shape.tiles // shape.chunk)
        arguments = block.slots, _pairs(card, shape), block.entries, source, mean, systems
        fill[blocks, shape.groups * shape.chunk](first, count, *arguments)
    return systems


def _systems(shape: Shape, slots: int) -> Systems:
    return Systems(
        cuda.device_array((slots, ELEMENTS, shape.tiles), np.float32),
        cuda.device_array((slots, 2, shape.width), np.float64),
        cuda.device_array(slots, np.float64),
    )


def _as_tiles(gram: np.ndarray, shape: Shape) -> np.ndarray:
    """A Gram matrix, of which the upper half is read, as tiles; zeros if there is none."""
    whole = np.zeros((shape.width, shape.width), np.float32)
    if len(gram):
        upper = np.triu(gram[: shape.rank, : shape.rank])
        whole[: shape.rank, : shape.rank] = upper + np.triu(upper, 1).T
    return whole[tile_places(shape.sides)]


def _sums(values: np.ndarray) -> list[float]:
    """The sum of each column of an array on the card, float64 (n, m)."""
    blocks = min(SUM_BLOCKS, -(-values.shape[0] // SUM_THREADS))
    sums = cuda.device_array((blocks, values.shape[1]), np.float64)
    sum_columns[blocks, SUM_THREADS](values, sums)
    return to_host(sums).sum(axis=0).tolist()


def _by_processor(
    chosen: np.ndarray,
    entries: Entries,
    source: als.Source,
    own: als.Side,
    found: als.Side,
    penalty: als.Penalty,
    biased: bool,
) -> tuple[als.Side, float]:
    """`found` with the chosen rows solved by `recspark.kernels.als`, and the sum of their penalties."""
    counts = np.diff(entries.indptr)[chosen]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(indptr[-1]) + np.repeat(entries.indptr[chosen] - indptr[:-1], counts)
    weights = entries.weights[places] if len(entries.weights) else entries.weights
    some = Entries(indptr, entries.indices[places], entries.values[places], weights)
    read = als.Source(als.padded_rows(np.asarray(source.factors)), np.asarray(source.bias), source.gram)
    part = als.Side(np.array(own.factors)[chosen], np.array(own.bias)[chosen])
    penalties = als.solve_rows(0, len(chosen), some, read, part, penalty, biased, False)
    factors, bias = np.array(found.factors), np.array(found.bias)
    factors[chosen], bias[chosen] = part
    return als.Side(factors, bias), penalties
