"""Folders that MLlib's ALSModel wrote: tables ``userFactors`` and ``itemFactors`` (id int, features array<float>), and the metadata."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.data.folder import Folder
from recspark.engine.blocks import SIDES
from recspark.ids import WHOLE
from recspark.models.factor_tables import FactorTable, FactorTables

_TABLES = {"users": "userFactors", "items": "itemFactors"}


def import_als(path: str, target: str) -> None:
    """Write the model of MLlib in `path` as one of ours into `target`; both a path or a URI. This process holds all factors.

    MLlib has no biases, no counts and no mean rating: they are 0, and so is ``level``, the prediction for two ids that are not known.
    """
    source = Folder(path)
    tables = {side: _read(source, name) for side, name in _TABLES.items()}
    facts = {
        "rank": tables["users"].factors.shape[1],
        "mean": 0.0,
        "level": 0.0,
        "biased": False,
        "clip": None,
        "cold": "nan",
        "id_kinds": dict.fromkeys(SIDES, WHOLE),
        "stamp": uuid.uuid4().hex,
    }
    FactorTables(tables, facts).write(target)


def _read(source: Folder, name: str) -> FactorTable:
    table = ds.dataset(source.at(name), filesystem=source.fs, format="parquet").to_table(columns=["id", "features"]).sort_by("id")
    factors = pc.list_flatten(table["features"]).to_numpy().reshape(len(table), -1) if len(table) else np.empty((0, 0), np.float32)
    return FactorTable(table["id"].combine_chunks(), np.zeros(len(table), np.int64), factors, np.zeros(len(table), np.float32))
