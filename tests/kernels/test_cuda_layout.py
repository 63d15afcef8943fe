"""The order of the work on a card: tiles, slots and batches. Needs no card and no simulator."""

import doctest

import numpy as np
import pytest

from recspark.kernels.cuda import layout


def test_examples():
    assert doctest.testmod(layout).failed == 0


@pytest.mark.parametrize("rank", [1, 8, 10, 64, 100, 128, 300, layout.MOST_RANK])
def test_a_block_of_threads_fits_a_card(rank):
    shape = layout.shape_of(rank)
    assert shape.width - layout.TILE < rank <= shape.width
    assert 1 <= shape.chunk * shape.groups <= 256
    assert shape.chunk * -(-shape.tiles // shape.chunk) >= shape.tiles
    in_shared = 4 * shape.groups * (shape.stride + 3 * shape.panel)
    assert in_shared <= layout.SHARED_BYTES
    assert shape.solver_bytes <= layout.SHARED_BYTES
    assert shape.fits == (rank <= 128)


@pytest.mark.parametrize("sides", [1, 2, 5])
def test_tiles_hold_every_pair_of_unknowns_once_below_the_diagonal(sides):
    rows, columns = layout.tile_places(sides)
    found = np.zeros((layout.TILE * sides,) * 2, int)
    np.add.at(found, (rows, columns), 1)
    # tiles on the diagonal hold both halves
    both = found + found.T - np.diag(found.diagonal())
    own = np.arange(layout.TILE * sides) % sides
    np.testing.assert_array_equal(both, 1 + ((own[:, None] == own) & ~np.eye(len(own), dtype=bool)))


@pytest.mark.parametrize("longest", [1, 3, 1000])
def test_slots_cover_every_entry_once_longest_first(longest):
    counts = np.random.default_rng(0).integers(0, 20, 50)
    counts[7] = 0
    order = layout.order_of(np.concatenate([[0], np.cumsum(counts)]), longest)
    lengths = order.stops - order.starts
    assert sorted(order.rows) == list(range(50))
    entries = np.concatenate([np.arange(*each) for each in zip(order.starts, order.stops, strict=True)])
    assert sorted(entries) == list(range(counts.sum()))
    assert lengths.max() <= longest and lengths.min() >= 1
    first = lengths[order.slots[:-1][np.diff(order.slots) > 0]]
    assert (np.diff(first) <= 0).all()
    for place, row in enumerate(order.rows):
        assert lengths[order.slots[place] : order.slots[place + 1]].sum() == counts[row]


@pytest.mark.parametrize("most", [1, 4, 1000])
def test_batches_cover_every_row(most):
    slots = np.concatenate([[0], np.cumsum(np.random.default_rng(0).integers(0, 6, 30))])
    found = layout.batches(slots, most)
    assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
    assert found[-1][1] == 30
    assert all(slots[last] - slots[first] <= most or last == first + 1 for first, last in found)
