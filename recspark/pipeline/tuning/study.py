"""A study: the trials of a tuning, in a file, by Optuna. Only this module imports it.

A study outlives its process. The draws of a trial are a function of the seed, of the trials that have ended,
and of the trial's place among them: a trial that a killed process has left is tried again in its old place.
So a study that was killed and goes on makes the same trials as without the interruption.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import NullPool

from recspark.errors import ConfigError
from recspark.lake.locks import hold
from recspark.pipeline.tuning.search_space import Choices, Interval, Searched, Space

log = logging.getLogger("recspark")

#: attribute with the reason why a trial ended without a value; a killed process leaves none
REASON = "reason"
_RETRIES = "retries"
_MADE_FROM = "made_from"
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
#: number of trials that must end before their median prunes others
_MEDIAN_OF = 5


@contextmanager
def open_study(
    folder: Path, name: str, made_from: Mapping[str, str], wait: float, search: Search
) -> Iterator[Study]:
    """The study in FOLDER/NAME.db, created if it is not there, for this process alone.

    Parameters
    ----------
    folder, name
        The place of the file, and its name without ``.db``.
    made_from
        The texts, by name, that the values of trials depend on (data, model, metric, space).
    wait
        Seconds to wait for another process that works on the study.
    search
        The options of the study.

    Raises
    ------
    ConfigError
        If the study was made from something else.
    LakeBusy
        If another process works on it for longer than `wait`.
    """
    # trials are reported by the job, in its own words
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with hold(folder / f".{name}.lock", f"the study {folder / name}.db", True, wait):
        # no pool: connections that stay open would belong to threads that are gone
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{folder / name}.db", engine_kwargs={"poolclass": NullPool}
        )
        try:
            direction = StudyDirection.MINIMIZE if search.minimize else StudyDirection.MAXIMIZE
            study = optuna.create_study(
                storage=storage, study_name=name, direction=direction, load_if_exists=True
            )
            _check_origin(study, f"{folder / name}.db", made_from)
            yield Study(study, search)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _check_origin(study: optuna.Study, path: str, made_from: Mapping[str, str]) -> None:
    before = study.user_attrs.get(_MADE_FROM)
    if before is None:
        study.set_user_attr(_MADE_FROM, dict(made_from))
        return
    changed = [key for key in made_from if before.get(key) != made_from[key]]
    if changed:
        raise ConfigError(
            f"{path} holds trials of another {', '.join(changed)}: set tune.study to another name, or delete "
            "that file"
        )


class Search(NamedTuple):
    """The options of a study.

    Parameters
    ----------
    space
        The values that trials draw from, by Param.
    trials
        Number of trials to reach, those of earlier processes included.
    minimize
        Whether a lower value is better.
    sampler
        tpe, random or grid.
    pruner
        none, median or hyperband.
    seed
        Seed of all draws.
    steps, warmup
        Most iterations that a trial reports, and number of first iterations at which none is pruned.
    start
        Values of the first trial; None: they are drawn, too.
    """

    space: Space
    trials: int
    minimize: bool
    sampler: str
    pruner: str
    seed: int
    steps: int
    warmup: int
    start: dict[str, Searched] | None = None


class Study:
    """Trials to ask for, and whose outcomes are told, by any number of threads."""

    def __init__(self, study: optuna.Study, search: Search) -> None:
        space, start = search.space, search.start
        self._study, self._space, self._sampler = study, space, search.sampler
        self._seed, self._minimize = search.seed, search.minimize
        self._distributions = {name: _distribution(part) for name, part in space.items()}
        self._turn = threading.RLock()
        study.pruner = _pruner(search.pruner, search.steps, search.warmup)
        grid = _grid(space, search.seed)[: search.trials] if search.sampler == "grid" else None
        self._trials = len(grid) if grid is not None else search.trials
        self._resume()
        # in their order, so those that an earlier process has queued come first
        queued = sum(_RETRIES not in trial.user_attrs for trial in study.trials)
        for values in (grid if grid is not None else [start] if start else [])[queued:]:
            study.enqueue_trial(values)

    def _resume(self) -> None:
        """Mark trials that a killed process has left as failed, and queue them again."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
        again = {trial.user_attrs.get(_RETRIES) for trial in self._study.trials}
        for trial in self._study.trials:
            if _state(trial) == "interrupted" and trial.number not in again:
                log.info("trial %d was interrupted: it is tried again", trial.number)
                self._study.enqueue_trial(trial.params, user_attrs={_RETRIES: trial.number})

    @property
    def remaining(self) -> int:
        """The number of trials that have not begun."""
        return max(0, self._trials - self._begun)

    @property
    def _begun(self) -> int:
        return sum(_state(trial) not in ("interrupted", "waiting") for trial in self._study.trials)

    def ask(self) -> Trial | None:
        """The next trial, with drawn values; None if there are enough."""
        with self._turn:
            if not self.remaining:
                return None
            self._study.sampler = self._sampler_of(self._begun)
            return self._study.ask(self._distributions)

    def _sampler_of(self, place: int) -> optuna.samplers.BaseSampler:
        """A sampler whose draws depend on the place of a trial.

        They do not depend on the number of earlier draws in this process.
        """
        seed = int(np.random.SeedSequence((self._seed, place)).generate_state(1)[0])
        if self._sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        # a grid's trials have their values already
        return optuna.samplers.RandomSampler(seed=seed)

    def report(self, trial: Trial, value: float, step: int) -> bool:
        """Record the value of a trial at an iteration; returns whether it should end there."""
        with self._turn:
            trial.report(value, step)
            return trial.should_prune()

    def tell(self, trial: Trial, value: float | None, reason: str | None = None, **facts: object) -> None:
        """Record the outcome of a trial: its value, or None if it was pruned, or failed for a reason."""
        with self._turn:
            for key, fact in (facts | ({REASON: reason} if reason else {})).items():
                trial.set_user_attr(key, fact)
            state = TrialState.FAIL if reason else TrialState.PRUNED if value is None else TrialState.COMPLETE
            self._study.tell(trial, value, state)

    @property
    def table(self) -> pd.DataFrame:
        """One row per ended trial: number, state, value, the Params, and the recorded facts.

        The state is complete, pruned, failed or interrupted.
        """
        with self._turn:
            ended = [trial for trial in self._study.trials if _state(trial) not in ("running", "waiting")]
        rows = [
            {"number": t.number, "state": _state(t), "value": t.value} | t.params | t.user_attrs
            for t in ended
        ]
        known = dict.fromkeys(["number", "state", "value", *self._space])
        return pd.DataFrame(rows, columns=list(known | dict.fromkeys(itertools.chain(*rows))))

    def best(self) -> pd.Series | None:
        """The row of the best complete trial, of equal ones the first; None if there is none."""
        complete = self.table.query("state == 'complete'").sort_values(
            "value", ascending=self._minimize, kind="stable"
        )
        return None if complete.empty else complete.iloc[0]

    def params(self, number: int) -> dict[str, Searched]:
        """The values of a trial, in their own types."""
        return dict(self._study.trials[number].params)

    def importances(self) -> dict[str, float]:
        """The share of each Param in the success of trials, the largest first; empty if it is unknown.

        PED-ANOVA: how much the distribution of its values in the better trials differs from that in all
        trials. (Watanabe, Bansal, Hutter 2023, "PED-ANOVA: efficiently quantifying hyperparameter importance
        in arbitrary subspaces".)
        """
        values = self.table.query("state == 'complete'")["value"]
        return optuna.importance.get_param_importances(self._study) if values.nunique() > 1 else {}


def _state(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return "failed" if REASON in trial.user_attrs else "interrupted"
    return _STATES[trial.state]


def _distribution(part: Interval | Choices) -> BaseDistribution:
    if isinstance(part, Choices):
        return CategoricalDistribution(part.values)
    if part.whole:
        return IntDistribution(int(part.low), int(part.high), part.log, int(part.step or 1))
    return FloatDistribution(part.low, part.high, part.log, part.step)


def _grid(space: Space, seed: int) -> list[dict[str, Searched]]:
    """All combinations of the values of a space, in an order drawn by the seed."""
    axes: dict[str, Sequence[Searched]] = {}
    for name, part in space.items():
        values = part.grid()
        if values is None:
            raise ConfigError(
                f"tune.space.{name} is not allowed with tune.sampler = 'grid': set its step, or its choices"
            )
        axes[name] = values
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [points[place] for place in np.random.default_rng(seed).permutation(len(points))]


def _pruner(kind: str, steps: int, warmup: int) -> optuna.pruners.BasePruner:
    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_MEDIAN_OF, n_warmup_steps=warmup)
    if kind == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, warmup), max_resource=max(steps, warmup + 1)
        )
    return optuna.pruners.NopPruner()
