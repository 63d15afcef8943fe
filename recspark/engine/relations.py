"""Rows that join entities of any number of sides: files by side and block.

Steps read them one side at a time. Each row has one entity of each side, or none of it. The rows are stored
once per side, entity after entity, each with the *places* of its other entities: row numbers of one table of
all sides. In that table sides follow one another, each with a last row that stands for no entity. A block is
a range of a side's entities with their rows. It lists the entities of other sides that it *needs*, and its
places count in that list.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from pyspark import TaskContext
from pyspark.sql import DataFrame

from recspark.algorithms.contract import Totals
from recspark.algorithms.ratings import ENTITY_WORK, ROLES
from recspark.data.index import LARGEST_POSITION
from recspark.engine.moments import pair_moments
from recspark.engine.spark.crossing import in_one_process, on_partitions
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.ids import IdIndex, indexed_ids
from recspark.kernels.arrays.csr import balanced_cuts
from recspark.kernels.arrays.random import mix

_NO_WEIGHTS = np.empty(0, np.float32)

#: number of rows that moments are computed from, about
MOMENT_ROWS = 4_000_000


@dataclass(frozen=True)
class Side:
    """One side: its name and its number of entities.

    `by_id` says whether rows name them by id (a table ``ids/NAME`` has the positions) or by position. The
    digest is that of the ids in their order.
    """

    name: str
    size: int
    by_id: bool
    digest: str = ""


@dataclass(frozen=True)
class Relations:
    """Encoded rows: their files, and sums over all rows."""

    root: str
    names: tuple[str, ...]
    sides: tuple[Side, ...]
    totals: Totals
    watched: tuple[str, ...]
    #: whether some training rows join none of a side, by side
    absent: dict[str, bool]
    digest: str

    @property
    def starts(self) -> list[int]:
        """The first place of each side in the table of all sides, and the length of that table.

        The last place of a side stands for no entity.
        """
        return list(accumulate((side.size + 1 for side in self.sides), initial=0))


def write_ids(
    df: DataFrame, store: Store, name: str, groups: list[tuple[str, int, int]], index: str | None = None
) -> Side:
    """Write a side from its rows (id, columns, values).

    The files are the ids, and each feature group (name, offset, size) as CSC of its entities. One process
    holds the whole side: 8 bytes per entry of its features.

    Parameters
    ----------
    df
        One row per entity.
    store
        The store for the files.
    name
        The name of the side: ``users`` or ``items``.
    groups
        The feature groups.
    index
        Folder or URI of an index, in whose order entities are. Those that it lacks come last, in ascending
        order. Without an index all are in ascending order.
    """
    size, digest = in_one_process(df, partial(_write_side, store.root, name, groups, index))
    return Side(name, size, True, digest)


def _write_side(
    root: str,
    name: str,
    groups: list[tuple[str, int, int]],
    index: str | None,
    batches: Iterator[pa.RecordBatch],
) -> tuple[int, str]:
    table = pa.Table.from_batches(batches).combine_chunks()
    store, order = Store(root), pc.sort_indices(table["id"]).to_numpy()
    if index is not None:
        places = IdIndex(indexed_ids(index, name)).positions(table["id"], unknown=LARGEST_POSITION)
        order = order[np.argsort(places[order], kind="stable")]
    ids = table.select(["id"]).take(pa.array(order))
    store.save_table(f"ids/{name}", ids)
    lists = table["columns"].chunk(0)
    columns, values = lists.flatten().to_numpy(), table["values"].chunk(0).flatten().to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    entities = np.repeat(rank, lists.value_lengths().to_numpy())
    for group, offset, size in groups:
        chosen = np.flatnonzero((columns >= offset) & (columns < offset + size))
        chosen = chosen[np.lexsort((entities[chosen], columns[chosen]))]
        indptr = np.searchsorted(columns[chosen], np.arange(offset, offset + size + 1))
        store.save(
            f"features/{name}/{group}",
            indptr=indptr,
            entities=entities[chosen],
            values=values[chosen].astype(np.float32),
        )
    hashes = pd.util.hash_array(ids["id"].to_numpy(zero_copy_only=False), categorize=False)
    places = mix(np.arange(len(hashes), dtype=np.uint64))
    return len(order), f"{int(mix(hashes + places).sum()) % 2**64:016x}"


def encode_rows(df: DataFrame, store: Store, sides: tuple[Side, ...]) -> Relations:
    """Write the rows of `df`, in any order.

    It has one column per side (an id, or a position, where -1 means none), ``value float``, ``role byte``
    and, if rows have weights, ``weight float``.

    Raises
    ------
    RecsparkError
        If a value or a weight is null or not finite, a weight is negative, or no row trains.
    """
    rows = df.select(
        *(side.name for side in sides), "value", "role", *(["weight"] if "weight" in df.columns else [])
    )
    parts = [part for parts in on_partitions(rows, partial(_encode, store.root, sides)) for part in parts]
    require_ids(sum(part["without_id"] for part in parts))
    if bad := sum(part["bad"] for part in parts):
        raise RecsparkError(
            f"{bad} rows cannot be trained on: their label or weight is null or not finite, or their weight "
            "negative; filter them"
        )
    trained = sum(part["rows"] for part in parts)
    if not trained:
        raise RecsparkError("there is nothing to train on: no row has the role of training")
    levels: Counter[float] = sum((part["levels"] for part in parts), Counter())
    watched = tuple(
        role for code, role in enumerate(ROLES) if code and any(part["roles"][code] for part in parts)
    )
    rows_digest = f"{sum(part['digest'] for part in parts) % 2**64:016x}"
    digest = "-".join([rows_digest, *(side.digest for side in sides if side.by_id)])
    weight = math.fsum(part["weight"] for part in parts)
    mean, deviation = _mean_and_deviation(parts)
    span = (
        min(part["range"][0] for part in parts if part["rows"]),
        max(part["range"][1] for part in parts if part["rows"]),
    )
    absent = {side.name: any(part["absent"][place] for part in parts) for place, side in enumerate(sides)}
    names = tuple(sorted(part["name"] for part in parts))
    found = dict(sorted(levels.items())[:LEVELS])
    totals = Totals(trained, weight, mean, deviation, found, span)
    return Relations(store.root, names, sides, totals, watched, absent, digest)


class _Part(TypedDict):
    """What a task says of the rows that it wrote: `bad` and `without_id` count those that can't train."""

    name: str
    bad: int
    without_id: int
    rows: int
    weight: float
    mean: float
    squares: float
    range: tuple[float, float]
    levels: Counter[float]
    absent: list[bool]
    roles: list[int]
    digest: int


