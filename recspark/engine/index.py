"""The index of a fit: the ids of each side in ascending order, in ranges. No task holds all ids of a side.

The position of an id is its rank, so positions depend on the ids alone: neither on the ranges, nor on the
order or the partitions of the rows. For the ids 1 to 9 in three ranges::

    index/users/00000    1 2 3      positions 0 to 2
    index/users/00001    4 5 6 7    positions 3 to 6
    index/users/00002    8 9        positions 7 and 8
    index/users/bounds   [0, 3, 7, 9]
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recspark.algorithms.ratings import ROW_WORK, SIDES
from recspark.data.index import LARGEST_POSITION
from recspark.engine.encode import Parts
from recspark.engine.spark.runner import Runner
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.ids import IdIndex

#: about the largest number of ids in a range; with their counts, 4 M whole numbers take 64 MB
RANGE_IDS = 4_000_000
#: ids per range in the sample whose quantiles are the borders of the ranges
SAMPLE = 256


class _Range(NamedTuple):
    """The ids of a side from `low` on, below `high`; None: no border."""

    side: str
    number: int
    low: pa.Scalar | None
    high: pa.Scalar | None


class _Cut(NamedTuple):
    """The bounds of blocks that lie in a range: where the work of the rows before reaches `targets`."""

    side: str
    number: int
    #: the position of the range's first id, and the work of all rows before it
    start: int
    work: float
    targets: np.ndarray


def write_index(runner: Runner, parts: Parts, blocks: Mapping[str, int]) -> dict[str, int]:
    """Merge the dictionaries of `parts` into the index, and cut each side into blocks of equal work.

    Entries are those of the module's docstring; the table of a range has ``id`` and ``count`` (training
    rows). ``cuts/SIDE`` has the bounds of the blocks, those of `recspark.kernels.arrays.csr.balanced_cuts`.

    Returns
    -------
    dict
        The number of ids of each side.

    Raises
    ------
    RecsparkError
        If a side has more than 2^31 - 1 ids.
    """
    ranges = _ranges(runner, parts)
    written = runner.map(partial(_write_range, parts), ranges)
    cuts: list[_Cut] = []
    for side in SIDES:
        own = [found for each, found in zip(ranges, written, strict=True) if each.side == side]
        bounds, work = (
            np.cumsum([0, *(size for size, _ in own)]),
            np.cumsum([0.0, *(work for _, work in own)]),
        )
        if bounds[-1] > LARGEST_POSITION:
            raise RecsparkError(f"{bounds[-1]} {side} are too many: a fit takes at most {LARGEST_POSITION}")
        runner.store.save(f"index/{side}/bounds", bounds=bounds)
        cuts += _cuts(side, bounds, work, blocks[side])
    # a Spark job takes longer than the driver needs for one range
    inner = runner.map(_cut, cuts) if len(ranges) > len(SIDES) else [_cut(runner.store, cut) for cut in cuts]
    sizes = {side: int(_bounds(runner.store, side)[-1]) for side in SIDES}
    for side, size in sizes.items():
        within = [found for cut, found in zip(cuts, inner, strict=True) if cut.side == side]
        runner.store.save(f"cuts/{side}", cuts=np.concatenate([[0], *within, [size]]).astype(np.int64))
    return sizes


def positions(store: Store, side: str, ids: pa.ChunkedArray) -> np.ndarray:
    """int32 positions of `ids`, -1 for an id that the index does not have; one range is held at a time."""
    bounds = _bounds(store, side)
    found = np.full(len(ids), -1, np.int32)
    for number, start in enumerate(bounds[:-1]):
        known = store.load_table(_range(side, number))["id"]
        if len(bounds) == 2:
            return IdIndex(known).positions(ids)
        if len(known):
            low, high = (known[place].cast(ids.type) for place in (0, -1))
            inside = pc.and_(pc.greater_equal(ids, low), pc.less_equal(ids, high))
            within = IdIndex(known).positions(ids.filter(inside))
            found[inside.to_numpy()] = np.where(within < 0, -1, within + start)
    return found


def rows(store: Store, side: str, start: int, stop: int) -> pa.Table:
    """The table (id, count) of the positions from `start` up to `stop`."""
    bounds = _bounds(store, side)
    first = int(np.searchsorted(bounds[1:-1], start, side="right"))
    last = max(first + 1, int(np.searchsorted(bounds, stop, side="left")))
    tables = [store.load_table(_range(side, number)) for number in range(first, last)]
    return pa.concat_tables(tables).slice(start - int(bounds[first]), stop - start)


def _range(side: str, number: int) -> str:
    return f"index/{side}/{number:05d}"


def _bounds(store: Store, side: str) -> np.ndarray:
    return store.load(f"index/{side}/bounds")["bounds"]


def _ranges(runner: Runner, parts: Parts) -> list[_Range]:
    """As many ranges per side as keep each near RANGE_IDS entries of the parts' dictionaries."""
    counts = {side: 1 + (parts.entries[side] - 1) // RANGE_IDS for side in SIDES}
    if set(counts.values()) == {1}:
        return [_Range(side, 0, None, None) for side in SIDES]
    steps = {side: max(1, parts.entries[side] // (counts[side] * SAMPLE)) for side in SIDES}
    samples = runner.map(partial(_sample, parts, steps), parts.names)
    ranges = []
    for side in SIDES:
        ids = pa.concat_arrays([sample[side] for sample in samples])
        ids = ids.take(pc.sort_indices(ids))
        borders = [ids[number * len(ids) // counts[side]] for number in range(1, counts[side])]
        lows, highs = [None, *borders], [*borders, None]
        ranges += [_Range(side, number, *ends) for number, ends in enumerate(zip(lows, highs, strict=True))]
    return ranges


def _sample(parts: Parts, steps: Mapping[str, int], store: Store, name: str) -> dict[str, pa.Array]:
    """Worker: every so many ids of a part's dictionaries, in the order of their first rows."""
    source = Store(parts.root)
    return {
        side: source.load_table(f"{name}/{side}")["id"].combine_chunks()[::step]
        for side, step in steps.items()
    }


def _write_range(parts: Parts, store: Store, job: _Range) -> tuple[int, float]:
    """Worker: merge the parts' ids of a range, and add up their counts.

    Returns the number of ids, and their work.
    """
    source = Store(parts.root)
    tables = [_inside(source.load_table(f"{name}/{job.side}"), job) for name in parts.names]
    merged = pa.concat_tables(tables, promote_options="permissive")
    counted = merged.group_by("id", use_threads=False).aggregate([("count", "sum")])
    ids = counted["id"].combine_chunks()
    order = pc.sort_indices(ids)
    table = pa.table({"id": ids, "count": counted["count_sum"]}).take(order)
    store.save_table(_range(job.side, job.number), table)
    return len(table), float(_work(table).sum())


def _inside(dictionary: pa.Table, job: _Range) -> pa.Table:
    """The rows of `dictionary` in the range of `job` that are of training rows."""
    chosen = pc.greater(dictionary["count"], 0)
    if job.low is not None:
        chosen = pc.and_(chosen, pc.greater_equal(dictionary["id"], job.low))
    if job.high is not None:
        chosen = pc.and_(chosen, pc.less(dictionary["id"], job.high))
    return dictionary.filter(chosen)


def _cuts(side: str, bounds: np.ndarray, work: np.ndarray, blocks: int) -> list[_Cut]:
    """The bounds of blocks that lie in each range; `work` is that of all rows before each range."""
    targets = np.linspace(0, work[-1], blocks + 1)[1:-1]
    owners = np.searchsorted(work, targets, side="left") - 1
    return [
        _Cut(side, int(number), int(bounds[number]), float(work[number]), targets[owners == number])
        for number in np.unique(owners)
    ]


def _work(table: pa.Table) -> np.ndarray:
    return (table["count"].to_numpy() + ROW_WORK).astype(np.float64)


def _cut(store: Store, job: _Cut) -> np.ndarray:
    """Worker: the positions at which the work of all rows before reaches the targets."""
    work = np.cumsum(_work(store.load_table(_range(job.side, job.number))))
    return job.start + np.searchsorted(np.append(job.work, job.work + work), job.targets, side="left")
