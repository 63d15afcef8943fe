"""A fitted factor model as plain arrays: predictions without Spark, the same on a worker, in MLflow and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from scipy.special import ndtr

from recspark.data.folder import Folder
from recspark.ids import IdIndex
from recspark.models.files import ModelFiles

COLD_START = ("mean", "nan", "drop")

#: a column of ids, as `recspark.ids.IdIndex.positions` takes it
Ids: TypeAlias = np.ndarray | pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class Side:
    """The ids of one side in position order, with factors (n, rank), what each id adds to a score, and its bias (n), all float32.

    The bias is what is known of an id when the other one is cold; a score adds it only where the model fits biases.
    """

    ids: np.ndarray
    factors: np.ndarray
    offset: np.ndarray
    bias: np.ndarray

    @cached_property
    def index(self) -> IdIndex:
        """From ids to their positions."""
        return IdIndex(pa.array(self.ids, pa.string() if self.ids.dtype == object else None))


@dataclass(frozen=True)
class Response:
    """From the score s of a pair to its rating. All grow with s, so they leave rankings as they are.

    ``linear``: s; ``sigmoid``: low + (high - low) / (1 + exp(-s)); ``rbf``: low + (high - low) exp(gamma s), where s is minus
    the squared distance of the two vectors (Rendle and Schmidt-Thieme 2008, section 3); ``ordered``: the mean of `levels` where
    level l has the probability that a normal around s with variance 1 lies between cuts l and l + 1.
    """

    kernel: str = "linear"
    low: float = 0.0
    high: float = 1.0
    gamma: float = 1.0
    cuts: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """The ratings of scores."""
        if self.kernel == "linear":
            return score
        if self.kernel == "ordered":
            gaps = np.diff(self.levels)
            return self.levels[0] + sum(gap * ndtr(score - cut) for gap, cut in zip(gaps, self.cuts, strict=True))
        unit = np.exp(self.gamma * score) if self.kernel == "rbf" else 1 / (1 + np.exp(-score))
        return self.low + (self.high - self.low) * unit


@dataclass(frozen=True)
class Scorer:
    """Predictions: the `response` to the score ``mean + o_u + o_i + <x_u, y_i>``, cut to `clip`.

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
    response: Response = Response()

    @classmethod
    def load(cls, folder: str) -> Scorer:
        """Read the model tables in `folder`, a path or a URI."""
        place = Folder(folder)
        facts = place.read_json("scorer.json")
        response = Response(**facts.get("response", {}))
        users, items = (_side(*_read_table(place.fs, place.at(side)), facts["biased"], response) for side in ("users", "items"))
        scorer = cls(users, items, *(facts[key] for key in ("mean", "level", "biased", "clip", "cold")), response)
        # what is compiled at the first call is compiled now: whoever serves a model is slow to start, not to answer
        scorer.predict(users.ids[:1].copy(), items.ids[:1].copy())
        return scorer

    def predict(self, user_ids: Ids, item_ids: Ids, cold: str | None = None) -> np.ndarray:
        """float32 predictions of pairs of ids; a missing id is one that training has not seen."""
        user, item = self.users.index.positions(user_ids), self.items.index.positions(item_ids)
        known = (user >= 0) & (item >= 0)
        # position -1 reads the last row: its product is computed and thrown away, which is cheaper than to select
        product = np.einsum("ij,ij->i", self.users.factors[user], self.items.factors[item])
        rating = self.ratings(self.mean + product + self.users.offset[user] + self.items.offset[item])
        if (cold or self.cold) != "mean":
            return np.where(known, rating, np.float32(np.nan))
        return np.where(known, rating, self._fallback(user, item))

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for dense user positions, in the order of their predictions."""
        product = self.users.factors[users] @ self.items.factors.T
        return product + self.users.offset[users][:, None] + self.items.offset[None, :] + np.float32(self.mean)

    def ratings(self, scores: np.ndarray) -> np.ndarray:
        """Predictions from scores, float32."""
        rating = self.response(scores)
        return (np.clip(rating, *self.clip) if self.clip else rating).astype(np.float32)

    def _fallback(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        value = self.level + self.users.bias[user] * (user >= 0) + self.items.bias[item] * (item >= 0)
        # biases that were fitted are on the scale of scores, observed deviations on that of ratings
        rating = self.response(value) if self.biased else value
        return (np.clip(rating, *self.clip) if self.clip else rating).astype(np.float32)


@dataclass(frozen=True)
class BlendScorer:
    """``intercept + sum of weight x prediction`` over scorers; a pair has no prediction (NaN) where one of them has none."""

    scorers: tuple[Scorer, ...]
    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def load(cls, folder: str) -> BlendScorer:
        """Read the models in `folder`, a path or a URI, and ``blend.json``."""
        place = Folder(folder)
        facts = place.read_json("blend.json")
        scorers = tuple(Scorer.load(f"{place.root}/models/{number}") for number in range(len(facts["models"])))
        return cls(scorers, tuple(facts["weights"]), facts["intercept"])

    def predict(self, user_ids: Ids, item_ids: Ids) -> np.ndarray:
        """float32 predictions of pairs of ids."""
        predictions = np.stack([scorer.predict(user_ids, item_ids) for scorer in self.scorers])
        return (np.array(self.weights) @ predictions + self.intercept).astype(np.float32)


def load_cached(files: ModelFiles) -> Scorer:
    """`Scorer.load` of these files, once per process. Raise RecsparkError where the folder holds another model by now."""
    return _load_cached(files.key)


@lru_cache(maxsize=2)
def _load_cached(files: ModelFiles) -> Scorer:
    with files.verified():
        return Scorer.load(files.folder)


@dataclass(frozen=True)
class StoredScorer:
    """A `Scorer` by its files: a few bytes to send to a worker, which reads them once."""

    files: ModelFiles

    @property
    def user_ids(self) -> np.ndarray:
        """Ids of users in position order."""
        return self._loaded.users.ids

    @property
    def item_ids(self) -> np.ndarray:
        """Ids of items in position order."""
        return self._loaded.items.ids

    def predict(self, user_ids: Ids, item_ids: Ids, cold: str | None = None) -> np.ndarray:
        """See `Scorer.predict`."""
        return self._loaded.predict(user_ids, item_ids, cold)

    def scores(self, user_positions: np.ndarray) -> np.ndarray:
        """See `Scorer.scores`."""
        return self._loaded.scores(user_positions)

    def ratings(self, scores: np.ndarray) -> np.ndarray:
        """See `Scorer.ratings`."""
        return self._loaded.ratings(scores)

    @property
    def _loaded(self) -> Scorer:
        return load_cached(self.files)


def _read_table(fs: pafs.FileSystem, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, factors and biases of a model table."""
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table().combine_chunks()
    features = table["features"].chunk(0) if table.num_rows else table["features"].combine_chunks()
    rank = len(table["features"][0]) if table.num_rows else 0
    factors = features.flatten().to_numpy().reshape(table.num_rows, rank)
    return table["id"].to_numpy(), np.ascontiguousarray(factors), table["bias"].to_numpy()


def _side(ids: np.ndarray, factors: np.ndarray, bias: np.ndarray, biased: bool, response: Response) -> Side:
    if response.kernel == "rbf":
        # -|x - y|^2 = 2 <x, y> - |x|^2 - |y|^2: a score like any other
        return Side(ids, factors * np.float32(np.sqrt(2)), -np.square(factors).sum(axis=1), bias)
    return Side(ids, factors, bias if biased else np.zeros_like(bias), bias)
