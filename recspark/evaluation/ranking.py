"""Ranking metrics of many users on Spark.

Workers score all items for blocks of users and rank the relevant ones; the metrics are then averaged.
Relevant items are the user's test items (rated at least ``threshold``, if one is given). Candidates are all
items that the model knows and the user has not seen. A relevant item that is not a candidate is never
retrieved: it has no rank, but it counts in ``n_relevant``. The metrics themselves:
:mod:`recspark.evaluation.user_metrics`; edge cases: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, GroupedData
from pyspark.sql import functions as F

from recspark.engine.spark.session import check_workers
from recspark.errors import RecsparkError
from recspark.evaluation.user_metrics import METRICS_AT_K, SAMPLED, auc, average_precision, sampled
from recspark.kernels.topn import ranks_of, top_n

#: most scores that a worker holds at once, in bytes
SCORE_BYTES = 32 << 20
#: the column of blocks of users
BLOCK = "user_block"


class Scorer(Protocol):
    """The form of a model that can be ranked.

    It is pickled to the workers, so it should hold a path instead of arrays.
    """

    @property
    def user_ids(self) -> np.ndarray:
        """The id of every user that the model knows, in the order of positions."""

    @property
    def item_ids(self) -> np.ndarray:
        """The id of every item that the model knows, in the order of positions."""

    def scores(self, user_positions: np.ndarray) -> np.ndarray:
        """Scores of all items for these users (int32 positions), higher is better.

        They are float32, (len(user_positions), n_items).
        """


def metric_names(ks: Sequence[int], negatives: int | None = None) -> list[str]:
    """The columns of a user's metrics: ``precision_at_10`` ..., and of the whole ranking ``map``, ``auc``.

    With `negatives` the metrics among sampled items come last.
    """
    among_sampled = [f"{metric}_at_{k}" for k in ks for metric in SAMPLED] if negatives else []
    return [f"{metric}_at_{k}" for k in ks for metric in METRICS_AT_K] + ["map", "auc", *among_sampled]


def per_user_ranking(
    test: DataFrame,
    seen: DataFrame,
    scorer: Scorer,
    ks: Sequence[int],
    threshold: float | None = None,
    blocks: int = 8,
    lists: bool = False,
    negatives: int | None = None,
) -> DataFrame:
    """Ranking metrics of every user of `test`, one row per user.

    Parameters
    ----------
    test : DataFrame
        user_id, item_id, rating.
    seen : DataFrame
        user_id, item_id: the items that each user had seen before; never candidates.
    scorer : Scorer
    ks : sequence of int
        Lengths of the lists.
    threshold : float, optional
        A test row is relevant if its rating is at least this; by default every one is.
    blocks : int
        Number of blocks that users are hashed into; a worker holds the rows of one, and SCORE_BYTES of
        scores.
    lists : bool
        Whether a last column ``list array<item_id>`` has the best items, as many as the largest k.
    negatives : int, optional
        Also measure each relevant item among this many items that are not: see
        :func:`recspark.evaluation.user_metrics.sampled`.

    Returns
    -------
    DataFrame
        ``user_id, known boolean`` (whether the model knows the user), ``n_relevant int``, then
        ``n_candidates int`` and one double per :func:`metric_names`, all null for users that are not known or
        have nothing relevant. Both inputs are shuffled once by a hash of user_id; row order doesn't matter.
    """
    check_workers(test.sparkSession)
    relevant = F.lit(True) if threshold is None else F.coalesce(F.col("rating") >= threshold, F.lit(False))
    user_type = test.schema["user_id"].dataType.simpleString()
    schema = f"user_id {user_type}, known boolean, n_relevant int, n_candidates int"
    schema += "".join(f", {name} double" for name in metric_names(ks, negatives))
    length = max(ks) if lists else 0
    schema += f", list array<{test.schema['item_id'].dataType.simpleString()}>" if length else ""
    # equal ids must hash alike on both sides, and int and bigint don't
    seen = seen.select(
        *(F.col(key).cast(test.schema[key].dataType).alias(key) for key in ("user_id", "item_id"))
    )

    def rank(test_rows: pd.DataFrame, seen_rows: pd.DataFrame) -> pd.DataFrame:
        return rank_users(test_rows, seen_rows, scorer, ks, length, negatives)

    tests = test.select("user_id", "item_id", relevant.alias("relevant"))
    return by_user_blocks(tests, blocks).cogroup(by_user_blocks(seen, blocks)).applyInPandas(rank, schema)


def by_user_blocks(rows: DataFrame, blocks: int) -> GroupedData:
    """`rows` by blocks of users; equal ids of one type are in the same block.

    The number of partitions is set: Spark joins small ones where it is not, and one core then does all work.
    """
    block = F.pmod(F.hash("user_id"), F.lit(blocks))
    return rows.withColumn(BLOCK, block).repartition(blocks, BLOCK).groupBy(BLOCK)


def rank_users(
    test: pd.DataFrame,
    seen: pd.DataFrame,
    scorer: Scorer,
    ks: Sequence[int],
    length: int = 0,
    negatives: int | None = None,
) -> pd.DataFrame:
    """Worker: the metrics of the users of `test`.

    Parameters
    ----------
    test : DataFrame
        user_id, item_id, relevant (bool): the test rows.
    seen : DataFrame
        user_id, item_id: pairs that are not candidates.
    scorer
        Scores all items for positions of users.
    ks
        Lengths of lists, for the metrics at k.
    length
        Number of best items to list; 0: none.
    negatives
        Number of items that each relevant one is measured among; None: these metrics are left out.

    Returns
    -------
    DataFrame
        One row per user: user_id, known, n_relevant, n_candidates and the metrics; with a `length` a column
        ``list`` with the ids of the best items.
    """
    users, items = pd.Index(test["user_id"].unique()), pd.Index(scorer.item_ids)
    positions = pd.Index(scorer.user_ids).get_indexer(users)
    relevant = test.loc[test["relevant"], ["user_id", "item_id"]].drop_duplicates()
    n_relevant = np.bincount(users.get_indexer(relevant["user_id"]), minlength=len(users))
    ranked = np.flatnonzero((positions >= 0) & (n_relevant > 0))
    names = ["n_candidates", *metric_names(ks, negatives)]
    table, lists = np.full((len(users), len(names)), np.nan), np.full(len(users), None)
    if len(ranked):
        left_out, wanted = (pairs_as_csr(users[ranked], items, pairs) for pairs in (seen, relevant))
        found = _metric_table(
            scorer,
            (positions[ranked].astype(np.int32), n_relevant[ranked]),
            left_out,
            wanted,
            ks,
            length,
            negatives,
        )
        table[ranked], best = found
        for user, places in zip(ranked, best, strict=True):
            lists[user] = items[places[places >= 0]].tolist()
    counts = pd.DataFrame({"user_id": users, "known": positions >= 0, "n_relevant": n_relevant})
    whole = pd.concat([counts, pd.DataFrame(table, columns=names)], axis=1)
    return whole.assign(list=lists) if length else whole


def pairs_as_csr(users: pd.Index, items: pd.Index, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(indptr, indices) of the pairs of these users and items, ascending in a row.

    Pairs with other users or items are left out.
    """
    rows, columns = users.get_indexer(pairs["user_id"]), items.get_indexer(pairs["item_id"])
    inside = (rows >= 0) & (columns >= 0)
    cells = np.sort(rows[inside] * len(items) + columns[inside])
    return np.searchsorted(cells, np.arange(len(users) + 1) * len(items)), (
        cells % max(1, len(items))
    ).astype(np.int32)


