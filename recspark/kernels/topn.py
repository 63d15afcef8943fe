"""Exact selection from score rows: the n best items of each user, and the ranks of given items.

Seen items are left out. Three rules hold everywhere in this module:

* an item is a *candidate* of a user if the user has not seen it and its score is above minus infinity (NaN
  is not);
* a higher score comes first, and of equal scores the lower item;
* seen (and wanted) items are CSR rows beside the score rows: ``indptr`` (n_users + 1) into ``indices``,
  ascending in a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.bits import trailing_zeros
from recspark.kernels.arrays.frozen import frozen
from recspark.kernels.score_tile import ITEMS, LANES, Tile, score_tile
from recspark.kernels.threads import in_threads

#: number of items compared with the worst kept score at once, branch-free; most runs hold nothing better and
#: are skipped as a whole
RUN = 64
#: in place of an item if a user has fewer candidates than n, with a score of minus infinity
NO_ITEM = -1
#: number of users of :func:`top_n_of_factors` that share a pass over the items, and of floats of item factors
#: that stay in a core's cache meanwhile
USERS, TILE_FLOATS = 256, 1 << 16


@njit(cache=True, nogil=True)
def top_n(scores, n, seen_indptr, seen_indices):
    """The `n` best candidates of each row, best first.

    scores are float32 (n_users, n_items), C-contiguous. Returns items int32 and scores float32, both
    (n_users, n); rows with fewer candidates end in NO_ITEM with a score of minus infinity. The expected cost
    per row is O(n_items + n log n log n_items).

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
            _select_inplace(scores[user], seen, best, items, user)
            _sort_inplace(best, items, user)
    return items, best


@njit(cache=True, nogil=True)
def _select_inplace(row, seen, best, items, user):
    """Leave the best candidates of `row` in the user's heap: a row of (best, items).

    The root of the heap is the worst candidate kept.
    """
    for start in range(0, len(row), RUN):
        run = row[start : start + RUN]
        if _count(run, best[user, 0])[0] == 0:
            continue
        for place in range(len(run)):
            # strict: items come in ascending order, so a later one loses a tie with one that is kept
            if run[place] > best[user, 0] and not _holds(seen, start + place):
                _replace_inplace(best, items, user, run[place], start + place)


@njit(cache=True, nogil=True)
def _replace_inplace(best, items, user, score, item):
    """Put the item in the place of the worst one of a user's heap."""
    best[user, 0], items[user, 0] = score, item
    _sift_inplace(best, items, user, best.shape[1])


@njit(cache=True, nogil=True)
def _sift_inplace(best, items, user, size):
    """Let the root of the user's heap of `size` sink to its place.

    Every parent is worse than its children: a lower score, then a higher item.
    """
    # arrays and the user's number are passed: with views of the rows, lists of ten take 7 % longer
    score, item, place = best[user, 0], items[user, 0], 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _worse(
            best[user, child + 1], items[user, child + 1], best[user, child], items[user, child]
        ):
            child += 1
        if not _worse(best[user, child], items[user, child], score, item):
            break
        best[user, place], items[user, place] = best[user, child], items[user, child]
        place = child
    best[user, place], items[user, place] = score, item


@njit(cache=True, nogil=True)
def _sort_inplace(best, items, user):
    """Turn the user's heap into a list, best first: the worst one left goes to the end, again and again."""
    for last in range(best.shape[1] - 1, 0, -1):
        best[user, 0], best[user, last] = best[user, last], best[user, 0]
        items[user, 0], items[user, last] = items[user, last], items[user, 0]
        _sift_inplace(best, items, user, last)


@njit(cache=True, nogil=True)
def _worse(score, item, other_score, other_item):
    return score < other_score or (score == other_score and item > other_item)


@njit(cache=True, nogil=True)
def _holds(ascending, item):
    place = np.searchsorted(ascending, item)
    return place < len(ascending) and ascending[place] == item


