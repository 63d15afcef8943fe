"""A sampled factorization machine as plain arrays: predictions with their spread, averaged over samples, without Spark."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from scipy.special import ndtr

from recspark.data.folder import Folder
from recspark.kernels.gibbs import sample_scores

#: scores that are held at once: rows times samples
HELD_SCORES = 1 << 23


@dataclass(frozen=True)
class Predictions:
    """Means over samples, float64: of ratings; their standard deviation, noise included; (rows, levels) probabilities of an ordered model."""

    mean: np.ndarray
    stdev: np.ndarray
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class FMScorer:
    """The vectors of all sides in one table, as `recspark.kernels.gibbs.sample_scores` reads them.

    ids
        Of each side that rows name by id; None where they name positions.
    starts
        First place of each side; its last place stands for what training has not seen, an average entity.
    offsets, alphas, cuts
        Of each sample: w0, the precision of a rating, and of an ordered model the cuts (samples, levels - 1).
    """

    ids: tuple[pd.Index | None, ...]
    starts: np.ndarray
    table: np.ndarray
    biases: np.ndarray
    offsets: np.ndarray
    alphas: np.ndarray
    cuts: np.ndarray
    levels: np.ndarray
    clip: tuple[float, float]

    @classmethod
    def load(cls, folder: str) -> FMScorer:
        """Read the tables and ``scorer.json`` of `folder`, a path or a URI."""
        store = Folder(folder)
        facts = store.read_json("scorer.json")["fm"]
        ids, tables, biases = [], [], []
        for side in facts["sides"]:
            table = ds.dataset(store.at(side["name"]), filesystem=store.fs, format="parquet").to_table().combine_chunks()
            vectors, bias = (table[key].chunk(0).flatten().to_numpy().reshape(table.num_rows, -1) for key in ("features", "biases"))
            # rows that joined none of a side joined nothing; a level that training lacks is like the others
            none = 0.0 if side["absent"] else 1.0
            tables.append(np.concatenate([vectors, none * vectors.mean(axis=0, keepdims=True)]))
            biases.append(np.concatenate([bias, none * bias.mean(axis=0, keepdims=True)]))
            ids.append(pd.Index(table["id"].to_pandas()) if side["by_id"] else None)
        samples = facts["samples"]
        scaled = np.concatenate(tables).astype(np.float32) * np.float32(np.sqrt(len(samples)))
        starts = np.cumsum([0, *(len(table) for table in tables)])
        shared = (np.array([sample[key] for sample in samples], float) for key in ("offset", "alpha", "cuts"))
        return cls(tuple(ids), starts, scaled, np.concatenate(biases), *shared, np.array(facts["levels"], float), tuple(facts["clip"]))

    def predict(self, *columns: np.ndarray) -> Predictions:
        """Predictions of rows: a column a side, of ids or positions (-1: none)."""
        places = np.stack([self._places(side, column) for side, column in enumerate(columns)], axis=1)
        held = max(1, HELD_SCORES // len(self.offsets))
        parts = [self._of_scores(self._scores(places[low : low + held])) for low in range(0, len(places), held)]
        parts = parts or [self._of_scores(np.empty((0, len(self.offsets))))]
        probabilities = np.concatenate([part.probabilities for part in parts]) if len(self.levels) else None
        return Predictions(np.concatenate([part.mean for part in parts]), np.concatenate([part.stdev for part in parts]), probabilities)

    def _places(self, side: int, column: np.ndarray) -> np.ndarray:
        index, none = self.ids[side], self.starts[side + 1] - self.starts[side] - 1
        positions = np.asarray(column) if index is None else index.get_indexer(pd.Index(column))
        return (np.where((positions < 0) | (positions >= none), none, positions) + self.starts[side]).astype(np.int32)

    def _scores(self, places: np.ndarray) -> np.ndarray:
        out = np.empty((len(places), len(self.offsets)))
        rank = self.table.shape[1] // len(self.offsets)
        sample_scores(0, len(places), np.ascontiguousarray(places), self.table, self.biases, self.offsets, rank, out)
        return out

    def _of_scores(self, scores: np.ndarray) -> Predictions:
        if not len(self.levels):
            mean = scores.mean(axis=1)
            return Predictions(np.clip(mean, *self.clip), np.sqrt(scores.var(axis=1) + np.mean(1 / self.alphas)), None)
        # P(level > l) of each sample, averaged
        above = np.stack([1 - ndtr(self.cuts[:, cut] - scores).mean(axis=1) for cut in range(len(self.levels) - 1)], axis=1)
        edges = np.concatenate([np.ones((len(scores), 1)), above, np.zeros((len(scores), 1))], axis=1)
        probabilities = np.maximum(edges[:, :-1] - edges[:, 1:], 0)
        mean = probabilities @ self.levels
        return Predictions(mean, np.sqrt(np.maximum(probabilities @ self.levels**2 - mean**2, 0)), probabilities)


@lru_cache(maxsize=2)
def load_cached(folder: str, stamp: str) -> FMScorer:
    """`FMScorer.load` once a process; `stamp` changes when the model in `folder` does."""
    return FMScorer.load(folder)


def facts(sides: list[dict[str, Any]], samples: list[dict[str, Any]], levels: tuple[float, ...], clip: tuple[float, float]) -> dict[str, Any]:
    """What ``scorer.json`` holds under ``fm``; sides are name, by_id, absent (whether training rows lack it)."""
    return {"sides": sides, "samples": samples, "levels": list(levels), "clip": list(clip)}
