"""The step loop: alternate over the two sides until done, every iteration a checkpoint.

    prepare:   index both sides -> scatter the parts -> build the blocks
    iterate:   items from users' factors, then users from items' factors; one step a side, one task a block
    finish:    write the best iteration's factors as Parquet

A step maps its block and the factor files that it needs, and writes its own factor file; so factor files are what
tasks exchange and what a fit resumes from. The driver sees only sums. `fit` is written once against a runner: on many
blocks it runs on the driver and steps are Spark tasks; with one block the whole of it runs inside one task.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from recspark.data.lake import fingerprint
from recspark.engine.blocks import SIDES, Block, build_block, index_side, load_block, other, scatter_part
from recspark.engine.encode import Parts
from recspark.engine.progress import reporting
from recspark.engine.runner import SparkRunner, TaskRunner
from recspark.engine.storage import Store

State = dict[str, np.ndarray]


class Solver(Protocol):
    """An algorithm on blocks. It is pickled into tasks; it holds hyper-parameters, never data."""

    #: keys of a state that hold one row an id; all others are summed over blocks before a step reads them
    row_arrays: tuple[str, ...]

    def start(self, side: str, first: int, n: int) -> State:
        """The state of positions first ... first + n before the first iteration."""

    def step(self, side: str, block: Block, source: State, own: State, threads: int) -> tuple[State, dict[str, float]]:
        """The block's new state from the other side's, and sums that `summarize` gets added up over blocks and sides."""

    def summarize(self, sums: dict[str, float]) -> dict[str, float]:
        """Metrics of an iteration: ``train_rmse``, ``objective``, ``validation_rmse`` ..."""

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """The columns of the model's table of this side."""


@dataclass(frozen=True)
class Plan:
    """Everything that a fit needs, small enough to send with every task. `model` names the folder of its outcome: no two fits share one."""

    work: str
    model: str
    parts: Parts
    solver: Any
    blocks: dict[str, int]
    max_iter: int
    tol: float
    patience: int
    threads: int

    @property
    def root(self) -> str:
        """The fit's own folder: another input, algorithm or layout gets another one, so whatever is in it can be resumed."""
        return f"{self.work}/fit-{fingerprint(self.parts.digest, type(self.solver).__name__, asdict(self.solver), self.blocks)[:16]}"


@dataclass(frozen=True)
class Fit:
    """The outcome: where the model's tables are, the curve, and which iteration they are from."""

    model: str
    history: list[dict[str, float]]
    best: int
    resumed_at: int
    prepare_seconds: float


def run(spark: SparkSession, plan: Plan) -> Fit:
    """Run or resume the fit that `plan` describes on `spark`, reporting its iterations; leaves only the model in its folder."""
    store, runner = Store(plan.root), SparkRunner(spark)
    with reporting(partial(read_history, store), plan.max_iter):
        if all(count == 1 for count in plan.blocks.values()):
            outcome = runner.map(fit_in_task, [plan])[0]
        else:
            outcome = fit(runner, plan)
    for leftover in ("prepared.json", "blocks", "factors", "iterations", "index", "cuts"):
        store.delete(leftover)
    return outcome


def fit_in_task(plan: Plan) -> Fit:
    """`fit` inside the current process, with threads instead of tasks."""
    return fit(TaskRunner(plan.threads), plan)


def fit(runner: TaskRunner | SparkRunner, plan: Plan) -> Fit:
    """Prepare, iterate, export; goes on from the last iteration that an earlier attempt has finished."""
    started = time.perf_counter()
    store = Store(plan.root)
    prepare(runner, plan, store)
    prepared = time.perf_counter() - started
    history = read_history(store)
    resumed_at = len(history)
    while len(history) < plan.max_iter and not should_stop(history, plan.tol, plan.patience):
        history.append(iterate(runner, plan, store, len(history) + 1))
        _prune(store, plan, history)
    best = best_iteration(history)
    runner.map(partial(_export, plan, best), _jobs(plan))
    return Fit(store.path(plan.model), history, best, resumed_at, prepared)


def prepare(runner: TaskRunner | SparkRunner, plan: Plan, store: Store) -> None:
    """Build the blocks and the starting state, unless an earlier attempt has finished that."""
    if store.exists("prepared.json"):
        return
    sizes = runner.map(partial(_index, plan), SIDES)
    runner.map(partial(_scatter, plan), plan.parts.names)
    runner.map(partial(_build, plan), _jobs(plan))
    store.delete("scatter")
    store.write_json("prepared.json", dict(zip(SIDES, sizes, strict=True)))


def iterate(runner: TaskRunner | SparkRunner, plan: Plan, store: Store, iteration: int) -> dict[str, float]:
    """One pass over both sides; commits and returns its metrics."""
    started = time.perf_counter()
    sums: dict[str, float] = {}
    for side in reversed(SIDES):
        for part in runner.map(partial(_step, plan, iteration), [job for job in _jobs(plan) if job[0] == side]):
            for key, value in part.items():
                sums[key] = sums.get(key, 0.0) + value
    seconds = time.perf_counter() - started
    row = {"iteration": iteration, **plan.solver.summarize(sums), "seconds": seconds, "ratings_per_second": plan.parts.rows / seconds}
    store.write_json(f"iterations/{iteration:05d}.json", row)
    return row


