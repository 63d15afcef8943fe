"""The job `crossvalidate`: split, train and evaluate for every fold of a split, in one Spark session."""

from __future__ import annotations

import logging

import pandas as pd

from recspark.data.splitting.splits import SplitOptions
from recspark.errors import ConfigError
from recspark.pipeline import stages
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context

log = logging.getLogger("recspark")

#: metrics that the log shows for every fold, if they are measured
SHOWN = ("rmse", "mae", "auc", "map")


def crossvalidate(job: Context) -> dict[str, object]:
    """Every fold of the split -> models/NAME-FOLD, metrics/NAME-FOLD.json.

    The run has one nested run per fold. The summary holds the mean of each metric over the folds under the
    metric's name, and under NAME_std the standard deviation of a fold, ``sqrt(sum (x - mean)^2 / (folds -
    1))``.
    """
    splits = fold_splits(job)
    planned = {"ingest": 1, "index": 1} | dict.fromkeys(("split", "train", "evaluate"), len(splits))
    with job.running("crossvalidate", "split", "model", "crossvalidation") as run, job.showing(planned):
        data = stages.ingest(job)
        stages.index(job)
        measured = pd.DataFrame({split.fold: _fold(job, split) for split in splits}).T
        # a metric that is undefined in a fold has no mean
        summary = (
            measured.mean(skipna=False).to_dict() | measured.std(skipna=False).add_suffix("_std").to_dict()
        )
        run.text(measured.to_csv(index_label="fold"), "folds.csv")
        run.metrics(summary)
        facts = stages.data_facts(data)
        return (
            facts | {"model": job.sections.model.product, "folds": [split.fold for split in splits]} | summary
        )


def fold_splits(job: Context) -> list[SplitOptions]:
    """The split of each fold: of the chosen folds, else of 1 to split.folds."""
    chosen, split = job.sections.crossvalidation.folds, job.sections.split
    if chosen is None and split.folds is None:
        raise ConfigError(
            "there are no folds to cross-validate over: set split.folds, or crossvalidation.folds, such as "
            '["u1", "u2"]'
        )
    names = [str(fold) for fold in chosen or range(1, split.folds + 1)]
    return [
        SplitOptions(**split.as_dict() | {"fold": name, "name": name_of(split.name, split.fold or "", name)})
        for name in names
    ]


def _fold(job: Context, split: SplitOptions) -> dict[str, float]:
    """Split, train and evaluate; returns all results that are numbers."""
    model = job.sections.model.as_dict()
    model |= {"name": f"{model['name']}-{split.name}"}
    one = job.on(split, ModelSection(**model))
    with one.running(f"fold {split.fold}", "split") as run:
        stages.split(one)
        trained = stages.train(one)
        results = stages.evaluate(one, table=False) | trained
        measured = {key: value for key, value in results.items() if isinstance(value, (int, float))}
        run.metrics(measured)
    log.info(
        "fold %s: %s", split.fold, ", ".join(f"{key} {results[key]:.4f}" for key in SHOWN if key in results)
    )
    return measured


def name_of(split: str, fold: str, other: str) -> str:
    """The name of the split of another fold, if `split` is that of `fold`.

    >>> name_of("u1", "u1", "u3"), name_of("fold-1", "1", "3"), name_of("random", "1", "3")
    ('u3', 'fold-3', 'random-3')
    """
    return f"{split.removesuffix(fold).rstrip('-')}-{other}".lstrip("-")
