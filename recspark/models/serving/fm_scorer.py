"""A sampled factorization machine as plain arrays, without Spark.

Predictions and their standard deviations are averaged over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from recspark.algorithms.machine import LINKS, TABLES, join, parameters_of, scores
from recspark.engine.storage import Store
from recspark.features.groups import IDS
from recspark.features.layout import Layout
from recspark.ids import IdIndex
from recspark.kernels.anova import Parameters, Sparse
from recspark.kernels.gibbs import sample_scores
from recspark.lake.folder import Folder
from recspark.models.files import ModelFiles
from recspark.models.folder import RowFacts, SampledFacts, read_facts

#: most scores that are held at once: rows times samples
HELD_SCORES = 1 << 23


@dataclass(frozen=True)
class Predictions:
    """Means over samples, all float64.

    They are the means of ratings, their standard deviation, noise included, and of an ordered model the
    probabilities (rows, levels).
    """

    mean: np.ndarray
    stdev: np.ndarray
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class Answer:
    """The step from scores (rows, samples) to predictions.

    alphas, cuts
        Of each sample: the precision of a rating, and the cuts (samples, levels - 1) of a model of levels
        under `link`.
    clip
        The range of ratings; None if scores are not ratings.
    """

    alphas: np.ndarray
    cuts: np.ndarray
    levels: np.ndarray
    link: str
    clip: tuple[float, float] | None

    @classmethod
    def of(cls, facts: SampledFacts) -> Answer:
        """From the facts of a model."""
        alphas, cuts = (
            np.array([getattr(sample, name) for sample in facts.samples], float) for name in ("alpha", "cuts")
        )
        return cls(alphas, cuts, np.array(facts.levels, float), facts.link, facts.clip)

    def __call__(self, scores: np.ndarray, noise: np.ndarray | float = 1.0) -> Predictions:
        """Means over samples, of ratings or of probabilities.

        `noise` (rows, samples) are multiples of the standard deviation of a rating.
        """
        if not len(self.levels):
            mean, variance = (
                scores.mean(axis=1),
                scores.var(axis=1) + np.mean(noise**2 / self.alphas, axis=-1),
            )
            return Predictions(np.clip(mean, *self.clip) if self.clip else mean, np.sqrt(variance), None)
        # P(level > l) of each sample, averaged
        below = LINKS[self.link]
        above = np.stack(
            [
                1 - below((self.cuts[:, cut] - scores) / noise).mean(axis=1)
                for cut in range(len(self.levels) - 1)
            ],
            axis=1,
        )
        edges = np.concatenate([np.ones((len(scores), 1)), above, np.zeros((len(scores), 1))], axis=1)
        probabilities = np.maximum(edges[:, :-1] - edges[:, 1:], 0)
        mean = probabilities @ self.levels
        return Predictions(
            mean, np.sqrt(np.maximum(probabilities @ self.levels**2 - mean**2, 0)), probabilities
        )


@dataclass(frozen=True)
class FMScorer:
    """The vectors and biases of all sides in two tables, as in `recspark.kernels.gibbs.sample_scores`.

    ids
        The ids of each side that rows name by id; None for sides that rows name by position.
    starts
        First place of each side. Its last place stands for entities that training has not seen: an average
        one.
    spreads
        Like `biases`, but for the places of one side alone; None for sides without them.
    offsets
        w0 of each sample.
    """

    ids: tuple[IdIndex | None, ...]
    starts: np.ndarray
    table: np.ndarray
    biases: np.ndarray
    spreads: tuple[np.ndarray | None, ...]
    offsets: np.ndarray
    answer: Answer

    @classmethod
    def load(cls, folder: str) -> FMScorer:
        """Read the model in `folder`, a path or a URI."""
        store, facts = Folder(folder), read_facts(folder, SampledFacts)
        ids: list[IdIndex | None] = []
        tables: list[np.ndarray] = []
        biases: list[np.ndarray] = []
        spreads: list[np.ndarray | None] = []
        for side in facts.sides:
            table = (
                ds.dataset(store.at(side.name), filesystem=store.fs, format="parquet")
                .to_table()
                .combine_chunks()
            )
            # if training rows lacked a side, an absent entity adds nothing; else it is an average entity
            none = 0.0 if side.absent else 1.0
            # sides without vectors come last
            for key, parts in (("features", tables), ("biases", biases)):
                if key in table.column_names:
                    parts.append(_with_average(table[key], none))
            spreads.append(_with_average(table["spreads"], none) if "spreads" in table.column_names else None)
            ids.append(IdIndex(table["id"]) if side.by_id else None)
        samples = facts.samples
        scaled = np.concatenate(tables).astype(np.float32) * np.float32(np.sqrt(len(samples)))
        starts = np.cumsum([0, *(len(bias) for bias in biases)])
        offsets = np.array([sample.offset for sample in samples])
        return cls(
            tuple(ids), starts, scaled, np.concatenate(biases), tuple(spreads), offsets, Answer.of(facts)
        )

    def predict(self, *columns: pa.Array) -> Predictions:
        """Predictions of rows: one column per side, with ids or positions (-1: none)."""
        places = np.stack([self._places(side, column) for side, column in enumerate(columns)], axis=1)
        held = max(1, HELD_SCORES // len(self.offsets))
        parts = [
            self.answer(self._scores(part), self._noise(part))
            for part in (places[low : low + held] for low in range(0, len(places), held))
        ]
        parts = parts or [self.answer(np.empty((0, len(self.offsets))))]
        probabilities = (
            None if parts[0].probabilities is None else np.concatenate([part.probabilities for part in parts])
        )
        return Predictions(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.stdev for part in parts]),
            probabilities,
        )

    def _places(self, side: int, column: pa.Array) -> np.ndarray:
        index, none = self.ids[side], self.starts[side + 1] - self.starts[side] - 1
        positions = column.fill_null(-1).to_numpy() if index is None else index.positions(column)
        return (np.where((positions < 0) | (positions >= none), none, positions) + self.starts[side]).astype(
            np.int32
        )

    def _noise(self, places: np.ndarray) -> np.ndarray | float:
        """Multiples of the standard deviation that all rows share."""
        sides = [
            spread[places[:, side] - self.starts[side]]
            for side, spread in enumerate(self.spreads)
            if spread is not None
        ]
        return np.exp(sum(sides)) if sides else 1.0

    def _scores(self, places: np.ndarray) -> np.ndarray:
        out = np.empty((len(places), len(self.offsets)))
        rank = self.table.shape[1] // len(self.offsets)
        sample_scores(
            0, len(places), np.ascontiguousarray(places), self.table, self.biases, self.offsets, rank, out
        )
        return out


def _with_average(column: pa.ChunkedArray, share: float) -> np.ndarray:
    """Lists of equal lengths as rows, and `share` of their mean as the last."""
    values = column.chunk(0).flatten().to_numpy().reshape(len(column), -1)
    return np.concatenate([values, share * values.mean(axis=0, keepdims=True)])


@dataclass(frozen=True)
class RowScorer:
    """Parameters of a model of rows (`recspark.models.fm.joined`), and the rows of users and items.

    The contexts join these rows.
    """

    layout: Layout
    sides: dict[str, tuple[IdIndex, Sparse]]
    samples: tuple[Parameters, ...]
    answer: Answer

    @classmethod
    def load(cls, folder: str) -> RowScorer:
        """Read the model in `folder`, a path or a URI."""
        store = Store(folder)
        found = store.load("parameters")
        ids = {side: IdIndex(store.load_table(f"ids/{TABLES[side]}")["id"]) for side in IDS}
        sides = {side: (ids[side], Sparse(**store.load(f"sides/{TABLES[side]}"))) for side in IDS}
        samples = tuple(parameters_of(found, sample) for sample in range(len(found["w0"])))
        return cls(Layout.load(folder), sides, samples, Answer.of(read_facts(folder, RowFacts)))

    def predict(self, users: pa.Array, items: pa.Array, columns: pa.Array, values: pa.Array) -> Predictions:
        """Predictions of rows.

        Parameters
        ----------
        users, items
            Ids, one per row.
        columns, values
            Lists of int32 and of float32, one per row: the feature columns of its context, and their values.
        """
        joined = join(self.sides, self.layout, users, items, columns, values)
        return self.answer(np.stack([scores(joined, sample) for sample in self.samples], axis=1))


def load_cached(files: ModelFiles) -> FMScorer | RowScorer:
    """The scorer of these files, once per process.

    Raise RecsparkError if the folder now holds another model.
    """
    return _load_cached(files.key)


@lru_cache(maxsize=2)
def _load_cached(files: ModelFiles) -> FMScorer | RowScorer:
    with files.verified():
        is_of_rows = isinstance(read_facts(files.folder), RowFacts)
        return (RowScorer if is_of_rows else FMScorer).load(files.folder)
