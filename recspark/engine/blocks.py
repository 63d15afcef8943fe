"""Blocks: the ratings of a range of users (or items) as CSR, with the source rows that they need.

By one small matrix. Users a, b, c rate items p, q, r. There are two user blocks, {a, b} and {c}::

          p  q  r        block 0 of users
      a   5     3        indptr   [0, 2, 3]
      b         4        indices  [0, 1, 1]     places in `needed`
      c   1  2           values   [5, 3, 4]
                         needed   [0, 2]        items p and r

A step on users reads only rows `needed` of the items' factors. A block is a contiguous range of positions,
cut so that every block has nearly the same work (`recspark.engine.index`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from recspark.algorithms.ratings import CSR, ROLES, SIDES, Block, Cells, other
from recspark.engine.encode import Parts
from recspark.engine.index import positions, untrained, write_index
from recspark.engine.spark.runner import Runner
from recspark.engine.storage import Store
from recspark.kernels.arrays.csr import balanced_cuts, csr_from_coo, stable_order
from recspark.kernels.arrays.runs import in_runs

#: a step reads all source rows if a block needs at least this share of them: a copy of most takes longer
MOST = 0.9
#: the grid of `Cells`: at most this many ranges per side (a power of 2), and at least about this many ratings
#: per cell
GRID, CELL_RATINGS = 16, 30_000


def index_and_scatter(
    runner: Runner, parts: Parts, blocks: Mapping[str, int], index: str | None = None
) -> dict[str, int]:
    """Index both sides in the runner's store, and lay the rows out by block.

    Returns the number of ids of each side that training rows have; see `recspark.engine.index.write_index`.
    """
    sizes = write_index(runner, parts, blocks, index)
    runner.map(partial(scatter_part, parts), parts.names)
    return sizes


def scatter_part(parts: Parts, store: Store, name: str) -> None:
    """Worker: give one part's rows their positions and lay them out by user block and by item block."""
    source = Store(parts.root)
    rows = source.load(f"{name}/rows")
    found = {
        side: positions(store, side, source.load_table(f"{name}/{side}")["id"])[rows[column]]
        for side, column in zip(SIDES, ("user", "item"), strict=True)
    }
    known = (found["users"] >= 0) & (found["items"] >= 0)
    for side in SIDES:
        cuts = store.load(f"cuts/{side}")["cuts"]
        chosen = known if side == "users" else known & (rows["role"] == 0)
        columns = {
            "users": found["users"],
            "items": found["items"],
            "value": rows["value"],
            "role": rows["role"],
        }
        if len(rows["weight"]):
            columns["weight"] = rows["weight"]
        columns = _by_block(
            {key: column if chosen.all() else column[chosen] for key, column in columns.items()}, side, cuts
        )
        store.save(f"scatter/{name}/{side}", **columns)


def _by_block(columns: dict[str, np.ndarray], side: str, cuts: np.ndarray) -> dict[str, np.ndarray]:
    """`columns` in the order of the blocks of `side`, with the offset of each block's run."""
    if len(cuts) == 2:
        return columns | {"offsets": np.array([0, len(columns[side])])}
    block = np.searchsorted(cuts, columns[side], side="right").astype(np.int32) - 1
    order, offsets = stable_order(np.minimum(block, len(cuts) - 2), len(cuts) - 1)
    return {key: column[order] for key, column in columns.items()} | {"offsets": offsets}


def build_block(parts: Parts, store: Store, job: tuple[str, int]) -> None:
    """Worker: gather a block's rows from all parts, and write them as CSR (`Block`), one per role."""
    side, block = job
    cuts, n_source = store.load(f"cuts/{side}")["cuts"], int(store.load(f"cuts/{other(side)}")["cuts"][-1])
    first, n_rows = int(cuts[block]), int(cuts[block + 1] - cuts[block])
    rows = _gather(store, parts, side, block)
    needed, local = _needed(rows[other(side)], n_source)
    for code, role in enumerate(ROLES):
        chosen = rows["role"] == code
        if code and not chosen.any():
            continue
        take = slice(None) if chosen.all() else chosen
        weights = rows["weight"][take] if parts.weighted else np.empty(0, np.float32)
        size = len(needed) or n_source
        csr = csr_from_coo(
            rows[side][take] - np.int32(first), local[take], rows["value"][take], weights, n_rows, size
        )
        arrays = dict(zip(("indptr", "indices", "values", "weights"), csr, strict=True))
        store.save(f"blocks/{side}-{block:05d}/{role}", **arrays)
    store.save(f"blocks/{side}-{block:05d}/needed", needed=needed)


