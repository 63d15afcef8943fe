"""Fits that sweep over users and items: ALS, SGD, counts.

An iteration is stages one after the other; a stage is a list of tasks that may run at the same time.

    alternating    items from users, then users from the new items
                   ALS
    simultaneous   each side from the state of the other side before the iteration
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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.algorithms import ranks
from recspark.algorithms.contract import Given, Solver, State
from recspark.algorithms.ratings import SIDES, other
from recspark.algorithms.stopping import best_iteration, should_stop
from recspark.data.arrow import as_arrow, write_part
from recspark.engine import index
from recspark.engine.blocks import build_block, build_cells, index_and_scatter, load_block, load_cells
from recspark.engine.encode import Parts
from recspark.engine.plan import Plan, Row
from recspark.engine.spark.runner import Runner
from recspark.engine.storage import Store
from recspark.ids import IdIndex
from recspark.lake.folder import Folder

#: what runs for each of some jobs: (side, block), or (user block, item block)
Stage = tuple[Callable[..., dict[str, float]], Sequence[tuple[str, int]] | Sequence[tuple[int, int]]]


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Plan):
    """The plan of a factorization of ratings.

    Parameters
    ----------
    parts
        The encoded ratings.
    initial
        Folder of model tables (users, items: id, features, bias) to start from. Ids that are not in them
        start as without it.
    added
        Folder of tables with the same columns, which are added to the starting factors and biases.
    index
        Folder of a saved index, whose positions the fit takes; see `recspark.engine.index.write_index`.
    """

    states = ("factors",)
    prepared = ("index", "cuts", "scatter", "blocks", "cells")

    parts: Parts
    solver: Solver
    initial: str | None = None
    added: str | None = None
    index: str | None = None

    @property
    def blocks(self) -> dict[str, int]:
        """The number of blocks of each side."""
        return self.placement.blocks

    @property
    def made_from(self) -> tuple[object, ...]:
        """See `Plan.made_from`."""
        solver = type(self.solver).__name__, asdict(self.solver)
        return (self.parts.digest, *solver, self.blocks, self.initial, self.added, self.index)

    @property
    def rows(self) -> int:
        """See `Plan.rows`."""
        return self.parts.rows

    @property
    def remedy(self) -> str:
        """See `Plan.remedy`."""
        return self.solver.remedy

    def side_jobs(self, side: str) -> list[tuple[str, int]]:
        """(side, block) of every block of a side."""
        return [(side, block) for block in range(self.blocks[side])]

    @property
    def jobs(self) -> list[tuple[str, int]]:
        """(side, block) of every block."""
        return [job for side in SIDES for job in self.side_jobs(side)]

    def prepare(self, runner: Runner) -> None:
        """Index the ids, lay the rows out by block, build the blocks and their starting states."""
        index_and_scatter(runner, self.parts, self.blocks, self.index)
        runner.map(partial(_build, self), self.jobs)
        runner.store.delete("scatter")

    def iterate(self, runner: Runner, iteration: int) -> Row:
        """Run all stages of an iteration."""
        sums: dict[str, float] = {}
        for function, jobs in SWEEPS[self.solver.sweep](self, iteration):
            for part in runner.map(function, jobs):
                for key, value in part.items():
                    sums[key] = sums.get(key, 0.0) + value
        return self.solver.summarize(sums)

    def is_done(self, history: Sequence[Row]) -> bool:
        """See `recspark.algorithms.stopping.should_stop`."""
        return should_stop(history, self.tol, self.patience)

    def prune(self, store: Store, history: Sequence[Row]) -> None:
        """Keep the states of the last two iterations and of the best one."""
        last = len(history)
        keep = {last, last - 1, best_iteration(history)}
        for iteration in {last - 2, best_iteration(history[:-1]) if last > 1 else 0} - keep:
            for side, block in self.jobs:
                store.delete(factors(side, iteration, block))
        if self.solver.sweep == "strata":
            for name in store.names("factors"):
                if "-stage-" in name:
                    store.delete(f"factors/{name}")

    def best(self, history: Sequence[Row]) -> int:
        """See `recspark.algorithms.stopping.best_iteration`."""
        return best_iteration(history)

    def kept(self, history: Sequence[Row]) -> list[int]:
        """The best iteration."""
        return [self.best(history)]

    def export(self, runner: Runner, chains: Sequence[tuple[Self, list[int]]]) -> None:
        """Write the factors of the best iteration with the ids of their rows."""
        [(_, [iteration])] = chains
        runner.map(partial(_export, self, iteration), self.jobs)


def factors(side: str, iteration: int, block: int, stage: int | None = None) -> str:
    """The entry of a block's state after an iteration, or after one of its stages."""
    within = "" if stage is None else f"-stage-{stage:05d}"
    return f"factors/{side}-{iteration:05d}-{block:05d}{within}"


