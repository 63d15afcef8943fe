"""Catalogue metrics: the share of the catalogue on lists, and the popularity and diversity of its items.

They are computed on the lists of all ranked users (:mod:`recspark.evaluation.ranking`) and on the training
rows. Definitions and edge cases: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, IntegerType, StructField, StructType
from scipy.sparse import csr_matrix

from recspark.engine.spark.crossing import map_partitions

#: most lists that diversity is measured on: those of the users whose ids hash lowest
DIVERSE_LISTS = 2048
#: number of users of the training rows whose shares of all lists a task holds at once
USERS_AT_ONCE = 1024
#: rows of `_squares`: the place of k, and one number per list
SQUARES = StructType([StructField("k", IntegerType()), StructField("squares", ArrayType(DoubleType()))])


def catalogue_metrics(lists: DataFrame, train: DataFrame, ks: Sequence[int]) -> dict[str, float]:
    """The metrics of the catalogue for every k of `ks`.

    They are ``coverage_at_k``, ``gini_at_k``, ``novelty_at_k``, ``popularity_bias_at_k`` and
    ``diversity_at_k``.

    Parameters
    ----------
    lists : DataFrame
        ``user_id, list array<item_id>``: the best items of each user, best first, as long as the largest k if
        there are that many.
    train : DataFrame
        user_id, item_id: the pairs that were known before; a repeated pair counts once. Their items are the
        catalogue.
    ks : sequence of int
        Lengths of the lists.

    Returns
    -------
    dict
        NaN if no list has an item, and for diversity if none has two.
    """
    pairs = train.select("user_id", "item_id").dropna().distinct().cache()
    try:
        known = pairs.groupBy("item_id").agg(F.count(F.lit(1)).alias("users"))
        entries = lists.select("user_id", F.posexplode("list").alias("place", "item_id"))
        shown = [F.count_if(F.col("place") < k).alias(f"shown_{k}") for k in ks]
        counts = (
            known.join(entries.groupBy("item_id").agg(*shown), "item_id", "full")
            .drop("item_id")
            .na.fill(0)
            .toArrow()
        )
        n_users = pairs.select("user_id").distinct().count()
        own = pairs.join(lists.select("user_id"), "user_id", "left_semi").withColumn("place", F.lit(0))
        [fame], lifted = _mean_fame(own, known, [1]), _mean_fame(entries, known, ks)
        metrics: dict[str, float] = {}
        for k, fame_of_lists in zip(ks, lifted, strict=True):
            metrics |= _of_counts(counts[f"shown_{k}"].to_numpy(), counts["users"].to_numpy(), n_users, k)
            metrics[f"popularity_bias_at_{k}"] = fame_of_lists / fame - 1
        return metrics | _diversity(lists, pairs, known, ks)
    finally:
        pairs.unpersist()


def gini(counts: np.ndarray) -> float:
    """The Gini coefficient of `counts`: 0 if all are equal, near 1 if one has everything, NaN if all are 0.

    ``sum_i (2 i - n - 1) c_i / (n sum_i c_i)`` over the counts in ascending order, i = 1 ... n.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    counts, n = np.sort(counts), len(counts)
    total = counts.sum()
    return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * total)) if total else math.nan


def _of_counts(shown: np.ndarray, users: np.ndarray, n_users: int, k: int) -> dict[str, float]:
    """Coverage, Gini and novelty, from the number of lists and of earlier users of each item.

    The catalogue are the items with users.
    """
    # an item without training rows counts as one with a single user
    surprise = -np.log2(np.maximum(users, 1) / max(n_users, 1))
    catalogue = shown[users > 0]
    return {
        f"coverage_at_{k}": float((catalogue > 0).mean()) if len(catalogue) else math.nan,
        f"gini_at_{k}": gini(catalogue),
        f"novelty_at_{k}": float((shown * surprise).sum() / shown.sum()) if shown.sum() else math.nan,
    }


