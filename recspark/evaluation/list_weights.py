"""The weights of a blend of lists, by a ranking metric on rows that trained none of its models.

Workers find the *contenders* of each user: the best items of every model, and the relevant ones, with the
standardized scores of all models. They are few, so the driver holds them, and can try many weights on them.
Other items are left out: an item that is far down the list of every model is not among the first of a blend.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numba import njit
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.engine.spark.session import check_workers
from recspark.errors import RecsparkError
from recspark.evaluation.ranking import by_user_blocks, pairs_as_csr
from recspark.evaluation.user_metrics import METRICS_AT_K
from recspark.kernels.topn import top_n
from recspark.models.list_blend import ListWeights
from recspark.models.serving.list_scorer import USERS_AT_ONCE

#: number of best items of every model that are contenders: DEPTH times the length of the list, at least LEAST
DEPTH, LEAST = 10, 100
#: weights are multiples of 1 / STEPS
STEPS = 20

_SCHEMA = "n_relevant int, relevant array<tinyint>, scores array<float>"


class MembersScorer(Protocol):
    """The models of a blend (`recspark.models.serving.list_blend.StoredMembers`).

    It is pickled to the workers, so it should hold paths instead of arrays.
    """

    @property
    def user_ids(self) -> np.ndarray:
        """The id of every user that a model knows, in the order of positions."""

    @property
    def item_ids(self) -> np.ndarray:
        """The id of every item that a model knows, in the order of positions."""

    def standardized(self, users: np.ndarray) -> np.ndarray:
        """float32 (models, len(users), n_items), for at most USERS_AT_ONCE positions of users."""


class Contenders(NamedTuple):
    """The contenders of all users, user by user.

    indptr
        int64 (users + 1,): the entries of each user, in the order of items.
    scores
        float32 (entries, models): standardized scores.
    relevant
        bool (entries,).
    n_relevant
        int64 (users,): the number of relevant items, also of those that no model knows.
    """

    indptr: np.ndarray
    scores: np.ndarray
    relevant: np.ndarray
    n_relevant: np.ndarray


def contenders(
    validation: DataFrame,
    seen: DataFrame,
    members: MembersScorer,
    k: int,
    threshold: float | None = None,
    blocks: int = 8,
) -> Contenders:
    """The contenders of every user of `validation` that a model knows and that has something relevant.

    Parameters
    ----------
    validation : DataFrame
        user_id, item_id, rating.
    seen : DataFrame
        user_id, item_id: pairs that are not on lists.
    members
        The models.
    k
        The length of a list.
    threshold
        A row is relevant if its rating is at least this; by default every one is.
    blocks
        Number of blocks that users are hashed into; a worker holds the rows of one.

    Raises
    ------
    RecsparkError
        If there is no such user.
    """
    check_workers(validation.sparkSession)
    types = {key: validation.schema[key].dataType for key in ("user_id", "item_id")}
    relevant = F.lit(True) if threshold is None else F.coalesce(F.col("rating") >= threshold, F.lit(False))
    rows = validation.where(relevant).select(*types)
    # equal ids must hash alike on both sides, and int and bigint don't
    seen = seen.select(*(F.col(key).cast(type_).alias(key) for key, type_ in types.items()))

    def find(wanted: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
        return contenders_of(wanted, left_out, members, max(LEAST, DEPTH * k))

    schema = f"user_id {types['user_id'].simpleString()}, {_SCHEMA}"
    pairs = by_user_blocks(rows, blocks).cogroup(by_user_blocks(seen, blocks))
    found = pairs.applyInPandas(find, schema).toArrow()
    if not len(found):
        raise RecsparkError(
            "no user of the validation rows whom a model knows has a relevant item: there is nothing to fit "
            "the weights on"
        )
    # sums of users depend on their order
    found = found.sort_by("user_id")
    counts = np.array(found["relevant"].combine_chunks().value_lengths())
    scores, marks = (
        found[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in ("scores", "relevant")
    )
    return Contenders(
        np.append(0, np.cumsum(counts)),
        scores.reshape(len(marks), -1),
        marks.astype(bool),
        found["n_relevant"].to_numpy().astype(np.int64),
    )


def contenders_of(
    wanted: pd.DataFrame, seen: pd.DataFrame, members: MembersScorer, depth: int
) -> pd.DataFrame:
    """Worker: one row per user of `wanted` (user_id, item_id: the relevant pairs); see `contenders`.

    Users whom no model knows are left out.
    """
    wanted = wanted[["user_id", "item_id"]].drop_duplicates()
    users, items = pd.Index(wanted["user_id"].unique()), pd.Index(members.item_ids)
    n_relevant = np.bincount(users.get_indexer(wanted["user_id"]), minlength=len(users))
    positions = pd.Index(members.user_ids).get_indexer(users)
    known = positions >= 0
    users, positions, n_relevant = users[known], positions[known].astype(np.int32), n_relevant[known]
    (out_indptr, out), (in_indptr, relevant) = (pairs_as_csr(users, items, rows) for rows in (seen, wanted))
    found = []
    for low in range(0, len(users), USERS_AT_ONCE):
        scores = members.standardized(positions[low : low + USERS_AT_ONCE])
        best = np.concatenate(
            [top_n(np.ascontiguousarray(each), depth, out_indptr[low:], out)[0] for each in scores], axis=1
        )
        for place, items_of_user in enumerate(best):
            user = low + place
            own = relevant[in_indptr[user] : in_indptr[user + 1]]
            own = np.setdiff1d(own, out[out_indptr[user] : out_indptr[user + 1]])
            chosen = np.union1d(items_of_user[items_of_user >= 0], own)
            found.append((np.isin(chosen, own).astype(np.int8), scores[:, place, chosen].T.ravel()))
    rows = pd.DataFrame({"user_id": users, "n_relevant": n_relevant.astype(np.int32)})
    # objects: Arrow can't make lists of an empty column of numbers
    return rows.assign(**pd.DataFrame(found, columns=["relevant", "scores"], dtype=object))


def fit_list_weights(found: Contenders, on: str, metric: str, k: int) -> tuple[ListWeights, list[float]]:
    """The best weights for the mean of a metric over users, and its value for each model by itself.

    Weights are multiples of 1 / `STEPS`, at least 0, of sum 1; see `search`.

    Parameters
    ----------
    found
        The contenders.
    on
        The transform of their scores.
    metric, k
        A name of `recspark.evaluation.user_metrics.METRICS_AT_K`, and the length of a list.
    """
    models = found.scores.shape[1]

    def value(parts: np.ndarray) -> float:
        return mean_metric(found, parts / STEPS, metric, k)

    best = search(value, models)
    alone = [value(parts) for parts in STEPS * np.eye(models, dtype=int)]
    weights = tuple((best / STEPS).tolist())
    return ListWeights(weights, on, f"{metric}_at_{k}", value(best)), alone


def search(value: Callable[[np.ndarray], float], models: int) -> np.ndarray:
    """Whole parts of `STEPS`, one per model, with a high `value`; int (models,).

    It begins with equal parts, or with a single model if that is better. Then it divides the parts of two
    models between them anew, in the best of all ways, for one pair of models after the other, until no pair
    can be improved. Of two models it so tries every way. A tie changes nothing.

    >>> search(lambda parts: -((parts - np.array([11, 9, 0])) ** 2).sum(), 3).tolist()
    [11, 9, 0]
    """
    equal = STEPS // models + (np.arange(models) < STEPS % models)
    best = max([equal, *STEPS * np.eye(models, dtype=int)], key=value)
    highest, improved = value(best), True
    while improved:
        improved = False
        for i, j in combinations(range(models), 2):
            for part in range(best[i] + best[j] + 1):
                tried = best.copy()
                tried[i], tried[j] = part, best[i] + best[j] - part
                if (reached := value(tried)) > highest:
                    best, highest, improved = tried, reached, True
    return best


def mean_metric(found: Contenders, weights: np.ndarray, metric: str, k: int) -> float:
    """The mean over users of a metric at `k` of the blend with these weights."""
    score = np.zeros(len(found.scores), np.float32)
    for weight, column in zip(weights, found.scores.T, strict=True):
        if weight:
            score += np.float32(weight) * column
    ranks, indptr = _relevant_ranks(found.indptr, score, found.relevant)
    of_user = METRICS_AT_K[metric]
    values = [
        of_user(ranks[low:high], n, k)
        for low, high, n in zip(indptr[:-1], indptr[1:], found.n_relevant, strict=True)
    ]
    return float(np.mean(values))


@njit(cache=True)
def _relevant_ranks(indptr, score, relevant):
    """The ranks of the relevant entries of each user, ascending, as CSR: int64 ranks, int64 indptr."""
    ranks, bounds = np.empty(relevant.sum(), np.int64), np.zeros(len(indptr), np.int64)
    found = 0
    for user in range(len(indptr) - 1):
        low, high = indptr[user], indptr[user + 1]
        for own in range(low, high):
            if relevant[own]:
                above = 0
                for other in range(low, high):
                    # of equal scores the lower item comes first
                    above += score[other] > score[own] or (score[other] == score[own] and other < own)
                ranks[found] = above + 1
                found += 1
        ranks[bounds[user] : found].sort()
        bounds[user + 1] = found
    return ranks, bounds
