"""Folders that MLlib's ALSModel wrote.

They hold tables ``userFactors`` and ``itemFactors`` (id int, features array<float>), and the metadata.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.algorithms.ratings import SIDES
from recspark.ids import WHOLE
from recspark.lake.folder import Folder
from recspark.models.factors.tables import FactorTables
from recspark.models.folder import FactorFacts, ModelTable

_TABLES = {"users": "userFactors", "items": "itemFactors"}


def import_als(path: str, target: str) -> None:
    """Write MLlib's model in `path` as a model of ours into `target`; both are a path or a URI.

    This process holds all factors. MLlib has no biases, no counts and no mean rating: they are 0, and so is
    ``level``, the prediction for two ids that are not known.
    """
    source = Folder(path)
    tables = {side: _read(source, name) for side, name in _TABLES.items()}
    rank = tables["users"].features.shape[1]
    facts = FactorFacts(
        kind="als",
        can=("explain", "lists", "serve", "start"),
        rank=rank,
        mean=0.0,
        level=0.0,
        biased=False,
        cold="nan",
        id_kinds=dict.fromkeys(SIDES, WHOLE),
    )
    FactorTables(tables, facts).write(target)


def _read(source: Folder, name: str) -> ModelTable:
    table = (
        ds.dataset(source.at(name), filesystem=source.fs, format="parquet")
        .to_table(columns=["id", "features"])
        .sort_by("id")
    )
    factors = (
        pc.list_flatten(table["features"]).to_numpy().reshape(len(table), -1)
        if len(table)
        else np.empty((0, 0), np.float32)
    )
    nothing = np.zeros(len(table), np.float32)
    return ModelTable(table["id"].combine_chunks(), np.zeros(len(table), np.int64), factors, nothing, nothing)
