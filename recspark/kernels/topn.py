"""Exact selection from score rows: the n best items of each user, and the rank of given items, seen items left out.

Three rules hold everywhere in this module:

* an item is a *candidate* of a user where the user has not seen it and its score is above minus infinity (NaN is not);
* a higher score comes first, and of equal scores the lower item;
* seen (and wanted) items are CSR rows beside the score rows: ``indptr`` (n_users + 1) into ``indices``, ascending in a row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

#: items compared with the worst kept score at once, branch-free; most runs hold nothing better and are skipped whole
RUN = 64
#: fills the places of a user with fewer candidates than n, beside a score of minus infinity
NO_ITEM = -1


@njit(cache=True, nogil=True)
def top_n(scores, n, seen_indptr, seen_indices):
    """The `n` best candidates of each row, best first.

    scores float32 (n_users, n_items), C-contiguous. Returns items int32 and scores float32, both (n_users, n); rows with
    fewer candidates end in NO_ITEM with a score of minus infinity. O(n_items + n log n log n_items) expected a row.

    >>> scores = np.array([[1, 3, 2, 3], [4, 9, 9, np.nan]], np.float32)
    >>> items, best = top_n(scores, 2, np.array([0, 0, 2]), np.array([0, 1]))
    >>> items.tolist(), best.tolist()
    ([[1, 3], [2, -1]], [[3.0, 3.0], [9.0, -inf]])
    """
    n_users = len(scores)
    items = np.full((n_users, n), NO_ITEM, np.int32)
    best = np.full((n_users, n), -np.inf, np.float32)
    if n > 0:
        for user in range(n_users):
            seen = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
            _select_inplace(scores[user], seen, best[user], items[user])
            _sort_inplace(best[user], items[user])
    return items, best


@njit(cache=True, nogil=True)
def _select_inplace(row, seen, best, items):
    """Leave the best candidates of `row` in the heap (best, items), whose root is the worst one kept."""
    for start in range(0, len(row), RUN):
        run = row[start : start + RUN]
        if _count(run, best[0])[0] == 0:
            continue
        for place in range(len(run)):
            item = start + place
            # strict: items come in ascending order, so a later one loses a tie with one that is kept
            if run[place] > best[0] and not _holds(seen, item):
                best[0], items[0] = run[place], item
                _sift_inplace(best, items, len(best))


@njit(cache=True, nogil=True)
def _sift_inplace(best, items, size):
    """Let the root of a heap of `size` sink to its place; above every child is what is worse: lower score, then higher item."""
    score, item, place = best[0], items[0], 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _worse(best[child + 1], items[child + 1], best[child], items[child]):
            child += 1
        if not _worse(best[child], items[child], score, item):
            break
        best[place], items[place] = best[child], items[child]
        place = child
    best[place], items[place] = score, item


@njit(cache=True, nogil=True)
def _sort_inplace(best, items):
    """Heap to list, best first: the worst one left goes to the end again and again."""
    for last in range(len(best) - 1, 0, -1):
        best[0], best[last] = best[last], best[0]
        items[0], items[last] = items[last], items[0]
        _sift_inplace(best, items, last)


@njit(cache=True, nogil=True)
def _worse(score, item, other_score, other_item):
    return score < other_score or (score == other_score and item > other_item)


@njit(cache=True, nogil=True)
def _holds(ascending, item):
    place = np.searchsorted(ascending, item)
    return place < len(ascending) and ascending[place] == item


@njit(cache=True, nogil=True)
def ranks_of(scores, seen_indptr, seen_indices, wanted_indptr, wanted_indices):
    """Where the wanted items of each user stand among all candidates.

    scores float32 (n_users, n_items). Returns, one entry per wanted item, ``ranks`` (int32: 1 = best, ties by lower item,
    0 = not a candidate) and ``midranks`` (float64: the mean of the ranks over which its ties spread, 0 = not a candidate),
    and ``candidates`` (int32, n_users): the number of candidates. O(n_items) a wanted item.

    >>> scores = np.array([[1, 3, 2, 3]], np.float32)
    >>> ranks, midranks, candidates = ranks_of(scores, np.array([0, 1]), np.array([0]), np.array([0, 3]), np.array([0, 2, 3]))
    >>> ranks.tolist(), midranks.tolist(), candidates.tolist()
    ([0, 3, 2], [0.0, 3.0, 1.5], [3])
    """
    ranks = np.zeros(len(wanted_indices), np.int32)
    midranks = np.zeros(len(wanted_indices), np.float64)
    candidates = np.zeros(len(scores), np.int32)
    for user in range(len(scores)):
        row = scores[user].copy()
        row[seen_indices[seen_indptr[user] : seen_indptr[user + 1]]] = -np.inf
        candidates[user] = np.sum(row > -np.inf)
        for place in range(wanted_indptr[user], wanted_indptr[user + 1]):
            item = wanted_indices[place]
            if row[item] > -np.inf:
                above, tied_before = _count(row[:item], row[item])
                above_after, tied_after = _count(row[item + 1 :], row[item])
                above += above_after
                ranks[place] = 1 + above + tied_before
                midranks[place] = 1 + above + (tied_before + tied_after) / 2
    return ranks, midranks, candidates


@njit(cache=True, nogil=True)
def _count(row, score):
    """How many of `row` are above `score`, and how many equal it."""
    # 32-bit sums: numba would widen them to 64 bits, which costs 20 times the time
    above = equal = np.int32(0)
    for place in range(len(row)):
        above = np.int32(above + (row[place] > score))
        equal = np.int32(equal + (row[place] == score))
    return above, equal


def top_n_of_factors(
    users: np.ndarray,
    items: np.ndarray,
    n: int,
    seen_indptr: np.ndarray,
    seen_indices: np.ndarray,
    threads: int = 1,
    block_bytes: int = 32 << 20,
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`top_n` of the scores ``users @ items.T``, which are made and dropped block by block of users.

    users float32 (n_users, rank), items float32 (n_items, rank); a bias is one more column that faces a column of ones.
    Holds at most ``threads * block_bytes`` of scores beside its arguments and its result.
    """
    height = max(1, block_bytes // max(1, 4 * len(items)))

    def of_block(start: int) -> tuple[np.ndarray, np.ndarray]:
        block = users[start : start + height]
        return top_n(block @ items.T, n, seen_indptr[start : start + len(block) + 1], seen_indices)

    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(of_block, range(0, max(len(users), 1), height)))
    return np.concatenate([found for found, _ in blocks]), np.concatenate([best for _, best in blocks])