@njit(cache=True, nogil=True)
def ranks_of(scores, seen_indptr, seen_indices, wanted_indptr, wanted_indices):
    """The ranks of the wanted items of each user among all candidates.

    The cost is O(n_items) per wanted item.

    Parameters
    ----------
    scores
        float32 (n_users, n_items).
    seen_indptr, seen_indices
        CSR of the items that each user has seen.
    wanted_indptr, wanted_indices
        CSR of the items whose ranks are wanted.

    Returns
    -------
    ranks
        int32 (wanted,): 1 is the best, ties go to the lower item, 0 is not a candidate.
    midranks
        float64 (wanted,): the mean rank of all items with the same score, 0 is not a candidate.
    candidates
        int32 (n_users,): the number of candidates.

    Examples
    --------
    >>> scores = np.array([[1, 3, 2, 3]], np.float32)
    >>> seen, wanted = (np.array([0, 1]), np.array([0])), (np.array([0, 3]), np.array([0, 2, 3]))
    >>> ranks, midranks, candidates = ranks_of(scores, *seen, *wanted)
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
    """The number of entries of `row` that are above `score`, and that equal it."""
    # 32-bit sums: numba would widen them to 64 bits, which costs 20 times the time
    above = equal = np.int32(0)
    for place in range(len(row)):
        above = np.int32(above + (row[place] > score))
        equal = np.int32(equal + (row[place] == score))
    return above, equal


class Seen(NamedTuple):
    """The items that each user has seen, ascending, as CSR: int64 (users + 1,) and int32."""

    indptr: np.ndarray
    indices: np.ndarray


def top_n_of_factors(
    users: np.ndarray,
    items: np.ndarray,
    offsets: np.ndarray,
    n: int,
    seen_indptr: np.ndarray,
    seen_indices: np.ndarray,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """The :func:`top_n` of the scores ``users @ items.T + offsets``, of which only 8 x 16 exist at a time.

    A score has the same bits for any set of other users and items and any number of threads.

    Parameters
    ----------
    users, items
        float32 (n_users, rank) and (n_items, rank).
    offsets
        float32 (n_items,).
    n
        The length of a list.
    seen_indptr, seen_indices
        CSR of the items that each user has seen, ascending in a row.
    threads
        Number of threads.

    Returns
    -------
    ndarray, ndarray
        Items int32 and scores float32, both (n_users, n), as :func:`top_n`.

    Examples
    --------
    >>> users, items = np.array([[1, 0], [0, 2]], np.float32), np.array([[3, 1], [1, 2], [2, 1]], np.float32)
    >>> bias, seen = np.zeros(3, np.float32), (np.array([0, 1, 1]), np.array([0], np.int32))
    >>> found, best = top_n_of_factors(users, items, bias, 2, *seen)
    >>> found.tolist(), best.tolist()
    ([[2, 1], [1, 0]], [[2.0, 1.0], [4.0, 2.0]])
    """
    found = np.full((len(users), n), NO_ITEM, np.int32)
    best = np.full((len(users), n), -np.inf, np.float32)
    if n > 0:
        factors = [frozen(array, np.float32) for array in (users, items, offsets)]
        seen = Seen(frozen(seen_indptr, np.int64), frozen(seen_indices, np.int32))
        blocks = [(low, min(low + USERS, len(users))) for low in range(0, len(users), USERS)]
        in_threads(lambda block: _scan_inplace(*block, *factors, seen, best, found), blocks, threads)
    return found, best


@njit(cache=True, nogil=True)
def _scan_inplace(low, high, users, items, offsets, seen, best, found):
    """Fill the rows low ... high of (best, found), which are empty heaps.

    A tile of items serves all users while it is in the cache.
    """
    seen_indptr, seen_indices = seen
    panels = _panels(users[low:high])
    least = np.full((len(panels), LANES), np.inf, np.float32)
    least.reshape(-1)[: high - low] = -np.inf
    scores, above = np.empty((ITEMS, LANES), np.float32), np.empty(ITEMS, np.uint16)
    written = Tile(scores, above)
    # the next seen item of each user: tiles come in ascending order
    cursors = seen_indptr[low:high].copy()
    tile = max(1, TILE_FLOATS // (ITEMS * max(1, items.shape[1]))) * ITEMS
    hidden = np.empty(tile, np.uint16)
    last_items, last_offsets = _last_rows(items, offsets)
    for start in range(0, len(items), tile):
        stop = min(start + tile, len(items))
        for p in range(len(panels)):
            panel, worst, user = panels[p], least[p], low + p * LANES
            ends = seen_indptr[user + 1 : high + 1]
            _hide_inplace(hidden, start, stop, cursors[p * LANES :], ends, seen_indices)
            for item in range(start, stop, ITEMS):
                if item + ITEMS <= len(items):
                    better = score_tile(items, item, offsets, panel, worst, hidden, item - start, written)
                else:
                    better = score_tile(
                        last_items, 0, last_offsets, panel, worst, hidden, item - start, written
                    )
                if better:
                    _keep_inplace(above, scores, item, worst, best, found, user)
    for user in range(low, high):
        _sort_inplace(best, found, user)


@njit(cache=True, nogil=True)
def _hide_inplace(hidden, start, stop, cursors, ends, seen_indices):
    """Set bit l of ``hidden[i]`` if the user of lane l has seen item ``start + i``, up to item `stop`.

    Cursors move to `stop`.
    """
    hidden[:] = 0
    for lane in range(min(LANES, len(cursors))):
        cursor, bit = cursors[lane], np.uint16(1 << lane)
        while cursor < ends[lane] and seen_indices[cursor] < stop:
            hidden[seen_indices[cursor] - start] |= bit
            cursor += 1
        cursors[lane] = cursor


@njit(cache=True, nogil=True)
def _keep_inplace(above, scores, item, least, best, found, user):
    """Put the scores that the bits of ``above[r]`` name, of item ``item + r``, into the heaps of their lanes.

    Lane 0 is `user`.
    """
    for r in range(ITEMS):
        bits = np.uint64(above[r])
        while bits:
            lane = trailing_zeros(bits)
            bits &= bits - np.uint64(1)
            # an item before this one may have raised the bar
            if scores[r, lane] > least[lane]:
                _replace_inplace(best, found, user + lane, scores[r, lane], item + r)
                least[lane] = best[user + lane, 0]


@njit(cache=True, nogil=True)
def _panels(users):
    """Rows of users as columns, LANES at a time: float32 (panels, rank, LANES).

    Places without a user are zeros.
    """
    panels = np.zeros((-(-len(users) // LANES), users.shape[1], LANES), np.float32)
    for user in range(len(users)):
        panels[user // LANES, :, user % LANES] = users[user]
    return panels


@njit(cache=True, nogil=True)
def _last_rows(items, offsets):
    """The last items, if they do not fill a tile of scores, followed by rows that are not candidates."""
    first = len(items) // ITEMS * ITEMS
    rows, row_offsets = np.zeros((ITEMS, items.shape[1]), np.float32), np.full(ITEMS, -np.inf, np.float32)
    rows[: len(items) - first] = items[first:]
    row_offsets[: len(items) - first] = offsets[first:]
    return rows, row_offsets
