"""From ids that are whole numbers to positions.

The table has a place for every number between the least and the greatest id.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.arrays.frozen import frozen

#: most places of a table per id: if ids lie farther apart, a hash table is smaller
SPREAD = 8


def position_table(ids: np.ndarray) -> tuple[int, np.ndarray] | None:
    """The least of distinct `ids`, and the position of each number from there on (int32, -1: no id).

    None if that table is too long.

    >>> least, places = position_table(np.array([7, 5, 9]))
    >>> least, places.tolist()
    (5, [1, -1, 0, -1, 2])
    """
    if len(ids) == 0 or not np.can_cast(ids.dtype, np.int64):
        return None
    least, most = int(ids.min()), int(ids.max())
    if most - least >= SPREAD * len(ids):
        return None
    places = np.full(most - least + 1, -1, np.int32)
    places[ids.astype(np.int64) - least] = np.arange(len(ids), dtype=np.int32)
    return least, places


def look_up(ids, least, places, unknown):
    """int32 positions of `ids` (int64) in a :func:`position_table`, `unknown` for ids that are not in it.

    >>> look_up(np.array([9, 6, 4, -(2**63)]), 5, np.array([1, -1, 0, -1, 2], np.int32), -1).tolist()
    [2, -1, -1, -1]
    """
    return _look_up(frozen(ids), least, frozen(places), unknown)


@njit(cache=True, nogil=True)
def _look_up(ids, least, places, unknown):
    found = np.full(len(ids), unknown, np.int32)
    # compared before they are subtracted, which could overflow
    most = least + len(places) - 1
    for p in range(len(ids)):
        if least <= ids[p] <= most and places[ids[p] - least] >= 0:
            found[p] = places[ids[p] - least]
    return found
