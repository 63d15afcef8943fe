"""A fitted factor model as plain arrays: predictions without Spark, the same on a worker, in MLflow and in a notebook."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.fs as pafs

COLD_START = ("mean", "nan", "drop")


@dataclass(frozen=True)
class Side:
    """The ids of one side with their factors (n, rank) and biases (n), float32, in position order."""

    ids: np.ndarray
    factors: np.ndarray
    bias: np.ndarray

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Dense positions of `ids`, -1 for those that the model does not know."""
        return self._index.get_indexer(pd.Index(ids))


@dataclass(frozen=True)
class Scorer:
    """Predictions ``mean + b_u + b_i + <x_u, y_i>`` (biases where the model is `biased`), cut to `clip`.

    A pair with an id that training has not seen gets, by ``cold``: ``mean``: ``level + b`` of the id that is known;
    ``nan`` or ``drop``: NaN.
    """

    users: Side
    items: Side
    mean: float
    level: float
    biased: bool
    clip: tuple[float, float] | None
    cold: str = "mean"

    @classmethod
    def load(cls, folder: str) -> Scorer:
        """Read the model tables in `folder`, a path or a URI."""
        fs, base = pafs.FileSystem.from_uri(folder)
        with fs.open_input_stream(f"{base}/scorer.json") as stream:
            facts = json.loads(stream.read())
        sides = {side: _read_side(fs, f"{base}/{side}") for side in ("users", "items")}
        return cls(**sides, mean=facts["mean"], level=facts["level"], biased=facts["biased"], clip=facts["clip"], cold=facts["cold"])

    def predict(self, user_ids: np.ndarray, item_ids: np.ndarray, cold: str | None = None) -> np.ndarray:
        """float32 predictions of pairs of ids."""
        user, item = self.users.positions(user_ids), self.items.positions(item_ids)
        known = (user >= 0) & (item >= 0)
        # position -1 reads the last row: its product is computed and thrown away, which is cheaper than to select
        score = self.mean + np.einsum("ij,ij->i", self.users.factors[user], self.items.factors[item])
        biases = self.users.bias[user] * (user >= 0) + self.items.bias[item] * (item >= 0)
        if self.biased:
            score = score + biases
        if (cold or self.cold) == "mean":
            score = np.where(known, score, self.level + biases)
        else:
            score = np.where(known, score, np.nan)
        return self._clipped(score)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): predictions of all items for dense user positions."""
        score = self.users.factors[users] @ self.items.factors.T
        if self.biased:
            score += self.users.bias[users][:, None] + self.items.bias[None, :]
        return score + np.float32(self.mean)

    def _clipped(self, score: np.ndarray) -> np.ndarray:
        return (np.clip(score, *self.clip) if self.clip else score).astype(np.float32)


@lru_cache(maxsize=2)
def load_cached(folder: str, stamp: str) -> Scorer:
    """`Scorer.load` once a process; `stamp` changes when the model in `folder` does."""
    return Scorer.load(folder)


@dataclass(frozen=True)
class StoredScorer:
    """A `Scorer` by the name of its folder: a few bytes to send to a worker, which reads it once."""

    folder: str
    stamp: str

    @property
    def user_ids(self) -> np.ndarray:
        return self._loaded.users.ids

    @property
    def item_ids(self) -> np.ndarray:
        return self._loaded.items.ids

    def predict(self, user_ids: np.ndarray, item_ids: np.ndarray, cold: str | None = None) -> np.ndarray:
        """See `Scorer.predict`."""
        return self._loaded.predict(user_ids, item_ids, cold)

    def scores(self, user_positions: np.ndarray) -> np.ndarray:
        """See `Scorer.scores`."""
        return self._loaded.scores(user_positions)

    @property
    def _loaded(self) -> Scorer:
        return load_cached(self.folder, self.stamp)


def _read_side(fs: pafs.FileSystem, path: str) -> Side:
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table().combine_chunks()
    features = table["features"].chunk(0) if table.num_rows else table["features"].combine_chunks()
    factors = features.flatten().to_numpy().reshape(table.num_rows, -1)
    ids = table["id"].to_numpy() if not str(table.schema.field("id").type).endswith("string") else table["id"].to_pandas().to_numpy(object)
    return Side(ids, np.ascontiguousarray(factors), table["bias"].to_numpy())