def read_history(store: Store) -> list[dict[str, float]]:
    """The rows of all iterations that are finished."""
    return [store.read_json(f"iterations/{name}") for name in store.names("iterations") if name.endswith(".json")]


def _metric(history: Sequence[dict[str, float]]) -> str:
    return "validation_rmse" if history and "validation_rmse" in history[0] else "objective"


def best_iteration(history: Sequence[dict[str, float]]) -> int:
    """The iteration with the lowest validation RMSE; the last one where nothing is validated."""
    if _metric(history) != "validation_rmse":
        return len(history)
    return 1 + int(np.argmin([row["validation_rmse"] for row in history]))


def should_stop(history: Sequence[dict[str, float]], tol: float, patience: int) -> bool:
    """Whether the last `patience` iterations (without validation: the last one) brought no relative gain of more than `tol`."""
    values = [row[_metric(history)] for row in history]
    watched = _metric(history) == "validation_rmse"
    if not watched and tol <= 0:
        return False
    recent = patience if watched else 1
    if len(values) <= recent:
        return False
    return min(values[-recent:]) >= min(values[:-recent]) * (1 - tol)


def _jobs(plan: Plan) -> list[tuple[str, int]]:
    return [(side, block) for side in SIDES for block in range(plan.blocks[side])]


def _factors(side: str, iteration: int, block: int) -> str:
    return f"factors/{side}-{iteration:05d}-{block:05d}"


def _index(plan: Plan, side: str) -> int:
    return index_side(Store(plan.root), plan.parts, side, plan.blocks[side])


def _scatter(plan: Plan, name: str) -> None:
    scatter_part(Store(plan.root), plan.parts, name)


def _build(plan: Plan, job: tuple[str, int]) -> None:
    side, block = job
    store = Store(plan.root)
    build_block(store, plan.parts, side, block)
    cuts = store.load(f"cuts/{side}")["cuts"]
    first, last = int(cuts[block]), int(cuts[block + 1])
    store.save(_factors(side, 0, block), **plan.solver.start(side, first, last - first))


def _step(plan: Plan, iteration: int, job: tuple[str, int]) -> dict[str, float]:
    """Worker: update one block of one side and write it."""
    side, number = job
    store = Store(plan.root)
    block = load_block(store, side, number)
    # items go first, so users read the items of this iteration and items the users of the last
    source = _source(store, plan, other(side), iteration if side == "users" else iteration - 1, block.needed)
    state, sums = plan.solver.step(side, block, source, store.load(_factors(side, iteration - 1, number)), plan.threads)
    store.save(_factors(side, iteration, number), **state)
    return sums


def _source(store: Store, plan: Plan, side: str, iteration: int, needed: np.ndarray) -> State:
    """Rows `needed` of the row arrays of `side` (empty: all rows), and the sums over blocks of its other arrays."""
    states = [store.load(_factors(side, iteration, block)) for block in range(plan.blocks[side])]
    cuts = store.load(f"cuts/{side}")["cuts"]
    bounds = np.searchsorted(needed, cuts)
    source = {}
    for key in states[0]:
        if key not in plan.solver.row_arrays:
            source[key] = np.sum([state[key] for state in states], axis=0)
        elif len(needed):
            pieces = zip(states, cuts, bounds[:-1], bounds[1:], strict=False)
            source[key] = np.concatenate([state[key][needed[lo:hi] - first] for state, first, lo, hi in pieces])
        else:
            source[key] = states[0][key] if len(states) == 1 else np.concatenate([state[key] for state in states])
    return source


def _prune(store: Store, plan: Plan, history: Sequence[dict[str, float]]) -> None:
    """Drop factor files that neither a resumed fit nor the model can need: all but the last two and the best iteration's."""
    last = len(history)
    keep = {last, last - 1, best_iteration(history)}
    for iteration in {last - 2, best_iteration(history[:-1]) if last > 1 else 0} - keep:
        for side, block in _jobs(plan):
            store.delete(_factors(side, iteration, block))


def _export(plan: Plan, iteration: int, job: tuple[str, int]) -> None:
    """Worker: write one block's rows of the model's table as Parquet."""
    side, number = job
    store = Store(plan.root)
    cuts = store.load(f"cuts/{side}")["cuts"]
    n_other = int(store.load(f"cuts/{other(side)}")["cuts"][-1])
    index = store.load_table(f"index/{side}").slice(cuts[number], cuts[number + 1] - cuts[number])
    columns = plan.solver.export(side, load_block(store, side, number), store.load(_factors(side, iteration, number)), n_other)
    for key, array in columns.items():
        index = index.append_column(key, as_arrow(array))
    store.fs.create_dir(store.at(f"{plan.model}/{side}"), recursive=True)
    pq.write_table(index, store.at(f"{plan.model}/{side}/part-{number:05d}.parquet"), filesystem=store.fs)


def as_arrow(array: np.ndarray) -> pa.Array:
    """One value, or one list of values, a row."""
    if array.ndim == 1:
        return pa.array(array)
    offsets = np.arange(len(array) + 1, dtype=np.int32) * np.int32(array.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(array.reshape(-1)))