def _build(plan: SweepPlan, store: Store, job: tuple[str, int]) -> None:
    """Worker: build a block and its starting state."""
    side, block = job
    build_block(plan.parts, store, job)
    if side == "users" and plan.solver.sweep == "strata":
        build_cells(store, block, plan.blocks["items"])
    cuts = store.load(f"cuts/{side}")["cuts"]
    first, last = int(cuts[block]), int(cuts[block + 1])
    table = index.rows(store, side, first, last)
    # an id without training rows has no part in the fit, whatever a start knows of it
    ids = pc.if_else(pc.greater(table["count"], 0), table["id"], None)
    folders, rank = (plan.initial, plan.added), plan.solver.rank
    given, added = (_rows_of(folder, side, ids, rank) if folder else None for folder in folders)
    state = plan.solver.start(side, first, load_block(store, side, block), given, added)
    store.save(factors(side, 0, block), **state)


def _rows_of(folder: str, side: str, ids: pa.ChunkedArray, rank: int) -> Given:
    """The rows of the model tables in `folder` for those of `ids` that they have."""
    place = Folder(folder)
    table = ds.dataset(place.at(side), filesystem=place.fs, format="parquet").to_table(
        columns=["id", "features", "bias"]
    )
    found = IdIndex(table["id"]).positions(ids)
    rows = np.flatnonzero(found >= 0)
    table = table.take(found[rows])
    factors = pc.list_flatten(table["features"]).to_numpy().astype(np.float32).reshape(len(rows), rank)
    return rows, factors, table["bias"].to_numpy().astype(np.float32)


def _export(plan: SweepPlan, iteration: int, store: Store, job: tuple[str, int]) -> None:
    """Worker: write one block's rows of the model's table as Parquet, but for ids without training rows."""
    side, number = job
    cuts = store.load(f"cuts/{side}")["cuts"]
    n_other = index.trained_size(store, other(side))
    table = index.rows(store, side, int(cuts[number]), int(cuts[number + 1]))
    columns = plan.solver.export(
        side, load_block(store, side, number), store.load(factors(side, iteration, number)), n_other
    )
    for key, array in columns.items():
        table = table.append_column(key, as_arrow(array))
    if index.trained_size(store, side) < cuts[-1]:
        table = table.filter(pc.greater(table["count"], 0))
    write_part(store.fs, store.at(f"{plan.model}/{side}/part-{number:05d}.parquet"), table)


def alternating(plan: SweepPlan, iteration: int) -> Iterator[Stage]:
    """Items, then users: two stages; then the ranks of preferences that are only watched, if any."""
    # items come first: users read the items of this iteration, and items read the users of the last one
    yield partial(step, plan, iteration, iteration - 1), plan.side_jobs("items")
    yield partial(step, plan, iteration, iteration), plan.side_jobs("users")
    if plan.parts.watched and plan.solver.ranks:
        yield partial(rank, plan, iteration), plan.side_jobs("users")


def simultaneous(plan: SweepPlan, iteration: int) -> Iterator[Stage]:
    """Both sides in one stage, then the metrics of the result."""
    yield partial(step, plan, iteration, iteration - 1), plan.jobs
    yield partial(watch, plan, iteration), plan.side_jobs("users")


def strata(plan: SweepPlan, iteration: int) -> Iterator[Stage]:
    """One stage per diagonal, then the rows that are only watched, if any."""
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


def entry_before(plan: SweepPlan, side: str, block: int, iteration: int, stage: int) -> str:
    """The entry of a block's newest state before a stage.

    It is of an earlier stage of the iteration, or of the last iteration.

    Parameters
    ----------
    plan
        The plan, whose blocks tell the stages (`pairs_of`).
    side, block
        The side, and the number of its block.
    iteration, stage
        The iteration from 1, and its stage from 0.
    """
    place = SIDES.index(side)
    for number in range(stage - 1, -1, -1):
        if any(pair[place] == block for pair in pairs_of(plan.blocks)[number]):
            return factors(side, iteration, block, number)
    return factors(side, iteration - 1, block)


