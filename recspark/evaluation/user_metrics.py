"""The ranking metrics of one user, as functions of the ranks of the user's relevant items.

``ranks`` are the places among the candidates (1 = best, ascending) of the relevant items that the model could
retrieve; ``n_relevant`` counts all relevant items, retrievable or not, and is at least 1. Denominators that
other libraries use: docs/metrics.md.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def precision(ranks, n_relevant, k):
    """The share of the first k places with a relevant item: ``hits / k``, even if fewer than k are relevant.

    >>> precision(np.array([1, 3, 7]), 4, 5)
    0.4
    """
    return np.sum(ranks <= k) / k


@njit(cache=True)
def recall(ranks, n_relevant, k):
    """The share of relevant items in the first k places: ``hits / n_relevant``, below 1 if n_relevant > k.

    >>> recall(np.array([1, 3, 7]), 4, 5)
    0.5
    """
    return np.sum(ranks <= k) / n_relevant


@njit(cache=True)
def ndcg(ranks, n_relevant, k):
    """Discounted cumulative gain, over that of the best possible list: gain 1, discount ``log2(rank + 1)``.

    ``sum(1 / log2(r + 1) for r in ranks if r <= k) / sum(1 / log2(i + 1) for i = 1 .. min(n_relevant, k))``
    (Jarvelin and Kekalainen 2002, with binary relevance).

    >>> round(ndcg(np.array([1, 3, 7]), 4, 5), 4)  # (1 + 1/2) / (1 + 0.6309 + 0.5 + 0.4307)
    0.5856
    """
    gain = ideal = 0.0
    for rank in ranks:
        if rank <= k:
            gain += 1 / math.log2(rank + 1)
    for rank in range(1, min(n_relevant, k) + 1):
        ideal += 1 / math.log2(rank + 1)
    return gain / ideal


@njit(cache=True)
def average_precision(ranks, n_relevant, k):
    """The mean over the relevant items of the precision at their rank, 0 for those behind k.

    Its user mean is MAP. ``sum(h / r_h for the h-th rank r_h <= k) / min(n_relevant, k)``

    >>> round(average_precision(np.array([1, 3, 7]), 4, 5), 4)  # (1/1 + 2/3) / 4
    0.4167
    """
    total = 0.0
    for place, rank in enumerate(ranks):
        if rank <= k:
            total += (place + 1) / rank
    return total / min(n_relevant, k)


@njit(cache=True)
def reciprocal_rank(ranks, n_relevant, k):
    """One over the rank of the first relevant item, 0 if it stands behind k; its user mean is MRR.

    >>> reciprocal_rank(np.array([2, 3, 7]), 4, 5)
    0.5
    """
    return 1 / ranks[0] if len(ranks) > 0 and ranks[0] <= k else 0.0


@njit(cache=True)
def hit_rate(ranks, n_relevant, k):
    """1 if the first k places hold a relevant item, else 0.

    >>> hit_rate(np.array([2, 3, 7]), 4, 1)
    0.0
    """
    return 1.0 if len(ranks) > 0 and ranks[0] <= k else 0.0


@njit(cache=True)
def auc(midranks, n_candidates):
    """The chance that a random relevant candidate scores above a random other one; ties count one half.

    The Mann-Whitney statistic of the ``m`` relevant candidates: ``(sum(n_candidates - midrank) - m(m-1)/2) /
    (m (n_candidates - m))``; NaN if no candidate is relevant or all are.

    >>> auc(np.array([1.0, 3.5]), 5)  # (4 + 1.5 - 1) / (2 * 3)
    0.75
    """
    m = len(midranks)
    if m == 0 or m == n_candidates:
        return np.nan
    return (np.sum(n_candidates - midranks) - m * (m - 1) / 2) / (m * (n_candidates - m))


#: the metrics at k by the name under which they are reported
METRICS_AT_K = {
    "precision": precision,
    "recall": recall,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}
