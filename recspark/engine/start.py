"""The state of a block before its first iteration: random rows, those that are given instead, and what is added to them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.data.folder import Folder
from recspark.engine.plan import Given, Plan, State
from recspark.ids import IdIndex


def starting_state(plan: Plan, side: str, first: int, index: pa.Table) -> State:
    """The state of the positions from `first`, whose part of the side's index is `index` (id, count)."""
    counts, rank = index["count"].to_numpy(), plan.solver.rank
    given = _given(plan.initial, side, index["id"], rank) if plan.initial else None
    state = plan.solver.start(side, first, counts, given)
    if not plan.added:
        return state
    rows, vectors, biases = _given(plan.added, side, index["id"], rank)
    factors, bias = np.array(state["factors"]), np.array(state["bias"])
    factors[rows] += vectors
    bias[rows] += biases
    # made once more, so that what a solver keeps beside its rows fits them
    return plan.solver.start(side, first, counts, (np.arange(len(counts)), factors, bias))


def _given(folder: str, side: str, ids: pa.ChunkedArray, rank: int) -> Given:
    """What the tables in `folder` have for `ids`."""
    place = Folder(folder)
    table = ds.dataset(place.at(side), filesystem=place.fs, format="parquet").to_table(columns=["id", "features", "bias"])
    positions = IdIndex(table["id"]).positions(ids)
    rows = np.flatnonzero(positions >= 0)
    table = table.take(positions[rows])
    factors = pc.list_flatten(table["features"]).to_numpy().astype(np.float32).reshape(len(rows), rank)
    # a model without biases of its own keeps something else in their column
    biased = (place.read_json("scorer.json") or {}).get("biased", True)
    return rows, factors, table["bias"].to_numpy().astype(np.float32) * np.float32(biased)
