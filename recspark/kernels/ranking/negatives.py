"""Draws of items that a user has not rated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.arrays.csr import contains
from recspark.kernels.arrays.random import mix

#: number of draws for a place, until the user has not rated the item
ATTEMPTS = 16


class Unrated(NamedTuple):
    """The items to draw from, and those that each user has rated.

    Parameters
    ----------
    candidates
        Integers: the places of items to draw from.
    indptr, indices
        int64 (users + 1,) and int32: CSR of all items that users have rated, ascending.
    key
        uint64: a draw is a function of it and of the number of the rating.
    """

    candidates: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    key: np.uint64


@njit(cache=True, nogil=True, error_model="numpy")
def draw(unrated, user, number, items):
    """Draw items for rating `number` into ``items[1:]``, evenly and with replacement.

    A place is left out if all its `ATTEMPTS` draws are items that the user has rated. Returns the number of
    filled places of `items`, with the first one, which is the preferred item's.
    """
    candidates, indptr, indices, key = unrated
    filled, size = 1, np.uint64(len(candidates))
    for place in range(len(items) - 1):
        first = ATTEMPTS * ((len(items) - 1) * number + place)
        for attempt in range(ATTEMPTS):
            item = candidates[mix(key + np.uint64(first + attempt)) % size]
            if not contains(indptr, indices, user, item):
                items[filled] = item
                filled += 1
                break
    return filled