def entry_after(plan: SweepPlan, side: str, block: int, iteration: int, stage: int) -> str:
    """The entry that a stage writes for a block.

    The last stage that a block takes part in writes its state of the iteration.

    Parameters
    ----------
    plan
        The plan, whose blocks tell the stages (`pairs_of`).
    side, block
        The side, and the number of its block.
    iteration, stage
        The iteration from 1, and its stage from 0.
    """
    place = SIDES.index(side)
    later = pairs_of(plan.blocks)[stage + 1 :]
    return factors(
        side,
        iteration,
        block,
        stage if any(pair[place] == block for pairs in later for pair in pairs) else None,
    )


def step(
    plan: SweepPlan, iteration: int, source_iteration: int, store: Store, job: tuple[str, int]
) -> dict[str, float]:
    """Worker: update one block of one side and write its state.

    Parameters
    ----------
    plan
        The plan of the fit.
    iteration
        The iteration whose state is written, from 1.
    source_iteration
        The iteration whose states of the other side are read.
    store
        The store of the fit.
    job
        The side, and the number of its block.

    Returns
    -------
    dict
        Sums over the rows of the block, by name; see `recspark.algorithms.contract.Solver.step`.
    """
    side, number = job
    block = load_block(store, side, number)
    source = gather(store, plan, other(side), source_iteration, block.needed)
    state, sums = plan.solver.step(
        side, block, source, store.load(factors(side, iteration - 1, number)), plan.threads
    )
    store.save(factors(side, iteration, number), **state)
    return sums


def step_pair(
    plan: SweepPlan, iteration: int, stage: int, store: Store, pair: tuple[int, int]
) -> dict[str, float]:
    """Worker: update a block of users and a block of items from the ratings between them.

    Parameters
    ----------
    plan
        The plan of the fit.
    iteration, stage
        The iteration from 1, and its stage from 0.
    store
        The store of the fit, which gets both states.
    pair
        Numbers of the user block and the item block.

    Returns
    -------
    dict
        Sums over the ratings, by name; see `recspark.algorithms.contract.Solver.step_pair`.
    """
    places = list(zip(SIDES, pair, strict=True))
    users, items = (store.load(entry_before(plan, *place, iteration, stage)) for place in places)
    cells = load_cells(store, *pair)
    users, items, sums = plan.solver.step_pair(cells, users, items, iteration, pair, plan.threads)
    for (side, block), state in zip(places, (users, items), strict=True):
        store.save(entry_after(plan, side, block, iteration, stage), **state)
    return sums


def watch(plan: SweepPlan, iteration: int, store: Store, job: tuple[str, int]) -> dict[str, float]:
    """Worker: sums over the rows of one user block, after an iteration."""
    side, number = job
    block = load_block(store, side, number)
    source = gather(store, plan, other(side), iteration, block.needed)
    return plan.solver.watch(block, source, store.load(factors(side, iteration, number)), plan.threads)


def rank(plan: SweepPlan, iteration: int, store: Store, job: tuple[str, int]) -> dict[str, float]:
    """Worker: sums for the AUC of the watched preferences of one user block.

    See `recspark.algorithms.ranks`.
    """
    side, number = job
    block, cuts = load_block(store, side, number), store.load(f"cuts/{side}")["cuts"]
    users = _sample(plan, store, side, ranks.USERS)
    rows = users[(users >= cuts[number]) & (users < cuts[number + 1])] - cuts[number]
    watched = {role: ranks.pairs_of(csr, rows, block.needed) for role, csr in block.watched.items()}
    others = _sample(plan, store, other(side), ranks.ITEMS)
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


def _sample(plan: SweepPlan, store: Store, side: str, size: int) -> np.ndarray:
    """At most `size` positions of ids that train."""
    n = int(store.load(f"cuts/{side}")["cuts"][-1])
    return ranks.sample(plan.solver.seed, n, size, index.untrained(store, side))


def gather(store: Store, plan: SweepPlan, side: str, iteration: int, needed: np.ndarray) -> State:
    """The states of a side after an iteration, as one.

    Parameters
    ----------
    store
        The store of the fit.
    plan
        The plan of the fit.
    side, iteration
        The side, and the iteration of its states.
    needed
        Ascending positions of the rows to read; empty: all rows.

    Returns
    -------
    State
        The rows `needed` of the solver's `row_arrays`, and of its other arrays the sums over blocks.
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
