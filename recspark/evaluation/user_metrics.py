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
def capped_recall(ranks, n_relevant, k):
    """Recall that can reach 1 in a list of k: ``hits / min(n_relevant, k)``.

    >>> capped_recall(np.array([1, 3, 7]), 4, 2)
    0.5
    """
    return np.sum(ranks <= k) / min(n_relevant, k)


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
    "capped_recall": capped_recall,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}

#: the metrics at k among sampled items, in the order of :func:`sampled`
SAMPLED = ("sampled_hit_rate", "sampled_ndcg", "sampled_mrr")


@njit(cache=True)
def sampled(ranks, n_relevant, n_candidates, negatives, k):
    """Hit rate, NDCG and MRR at k of each relevant item among `negatives` others, as means over these items.

    The others are drawn from the candidates that are not relevant, without repetition (all, if there are
    fewer). The values are means over all draws, exact: an item with ``a`` of ``N`` others above it has rank
    ``h + 1`` with the hypergeometric chance of ``h`` of the ``a`` among the drawn ones. Relevant items that
    are not candidates count 0.

    Parameters
    ----------
    ranks, n_relevant
        As of the other metrics.
    n_candidates
        The number of candidates, relevant ones included.
    negatives
        The number of others to draw.
    k
        The length of the list.

    Examples
    --------
    >>> found = sampled(np.array([3]), 1, 11, 5, 1)  # 2 of 10 others are above: C(8, 5) / C(10, 5)
    >>> [round(value, 4) for value in found]
    [0.2222, 0.2222, 0.2222]
    """
    hits = gain = reciprocal = 0.0
    others = n_candidates - len(ranks)
    drawn = min(negatives, others)
    for place, rank in enumerate(ranks):
        above = rank - 1 - place
        for drawn_above in range(max(0, drawn - others + above), min(k - 1, above, drawn) + 1):
            chance = math.exp(
                _log_ways(above, drawn_above)
                + _log_ways(others - above, drawn - drawn_above)
                - _log_ways(others, drawn)
            )
            hits += chance
            gain += chance / math.log2(drawn_above + 2)
            reciprocal += chance / (drawn_above + 1)
    return hits / n_relevant, gain / n_relevant, reciprocal / n_relevant


@njit(cache=True)
def _log_ways(n, k):
    """The logarithm of the number of ways to choose k of n."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
