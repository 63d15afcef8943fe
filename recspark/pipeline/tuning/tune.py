"""The job `tune`: Params by trials on the validation rows of a split; docs/tuning.md.

The test rows are read once, for the winner.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice, product
from pathlib import Path

import pandas as pd

from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation import study_plots
from recspark.evaluation.goals import lower_is_better
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import Manifest
from recspark.models.unread import unread
from recspark.pipeline import stages
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context
from recspark.pipeline.tuning.search_space import Choices, Searched, Space, parse_space, start_of
from recspark.pipeline.tuning.study import Search, Study, open_study
from recspark.pipeline.tuning.trials import Trials, narrowed
from recspark.tracking import Run

log = logging.getLogger("recspark")

#: number of trials that the log shows at the end
_SHOWN = 5

#: most combinations of choices that are searched for Params that are not read
_COMBINATIONS = 1000


def tune(job: Context) -> dict[str, object]:
    """splits/NAME -> tuning/STUDY.db, then models/NAME by the best Params and its test metrics.

    The run has one nested run per trial. Trials train on the train rows and are judged on the validation
    rows. The winner trains on both, with as many iterations as were best for it, on splits/NAME-full, whose
    test rows are those of splits/NAME; they are read after the last trial.
    """
    options, model = job.sections.tune, job.sections.model
    space = searched(model, options.space)
    minimize = lower_is_better(
        "tune.metric", options.metric, job.sections.evaluation.ks, model.positiveFrom is not None
    )
    narrowed(job.sections.evaluation, options.metric)
    folder = _folder(job)
    job.sections.split.require_fold()
    # the winner takes about as long as a trial
    planned = {"ingest": 1, "index": 1, "split": 1, "trial": options.trials + 1}
    with job.running("tune", "data", "split", "model", "tune") as run, job.showing(planned) as progress:
        for stage in (stages.ingest, stages.index, stages.split):
            stage(job)
        trials = Trials(job, run)
        search = Search(
            space=space,
            trials=options.trials,
            minimize=minimize,
            sampler=options.sampler,
            pruner=options.pruner,
            seed=options.seed,
            steps=trials.steps(space),
            warmup=options.warmup,
            start=start_of(model, space),
        )
        opened = open_study(
            folder, options.study or model.product, _origin(job, space), job.lake.wait, search
        )
        with job.lake.reading(f"splits/{job.sections.split.name}"), opened as study:
            progress.expect("trial", study.remaining + 1)
            trials.run(study)
            progress.expect("trial", 1)
            best = _report(run, study, space, options.metric, minimize)
            params = study.params(best["number"])
        found: dict[str, object] = {
            f"validation_{options.metric}": best["value"],
            "trial": int(best["number"]),
            "trials": len(study.table),
            "best": params,
        }
        with progress.stage("trial", "winner"):
            measured = _refit(job, run, params, best)
        return {**measured, **found}


def searched(model: ModelSection, declared: Mapping[str, object] | None) -> Space:
    """The declared space, else the default one.

    The default leaves out Params that no trial reads, and `standardize` if [model] sets it.

    Raises
    ------
    ConfigError
        As `parse_space`, and for a declared Param that no trial reads, for any values of the others.
    """
    space = parse_space(model, declared)
    never = _never_read(model, space)
    if not declared:
        return {
            name: part
            for name, part in space.items()
            if name not in never and (name, name in model.params) != ("standardize", True)
        }
    for name, setting in never.items():
        raise ConfigError(
            f"tune.space.{name} is not allowed: model.type = {model.kind!r} does not read it ({setting}), so "
            "all trials would be one"
        )
    return space


def _never_read(model: ModelSection, space: Space) -> dict[str, str]:
    """The Params of `space` that no trial reads, each with the reason."""
    never = dict.fromkeys(space, "")
    axes = [
        [(name, value) for value in (part.values if isinstance(part, Choices) else (part.low,))]
        for name, part in space.items()
    ]
    for values in islice(product(*axes), _COMBINATIONS):
        found = _unread(ModelSection(**model.as_dict() | dict(values)))
        never = {name: found[name] for name in never if name in found}
    return never


def _unread(model: ModelSection) -> dict[str, str]:
    """The Params that no fit of `model` reads in a trial, each with the reason."""
    estimator = model.estimator(**model.params)
    if not estimator.hasParam("groups"):
        # trials watch the validation rows
        return unread(estimator.watch(validation=None), "ratings")
    # whether groups are fitted as entities or as rows is known once their columns are
    as_rows, as_entities = (unread(estimator.watch(validation=None), form) for form in ("rows", "entities"))
    return (
        as_rows
        if estimator.getSolver() not in ("mcmc", "als")
        else {name: why for name, why in as_rows.items() if name in as_entities}
    )


def _folder(job: Context) -> Path:
    if job.sections.tune.folder:
        return Path(job.sections.tune.folder).expanduser().absolute()
    if not job.lake.is_local:
        raise ConfigError(
            f"tune.folder is not set: a study is an sqlite file, which {job.lake.root} can't hold; name a "
            "local folder"
        )
    return Path(job.lake.at("tuning"))


def _origin(job: Context, space: Space) -> dict[str, str]:
    """The facts that the values of trials depend on, by the name of a section."""
    model = {
        key: value
        for key, value in job.sections.model.as_dict().items()
        if key not in space and key != "name"
    }
    split = job.lake.require(f"splits/{job.sections.split.name}", Manifest, "split").fingerprint
    searched = {name: asdict(part) for name, part in space.items()}
    parts = {
        "split": split,
        "model": model,
        "features": job.sections.features.as_dict(),
        "evaluation": job.sections.evaluation.as_dict(),
    }
    parts |= {"tune.metric": job.sections.tune.metric, "tune.space": searched}
    return {name: fingerprint(part) for name, part in parts.items()}


def _report(run: Run, study: Study, space: Space, metric: str, minimize: bool) -> pd.Series:
    """Write tables and figures of the run; returns the row of the best trial.

    Raise RecsparkError if no trial was completed.
    """
    table, best = study.table, study.best()
    if metric != "rmse":
        # a pruned trial has the last figure of its curve, which is not the metric
        table["value"] = table["value"].where(table["state"] == "complete")
    run.text(table.to_csv(index=False), "trials.csv")
    if best is None:
        failed = table[table["state"] == "failed"]
        reason = (
            f"; the first that failed: {failed['reason'].iloc[0]}"
            if len(failed)
            else ", or raise tune.timeout"
        )
        raise RecsparkError(f"none of {len(table)} trials was completed: look at tune.space{reason}")
    axes: dict[str, study_plots.Axis] = {
        name: {"choices": part.values} if isinstance(part, Choices) else {"log": part.log}
        for name, part in space.items()
    }
    run.figure(study_plots.plot_history(table, metric, minimize), "figures/history.png")
    run.figure(study_plots.plot_slices(table, axes, metric, minimize), "figures/slices.png")
    run.figure(study_plots.plot_parallel(table, axes, metric, minimize), "figures/parallel_coordinates.png")
    if importances := study.importances():
        run.figure(study_plots.plot_importances(importances), "figures/importances.png")
    counts = ", ".join(f"{number} {state}" for state, number in table["state"].value_counts().items())
    first = (
        table[table["state"] == "complete"]
        .sort_values("value", ascending=minimize, kind="stable")
        .head(_SHOWN)
    )
    log.info(
        "%d trials: %s\n%s", len(table), counts, first[["number", "value", *space]].to_string(index=False)
    )
    return best


def _refit(job: Context, run: Run, params: dict[str, Searched], best: pd.Series) -> stages.Figures:
    """Train the winner on train and validation rows; returns its metrics on the test rows."""
    values = job.sections.model.as_dict() | params
    if "maxIter" in job.sections.model.known:
        # the validation rows were needed for the best number of iterations; now they train, too
        values["maxIter"] = int(best["iterations"])
    model = ModelSection(**values)
    text = as_toml(model.as_dict())
    log.info("the best, trial %d:\n%s", best["number"], text)
    run.text(text, "best.toml")
    run.json(params, "best.json")
    final = job.on(stages.full_split(job, f"splits/{job.sections.split.name}"), model)
    with final.running("winner", "split", "model"):
        measured = stages.train(final) | stages.evaluate(final)
    numbers = {key: value for key, value in measured.items() if isinstance(value, (int, float))}
    run.metrics(
        numbers | {f"best.{key}": value for key, value in params.items() if isinstance(value, (int, float))}
    )
    run.tags({f"best.{key}": value for key, value in params.items()})
    return measured


def as_toml(model: dict[str, object]) -> str:
    """The section ``[model]`` of a conf file.

    >>> print(as_toml({"type": "als", "rank": 64, "clip": True}), end="")
    [model]
    type = "als"
    rank = 64
    clip = true
    """
    # numbers, strings and booleans are written in TOML as in JSON
    return "[model]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in model.items())