def _mean_and_deviation(parts: list[_Part]) -> tuple[float, float]:
    """Mean and standard deviation of all parts from those of each (Chan, Golub, LeVeque 1983).

    The deviation is 1 if all values are equal.
    """
    weight = max(math.fsum(part["weight"] for part in parts), 1e-300)
    mean = math.fsum(part["weight"] * part["mean"] for part in parts) / weight
    squares = math.fsum(part["squares"] + part["weight"] * (part["mean"] - mean) ** 2 for part in parts)
    deviation = np.sqrt(squares / weight)
    # labels are float32: a smaller difference from their mean is rounding
    return float(np.float32(mean)), float(np.float32(deviation)) if deviation > 1e-7 * abs(mean) else 1.0


def require_ids(missing: int) -> None:
    """Raise RecsparkError if training rows lack an id."""
    if missing:
        raise RecsparkError(
            f"{missing} ids of training rows are null; filter these rows, or let `recspark ingest` put them "
            "into quarantine"
        )


def _encode(root: str, sides: tuple[Side, ...], batches: Iterator[pa.RecordBatch]) -> list[_Part]:
    held = list(batches)
    if not held:
        return []
    table, store = pa.Table.from_batches(held), Store(root)
    value = table["value"].to_numpy().astype(np.float32)
    positions = np.stack([_positions(store, side, table[side.name]) for side in sides], axis=1)
    role = table["role"].to_numpy().astype(np.int8)
    weight = (
        table["weight"].to_numpy().astype(np.float32)
        if "weight" in table.column_names
        else np.ones(len(value), np.float32)
    )
    task = TaskContext.get()
    name = f"rows/part-{task.partitionId() if task else 0:06d}-{uuid.uuid4().hex}"
    store.save(
        name,
        positions=positions,
        value=value,
        role=role,
        **({"weight": weight} if "weight" in table.column_names else {}),
    )
    trained, trained_weight = (column[role == 0].astype(np.float64) for column in (value, weight))
    total = float(trained_weight.sum())
    mean = float(trained @ trained_weight) / max(total, 1e-300)
    levels, counts = np.unique(value[role == 0], return_counts=True)
    return [
        {
            "name": name,
            "bad": int((~np.isfinite(value) | ~(np.isfinite(weight) & (weight >= 0))).sum()),
            "without_id": sum(
                int((table[side.name].is_null().to_numpy() & (role == 0)).sum())
                for side in sides
                if side.by_id
            ),
            "rows": len(trained),
            "weight": total,
            "mean": mean,
            "squares": float(np.square(trained - mean) @ trained_weight),
            "range": (float(trained.min(initial=np.inf)), float(trained.max(initial=-np.inf))),
            "levels": Counter(dict(zip(levels[:LEVELS].tolist(), counts[:LEVELS].tolist(), strict=True))),
            "absent": (positions[role == 0] < 0).any(axis=0).tolist(),
            "roles": np.bincount(role, minlength=len(ROLES)).tolist(),
            "digest": int(_digest(positions, value.view(np.uint32), weight.view(np.uint32), role)),
        }
    ]


#: more distinct values than this are not levels
LEVELS = 100


def _positions(store: Store, side: Side, column: pa.ChunkedArray) -> np.ndarray:
    """int32 positions of a column's entities, -1 for no entity."""
    if not side.by_id:
        return column.fill_null(-1).to_numpy().astype(np.int32)
    return IdIndex(store.load_table(f"ids/{side.name}")["id"]).positions(column)


