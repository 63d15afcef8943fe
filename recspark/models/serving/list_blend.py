"""A blend of lists as plain arrays: the scores of several models, made alike for each user, weighted and
summed.

The scores of models have different units, so each model's are standardized first, user by user
(`standardized`). Only the order of a user's items matters then, and how far apart they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from recspark.algorithms.ratings import SIDES
from recspark.models.files import ModelFiles
from recspark.models.folder import ListBlendFacts, ModelTable, blended, read_facts
from recspark.models.serving.explanation import Explanation, Id, Part, positions_of
from recspark.models.serving.list_scorer import USERS_AT_ONCE, ListScorer
from recspark.models.serving.scorer import Side


def standardized(scores: np.ndarray, on: str) -> np.ndarray:
    """The scores of each user in a unit that all models share, float32 (users, items).

    With `on` = ``score`` it is ``(score - mean) / deviation`` over the items, 0 if all are alike. With
    ``rank`` it is ``1 / log2(rank + 1)``, rank 1 for the highest score, and of equal scores their mean rank.
    A score that is not finite counts as the lowest one.

    >>> standardized(np.array([[1, 3, 5, 3]], np.float32), "score").round(3).tolist()
    [[-1.4140000343322754, 0.0, 1.4140000343322754, 0.0]]
    >>> standardized(np.array([[1, 3, 5, np.nan]], np.float32), "rank").round(3).tolist()
    [[0.453000009059906, 0.6309999823570251, 1.0, 0.453000009059906]]
    """
    finite = np.isfinite(scores)
    if not finite.all():
        lowest = np.where(finite, scores, np.inf).min(axis=1, keepdims=True)
        scores = np.where(finite, scores, np.where(np.isfinite(lowest), lowest, 0)).astype(np.float32)
    if on == "rank":
        return (1 / np.log2(rankdata(-scores, axis=1) + 1)).astype(np.float32)
    # float64: the sums of many scores
    mean, deviation = (
        moment(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
        for moment in (scores.mean, scores.std)
    )
    return np.where(deviation > 0, (scores - mean) / np.where(deviation > 0, deviation, 1), 0)


def united(ids: Sequence[np.ndarray]) -> np.ndarray:
    """The ids of all of these; in the order of the first if they all have the same, else ascending.

    >>> united([np.array([3, 1]), np.array([3, 1])]).tolist(), united([np.array([3]), np.array([1])]).tolist()
    ([3, 1], [1, 3])
    """
    first = ids[0]
    return first if all(np.array_equal(first, each) for each in ids) else np.unique(np.concatenate(ids))


class ScoresItems(Protocol):
    """A scorer of one model (`recspark.models.serving.scorer.Scorer`)."""

    @property
    def users(self) -> Side:
        """The users of the model."""

    @property
    def items(self) -> Side:
        """The items of the model."""

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for positions of users."""


@dataclass(frozen=True)
class Member:
    """One model of a blend, which may know other users and items than the blend.

    `users` has its position of each user of the blend, -1 if it does not know the user. `items` has the
    blend's position of each item of the model; None: they are the same, in the same order.
    """

    scorer: ScoresItems
    users: np.ndarray
    items: np.ndarray | None

    @classmethod
    def of(cls, scorer: ScoresItems, users: Side, items: Side) -> Member:
        """The model of `scorer` among the users and items of a blend."""
        same = np.array_equal(items.ids, scorer.items.ids)
        return cls(
            scorer,
            scorer.users.index.positions(users.index.ids),
            None if same else items.index.positions(scorer.items.index.ids),
        )

    def standardized(self, users: np.ndarray, n_items: int, on: str) -> np.ndarray:
        """float32 (len(users), n_items): the standardized scores of at most USERS_AT_ONCE users.

        An item that the model does not know counts as its lowest one. All items are 0 for a user that it
        does not know.
        """
        positions = self.users[users]
        # always the same number of rows: BLAS then sums each of them in the same order, whoever is beside it
        rows = np.zeros(USERS_AT_ONCE, np.int32)
        rows[: len(users)] = np.maximum(positions, 0)
        found = standardized(self.scorer.scores(rows)[: len(users)], on)
        found[positions < 0] = 0
        if self.items is None:
            return found
        whole = np.repeat(found.min(axis=1, keepdims=True), n_items, axis=1)
        whole[:, self.items] = found
        return whole


