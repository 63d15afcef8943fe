"""The index of a fit: the ids of each side in the order of positions. No task holds all ids of a side.

A fit on a lake takes the positions of the lake's index (`recspark.data.index`), so row p of its factors is
position p there. Without a saved index the position of an id is its rank among the ids of the training rows,
as it is in a new lake's index. Positions depend neither on the ranges, nor on the order or the partitions of
the rows. For the ids 1 to 9 in three ranges::

    index/users/00000    1 2 3      positions 0 to 2
    index/users/00001    4 5 6 7    positions 3 to 6
    index/users/00002    8 9        positions 7 and 8
    index/users/bounds   [0, 3, 7, 9]

A saved index also has ids without training rows, such as those of test rows. No rating reaches their rows,
nobody is compared with them, and a model does not have them.
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
from recspark.errors import DataRejected, RecsparkError
from recspark.ids import IdIndex, check_kinds, indexed, indexed_ids

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


class _Indexed(NamedTuple):
    """The ids of a side in a saved index, from position `start` up to `stop`."""

    side: str
    number: int
    start: int
    stop: int


class _Written(NamedTuple):
    """A range that was written: its ids, the work of their rows, and those of them that training rows have.

    `asked` and `found` are the entries of the parts' dictionaries that train, and those in this range.
    """

    side: str
    size: int
    work: float
    trained: int
    asked: int
    found: int


class _Cut(NamedTuple):
    """The bounds of blocks that lie in a range: where the work of the rows before reaches `targets`."""

    side: str
    number: int
    #: the position of the range's first id, and the work of all rows before it
    start: int
    work: float
    targets: np.ndarray


def write_index(
    runner: Runner, parts: Parts, blocks: Mapping[str, int], saved: str | None = None
) -> dict[str, int]:
    """Write the index of the rows in `parts`, and cut each side into blocks of equal work.

    Entries are those of the module's docstring; the table of a range has ``id`` and ``count`` (training
    rows). ``cuts/SIDE`` has the bounds of the blocks, those of `recspark.kernels.arrays.csr.balanced_cuts`.

    Parameters
    ----------
    runner
        Where the work is done; its store gets the entries.
    parts
        The encoded rows.
    blocks
        The number of blocks of each side.
    saved
        Folder or URI of an index whose positions are taken; None: those of the ids in ascending order.

    Returns
    -------
    dict
        The number of ids of each side that training rows have.

    Raises
    ------
    RecsparkError
        If a side has more than 2^31 - 1 ids.
    DataRejected
        If training rows have ids that the saved index lacks, or it is damaged.
    """
    if saved is None:
        written = runner.map(partial(_write_range, parts), _ranges(runner, parts))
    else:
        written = runner.map(partial(_copy_range, parts, saved), _saved_ranges(saved, parts.id_kinds))
    cuts: list[_Cut] = []
    sizes, trained = {}, {}
    for side in SIDES:
        own = [each for each in written if each.side == side]
        bounds = np.cumsum([0, *(each.size for each in own)])
        trained[side], sizes[side] = sum(each.trained for each in own), int(bounds[-1])
        if sizes[side] > LARGEST_POSITION:
            raise RecsparkError(f"{sizes[side]} {side} are too many: a fit takes at most {LARGEST_POSITION}")
        runner.store.save(f"index/{side}/bounds", bounds=bounds, trained=np.array(trained[side]))
        if own[0].asked > sum(each.found for each in own):
            stranger = _stranger(runner.store, parts, side)
            raise DataRejected(
                f"training rows have {side} that are not in the index {saved}, the first is {stranger!r}: "
                "make rows and index of the same tables (`recspark split`, `recspark index`)"
            )
        cuts += _cuts(side, bounds, np.cumsum([0.0, *(each.work for each in own)]), blocks[side])
    # a Spark job takes longer than the driver needs for one range
    inner = runner.map(_cut, cuts) if len(written) > len(SIDES) else [_cut(runner.store, cut) for cut in cuts]
    for side, size in sizes.items():
        within = [found for cut, found in zip(cuts, inner, strict=True) if cut.side == side]
        runner.store.save(f"cuts/{side}", cuts=np.concatenate([[0], *within, [size]]).astype(np.int64))
    return trained


def positions(store: Store, side: str, ids: pa.ChunkedArray) -> np.ndarray:
    """int32 positions of `ids`, -1 for an id that training rows do not have; one range is held at a time."""
    bounds = _bounds(store, side)
    if len(bounds) == 2:
        return _trained_positions(store.load_table(_range(side, 0)), ids)
    found = np.full(len(ids), -1, np.int32)
    for number, start in enumerate(bounds[:-1]):
        known = store.load_table(_range(side, number))
        if len(known):
            common = pa.int64() if pa.types.is_integer(ids.type) else ids.type
            low, high = pc.min_max(known["id"].cast(common)).values()
            asked = ids.cast(common)
            inside = pc.and_(pc.greater_equal(asked, low), pc.less_equal(asked, high))
            within = _trained_positions(known, ids.filter(inside))
            new = np.where(within < 0, -1, within + start)
            # the ranges of an index that has grown overlap
            found[inside.to_numpy()] = np.maximum(new, found[inside.to_numpy()])
    return found


def trained_size(store: Store, side: str) -> int:
    """The number of ids that training rows have."""
    return int(store.load(f"index/{side}/bounds")["trained"])


def untrained(store: Store, side: str) -> np.ndarray:
    """int64 positions of the ids that no training row has, ascending."""
    bounds = _bounds(store, side)
    if trained_size(store, side) == bounds[-1]:
        return np.empty(0, np.int64)
    ranges = range(len(bounds) - 1)
    return np.concatenate([store.load(_untrained(side, number))["positions"] for number in ranges])


def rows(store: Store, side: str, start: int, stop: int) -> pa.Table:
    """The table (id, count) of the positions from `start` up to `stop`."""
    bounds = _bounds(store, side)
    first = int(np.searchsorted(bounds[1:-1], start, side="right"))
    last = max(first + 1, int(np.searchsorted(bounds, stop, side="left")))
    tables = [store.load_table(_range(side, number)) for number in range(first, last)]
    return pa.concat_tables(tables).slice(start - int(bounds[first]), stop - start)


def _range(side: str, number: int) -> str:
    return f"index/{side}/{number:05d}"


def _untrained(side: str, number: int) -> str:
    return f"index/{side}/untrained-{number:05d}"


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


def _saved_ranges(saved: str, id_kinds: Mapping[str, str]) -> list[_Indexed]:
    """Ranges of at most RANGE_IDS positions of a saved index."""
    check_kinds(saved, id_kinds)
    ranges = []
    for side in SIDES:
        size = indexed(saved, side).count_rows()
        starts = range(0, max(size, 1), RANGE_IDS)
        ranges += [
            _Indexed(side, number, start, min(start + RANGE_IDS, size)) for number, start in enumerate(starts)
        ]
    return ranges


def _write_range(parts: Parts, store: Store, job: _Range) -> _Written:
    """Worker: merge the parts' ids of a range, and add up their counts."""
    source = Store(parts.root)
    tables = [_inside(source.load_table(f"{name}/{job.side}"), job) for name in parts.names]
    merged = pa.concat_tables(tables, promote_options="permissive")
    counted = merged.group_by("id", use_threads=False).aggregate([("count", "sum")])
    ids = counted["id"].combine_chunks()
    order = pc.sort_indices(ids)
    table = pa.table({"id": ids, "count": counted["count_sum"]}).take(order)
    store.save_table(_range(job.side, job.number), table)
    return _Written(job.side, len(table), float(_work(table).sum()), len(table), 0, 0)


