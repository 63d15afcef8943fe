"""Orders of ratings in which many consecutive steps share nothing, for `recspark.kernels.sgd.descend`."""

from __future__ import annotations

import numpy as np
from numba import njit

#: most entries of a run, as many as a vector of floats has lanes; and number of a user's entries that are
#: searched for a free item
RUN, LOOK_AHEAD = 16, 8


@njit(cache=True, nogil=True)
def in_runs(users, items, offsets):
    """Order the entries of each cell in runs in which no user and no item occurs twice.

    A cell has the entries ``offsets[c] .. offsets[c + 1]``, user by user. `RUN` users take turns; when one
    has no entry left, the next user of the cell takes its place. So their rows stay in the first-level cache,
    and runs are nearly always full.

    Returns the order, int64 (entries); the starts of all runs and the end of the last, int64; the place of
    each cell's first run, int64 (cells + 1).
    """
    order, first = np.arange(len(users)), np.empty(len(offsets), np.int64)
    starts, placed = np.empty(len(users) + 1, np.int64), np.empty(len(users), np.int64)
    taken = np.full(items.max() + 1 if len(items) else 0, -1)
    head, tail = np.empty(RUN, np.int64), np.empty(RUN, np.int64)
    run = 0
    for cell in range(len(offsets) - 1):
        first[cell] = run
        fresh = written = offsets[cell]
        head[:], tail[:] = 0, 0
        while written < offsets[cell + 1]:
            starts[run] = written
            for seat in range(RUN):
                if head[seat] == tail[seat]:
                    head[seat] = fresh
                    while fresh < offsets[cell + 1] and users[fresh] == users[head[seat]]:
                        fresh += 1
                    tail[seat] = fresh
                for e in range(head[seat], min(tail[seat], head[seat] + LOOK_AHEAD)):
                    if taken[items[order[e]]] != run:
                        order[e], order[head[seat]] = order[head[seat]], order[e]
                        placed[written] = order[head[seat]]
                        taken[items[placed[written]]] = run
                        head[seat] += 1
                        written += 1
                        break
            run += 1
    first[-1] = run
    starts[run] = len(users)
    return placed, starts[: run + 1].copy(), first
