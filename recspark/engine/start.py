"""The state of a block before its first iteration.

It has the solver's own rows, or given rows in their place, plus rows that are added.
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
    solver
        The algorithm, which starts the rows that are not given.
    initial, added
        Folders of model tables: rows to start with, and rows to add to the start. None: there are none.
    side
        The side of the block.
    first
        The position of the block's first row.
    block
        The ratings of its rows.
    ids
        The ids of its rows, in the order of positions.
    """
    given, more = (_given(folder, side, ids, solver.rank) if folder else None for folder in (initial, added))
    return solver.start(side, first, block, given, more)


def _given(folder: str, side: str, ids: pa.ChunkedArray, rank: int) -> Given:
    """The rows of the tables in `folder` for `ids`."""
    place = Folder(folder)
    table = ds.dataset(place.at(side), filesystem=place.fs, format="parquet").to_table(
        columns=["id", "features", "bias"]
    )
    positions = IdIndex(table["id"]).positions(ids)
    rows = np.flatnonzero(positions >= 0)
    table = table.take(positions[rows])
    factors = pc.list_flatten(table["features"]).to_numpy().astype(np.float32).reshape(len(rows), rank)
    return rows, factors, table["bias"].to_numpy().astype(np.float32)