@dataclass(frozen=True)
class Members:
    """The models of a blend, with the users and items that at least one of them knows."""

    users: Side
    items: Side
    members: tuple[Member, ...]
    on: str

    @classmethod
    def of(cls, scorers: Sequence[ScoresItems], on: str) -> Members:
        """From the scorers of the models."""
        users, items = (_side(united([getattr(scorer, side).ids for scorer in scorers])) for side in SIDES)
        return cls(users, items, tuple(Member.of(scorer, users, items) for scorer in scorers), on)

    def standardized(self, users: np.ndarray) -> np.ndarray:
        """float32 (models, len(users), n_items), for at most USERS_AT_ONCE users."""
        return np.stack([member.standardized(users, len(self.items.ids), self.on) for member in self.members])


@dataclass(frozen=True)
class StoredMembers:
    """`Members` by their files: a few bytes to send to a worker, which reads them once."""

    files: tuple[ModelFiles, ...]
    on: str

    @property
    def user_ids(self) -> np.ndarray:
        """Ids of users in position order."""
        return self._loaded.users.ids

    @property
    def item_ids(self) -> np.ndarray:
        """Ids of items in position order."""
        return self._loaded.items.ids

    def standardized(self, users: np.ndarray) -> np.ndarray:
        """See `Members.standardized`."""
        return self._loaded.standardized(users)

    @property
    def _loaded(self) -> Members:
        return _load_members(tuple(each.key for each in self.files), self.on)


@lru_cache(maxsize=1)
def _load_members(files: tuple[ModelFiles, ...], on: str) -> Members:
    scorers = []
    for each in files:
        with each.verified():
            scorers += _scorers([each.folder])
    return Members.of(scorers, on)


def _scorers(folders: Iterable[str]) -> list[ScoresItems]:
    return [read_facts(folder).find_scorer().load(folder) for folder in folders]


def _side(ids: np.ndarray, deviation: np.ndarray | None = None) -> Side:
    nothing = np.zeros(len(ids), np.float32)
    return Side(
        ids, np.empty((len(ids), 0), np.float32), nothing, nothing if deviation is None else deviation
    )


@dataclass(frozen=True)
class ListBlendScorer(ListScorer):
    """Scores ``sum of weight x standardized score`` over the models of a blend."""

    users: Side
    items: Side
    blended: Members
    weights: tuple[float, ...]

    @classmethod
    def load(cls, folder: str) -> ListBlendScorer:
        """Read the blend in `folder`, a path or a URI, and its models."""
        facts = read_facts(folder, ListBlendFacts)
        tables = (ModelTable.read(folder, side) for side in SIDES)
        users, items = (_side(table.ids.to_numpy(zero_copy_only=False), table.deviation) for table in tables)
        members = (Member.of(scorer, users, items) for scorer in _scorers(blended(folder, facts)))
        return cls(users, items, Members(users, items, tuple(members), facts.on), facts.weights)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for positions of users."""
        n_items = len(self.items.ids)
        total = np.zeros((len(users), n_items), np.float32)
        for low in range(0, len(users), USERS_AT_ONCE):
            part = slice(low, low + USERS_AT_ONCE)
            for member, weight in zip(self.blended.members, self.weights, strict=True):
                if weight:
                    found = member.standardized(users[part], n_items, self.blended.on)
                    total[part] += np.float32(weight) * found
        return total


@dataclass(frozen=True)
class ListBlendExplainer:
    """The share of each model in a blended score: its weight times its standardized score."""

    scorer: ListBlendScorer
    names: tuple[str, ...]

    #: the shares of models need no ratings
    reads_ratings = False

    @classmethod
    def load(cls, folder: str) -> ListBlendExplainer:
        """Open the blend in `folder`, a path or a URI."""
        return cls(ListBlendScorer.load(folder), read_facts(folder, ListBlendFacts).models)

    def explain(self, user: Id, items: Sequence[Id], rated: pa.Table | None = None) -> list[Explanation]:
        """See `recspark.models.serving.explanation.Explainer`."""
        row = positions_of("users", [user], self.scorer.users.index)
        places = positions_of("items", items, self.scorer.items.index)
        shares = self.scorer.blended.standardized(row)[:, 0, places].astype(np.float64)
        shares *= np.array(self.scorer.weights)[:, None]
        found = []
        for item, of_item in zip(items, shares.T, strict=True):
            score = float(of_item.sum())
            parts = [Part(*part) for part in zip(self.names, of_item.tolist(), strict=True)]
            found.append(Explanation.of(item, score, score, parts))
        return found
