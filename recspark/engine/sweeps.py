"""Stages of an iteration, one after the other: each is a list of tasks that may run at the same time.

    alternating    items from users, then users from the new items
                   ALS
    simultaneous   both sides from the other one as it was before the iteration
                   full-batch gradients
    strata         pairs of a user block and an item block, no two of a stage sharing a block
                   SGD (Gemulla et al. 2011)

Strata of 3 x 3 blocks; a stage is a diagonal, every pair is met once::

             item 0  item 1  item 2
    user 0     0       1       2
    user 1     2       0       1
    user 2     1       2       0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from recspark.algorithms import ranks
from recspark.algorithms.contract import State
from recspark.algorithms.ratings import SIDES, other
from recspark.engine.blocks import load_block, load_cells
from recspark.engine.plan import Plan, factors
from recspark.engine.storage import Store, store_at

Stage = tuple[Callable[[Any], dict[str, float]], list[Any]]


def stages(plan: Plan, iteration: int) -> Iterator[Stage]:
    """(worker function, its jobs) of every stage of an iteration."""
    yield from SWEEPS[plan.solver.sweep](plan, iteration)


def alternating(plan: Plan, iteration: int) -> Iterator[Stage]:
    """Items, then users: two stages; then how preferences are ranked that are only watched, where there are
    any.
    """
    # items go first, so users read the items of this iteration and items the users of the last
    yield partial(step, plan, iteration, iteration - 1), plan.side_jobs("items")
    yield partial(step, plan, iteration, iteration), plan.side_jobs("users")
    if plan.parts.watched and plan.solver.ranks:
        yield partial(rank, plan, iteration), plan.side_jobs("users")


def simultaneous(plan: Plan, iteration: int) -> Iterator[Stage]:
    """Both sides in one stage, then what has come of it."""
    yield partial(step, plan, iteration, iteration - 1), plan.jobs
    yield partial(watch, plan, iteration), plan.side_jobs("users")


def strata(plan: Plan, iteration: int) -> Iterator[Stage]:
    """A stage a diagonal, then the rows that are only watched, where there are any."""
    for number, pairs in enumerate(pairs_of(plan.blocks)):
        yield partial(step_pair, plan, iteration, number), pairs
    if plan.parts.watched:
        yield partial(rank if plan.solver.ranks else watch, plan, iteration), plan.side_jobs("users")


SWEEPS = {"alternating": alternating, "simultaneous": simultaneous, "strata": strata}


def pairs_of(blocks: dict[str, int]) -> list[list[tuple[int, int]]]:
    """The stages of strata: lists of (user block, item block).

    >>> pairs_of({"users": 3, "items": 2})
    [[(0, 0), (1, 1)], [(1, 0), (2, 1)], [(2, 0), (0, 1)]]
    """
    users, items = blocks["users"], blocks["items"]
    if users >= items:
        return [[((item + stage) % users, item) for item in range(items)] for stage in range(users)]
    return [[(user, (user + stage) % items) for user in range(users)] for stage in range(items)]


def entry_before(plan: Plan, side: str, block: int, iteration: int, stage: int) -> str:
    """The entry of a block's newest state before a stage: of an earlier stage of the iteration, or of the
    last iteration.
    """
    place = SIDES.index(side)
    for number in range(stage - 1, -1, -1):
        if any(pair[place] == block for pair in pairs_of(plan.blocks)[number]):
            return factors(side, iteration, block, number)
    return factors(side, iteration - 1, block)


def entry_after(plan: Plan, side: str, block: int, iteration: int, stage: int) -> str:
    """The entry that a stage writes: the last one that a block takes part in writes its state of the
    iteration.
    """
    place = SIDES.index(side)
    later = pairs_of(plan.blocks)[stage + 1 :]
    return factors(
        side,
        iteration,
        block,
        stage if any(pair[place] == block for pairs in later for pair in pairs) else None,
    )


def step(plan: Plan, iteration: int, source_iteration: int, job: tuple[str, int]) -> dict[str, float]:
    """Worker: update one block of one side and write it."""
    side, number = job
    store = store_at(plan.root)
    block = load_block(store, side, number)
    source = gather(store, plan, other(side), source_iteration, block.needed)
    state, sums = plan.solver.step(
        side, block, source, store.load(factors(side, iteration - 1, number)), plan.threads
    )
    store.save(factors(side, iteration, number), **state)
    return sums


def step_pair(plan: Plan, iteration: int, stage: int, pair: tuple[int, int]) -> dict[str, float]:
    """Worker: update a block of users and a block of items from the ratings between them, and write both."""
    store = store_at(plan.root)
    places = list(zip(SIDES, pair, strict=True))
    states = [store.load(entry_before(plan, side, block, iteration, stage)) for side, block in places]
    *states, sums = plan.solver.step_pair(load_cells(store, *pair), *states, iteration, pair, plan.threads)
    for (side, block), state in zip(places, states, strict=True):
        store.save(entry_after(plan, side, block, iteration, stage), **state)
    return sums


def watch(plan: Plan, iteration: int, job: tuple[str, int]) -> dict[str, float]:
    """Worker: what an iteration has come to on the rows of one user block."""
    side, number = job
    store = store_at(plan.root)
    block = load_block(store, side, number)
    source = gather(store, plan, other(side), iteration, block.needed)
    return plan.solver.watch(block, source, store.load(factors(side, iteration, number)), plan.threads)


def rank(plan: Plan, iteration: int, job: tuple[str, int]) -> dict[str, float]:
    """Worker: sums for the AUC of the watched preferences of one user block; see
    `recspark.algorithms.ranks`.
    """
    side, number = job
    store = store_at(plan.root)
    block, cuts = load_block(store, side, number), store.load(f"cuts/{side}")["cuts"]
    users = ranks.sample(plan.solver.seed, int(cuts[-1]), ranks.USERS)
    rows = users[(users >= cuts[number]) & (users < cuts[number + 1])] - cuts[number]
    watched = {role: ranks.pairs_of(csr, rows, block.needed) for role, csr in block.watched.items()}
    others = ranks.sample(plan.solver.seed, int(store.load(f"cuts/{other(side)}")["cuts"][-1]), ranks.ITEMS)
    needed = np.unique(np.concatenate([others, *(pairs.item for pairs in watched.values())]))
    source = gather(store, plan, other(side), iteration, needed)
    factors_of_users = store.load(factors(side, iteration, number))["factors"][rows]
    places = np.searchsorted(needed, others)
    scores = factors_of_users @ source["factors"][places].T + source["bias"][places]
    for pairs in (ranks.pairs_of(block.train, rows, block.needed), *watched.values()):
        column = np.searchsorted(others, pairs.item)
        drawn = np.append(others, -1)[column] == pairs.item
        scores[pairs.owner[drawn], column[drawn]] = np.nan
    sums: dict[str, float] = {}
    for role, pairs in watched.items():
        owner, item = (
            column[pairs.value > 0] for column in (pairs.owner, np.searchsorted(needed, pairs.item))
        )
        own = np.einsum("ij,ij->i", factors_of_users[owner], source["factors"][item]) + source["bias"][item]
        sums[f"{role}_right"], sums[f"{role}_users"] = ranks.auc_sum(scores, owner, own)
    return sums


def gather(store: Store, plan: Plan, side: str, iteration: int, needed: np.ndarray) -> State:
    """Rows `needed` of the row arrays of `side` (empty: all rows), and the sums over blocks of its other
    arrays.
    """
    states = [store.load(factors(side, iteration, block)) for block in range(plan.blocks[side])]
    cuts = store.load(f"cuts/{side}")["cuts"]
    bounds = np.searchsorted(needed, cuts)
    source = {}
    for key in states[0]:
        if key not in plan.solver.row_arrays:
            source[key] = np.sum([state[key] for state in states], axis=0)
        elif len(needed):
            pieces = zip(states, cuts, bounds[:-1], bounds[1:], strict=False)
            source[key] = np.concatenate(
                [state[key][needed[lo:hi] - first] for state, first, lo, hi in pieces]
            )
        else:
            source[key] = (
                states[0][key] if len(states) == 1 else np.concatenate([state[key] for state in states])
            )
    return source