@njit(cache=True, nogil=True)
def _digest(positions, value_bits, weight_bits, role):
    """A uint64 sum over rows of a hash of each row: the same for any order and partitioning."""
    total = np.uint64(0)
    for r in range(len(positions)):
        row = mix(
            mix((np.uint64(value_bits[r]) << np.uint64(8)) + np.uint64(role[r])) + np.uint64(weight_bits[r])
        )
        for c in range(positions.shape[1]):
            row = mix(row + np.uint64(positions[r, c] + 1))
        total += row
    return total


def cut_side(store: Store, relations: Relations, side: int, blocks: int) -> None:
    """Cut a side into ranges of entities with nearly equal work."""
    counts = np.zeros(relations.sides[side].size)
    for part in _parts(relations):
        positions = part["positions"][:, side][part["role"] == 0]
        counts += np.bincount(positions[positions >= 0], minlength=len(counts))
    store.save(f"cuts/{relations.sides[side].name}", cuts=balanced_cuts(counts + ENTITY_WORK, blocks))


def _parts(relations: Relations) -> list[dict[str, np.ndarray]]:
    store = Store(relations.root)
    return [store.load(name) for name in relations.names]


def side_moments(relations: Relations, side: int) -> tuple[float, np.ndarray]:
    """The result of `recspark.engine.moments.pair_moments` for a side, from training rows.

    If rows are very many, only those of some entities are used.
    """
    one_in = np.uint64(1 + relations.totals.rows // MOMENT_ROWS)
    columns: dict[str, list[np.ndarray]] = {"positions": [], "value": [], "weight": []}
    for part in _parts(relations):
        rows = (part["role"] == 0) & (part["positions"][:, side] >= 0)
        rows &= mix(part["positions"][:, side].astype(np.uint64)) % one_in == 0
        for key in part.keys() & columns:
            columns[key].append(part[key][rows])
    positions, value = np.concatenate(columns["positions"]), np.concatenate(columns["value"])
    weight = np.concatenate(columns["weight"]) if columns["weight"] else None
    return pair_moments(positions, side, (value - relations.totals.mean) / relations.totals.deviation, weight)


def build_relation(
    store: Store, relations: Relations, side: int, block: int, targets: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Write a block of a side: its rows by entity, and the places that they need.

    Entries are ``train`` (indptr, places, values, weights) and ``needed``; side 0 also gets ``rows-ROLE``
    (places of all sides, values) for every role.

    Parameters
    ----------
    store
        The fit's store, which has the side's cuts.
    relations
        The encoded rows.
    side, block
        Number of the side, and of its block.
    targets
        Turns labels float32 (n,) into the values to fit (n,), for the rows that train.
    """
    name, starts = relations.sides[side].name, np.array(relations.starts)
    lo, hi = store.load(f"cuts/{name}")["cuts"][block : block + 2]
    parts = _parts(relations)
    chosen = [(part["positions"][:, side] >= lo) & (part["positions"][:, side] < hi) for part in parts]
    if side == 0:
        # rows of an unknown entity belong to no block: the first one watches them
        chosen = [
            rows | ((part["positions"][:, 0] < 0) & (block == 0))
            for rows, part in zip(chosen, parts, strict=True)
        ]
    columns = {
        key: np.concatenate([part[key][rows] for part, rows in zip(parts, chosen, strict=True)])
        for key in parts[0]
    }
    positions, weight = columns["positions"], columns.get("weight", _NO_WEIGHTS)
    order = np.lexsort(
        (*([weight] if len(weight) else []), columns["value"], *positions.T[::-1], positions[:, side])
    )
    positions, value, role = positions[order], columns["value"][order], columns["role"][order]
    none = starts[1:] - 1
    places = np.where(positions < 0, none, positions + starts[:-1]).astype(np.int32)
    others = np.delete(places, side, axis=1)
    # side 0 also scores whole rows, so it needs its own entities
    named = places if side == 0 else others
    mark = np.zeros(starts[-1], bool)
    mark[named] = mark[none] = True
    local = np.cumsum(mark, dtype=np.int32) - 1
    value = np.where(role == 0, targets(value), value).astype(np.float32)
    trains = (role == 0) & (positions[:, side] >= 0)
    indptr = np.searchsorted(positions[trains, side], np.arange(lo, hi + 1))
    entry = f"blocks/{name}-{block:05d}"
    weights = weight[order][trains] if len(weight) else _NO_WEIGHTS
    store.save(
        f"{entry}/train",
        indptr=indptr,
        places=np.ascontiguousarray(local[others[trains]]),
        values=value[trains],
        weights=weights,
    )
    store.save(f"{entry}/needed", needed=np.flatnonzero(mark))
    if side == 0:
        for code, kind in enumerate(ROLES):
            if code == 0 or kind in relations.watched:
                store.save(
                    f"{entry}/rows-{kind}",
                    places=np.ascontiguousarray(local[places[role == code]]),
                    values=value[role == code],
                )
