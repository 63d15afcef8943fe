"""The trials of a tuning: fits on the train rows of a split, judged on its validation rows.

No other rows are read.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame

from recspark.engine.spark.session import default_threads, is_alive
from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.evaluate import EvaluationOptions, evaluate
from recspark.evaluation.goals import LABEL_GOALS, RATING_GOALS
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import SplitManifest
from recspark.models.params import Configurable
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context
from recspark.pipeline.estimators import copy_index, labelled, make_estimator
from recspark.pipeline.tuning.search_space import Choices, Space
from recspark.tracking import Run
from recspark.tracking.provenance import one_line

if TYPE_CHECKING:
    from optuna.trial import Trial

    from recspark.pipeline.tuning.study import Study

log = logging.getLogger("recspark")


class Trials:
    """The trials of one job, whose nested runs they are.

    Raises
    ------
    ConfigError
        If the split has no validation rows, the metric is not measured, or trials can't be pruned.
    """

    def __init__(self, job: Context, run: Run) -> None:
        self._job, self._run, self._options = job, run, job.sections.tune
        self._product = f"splits/{job.sections.split.name}"
        self._ended = threading.Event()
        self._folders: set[str] = set()
        self._choosing = threading.Lock()
        counts = job.lake.require(self._product, SplitManifest, "split").counts
        if not counts["validation"]:
            raise ConfigError(
                f"{self._product} has no validation rows, which trials are judged by: "
                "set split.validationFraction, such as 0.1 (the winner trains on them, too)"
            )
        self._evaluation = narrowed(job.sections.evaluation, self._options.metric)
        self._curve = self._curve_of(job.sections.model)
        if self._options.pruner != "none" and self._curve is None:
            raise ConfigError(
                f"tune.pruner = {self._options.pruner!r} is not allowed here: trials are pruned by the curve "
                "of their validation rows. That is RMSE, so tune.metric must be 'rmse'; or of models that "
                "follow an AUC (ALS with implicitPrefs, losses bpr, softmax, ccl) any ranking metric"
            )

    def steps(self, space: Space) -> int:
        """The largest number of iterations of a trial."""
        known = self._job.sections.model.known
        if "maxIter" not in known:
            return 1
        if "maxIter" in space:
            part = space["maxIter"]
            return max(map(int, part.values)) if isinstance(part, Choices) else int(part.high)
        most = self._job.sections.model.params.get("maxIter", known["maxIter"].option.default)
        return most if isinstance(most, int) else 1

    def run(self, study: Study) -> None:
        """Run trials until there are enough, or the time is over; the options say how many at a time."""
        deadline = time.monotonic() + (self._options.timeout or math.inf)
        with _quiet_fits():
            if self._options.concurrent == 1:
                self._work(study, deadline)
                return
            with ThreadPoolExecutor(self._options.concurrent) as pool:
                try:
                    for worker in as_completed(
                        [pool.submit(self._work, study, deadline) for _ in range(self._options.concurrent)]
                    ):
                        worker.result()
                finally:
                    # an error or an interrupt: the others end after their current iteration
                    self._ended.set()

    def _work(self, study: Study, deadline: float) -> None:
        while not self._ended.is_set() and time.monotonic() < deadline and (trial := study.ask()):
            with self._job.progress.stage("trial", f"trial {trial.number}") as stage:
                stage.outcome = self._try(study, trial)

    def _try(self, study: Study, trial: Trial) -> str:
        """Run one trial and report its outcome to the study, except outcomes that end all trials.

        Returns the outcome in words.
        """
        started = time.perf_counter()
        facts: dict[str, object] = {}
        name = f"trial {trial.number}"
        reason: str | None = None
        try:
            with self._own_folder(trial.params) as folder:
                model = ModelSection(**self._job.sections.model.as_dict() | trial.params | {"name": folder})
                with self._run.child(
                    name, {"model": model.as_dict() | {"name": self._job.sections.model.product}}
                ) as nested:
                    facts["run_id"] = nested.id
                    value = self._measure(study, trial, model, nested, facts)
        except Exception as error:
            if not is_alive(self._job.spark):
                raise
            log.warning("%s failed (%s): %s", name, _shown(trial.params), one_line(error))
            value, reason = None, one_line(error)
        # a trial that was cut off counts as killed: it is tried again
        if self._ended.is_set():
            return "interrupted"
        study.tell(trial, value, reason, seconds=round(time.perf_counter() - started, 3), **facts)
        outcome = "failed" if reason else _outcome(self._options.metric, value)
        return f"{outcome} ({_shown(trial.params)})"

    def _measure(
        self, study: Study, trial: Trial, model: ModelSection, run: Run, facts: dict[str, object]
    ) -> float | None:
        """The value of a trial on the validation rows; None if it was pruned."""
        curve = None if self._options.pruner == "none" else self._curve
        job, judge = self._job, _Judge(study, trial, curve, self._ended)
        try:
            parts = {
                part: labelled(job.read(f"{self._product}/{part}"), model.positiveFrom)
                for part in ("train", "validation")
            }
            copy_index(self._on(model), job.lake.require(self._product, SplitManifest, "split"))
            estimator = self._estimator(model, parts)
            if estimator.can_watch:
                estimator.watch(validation=parts["validation"]).stop_when(judge)
            fitted = estimator.fit(parts["train"])
            run.curve(fitted.summary.history)
            facts |= {
                "iterations": fitted.summary.best_iteration,
                "fit_seconds": round(fitted.summary.fit_seconds, 3),
            }
            run.tags({"recspark.trial": "pruned" if judge.is_pruned else "complete"})
            if judge.is_pruned:
                return None
            known = parts["train"].select("user_id", "item_id")
            labels = model.positiveFrom is not None
            predictions = fitted.transform(parts["validation"])
            found = evaluate(job.spark, predictions, known, self._evaluation, fitted.scorer, labels=labels)
            if found.per_user is not None:
                found.per_user.unpersist()
            metrics = found.metrics
            run.metrics(metrics)
            return _finite(metrics[self._options.metric], self._options.metric)
        finally:
            job.lake.delete(f"work/{model.product}")

    def _on(self, model: ModelSection) -> Context:
        return replace(self._job, sections=replace(self._job.sections, model=model))

    def _curve_of(self, model: ModelSection) -> str | None:
        """The figure of an iteration that trials can be pruned by: of the kind of tune.metric, or none."""
        estimator = self._estimator(model, {})
        if not estimator.can_watch:
            return None
        if estimator.ranks_watched:
            by_rows = self._options.metric in RATING_GOALS | LABEL_GOALS
            return None if by_rows else "validation_auc"
        return "validation_rmse" if self._options.metric == "rmse" else None

    def _estimator(self, model: ModelSection, parts: dict[str, DataFrame]) -> Configurable:
        """The estimator of a trial, with its share of the threads if trials share a machine."""
        at_once = self._options.concurrent
        estimator = make_estimator(self._on(model), parts)
        if at_once > 1 and "threads" in model.known and "threads" not in model.params:
            # a default: no warning if one task does all
            estimator._setDefault(threads=max(1, default_threads(self._job.spark) // at_once))
        return estimator

    @contextmanager
    def _own_folder(self, params: dict[str, object]) -> Iterator[str]:
        """The name of a trial's work folder, which no other trial has meanwhile.

        It is that of an earlier trial with the same values, which a killed process has left.
        """
        first = f"{self._job.sections.model.product}-trial-{fingerprint(params)[:16]}"
        with self._choosing:
            names = (f"{first}-{number}" if number else first for number in itertools.count())
            name = next(name for name in names if name not in self._folders)
            self._folders.add(name)
        try:
            yield name
        finally:
            self._folders.discard(name)


def narrowed(options: EvaluationOptions, metric: str) -> EvaluationOptions:
    """The evaluation of one metric alone. Raise ConfigError if `options` leave it out."""
    by_rows = metric in RATING_GOALS | LABEL_GOALS
    if not (options.ratings if by_rows else options.ranking):
        key = "ratings" if by_rows else "ranking"
        raise ConfigError(
            f"tune.metric = {metric!r} is not allowed with evaluation.{key} = false: it is not measured"
        )
    return EvaluationOptions(**options.as_dict() | {"ratings": by_rows, "ranking": not by_rows})


class _Judge:
    """Follows the curve of a trial during its fit, and ends it if it can't become good.

    Without a `curve` it ends none.
    """

    def __init__(self, study: Study, trial: Trial, curve: str | None, ended: threading.Event) -> None:
        self._study, self._trial, self._curve, self._ended = study, trial, curve, ended
        self.is_pruned = False

    def __call__(self, row: dict[str, float]) -> bool:
        """Whether the fit should end after this iteration."""
        value = None if self._curve is None else row.get(self._curve)
        if value is not None:
            self.is_pruned = self._study.report(self._trial, value, int(row["iteration"]))
        return self.is_pruned or self._ended.is_set()


def _finite(value: float, metric: str) -> float:
    if not math.isfinite(value):
        raise RecsparkError(f"{metric} on the validation rows is {value}")
    return value


@contextmanager
def _quiet_fits() -> Iterator[None]:
    """Log one line per trial, and none per iteration."""
    fits: Callable[[int], None] = logging.getLogger("recspark.fit").setLevel
    fits(logging.WARNING)
    try:
        yield
    finally:
        fits(logging.NOTSET)


def _outcome(metric: str, value: float | None) -> str:
    return "pruned" if value is None else f"{metric} {value:.4f}"


def _shown(params: dict[str, object]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
