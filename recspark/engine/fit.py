"""The loop of every fit: prepare, iterate, resume, prune, export. Every iteration is a checkpoint.

    prepare    build the blocks and the starting states, once
    iterate    steps one after the other, one task per block or pair of blocks
    export     write the model's tables as Parquet, from the iterations that are kept

A task maps its block and the states that it needs, and writes its own state; so tasks exchange state files,
and a fit resumes from them. The driver sees only sums. The steps are those of a `Plan`: sweeps over users and
items (`recspark.engine.sweeps`), or draws of any number of sides (`recspark.engine.sampling`).

`fit` is written once, against a runner: it runs on the driver and steps are Spark tasks, or the whole fit,
with all blocks and iterations, runs inside one task (`recspark.engine.placement`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import numpy as np
from pyspark.sql import SparkSession

from recspark.algorithms.contract import Shared
from recspark.engine.plan import Plan, Row
from recspark.engine.progress import reporting
from recspark.engine.spark.runner import Runner, SparkRunner, TaskRunner
from recspark.engine.storage import HeldStore, Store
from recspark.errors import RecsparkError

#: share of its time that a fit in one process may spend on writing its states: if killed, it loses a hundred
#: times the seconds that one writing takes
WRITING_SHARE = 0.01
#: a file that ends the fit after its next iteration
STOP = "stop.json"
#: the file that says that the blocks are built; the folder with one file per complete iteration
PREPARED, ITERATIONS = "prepared.json", "iterations"


@dataclass(frozen=True)
class Chain:
    """The course of one chain.

    Parameters
    ----------
    history
        The metrics of each iteration.
    kept
        The iterations that the model is made of.
    shared
        The values that all rows share in each kept iteration, for models that have samples.
    resumed_at
        The number of iterations that an earlier attempt had finished.
    """

    history: list[Row]
    kept: list[int]
    shared: list[Shared]
    resumed_at: int
    prepare_seconds: float


@dataclass(frozen=True)
class Fit:
    """The outcome of all chains: their mean history, its best iteration, and the folder of the model.

    See `Chain` for the other fields.
    """

    history: list[Row]
    shared: list[Shared]
    resumed_at: int
    prepare_seconds: float
    best: int
    model: str


def run(spark: SparkSession, plans: Sequence[Plan], judge: Callable[[Row], bool] | None = None) -> Fit:
    """Run or resume the fit of `plans`, and report its iterations; leave only the model in its folder.

    Several plans are chains of one model, which differ in the seed and the kind of their sampler. If one task
    does a whole chain, chains run beside each other; else they run one after the other.

    `judge` is called with the metrics of each iteration of the first chain; once it is true, all chains end
    after the iterations that they have begun.

    Raises
    ------
    RecsparkError
        If numbers leave the range of floats; the message says what to change.
    """
    first, stores = plans[0], [Store(plan.root) for plan in plans]
    for store in stores:
        store.delete(STOP)
    with reporting(partial(read_history, stores[0]), first.max_iter, judge, partial(_stop, stores)):
        if first.placement.one_task:
            alone = len(plans) == 1
            chains = SparkRunner(spark, first.work, alone).map(partial(_fit_in_task, alone), plans)
        else:
            chains = [fit(SparkRunner(spark, plan.root), plan, len(plans) == 1) for plan in plans]
        if len(plans) > 1:
            kept = [(plan, chain.kept) for plan, chain in zip(plans, chains, strict=True)]
            first.export(SparkRunner(spark, first.root), kept)
    for store in stores:
        for name in (PREPARED, ITERATIONS, STOP, *first.prepared, *first.states):
            store.delete(name)
    return _joined(first, stores[0].path(first.model), chains)


def _stop(stores: Sequence[Store]) -> None:
    for store in stores:
        store.write_json(STOP, {})


def _joined(plan: Plan, model: str, chains: Sequence[Chain]) -> Fit:
    history = [_mean(rows) for rows in zip(*(chain.history for chain in chains), strict=False)]
    return Fit(
        history,
        [shared for chain in chains for shared in chain.shared],
        min(chain.resumed_at for chain in chains),
        max(chain.prepare_seconds for chain in chains),
        plan.best(history),
        model,
    )


def _mean(rows: tuple[Row, ...]) -> Row:
    return rows[0] | {
        key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "iteration"
    }


def _fit_in_task(alone: bool, _: Store, plan: Plan) -> Chain:
    """Worker: `fit` in this process, with threads instead of tasks; states are written now and then."""
    store = HeldStore(plan.root, tuple(f"{name}/" for name in plan.states), (PREPARED, f"{ITERATIONS}/"))
    chain = fit(TaskRunner(store, plan.placement.threads), plan, alone)
    store.flush()
    return chain


def fit(runner: Runner, plan: Plan, alone: bool) -> Chain:
    """Prepare, iterate, and export if `alone`; resume after the last iteration of an earlier attempt."""
    started = time.perf_counter()
    store = runner.store
    if not store.exists(PREPARED):
        plan.prepare(runner)
        store.write_json(PREPARED, {})
    prepared = time.perf_counter() - started
    history = read_history(store)
    resumed_at = len(history)
    while len(history) < plan.max_iter and not plan.is_done(history) and not store.exists(STOP):
        history.append(_iterate(runner, plan, len(history) + 1))
        plan.prune(store, history)
        store.flush(WRITING_SHARE)
    kept = plan.kept(history)
    if alone:
        plan.export(runner, [(plan, kept)])
    return Chain(history, kept, plan.shared(store, kept), resumed_at, prepared)


def _iterate(runner: Runner, plan: Plan, iteration: int) -> Row:
    """Run an iteration and commit it. Raise RecsparkError if its metrics are not finite."""
    started = time.perf_counter()
    metrics = plan.iterate(runner, iteration)
    seconds = time.perf_counter() - started
    row = {
        "iteration": iteration,
        **metrics,
        "seconds": seconds,
        "ratings_per_second": plan.rows / seconds,
    }
    if not all(map(math.isfinite, row.values())):
        raise RecsparkError(f"the fit diverged at iteration {iteration}: {plan.remedy}")
    runner.store.write_json(f"{ITERATIONS}/{iteration:05d}.json", row)
    return row


def read_history(store: Store) -> list[Row]:
    """The metrics of all complete iterations, up to the first gap (`HeldStore`)."""
    names = [name for name in store.names(ITERATIONS) if name.endswith(".json")]
    whole = takewhile(
        lambda numbered: int(numbered[1].removesuffix(".json")) == numbered[0], enumerate(names, start=1)
    )
    return [store.read_json(f"{ITERATIONS}/{name}") for _, name in whole]
