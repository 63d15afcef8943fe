"""The step loop: alternate over the two sides until done, every iteration a checkpoint.

    prepare:   index both sides -> scatter the parts -> build the blocks
    iterate:   stages one after the other (`recspark.engine.sweeps`), one task per block or a pair of blocks
    finish:    write the best iteration's factors as Parquet

A task maps its block and the factor files that it needs, and writes its own factor file; so factor files are
what tasks exchange and what a fit resumes from. The driver sees only sums. `fit` is written once against a
runner: it runs on the driver and steps are Spark tasks, or the whole of it, all blocks and iterations, runs
inside one task (`recspark.engine.placement`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from recspark.algorithms.ratings import other
from recspark.algorithms.stopping import best_iteration, should_stop
from recspark.data.arrow import as_arrow
from recspark.engine.blocks import build_block, build_cells, index_and_scatter, load_block
from recspark.engine.plan import Plan, factors
from recspark.engine.progress import reporting
from recspark.engine.spark.runner import SparkRunner, TaskRunner
from recspark.engine.start import starting_state
from recspark.engine.storage import HeldStore, Store, holding, store_at
from recspark.engine.sweeps import stages
from recspark.errors import RecsparkError

#: the time that a fit in one process may spend on writing its states: killed, it loses a hundred times what
#: it takes to write one
WRITING_SHARE = 0.01
#: a file that ends the fit after its next iteration
STOP = "stop.json"


@dataclass(frozen=True)
class Fit:
    """The outcome: where the model's tables are, the curve, and which iteration they are from."""

    model: str
    history: list[dict[str, float]]
    best: int
    resumed_at: int
    prepare_seconds: float


def run(spark: SparkSession, plan: Plan, judge: Callable[[dict[str, float]], bool] | None = None) -> Fit:
    """Run or resume the fit that `plan` describes on `spark`, reporting its iterations; leaves only the model
    in its folder.

    `judge` is called with the row of each iteration; once it is true, the fit ends after the iterations that
    it has begun.
    """
    store, runner = Store(plan.root), SparkRunner(spark)
    store.delete(STOP)
    with reporting(partial(read_history, store), plan.max_iter, judge, partial(store.write_json, STOP, {})):
        if plan.placement.one_task:
            outcome = runner.map(fit_in_task, [plan])[0]
        else:
            outcome = fit(runner, plan)
    for leftover in ("prepared.json", "blocks", "cells", "factors", "iterations", "index", "cuts", STOP):
        store.delete(leftover)
    return outcome


def fit_in_task(plan: Plan) -> Fit:
    """`fit` inside the current process: threads instead of tasks, and states that are files only now and then
    (`WRITING_SHARE`).
    """
    with holding(plan.root, "factors"):
        return fit(TaskRunner(plan.placement.threads), plan)


def fit(runner: TaskRunner | SparkRunner, plan: Plan) -> Fit:
    """Prepare, iterate, export; goes on from the last iteration that an earlier attempt has finished."""
    started = time.perf_counter()
    store = store_at(plan.root)
    prepare(runner, plan, store)
    prepared = time.perf_counter() - started
    history = read_history(store)
    resumed_at = len(history)
    while (
        len(history) < plan.max_iter
        and not should_stop(history, plan.tol, plan.patience)
        and not store.exists(STOP)
    ):
        history.append(iterate(runner, plan, store, len(history) + 1))
        _prune(store, plan, history)
        if isinstance(store, HeldStore):
            store.flush(WRITING_SHARE)
    best = best_iteration(history)
    runner.map(partial(_export, plan, best), plan.jobs)
    return Fit(store.path(plan.model), history, best, resumed_at, prepared)


def prepare(runner: TaskRunner | SparkRunner, plan: Plan, store: Store) -> None:
    """Build the blocks and the starting state, unless an earlier attempt has finished that."""
    if store.exists("prepared.json"):
        return
    sizes = index_and_scatter(runner, plan.root, plan.parts, plan.blocks)
    runner.map(partial(_build, plan), plan.jobs)
    store.delete("scatter")
    store.write_json("prepared.json", sizes)


def iterate(runner: TaskRunner | SparkRunner, plan: Plan, store: Store, iteration: int) -> dict[str, float]:
    """All stages of an iteration; commits and returns its metrics. RecsparkError where they are no numbers:
    it can't go on.
    """
    started = time.perf_counter()
    sums: dict[str, float] = {}
    for function, jobs in stages(plan, iteration):
        for part in runner.map(function, jobs):
            for key, value in part.items():
                sums[key] = sums.get(key, 0.0) + value
    seconds = time.perf_counter() - started
    row = {
        "iteration": iteration,
        **plan.solver.summarize(sums),
        "seconds": seconds,
        "ratings_per_second": plan.parts.rows / seconds,
    }
    if not all(map(math.isfinite, row.values())):
        raise RecsparkError(f"the fit diverged at iteration {iteration}: {plan.solver.remedy}")
    store.write_json(f"iterations/{iteration:05d}.json", row)
    return row


def read_history(store: Store) -> list[dict[str, float]]:
    """The rows of all iterations that are finished, up to the first gap (`HeldStore`)."""
    names = [name for name in store.names("iterations") if name.endswith(".json")]
    whole = takewhile(
        lambda numbered: int(numbered[1].removesuffix(".json")) == numbered[0], enumerate(names, start=1)
    )
    return [store.read_json(f"iterations/{name}") for _, name in whole]


def _build(plan: Plan, job: tuple[str, int]) -> None:
    side, block = job
    store = store_at(plan.root)
    build_block(store, plan.parts, side, block)
    if side == "users" and plan.solver.sweep == "strata":
        build_cells(store, block, plan.blocks["items"])
    cuts = store.load(f"cuts/{side}")["cuts"]
    first, last = int(cuts[block]), int(cuts[block + 1])
    ids = store.load_table(f"index/{side}")["id"].slice(first, last - first)
    store.save(
        factors(side, 0, block), **starting_state(plan, side, first, load_block(store, side, block), ids)
    )


def _prune(store: Store, plan: Plan, history: Sequence[dict[str, float]]) -> None:
    """Drop factor files that neither a resumed fit nor the model can need: all but the last two and the best
    iteration's.
    """
    last = len(history)
    keep = {last, last - 1, best_iteration(history)}
    for iteration in {last - 2, best_iteration(history[:-1]) if last > 1 else 0} - keep:
        for side, block in plan.jobs:
            store.delete(factors(side, iteration, block))
    if plan.solver.sweep == "strata":
        for name in store.names("factors"):
            if "-stage-" in name:
                store.delete(f"factors/{name}")


def _export(plan: Plan, iteration: int, job: tuple[str, int]) -> None:
    """Worker: write one block's rows of the model's table as Parquet."""
    side, number = job
    store = store_at(plan.root)
    cuts = store.load(f"cuts/{side}")["cuts"]
    n_other = int(store.load(f"cuts/{other(side)}")["cuts"][-1])
    index = store.load_table(f"index/{side}").slice(cuts[number], cuts[number + 1] - cuts[number])
    columns = plan.solver.export(
        side, load_block(store, side, number), store.load(factors(side, iteration, number)), n_other
    )
    for key, array in columns.items():
        index = index.append_column(key, as_arrow(array))
    store.fs.create_dir(store.at(f"{plan.model}/{side}"), recursive=True)
    pq.write_table(index, store.at(f"{plan.model}/{side}/part-{number:05d}.parquet"), filesystem=store.fs)
