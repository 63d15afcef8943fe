"""The AUC of watched preferences: a sample of users is ranked against a sample of items.

The AUC of a user is the share of pairs (watched item that the user prefers, other item) whose scores are in
that order; equal scores count half. Other items are those that the user has in no row of the fit. Both
samples are systematic, every n-th position from a start that depends on the seed: they are the same in every
iteration, and for any blocks and threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recspark.algorithms.ratings import CSR

#: most users and most items of the samples
USERS, ITEMS = 4096, 1024
#: number of pairs that are compared at once, each with all items of the sample
_AT_ONCE = 4096


class Pairs(NamedTuple):
    """Entries of some rows: the place of the user among them, the position of the item, the value."""

    owner: np.ndarray
    item: np.ndarray
    value: np.ndarray


def sample(seed: int, n: int, size: int, without: np.ndarray) -> np.ndarray:
    """At most `size` of the positions below `n` that are not `without`, which is ascending; ascending.

    >>> none = np.array([], int)
    >>> sample(7, 10, 4, none).tolist(), sample(7, 3, 4, none).tolist()
    ([1, 4, 7], [0, 1, 2])
    >>> sample(7, 12, 4, np.array([0, 5])).tolist()
    [2, 6, 9]
    """
    left = n - len(without)
    step = max(1, -(-left // size))
    places = np.arange(seed % step, left, step)
    # place p among the others is position p plus the number of left-out ones before it
    return places + np.searchsorted(without - np.arange(len(without)), places, side="right")


def pairs_of(csr: CSR, rows: np.ndarray, needed: np.ndarray) -> Pairs:
    """The entries of `rows`; `needed` as in `Block`."""
    starts, lengths = csr.indptr[rows], np.diff(csr.indptr)[rows]
    entries = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    items = csr.indices[entries]
    return Pairs(
        np.repeat(np.arange(len(rows)), lengths), needed[items] if len(needed) else items, csr.values[entries]
    )


def auc_sum(scores: np.ndarray, owner: np.ndarray, score: np.ndarray) -> tuple[float, int]:
    """The sum of the AUC over users, and the number of users that have one.

    Parameters
    ----------
    scores
        float32 (users, items of the sample); NaN if the user has the item in a row of the fit.
    owner, score
        For each watched item that is preferred: its user, as a row of `scores`, ascending, and its score.
    """
    others = np.isfinite(scores).sum(axis=1)
    right = np.empty(len(owner))
    for low in range(0, len(owner), _AT_ONCE):
        users, own = owner[low : low + _AT_ONCE], score[low : low + _AT_ONCE, None]
        right[low : low + _AT_ONCE] = (scores[users] < own).sum(axis=1) + 0.5 * (scores[users] == own).sum(
            axis=1
        )
    preferred = np.bincount(owner, minlength=len(scores))
    measured = (preferred > 0) & (others > 0)
    total = np.bincount(owner, right, minlength=len(scores))[measured] / (preferred * others)[measured]
    return float(total.sum()), int(measured.sum())


def summarize(sums: dict[str, float]) -> dict[str, float]:
    """The mean AUC of every role that has one, from the sums of `recspark.engine.sweeps.rank`."""
    roles = [key.removesuffix("_users") for key, value in sums.items() if key.endswith("_users") and value]
    return {f"{role}_auc": sums[f"{role}_right"] / sums[f"{role}_users"] for role in roles}