def _metric_table(
    scorer, users, seen_rows, wanted_rows, ks, length, negatives
) -> tuple[np.ndarray, np.ndarray]:
    """n_candidates and the metrics, one row per user, and `length` best items of each.

    Scores are made for a few users at a time.
    """
    positions, n_relevant = users
    height = max(1, SCORE_BYTES // (4 * max(1, len(scorer.item_ids))))
    table, lists = [], []
    for start in range(0, len(positions), height):
        scores = _scores(scorer, positions[start : start + height])
        edges = slice(start, start + len(scores) + 1)
        indptr = wanted_rows[0][edges]
        wanted = wanted_rows[1][indptr[0] : indptr[-1]]
        bounds = indptr - indptr[0]
        ranks, midranks, candidates = ranks_of(scores, seen_rows[0][edges], seen_rows[1], bounds, wanted)
        lists.append(
            top_n(scores, length, seen_rows[0][edges], seen_rows[1])[0]
            if length
            else np.empty((len(scores), 0), np.int32)
        )
        for user, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            found = ranks[low:high] > 0
            values = _user_metrics(
                ranks[low:high][found],
                midranks[low:high][found],
                n_relevant[start + user],
                candidates[user],
                ks,
                negatives,
            )
            table.append([candidates[user], *values])
    return np.array(table), np.concatenate(lists)


def _scores(scorer: Scorer, positions: np.ndarray) -> np.ndarray:
    scores = np.ascontiguousarray(scorer.scores(positions), np.float32)
    expected = (len(positions), len(scorer.item_ids))
    if scores.shape != expected:
        # the kernels don't check bounds
        raise RecsparkError(
            f"{type(scorer).__name__}.scores gave an array of shape {scores.shape}: it must be {expected}, "
            "users x items"
        )
    return scores


def _user_metrics(ranks, midranks, n_relevant, n_candidates, ks, negatives) -> list[float]:
    ranks = np.sort(ranks)
    at_k = [metric(ranks, n_relevant, k) for k in ks for metric in METRICS_AT_K.values()]
    among_sampled = [
        value for k in ks if negatives for value in sampled(ranks, n_relevant, n_candidates, negatives, k)
    ]
    return [
        *at_k,
        average_precision(ranks, n_relevant, max(n_relevant, n_candidates)),
        auc(midranks, n_candidates),
        *among_sampled,
    ]


def ranking_metrics(per_user: DataFrame) -> dict[str, float]:
    """Means over the users, and the numbers of users: one aggregation over :func:`per_user_ranking`.

    Means are over ``ranked_users`` (that of the AUC over ``auc_users``). They leave out
    ``users_without_relevant`` and ``unknown_users`` (with relevant items, but not known to the model). A mean
    over no user is NaN.
    """
    ranked = F.col("known") & (F.col("n_relevant") > 0)
    counts = {
        "ranked_users": ranked,
        "auc_users": F.col("auc").isNotNull(),
        "users_without_relevant": F.col("n_relevant") == 0,
        "unknown_users": ~F.col("known") & (F.col("n_relevant") > 0),
    }
    means = [F.avg(name).alias(name) for name in per_user.columns[4:] if name != "list"]
    row = per_user.agg(*means, *(F.count_if(holds).alias(name) for name, holds in counts.items())).first()
    return {name: math.nan if value is None else float(value) for name, value in row.asDict().items()}
