"""A fitted factor model as arrays that can grow: its tables read into one process, and written as a new model."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.data.folder import Folder
from recspark.data.load import write_part
from recspark.engine.blocks import SIDES
from recspark.engine.loop import as_arrow
from recspark.errors import RecsparkError

#: rows of a file: lists of factors count their elements with 31 bits
FILE_ROWS = 1 << 20


@dataclass(frozen=True)
class FactorTable:
    """One side in position order: ids (n), counts of ratings int64 (n), factors float32 (n, rank), bias float32 (n)."""

    ids: pa.Array
    counts: np.ndarray
    factors: np.ndarray
    bias: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(cls, folder: Folder, side: str, rank: int) -> FactorTable:
        """The table `side` of the model in `folder`."""
        table = ds.dataset(folder.at(side), filesystem=folder.fs, format="parquet").to_table(columns=["id", "count", "features", "bias"])
        factors = pc.list_flatten(table["features"]).to_numpy().reshape(len(table), rank)
        return cls(table["id"].combine_chunks(), table["count"].to_numpy(), factors, table["bias"].to_numpy())

    def write(self, folder: Folder, side: str) -> None:
        """Put the table `side` of the model in `folder` in place of what is there."""
        folder.delete(side)
        columns = {"id": self.ids, "count": self.counts, "features": self.factors, "bias": self.bias}
        for number, first in enumerate(range(0, max(len(self), 1), FILE_ROWS)):
            part = {name: column[first : first + FILE_ROWS] for name, column in columns.items()}
            part |= {name: as_arrow(part[name]) for name in ("count", "features", "bias")}
            write_part(folder.fs, folder.at(f"{side}/part-{number:05d}.parquet"), pa.table(part))

    def positions(self, ids: pa.Array) -> np.ndarray:
        """int32 positions of `ids`, -1 for those that are not here."""
        return pc.fill_null(pc.index_in(ids, value_set=self.ids), -1).to_numpy(zero_copy_only=False)

    def unknown(self, ids: pa.Array) -> pa.Array:
        """Those of `ids` that are not here, each once, in ascending order."""
        found = pc.unique(ids.filter(pc.invert(pc.is_in(ids, value_set=self.ids))))
        return found.take(pc.array_sort_indices(found))

    def extended(self, ids: pa.Array, factors: np.ndarray, bias: np.ndarray) -> FactorTable:
        """A copy with more rows at the end, of ids that are not here and have no ratings yet."""
        return FactorTable(
            pa.concat_arrays([self.ids, ids]),
            np.concatenate([self.counts, np.zeros(len(ids), np.int64)]),
            np.concatenate([self.factors, factors]),
            np.concatenate([self.bias, bias]),
        )


@dataclass(frozen=True)
class FactorTables:
    """Both sides by name, and the facts of ``scorer.json`` (`recspark.models.scorer`)."""

    tables: dict[str, FactorTable]
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: str) -> FactorTables:
        """Read the model saved in `folder`, a path or a URI; RecsparkError where there is none."""
        place = Folder(folder)
        facts = place.read_json("scorer.json")
        if facts is None:
            raise RecsparkError(f"{folder} holds no model: there is no scorer.json")
        if "rank" not in facts or "fm" in facts:
            raise RecsparkError(f"{folder} holds a model that is not made of factors of users and items: it can't take new ratings in")
        return cls({side: FactorTable.read(place, side, facts["rank"]) for side in SIDES}, facts)

    def write(self, folder: str) -> None:
        """Write tables and facts to `folder`, over those of another version that are there."""
        place = Folder(folder)
        for side, table in self.tables.items():
            table.write(place, side)
        # readers keep a model in memory by its stamp
        place.write_json("scorer.json", self.facts | {"stamp": uuid.uuid4().hex})
