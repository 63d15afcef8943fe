"""The loop of a sampler: entities of one side after the other, every iteration a checkpoint, some of them
kept as samples.

    prepare    cut the sides, build the blocks (`recspark.engine.relations`), write starting states
    iterate    priors     one task per side: what features say of its entities, from their states
               a side     one task per block: entities from the other sides' states; the first side comes last
               watch      one task per block of the first side: sums over rows, and the running means of
                          predictions for watched rows
               close      what all rows share, from the sums
    finish     the states of the kept iterations, one table per side

States are files, so a fit that was killed goes on from its last finished iteration, and draws are functions
of the iteration, so it draws what it would have drawn. Written against a runner as `recspark.engine.loop` is:
with one block per side all of it runs in one task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from recspark.algorithms.contract import State
from recspark.algorithms.stopping import should_stop
from recspark.data.arrow import as_arrow
from recspark.engine.loop import STOP, WRITING_SHARE, Fit, read_history
from recspark.engine.placement import Placement
from recspark.engine.progress import reporting
from recspark.engine.relations import Relations, build_relation, cut_side, side_moments
from recspark.engine.spark.runner import SparkRunner, TaskRunner
from recspark.engine.storage import HeldStore, Store, holding, store_at
from recspark.kernels.moments import variance_shares
from recspark.lake.lake import fingerprint


class Sampler(Protocol):
    """The numbers of a sampler. It is pickled into tasks; it holds hyper-parameters, never data."""

    #: whether values are levels
    ordered: bool

    def targets(self, values: np.ndarray) -> np.ndarray:
        """Labels as the sampler fits them."""

    def begin(self, relations: Relations, shares: dict[str, float]) -> dict[str, Any]:
        """What all rows share before the first iteration, from the share of each side in the variance of
        labels; JSON.
        """

    def start(self, side: str, first: int, rows: State, shares: dict[str, float]) -> State:
        """The state of the entities from `first` before the first iteration, from their rows: arrays with one
        row per entity.
        """

    def draw_prior(
        self, side: str, features: dict[str, State], own: State, before: State, iteration: int
    ) -> State:
        """The prior of a side's entities from their states and `before`, the last prior; keys of `start` have
        one row per entity.
        """

    def draw_block(
        self,
        side: str,
        first: int,
        rows: State,
        table: State,
        own: State,
        prior: State,
        shared: dict[str, Any],
        iteration: int,
        threads: int,
    ):
        """A block's new state, and sums."""

    def watch(
        self,
        role: str,
        rows: State,
        table: State,
        shared: dict[str, Any],
        mean: np.ndarray,
        number: int,
        threads: int,
    ):
        """The new running means of the predictions for a role's rows, after `number` of them were averaged;
        sums.
        """

    def close(
        self, sums: dict[str, Any], shared: dict[str, Any], relations: Relations, iteration: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """What all rows share after an iteration, and its metrics."""

    def export(self, side: str, samples: list[State]) -> State:
        """Columns of a side's table from the kept states."""

    def export_shared(self, shared: dict[str, Any]) -> dict[str, Any]:
        """What all rows share in a kept iteration, as the model needs it."""


@dataclass(frozen=True)
class SamplingPlan:
    """Everything that a fit needs; `features` names the groups of each side."""

    work: str
    model: str
    relations: Relations
    sampler: Any
    blocks: dict[str, int]
    features: dict[str, tuple[str, ...]]
    max_iter: int
    burn_in: int
    samples: int
    tol: float
    patience: int
    placement: Placement

    @property
    def root(self) -> str:
        """The fit's own folder: see `recspark.engine.plan.Plan.root`; its length says which samples are
        kept.
        """
        length = (self.max_iter, self.burn_in, self.samples)
        identity = (
            self.relations.digest,
            type(self.sampler).__name__,
            asdict(self.sampler),
            self.blocks,
            self.features,
            length,
        )
        return f"{self.work}/fit-{fingerprint(*identity)[:16]}"

    @property
    def threads(self) -> int:
        """Threads of one block."""
        return self.placement.kernel_threads

    @property
    def sides(self) -> list[str]:
        """The names of the sides."""
        return [side.name for side in self.relations.sides]

    def jobs(self, side: str) -> list[tuple[str, int]]:
        """(side, block) of every block of a side."""
        return [(side, block) for block in range(self.blocks[side])]

    def kept(self, iterations: int) -> list[int]:
        """Which iterations the model's samples are from, if so many were made: spread evenly after the
        burn-in.
        """
        first = min(self.burn_in, iterations - 1) + 1
        return sorted(
            {
                round(number)
                for number in np.linspace(first, iterations, min(self.samples, iterations - first + 1))
            }
        )


def sample(
    spark: SparkSession, plans: list[SamplingPlan], judge: Callable[[dict[str, float]], bool] | None = None
) -> tuple[Fit, list[dict[str, Any]]]:
    """Run or resume chains, plans that differ in the sampler only; what came out, and what all rows share in
    each kept sample.

    A chain that one task does whole runs beside the others; else they come one after the other. The model has
    the samples of all chains; the history is their mean. `judge` is called with the rows of the first; once
    it is true, all chains end.

    Raises
    ------
    RecsparkError
        Where numbers leave the range of floats: with what to change.
    """
    stores, runner, first = [Store(plan.root) for plan in plans], SparkRunner(spark), plans[0]
    for store in stores:
        store.delete(STOP)
    with reporting(
        partial(read_history, stores[0]),
        first.max_iter,
        judge,
        lambda: [store.write_json(STOP, {}) for store in stores],
    ):
        if first.placement.one_task:
            chains = runner.map(_sample_in_task, plans)
        else:
            chains = [_sample(runner, plan) for plan in plans]
    jobs = [job for side in first.sides for job in first.jobs(side)]
    kept = [(plan, chain.kept) for plan, chain in zip(plans, chains, strict=True)]
    runner.map(partial(_export, kept), jobs)
    shared = [
        plan.sampler.export_shared(store.read_json(f"shared/{number:05d}.json"))
        for store, (plan, numbers) in zip(stores, kept, strict=True)
        for number in numbers
    ]
    for store in stores:
        for leftover in (
            "prepared.json",
            "blocks",
            "cuts",
            "states",
            "priors",
            "means",
            "shared",
            "iterations",
            STOP,
        ):
            store.delete(leftover)
    history = [_mean(rows) for rows in zip(*(chain.history for chain in chains), strict=False)]
    prepared = max(chain.prepare_seconds for chain in chains)
    return Fit(
        stores[0].path(first.model),
        history,
        len(history),
        min(chain.resumed_at for chain in chains),
        prepared,
    ), shared


@dataclass(frozen=True)
class Chain:
    """What one chain went through, and which of its iterations are samples."""

    history: list[dict[str, float]]
    kept: list[int]
    resumed_at: int
    prepare_seconds: float


def _mean(rows: tuple[dict[str, float], ...]) -> dict[str, float]:
    return rows[0] | {
        key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "iteration"
    }


def _sample_in_task(plan: SamplingPlan) -> Chain:
    """All of a chain in this process; its states are files only now and then."""
    with holding(plan.root, "states", "priors", "means"):
        return _sample(TaskRunner(plan.placement.threads), plan)


def _sample(runner: TaskRunner | SparkRunner, plan: SamplingPlan) -> Chain:
    started = time.perf_counter()
    store = store_at(plan.root)
    if not store.exists("prepared.json"):
        _prepare(runner, plan, store)
    prepared = time.perf_counter() - started
    history = read_history(store)
    resumed_at = len(history)
    while len(history) < plan.max_iter and not store.exists(STOP):
        if len(history) > plan.burn_in + 1 and should_stop(history[plan.burn_in :], plan.tol, plan.patience):
            break
        history.append(_iterate(runner, plan, store, len(history) + 1))
        _prune(plan, store, len(history))
        if isinstance(store, HeldStore):
            store.flush(WRITING_SHARE)
    kept = [number for number in plan.kept(plan.max_iter) if number <= len(history)] or [len(history)]
    return Chain(history, kept, resumed_at, prepared)


def _prepare(runner: TaskRunner | SparkRunner, plan: SamplingPlan, store: Store) -> None:
    moments = runner.map(partial(_cut, plan), list(range(len(plan.sides))))
    shares = dict(
        zip(plan.sides, variance_shares(*map(np.stack, zip(*moments, strict=True))).tolist(), strict=True)
    )
    jobs = [(number, block) for number, side in enumerate(plan.sides) for block in range(plan.blocks[side])]
    runner.map(partial(_build, plan, shares), jobs)
    store.write_json("shared/00000.json", plan.sampler.begin(plan.relations, shares))
    store.write_json("prepared.json", {})


def _cut(plan: SamplingPlan, side: int) -> tuple[float, np.ndarray]:
    """Worker: cut a side into blocks; what its rows say of the variance of its entities."""
    cut_side(store_at(plan.root), plan.relations, side, plan.blocks[plan.sides[side]])
    return side_moments(plan.relations, side)


def _build(plan: SamplingPlan, shares: dict[str, float], job: tuple[int, int]) -> None:
    number, block = job
    store, side = store_at(plan.root), plan.sides[number]
    build_relation(store, plan.relations, number, block, plan.sampler.targets)
    first = int(store.load(f"cuts/{side}")["cuts"][block])
    rows = store.load(f"blocks/{side}-{block:05d}/train")
    store.save(state_of(side, 0, block), **plan.sampler.start(side, first, rows, shares))


def _iterate(
    runner: TaskRunner | SparkRunner, plan: SamplingPlan, store: Store, iteration: int
) -> dict[str, float]:
    """One pass over all sides; commits and returns its metrics."""
    started = time.perf_counter()
    shared = store.read_json(f"shared/{iteration - 1:05d}.json")
    runner.map(partial(_prior, plan, iteration), plan.sides)
    for side in reversed(plan.sides):
        drawn = runner.map(partial(_draw, plan, shared, iteration), plan.jobs(side))
    watched = runner.map(partial(_watch, plan, shared, iteration), plan.jobs(plan.sides[0]))
    shared, metrics = plan.sampler.close(_added([*drawn, *watched]), shared, plan.relations, iteration)
    seconds = time.perf_counter() - started
    row = {
        "iteration": iteration,
        **metrics,
        "seconds": seconds,
        "ratings_per_second": plan.relations.rows / seconds,
    }
    # newest first is how they are written: an iteration's row comes last
    store.write_json(f"iterations/{iteration:05d}.json", row)
    store.write_json(f"shared/{iteration:05d}.json", shared)
    return row


def _added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            sums[key] = sums[key] + value if key in sums else value
    return sums


def _prior(plan: SamplingPlan, iteration: int, side: str) -> None:
    """Worker: the prior of a whole side."""
    store, root = store_at(plan.root), Store(plan.relations.root)
    states = [store.load(state_of(side, iteration - 1, block)) for block in range(plan.blocks[side])]
    own = (
        {key: np.concatenate([state[key] for state in states]) for key in states[0]}
        if len(states) > 1
        else states[0]
    )
    before = store.load(f"priors/{side}-{iteration - 1:05d}") if iteration > 1 else {}
    features = {group: root.load(f"features/{side}/{group}") for group in plan.features[side]}
    store.save(
        f"priors/{side}-{iteration:05d}", **plan.sampler.draw_prior(side, features, own, before, iteration)
    )


def _draw(plan: SamplingPlan, shared: dict[str, Any], iteration: int, job: tuple[str, int]) -> dict[str, Any]:
    """Worker: the entities of one block."""
    side, block = job
    store, entry = store_at(plan.root), f"blocks/{side}-{block:05d}"
    lo, hi = (int(cut) for cut in store.load(f"cuts/{side}")["cuts"][block : block + 2])
    own, prior = (
        store.load(state_of(side, iteration - 1, block)),
        store.load(f"priors/{side}-{iteration:05d}"),
    )
    prior = {key: value[lo:hi] if key in own else value for key, value in prior.items()}
    table = _table(plan, store, entry, iteration, newest=plan.sides.index(side) + 1)
    rows = store.load(f"{entry}/train")
    state, sums = plan.sampler.draw_block(side, lo, rows, table, own, prior, shared, iteration, plan.threads)
    store.save(state_of(side, iteration, block), **state)
    return sums


def _watch(
    plan: SamplingPlan, shared: dict[str, Any], iteration: int, job: tuple[str, int]
) -> dict[str, Any]:
    """Worker: what the new states say of the rows of one block of the first side."""
    side, block = job
    store, entry = store_at(plan.root), f"blocks/{side}-{block:05d}"
    roles = [*(["train"] if plan.sampler.ordered else []), *plan.relations.watched]
    if not roles:
        return {}
    table, sums = _table(plan, store, entry, iteration, newest=0), {}
    number = max(iteration - 1 - plan.burn_in, 0)
    before = store.load(f"means/{block:05d}-{iteration - 1:05d}") if number else {}
    means = {}
    for role in roles:
        rows = store.load(f"{entry}/rows-{role}")
        mean = before.get(role, np.zeros(len(rows["values"])))
        means[role], part = plan.sampler.watch(role, rows, table, shared, mean, number, plan.threads)
        sums |= part
    store.save(
        f"means/{block:05d}-{iteration:05d}",
        **{role: mean for role, mean in means.items() if role != "train"},
    )
    return sums


def _table(plan: SamplingPlan, store: Store, entry: str, iteration: int, newest: int) -> State:
    """The states of the entities that a block needs, each side's none last; sides from number `newest` on are
    those of this iteration.

    None of a side is nothing where rows that train have none of it, else, for rows that are watched, what a
    new entity is: the average. An array without columns, of sides that come last, is left out.
    """
    needed = store.load(f"{entry}/needed")["needed"]
    pieces, first = [], 0
    for number, side in enumerate(plan.sides):
        states = [
            store.load(state_of(side, iteration if number >= newest else iteration - 1, block))
            for block in range(plan.blocks[side])
        ]
        for state in states:
            n = len(next(iter(state.values())))
            lo, hi = np.searchsorted(needed, (first, first + n))
            whole = hi - lo == n
            pieces.append(
                state if whole else {key: value[needed[lo:hi] - first] for key, value in state.items()}
            )
            first += n
        # watched rows alone, which are scored by newest states, may have none where no row that trains has
        pieces.append(
            _average(states) if newest == 0 and not plan.relations.absent[side] else _nothing(states)
        )
        first += 1
    held = {key: [piece[key] for piece in pieces if piece[key].shape[1:] != (0,)] for key in pieces[0]}
    return {key: np.concatenate(arrays) for key, arrays in held.items()}


def _nothing(states: list[State]) -> State:
    return {key: np.zeros((1, *value.shape[1:]), value.dtype) for key, value in states[0].items()}


def _average(states: list[State]) -> State:
    """One row: the mean over a side's entities."""
    return {
        key: np.concatenate([state[key] for state in states])
        .mean(axis=0, keepdims=True, dtype=np.float64)
        .astype(value.dtype)
        for key, value in states[0].items()
    }


def _prune(plan: SamplingPlan, store: Store, last: int) -> None:
    """Drop what neither a resumed fit nor the model can need: all but the last two iterations, and the states
    of the samples.
    """
    old = last - 2
    if old < 0:
        return
    for side in plan.sides:
        store.delete(f"priors/{side}-{old:05d}")
        if old not in plan.kept(plan.max_iter):
            for _, block in plan.jobs(side):
                store.delete(state_of(side, old, block))
    for _, block in plan.jobs(plan.sides[0]):
        store.delete(f"means/{block:05d}-{old:05d}")


def _export(chains: list[tuple[SamplingPlan, list[int]]], job: tuple[str, int]) -> None:
    """Worker: write one block's rows of a side's table as Parquet, from the kept iterations of all chains,
    the last of which has all kinds of states."""
    (side, block), plan = job, chains[0][0]
    store, [by_id] = Store(plan.root), [known.by_id for known in plan.relations.sides if known.name == side]
    lo, hi = store.load(f"cuts/{side}")["cuts"][block : block + 2]
    states = [
        Store(chain.root).load(state_of(side, number, block))
        for chain, numbers in chains
        for number in numbers
    ]
    table = (
        Store(plan.relations.root).load_table(f"ids/{side}").slice(lo, hi - lo)
        if by_id
        else pa.table({"id": np.arange(lo, hi)})
    )
    counts = np.diff(store.load(f"blocks/{side}-{block:05d}/train")["indptr"])
    for key, array in {"count": counts, **chains[-1][0].sampler.export(side, states)}.items():
        table = table.append_column(key, as_arrow(array))
    store.fs.create_dir(store.at(f"{plan.model}/{side}"), recursive=True)
    pq.write_table(table, store.at(f"{plan.model}/{side}/part-{block:05d}.parquet"), filesystem=store.fs)


def state_of(side: str, iteration: int, block: int) -> str:
    """The entry of a block's state after an iteration."""
    return f"states/{side}-{iteration:05d}-{block:05d}"
