"""The state of a block before its first iteration: the solver's own rows, those that are given instead, and
what is added to them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.algorithms.contract import Given, State
from recspark.algorithms.ratings import Block
from recspark.engine.plan import Plan
from recspark.ids import IdIndex
from recspark.lake.folder import Folder


def starting_state(plan: Plan, side: str, first: int, block: Block, ids: pa.ChunkedArray) -> State:
    """The state of a block before the first iteration; its positions begin with `first` and have these
    `ids`.
    """
    rank = plan.solver.rank
    given, added = (
        _given(folder, side, ids, rank) if folder else None for folder in (plan.initial, plan.added)
    )
    return plan.solver.start(side, first, block, given, added)


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