def _gather(store: Store, parts: Parts, side: str, block: int) -> dict[str, np.ndarray]:
    gathered = []
    for name in parts.names:
        columns = store.load(f"scatter/{name}/{side}")
        lo, hi = columns["offsets"][block : block + 2]
        gathered.append({key: column[lo:hi] for key, column in columns.items() if key != "offsets"})
    return {key: np.concatenate([columns[key] for columns in gathered]) for key in gathered[0]}


def _needed(source: np.ndarray, n_source: int) -> tuple[np.ndarray, np.ndarray]:
    """The sorted source rows to read (empty: all of them), and `source` as positions in that list."""
    mark = np.zeros(n_source, bool)
    mark[source] = True
    if mark.mean() >= MOST:
        return np.empty(0, np.int32), source
    return np.flatnonzero(mark).astype(np.int32), (np.cumsum(mark, dtype=np.int32) - 1)[source]


def build_cells(store: Store, block: int, item_blocks: int) -> None:
    """Cut a user block's training rows by item block, and each piece into its grid (`Cells`)."""
    loaded = load_block(store, "users", block)
    csr = loaded.train
    items = loaded.needed[csr.indices] if len(loaded.needed) else np.asarray(csr.indices)
    users = np.repeat(np.arange(len(csr.indptr) - 1, dtype=np.int32), np.diff(csr.indptr))
    cuts = store.load("cuts/items")["cuts"]
    columns = {
        "users": users,
        "items": items,
        "values": csr.values,
        "weights": csr.weights if len(csr.weights) else None,
    }
    unrated = untrained(store, "items")
    laid = _by_block({key: column for key, column in columns.items() if column is not None}, "items", cuts)
    for number in range(item_blocks):
        lo, hi = laid["offsets"][number : number + 2]
        piece = {key: column[lo:hi] for key, column in laid.items() if key != "offsets"}
        first, last = int(cuts[number]), int(cuts[number + 1])
        piece["items"] = piece["items"] - np.int32(first)
        store.save(
            f"cells/{block:05d}-{number:05d}",
            **_grid(piece, len(csr.indptr) - 1, last - first),
            untrained=unrated[(unrated >= first) & (unrated < last)] - first,
        )


def _grid(piece: dict[str, np.ndarray], n_users: int, n_items: int) -> dict[str, np.ndarray]:
    """The entries of `piece`, cell after cell.

    There are as many cells as keep each one worth a thread's call, and its rows in a cache.
    """
    size = 2 ** int(np.log2(np.clip(np.sqrt(len(piece["users"]) / CELL_RATINGS), 1, GRID)))
    user_cuts, item_cuts = (
        balanced_cuts(np.bincount(piece[side], minlength=n), size)
        for side, n in (("users", n_users), ("items", n_items))
    )
    ranges = [np.repeat(np.arange(size, dtype=np.int32), np.diff(cuts)) for cuts in (user_cuts, item_cuts)]
    cell = ranges[0][piece["users"]] * np.int32(size) + ranges[1][piece["items"]]
    by_cell, offsets = stable_order(cell, size * size)
    placed, runs, first_runs = in_runs(piece["users"][by_cell], piece["items"][by_cell], offsets)
    order = by_cell[placed]
    weights = piece["weights"][order] if "weights" in piece else np.empty(0, np.float32)
    sorted_columns = {key: np.ascontiguousarray(piece[key][order]) for key in ("users", "items", "values")}
    rated = {
        "rated_indptr": np.searchsorted(piece["users"], np.arange(n_users + 1)),
        "rated_indices": piece["items"],
    }
    bounds = {"offsets": offsets, "runs": runs, "first_runs": first_runs, "item_cuts": item_cuts}
    return sorted_columns | {"weights": weights} | bounds | rated


def load_cells(store: Store, user_block: int, item_block: int) -> Cells:
    """Map the cells that `build_cells` wrote."""
    return Cells(**store.load(f"cells/{user_block:05d}-{item_block:05d}"))


def load_block(store: Store, side: str, block: int) -> Block:
    """Map the block that `build_block` wrote."""
    name = f"blocks/{side}-{block:05d}"
    watched = [role for role in ROLES[1:] if store.exists(f"{name}/{role}")]
    csr = {role: CSR(**store.load(f"{name}/{role}")) for role in ("train", *watched)}
    return Block(csr.pop("train"), store.load(f"{name}/needed")["needed"], csr)