def _copy_range(parts: Parts, saved: str, store: Store, job: _Indexed) -> _Written:
    """Worker: the ids of a range of a saved index, with the counts of the parts' ids."""
    source, ids = Store(parts.root), indexed_ids(saved, job.side, job.start, job.stop)
    known, counts, asked, found = IdIndex(ids), np.zeros(len(ids), np.int64), 0, 0
    for name in parts.names:
        dictionary = source.load_table(f"{name}/{job.side}")
        trains = dictionary.filter(pc.greater(dictionary["count"], 0))
        places = known.positions(trains["id"])
        here = places >= 0
        counts[places[here]] += trains["count"].to_numpy()[here]
        asked, found = asked + len(trains), found + int(here.sum())
    table = pa.table({"id": ids, "count": counts})
    store.save_table(_range(job.side, job.number), table)
    without = np.flatnonzero(counts == 0)
    store.save(_untrained(job.side, job.number), positions=job.start + without)
    return _Written(job.side, len(ids), float(_work(table).sum()), len(ids) - len(without), asked, found)


def _stranger(store: Store, parts: Parts, side: str) -> object:
    """The first id of a training row that the index does not have."""
    source = Store(parts.root)
    for name in parts.names:
        dictionary = source.load_table(f"{name}/{side}")
        ids = dictionary.filter(pc.greater(dictionary["count"], 0))["id"]
        for place in np.flatnonzero(positions(store, side, ids) < 0):
            return ids[int(place)].as_py()
    return None


def _trained_positions(known: pa.Table, ids: pa.ChunkedArray) -> np.ndarray:
    """The places of `ids` in a table (id, count), -1 for those that it lacks, or whose count is 0."""
    found, counts = IdIndex(known["id"]).positions(ids), known["count"].to_numpy()
    return found if counts.all() else np.where(np.append(counts, 0)[found] > 0, found, np.int32(-1))


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
    """The work of each row: none without ratings, so blocks are those of the ids that train."""
    counts = table["count"].to_numpy()
    return np.where(counts > 0, counts + ROW_WORK, 0).astype(np.float64)


def _cut(store: Store, job: _Cut) -> np.ndarray:
    """Worker: the positions at which the work of all rows before reaches the targets."""
    work = np.cumsum(_work(store.load_table(_range(job.side, job.number))))
    return job.start + np.searchsorted(np.append(job.work, job.work + work), job.targets, side="left")
