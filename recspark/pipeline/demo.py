"""The demo: the whole pipeline on generated data with a known noise floor, several models side by side."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from recspark.data.formats.generic import DataOptions
from recspark.data.generated.synthetic import generate, write_movielens
from recspark.data.splitting.splits import SplitOptions
from recspark.evaluation.evaluate import EvaluationOptions
from recspark.pipeline import stages
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context
from recspark.redaction import redact

log = logging.getLogger("recspark")

#: name of a model in the table -> its [model] section
MODELS = {
    # factors with this penalty stay at zero: mean and biases are left, the yardstick of every factor model
    "bias-only": {
        "rank": 1,
        "regParam": 1e6,
        "biasRegParam": 0.02,
        "center": True,
        "biases": True,
        "maxIter": 10,
    },
    "als-mllib": {"rank": 16, "regParam": 0.1, "maxIter": 15},
    "als-biased": {"rank": 16, "regParam": 0.08, "center": True, "biases": True, "clip": True, "maxIter": 15},
    "als-implicit": {"rank": 16, "implicitPrefs": True, "alpha": 2.0, "regParam": 0.05, "maxIter": 10},
}


def demo(job: Context) -> dict[str, object]:
    """Ingest, index and split once, then train and evaluate every model; the table is printed on stderr."""
    source, floor = _source(job)
    split = SplitOptions(name="demo", testFraction=0.1, validationFraction=0.1)
    job = replace(job, sections=replace(job.sections, data=source, split=split))
    planned = {"ingest": 1, "index": 1, "split": 1, "train": len(MODELS), "evaluate": len(MODELS)}
    with job.running("demo", "split") as run, job.showing(planned):
        for stage in (stages.ingest, stages.index, stages.split):
            stage(job)
        results = {name: _model(job, name, values) for name, values in MODELS.items()}
        text = table(results, columns(job.sections.evaluation), floor)
        run.text(text, "comparison.txt")
        run.json(results, "comparison.json")
    log.info("\n%s\n\n%s", text, _what_next(job))
    return {"noise_floor": floor, "models": results, "run_id": run.id}


def _source(job: Context) -> tuple[DataOptions, float | None]:
    """The user's data, else a generated set, and its noise floor."""
    if job.sections.data.source or job.sections.data.dataset:
        return job.sections.data, None
    folder = Path(job.lake.path("generated")) / "ml-1m"
    log.info(
        "generating %d ratings of %d users ...", job.sections.synthetic.ratings, job.sections.synthetic.users
    )
    write_movielens(generate(job.sections.synthetic), folder)
    # beside the source: ingest names each file of its folder that it does not read
    truth = (folder / "truth.json").replace(folder.parent / "truth.json")
    return DataOptions(source=str(folder), dataset="ml-1m"), json.loads(truth.read_text())["noise_floor"]


def _model(job: Context, name: str, values: Mapping[str, object]) -> dict[str, float | None]:
    one = replace(job, sections=replace(job.sections, model=ModelSection(type="als", name=name, **values)))
    with one.running(name, "model") as run:
        summary = {
            key: value
            for key, value in (stages.train(one) | stages.evaluate(one)).items()
            if not isinstance(value, str)
        }
        row: dict[str, float | None] = {key: summary[key] for key in columns(job.sections.evaluation)}
        if values.get("implicitPrefs"):
            # preferences are not ratings: their distance from stars has no meaning
            row |= dict.fromkeys({"rmse", "mae"} & row.keys())
        run.metrics(row)
    return row


def columns(options: EvaluationOptions) -> dict[str, str]:
    """The columns of the table that `options` measure: a metric of `evaluate` or `train`, and its title.

    >>> columns(EvaluationOptions(ks=[5], ratings=False))
    {'ndcg_at_5': 'NDCG@5', 'recall_at_5': 'recall@5', 'auc': 'AUC', 'fit_seconds': 'fit s'}
    """
    k = options.ks[0]
    rating = {"rmse": "RMSE", "mae": "MAE"} if options.ratings else {}
    ranking = (
        {f"ndcg_at_{k}": f"NDCG@{k}", f"recall_at_{k}": f"recall@{k}", "auc": "AUC"}
        if options.ranking
        else {}
    )
    return rating | ranking | {"fit_seconds": "fit s"}


def table(
    results: Mapping[str, Mapping[str, float | None]], titles: dict[str, str], floor: float | None
) -> str:
    """Models x metrics as text, the noise floor below the RMSE.

    >>> titles = columns(EvaluationOptions())
    >>> print(table({"als": dict.fromkeys(titles, 0.5)}, titles, 0.25))
    model            RMSE      MAE  NDCG@10 recall@10      AUC    fit s
    als            0.5000   0.5000   0.5000    0.5000   0.5000   0.5000
    noise floor    0.2500
    """
    widths = {key: max(8, len(title)) for key, title in titles.items()}
    lines = ["model        " + " ".join(f"{titles[key]:>{width}}" for key, width in widths.items())]
    for name, row in results.items():
        cells = ("-" if row[key] is None else f"{row[key]:.4f}" for key in widths)
        lines.append(
            f"{name:<13}"
            + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths.values(), strict=True))
        )
    if floor is not None and "rmse" in titles:
        lines.append(f"{'noise floor':<13}{floor:>8.4f}")
    return "\n".join(lines)


def _what_next(job: Context) -> str:
    return (
        "The noise floor is the RMSE of an oracle that knows how the ratings were made.\n"
        f"{_where_runs_are(job)}\n"
        "On MovieLens: recspark demo --set data.dataset=ml-1m   (downloads it), or --set "
        "data.source=path/to/ml-1m.zip"
    )


def _where_runs_are(job: Context) -> str:
    """Advice how to compare the models in MLflow.

    It compares by the first metric that all models have, so only models with an RMSE are shown.
    """
    page = job.tracker.runs_page(f"metrics.rmse > 0 and tags.mlflow.parentRunId = '{job.run_id}'", "rmse")
    if page is None:
        return "Runs are not in MLflow: see the warning above, or tracking.enabled"
    if job.tracker.uri and job.tracker.is_server:
        return f"The models by RMSE, in MLflow: {redact(job.tracker.uri).rstrip('/')}{page}"
    return (
        f"The models by RMSE, in MLflow: mlflow server --backend-store-uri {redact(str(job.tracker.uri))} "
        f"--artifacts-destination {job.lake.path('mlartifacts')}   then open\nhttp://127.0.0.1:5000{page}"
    )
