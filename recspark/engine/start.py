"""The state of a block before its first iteration: the solver's own rows, those that are given instead, and
what is added to them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.algorithms.contract import Given, Solver, State
from recspark.algorithms.ratings import Block
from recspark.ids import IdIndex
from recspark.lake.folder import Folder


def starting_state(
    solver: Solver,
    initial: str | None,
    added: str | None,
    side: str,
    first: int,
    block: Block,
    ids: pa.ChunkedArray,
) -> State:
    """The state of a block before the first iteration.

    Parameters
    ----------
    initial, added
        Folders of model tables: rows to start with, and rows to add to the start. None: the solver's own.
    first
        The position of the block's first row.
    ids
        The ids of its rows.
    """
    given, more = (_given(folder, side, ids, solver.rank) if folder else None for folder in (initial, added))
    return solver.start(side, first, block, given, more)


def _given(folder: str, side: str, ids: pa.ChunkedArray, rank: int) -> Given:
    """What the tables in `folder` have for `ids`."""
    place = Folder(folder)
    table = ds.dataset(place.at(side), filesystem=place.fs, format="parquet").to_table(
        columns=["id", "features", "bias"]
    )
    positions = IdIndex(table["id"]).positions(ids)
    rows = np.flatnonzero(positions >= 0)
    table = table.take(positions[rows])
    factors = pc.list_flatten(table["features"]).to_numpy().astype(np.float32).reshape(len(rows), rank)
    return rows, factors, table["bias"].to_numpy().astype(np.float32)
