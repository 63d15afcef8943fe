"""A fitted factor model as plain arrays: predictions without Spark.

They are the same on a worker, in MLflow and in a notebook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from recspark.algorithms.ratings import SIDES
from recspark.ids import IdIndex
from recspark.models.files import ModelFiles
from recspark.models.folder import BlendFacts, FactorFacts, ModelTable, blended, read_facts
from recspark.models.serving.response import Response

LINEAR = Response()
COLD_START = ("mean", "nan", "drop")

#: from positions, a list length, indptr and indices of the places to leave out, and a number of threads, to
#: the best places and their scores
Best: TypeAlias = Callable[[np.ndarray, int, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
#: a column of ids, as `recspark.ids.IdIndex.positions` takes it
Ids: TypeAlias = np.ndarray | pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class Side:
    """The ids of one side in the order of positions, with float32 arrays.

    These are factors (n, rank), the offset that each id adds to a score (n), and the deviation (n): what is
    known of an id when the other one is cold.
    """

    ids: np.ndarray
    factors: np.ndarray
    offset: np.ndarray
    deviation: np.ndarray

    @cached_property
    def index(self) -> IdIndex:
        """The index from ids to their positions."""
        return IdIndex(pa.array(self.ids, pa.string() if self.ids.dtype == object else None))


def by_factors(dst: Side, src: Side, chosen: np.ndarray) -> Best:
    """A search for the largest products with rows of `dst` plus offsets of `src`.

    It finds places in `chosen`, which are positions in `src`.
    """
    # imported here, since predictions of pairs don't need it
    from recspark.kernels.topn import top_n_of_factors

    whole = len(chosen) == len(src.ids) and not (np.diff(chosen) < 0).any()
    factors, offset = (src.factors, src.offset) if whole else (src.factors[chosen], src.offset[chosen])

    def best(
        positions: np.ndarray, n: int, indptr: np.ndarray, indices: np.ndarray, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        return top_n_of_factors(dst.factors[positions], factors, offset, n, indptr, indices, threads)

    return best


@dataclass(frozen=True)
class Scorer:
    """Predictions: the `response` to the score ``mean + o_u + o_i + <x_u, y_i>``, cut to `clip`.

    If training has not seen an id of the pair, ``cold`` decides. ``mean``: ``level`` plus the deviation of
    the known id; ``nan`` or ``drop``: NaN.
    """

    users: Side
    items: Side
    mean: float
    level: float
    biased: bool
    clip: tuple[float, float] | None
    cold: str = "mean"
    response: Response = LINEAR

    @classmethod
    def load(cls, folder: str) -> Scorer:
        """Read the model tables in `folder`, a path or a URI."""
        scorer = cls.of(read_facts(folder, FactorFacts), *(ModelTable.read(folder, side) for side in SIDES))
        # compile now what the first call would compile: a served model starts slowly, but answers fast
        scorer.predict(scorer.users.ids[:1].copy(), scorer.items.ids[:1].copy())
        return scorer

    @classmethod
    def of(cls, facts: FactorFacts, users: ModelTable, items: ModelTable) -> Scorer:
        """From facts and tables, which may be some rows of the model's."""
        sides = _side(users, facts.response), _side(items, facts.response)
        return cls(*sides, facts.mean, facts.level, facts.biased, facts.clip, facts.cold, facts.response)

    def predict(self, user_ids: Ids, item_ids: Ids, cold: str | None = None) -> np.ndarray:
        """float32 predictions of pairs of ids; a missing id is one that training has not seen."""
        user, item = self.users.index.positions(user_ids), self.items.index.positions(item_ids)
        known = (user >= 0) & (item >= 0)
        # position -1 reads the last row: computing its product and dropping it is cheaper than to select rows
        product = np.einsum("ij,ij->i", self.users.factors[user], self.items.factors[item])
        rating = self.ratings(self.mean + product + self.users.offset[user] + self.items.offset[item])
        if (cold or self.cold) != "mean":
            return np.where(known, rating, np.float32(np.nan))
        return np.where(known, rating, self._fallback(user, item))

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for positions of users.

        They have the order of the predictions.
        """
        product = self.users.factors[users] @ self.items.factors.T
        return (
            product + self.users.offset[users][:, None] + self.items.offset[None, :] + np.float32(self.mean)
        )

    def best(self, side: str, ranked: str, chosen: np.ndarray) -> Best:
        """A search for the best of side `ranked`, at the positions `chosen`, for ids of `side`.

        If the two sides are the same, it ranks by cosine.
        """
        dst, src = getattr(self, side), getattr(self, ranked)
        if side == ranked:
            dst = src = _directions(src)
        return by_factors(dst, src, chosen)

    def list_values(
        self, side: str, ranked: str, owners: np.ndarray, entries: np.ndarray, scores: np.ndarray
    ) -> np.ndarray:
        """The values that lists show: ratings, or cosines.

        Parameters
        ----------
        side, ranked
            ``users`` or ``items``: the side that has the lists, and the side whose ids are on them.
        owners
            Positions of `side`, int (n,): the owner of each entry.
        entries
            Positions of `ranked`, int (n,): the id on the list.
        scores
            float32 (n,): the scores that the search of `best` gave.

        Returns
        -------
        ndarray
            float32 (n,): cosines if the sides are the same, else predicted ratings.
        """
        if side == ranked:
            return scores
        return self.ratings(scores + getattr(self, side).offset[owners] + np.float32(self.mean))

    def ratings(self, scores: np.ndarray) -> np.ndarray:
        """Predictions from scores, float32."""
        rating = self.response(scores)
        return (np.clip(rating, *self.clip) if self.clip else rating).astype(np.float32)

    def _fallback(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        value = (
            self.level + self.users.deviation[user] * (user >= 0) + self.items.deviation[item] * (item >= 0)
        )
        # fitted biases are on the scale of scores, observed deviations on the scale of ratings
        rating = self.response(value) if self.biased else value
        return (np.clip(rating, *self.clip) if self.clip else rating).astype(np.float32)


def _directions(side: Side) -> Side:
    """Factors scaled to length 1; factors that are all 0 become NaN, which no list holds."""
    with np.errstate(invalid="ignore"):
        # float64: squares of small factors are 0 in float32, and the factors are not
        factors = (
            side.factors / np.linalg.norm(side.factors.astype(np.float64), axis=1, keepdims=True)
        ).astype(np.float32)
    return Side(side.ids, factors, np.zeros_like(side.offset), side.deviation)


@dataclass(frozen=True)
class BlendScorer:
    """``intercept + sum of weight x prediction`` over scorers.

    A pair has no prediction (NaN) if one of the scorers has none.
    """

    scorers: tuple[Scorer, ...]
    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def load(cls, folder: str) -> BlendScorer:
        """Read the blend in `folder`, a path or a URI, and its models."""
        facts = read_facts(folder, BlendFacts)
        scorers = tuple(Scorer.load(part) for part in blended(folder, facts))
        return cls(scorers, facts.weights, facts.intercept)

    def predict(self, user_ids: Ids, item_ids: Ids) -> np.ndarray:
        """float32 predictions of pairs of ids."""
        predictions = np.stack([scorer.predict(user_ids, item_ids) for scorer in self.scorers])
        return (np.array(self.weights) @ predictions + self.intercept).astype(np.float32)


def load_cached(files: ModelFiles) -> Scorer:
    """`Scorer.load` of these files, once per process.

    Raise RecsparkError if the folder now holds another model.
    """
    return _load_cached(files.key)


@lru_cache(maxsize=2)
def _load_cached(files: ModelFiles) -> Scorer:
    with files.verified():
        return read_facts(files.folder).find_scorer().load(files.folder)


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


def _side(table: ModelTable, response: Response) -> Side:
    ids, factors = table.ids.to_numpy(zero_copy_only=False), table.features
    if response.kernel == "rbf":
        # -|x - y|^2 = 2 <x, y> - |x|^2 - |y|^2: a score like any other
        return Side(ids, factors * np.float32(np.sqrt(2)), -np.square(factors).sum(axis=1), table.deviation)
    return Side(ids, factors, table.bias, table.deviation)