def _mean_fame(entries: DataFrame, known: DataFrame, ks: Sequence[int]) -> list[float]:
    """The mean popularity of listed items, averaged over users, for each k.

    The popularity of an item is its number of users; items at places below k count. NaN without items.
    """
    with_users = entries.join(known, "item_id", "left").withColumn("users", F.coalesce("users", F.lit(0)))
    of_user = with_users.groupBy("user_id").agg(
        *(F.avg(F.when(F.col("place") < k, F.col("users"))).alias(f"fame_{k}") for k in ks)
    )
    found = of_user.agg(*(F.avg(f"fame_{k}") for k in ks)).first()
    return [math.nan if value is None else value for value in found]


def _diversity(lists: DataFrame, pairs: DataFrame, known: DataFrame, ks: Sequence[int]) -> dict[str, float]:
    """1 - the mean cosine of two items of a list, averaged over lists of two items or more.

    Items are sets of the users that had them. With ``x_i`` the indicator of these users over its length, the
    sum over the pairs of a list is ``(|sum_i x_i|^2 - sum_i |x_i|^2) / 2``, so each user of the training rows
    adds the square of one number to each list.
    """
    chosen = (
        lists.orderBy(F.hash("user_id"), "user_id")
        .limit(DIVERSE_LISTS)
        .select("list")
        .toArrow()["list"]
        .combine_chunks()
    )
    items = pc.unique(chosen.flatten())
    if not len(items):
        return {f"diversity_at_{k}": math.nan for k in ks}
    spark = pairs.sparkSession
    places = spark.createDataFrame(
        pa.table({"item_id": items, "place": np.arange(len(items), dtype=np.int32)})
    )
    # Spark's type of the ids, which was lost in the lists
    places = places.withColumn("item_id", F.col("item_id").cast(pairs.schema["item_id"].dataType))
    weighted = pairs.join(F.broadcast(places), "item_id").join(known, "item_id")
    rows = (
        weighted.groupBy("user_id")
        .agg(F.collect_list("place").alias("places"), F.collect_list(1 / F.sqrt("users")).alias("shares"))
        .select("places", "shares")
    )
    seen_places = places.join(known, "item_id").select("place").toArrow()["place"].to_numpy()
    matrices = [_indicators(chosen, items, k) for k in ks]
    sums = np.zeros((len(ks), len(chosen)))
    for row in map_partitions(rows, partial(_squares, matrices), SQUARES).toArrow().to_pylist():
        sums[row["k"]] += row["squares"]
    has_users = np.zeros(len(items), bool)
    has_users[seen_places] = True
    found = {}
    for place, (k, matrix) in enumerate(zip(ks, matrices, strict=True)):
        size, lengths = np.diff(matrix.indptr), matrix @ has_users
        pairs_of = size * (size - 1)
        whole = pairs_of > 0
        alike = (sums[place] - lengths)[whole] / pairs_of[whole]
        found[f"diversity_at_{k}"] = float(1 - alike.mean()) if whole.any() else math.nan
    return found


def _indicators(lists: pa.ListArray, items: pa.Array, k: int) -> csr_matrix:
    """(lists, items): 1 if one of the first k places of the list has the item."""
    first = [lists.slice(row, 1).flatten()[:k] for row in range(len(lists))]
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in first])])
    indices = pc.index_in(pa.concat_arrays(first), value_set=items).to_numpy(zero_copy_only=False)
    return csr_matrix((np.ones(len(indices), np.float32), indices, indptr), (len(lists), len(items)))


def _squares(matrices: list[csr_matrix], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Worker: for each list, the sum over users of the square of the user's summed shares of its items."""
    sums = [np.zeros(matrix.shape[0]) for matrix in matrices]
    for batch in batches:
        for low in range(0, batch.num_rows, USERS_AT_ONCE):
            part = batch.slice(low, USERS_AT_ONCE)
            places, shares = part["places"], part["shares"]
            indptr = np.concatenate([[0], np.cumsum(places.value_lengths().to_numpy())])
            flat = shares.flatten().to_numpy().astype(np.float32), places.flatten().to_numpy()
            rows = csr_matrix((*flat, indptr), (part.num_rows, matrices[0].shape[1]))
            for total, matrix in zip(sums, matrices, strict=True):
                total += np.asarray((matrix @ rows.T).power(2).sum(axis=1)).ravel()
    yield pa.RecordBatch.from_pydict(
        {"k": pa.array(range(len(sums)), pa.int32()), "squares": pa.array([each.tolist() for each in sums])}
    )
