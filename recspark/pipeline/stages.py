"""The jobs: each reads and writes the lake, reports an MLflow run and returns its summary."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from recspark.data.index import IndexSummary, index_stage
from recspark.data.ingest import IngestSummary
from recspark.data.ingest import ingest as ingest_tables
from recspark.data.lakehouse.publish import write_table
from recspark.data.splitting.splits import SplitOptions, SplitSummary, split_stage
from recspark.engine.spark.hadoop import hadoop_copy
from recspark.errors import RecsparkError
from recspark.evaluation import plots
from recspark.evaluation.evaluate import evaluate as evaluate_predictions
from recspark.evaluation.evaluate import write as write_evaluation
from recspark.lake.fingerprints import fingerprint
from recspark.lake.lake import Lake
from recspark.lake.manifests import Manifest, ModelManifest, PredictionsManifest, SplitManifest
from recspark.models.factors.model import Summary
from recspark.models.saving import load_model
from recspark.pipeline.conf.sections import Sections
from recspark.pipeline.context import Context
from recspark.pipeline.estimators import copy_index, labelled, make_estimator, trained_model
from recspark.pipeline.gate.versions import keep_updated, log_model, rated_pairs
from recspark.pipeline.model_figures import log_figures
from recspark.pipeline.report.report import keep_stage_seconds, stage_seconds, write_report

log = logging.getLogger("recspark")

#: ending of the name of a split whose train rows are train and validation rows of another
FULL = "-full"

#: metrics that a run's description shows, if they are measured
_IN_WORDS = ("rmse", "mae", "ndcg_at_10", "auc")

#: the summary of a training or an evaluation: figures, and names of products
Figures = dict[str, str | float]


def ingest(job: Context) -> IngestSummary:
    """Raw files -> tables/{ratings,users,items,tags,quarantine}."""
    outer = job.run
    with job.running("ingest", "data", "quality") as run:
        summary = ingest_tables(
            job.spark,
            job.lake,
            job.sections.data,
            job.sections.quality,
            copy=hadoop_copy(job.spark),
            parts=job.sections.split.own_parts,
        )
        if summary["unchanged"]:
            job.progress.unchanged()
        run.metrics(
            {
                "ratings": summary["ratings"],
                "users": summary["users"],
                "items": summary["items"],
                "tags": summary["tags"],
                "read": summary["read"],
                "merged": summary["merged"],
                "quarantined": summary["quarantined"],
            }
        )
        read = summary["dataset"], summary["source"], summary["digest"], summary["ratings"]
        run.dataset(*read, "ingest")
        versions = {"data": {"version": summary["versions"]}} if summary["versions"] else {}
        run.params(versions)
        # this run has all options of [data]; the run that continues with the tables has only those that
        # matter
        if outer:
            outer.dataset(*read)
            outer.params({"data": {"dataset": summary["dataset"], "source": summary["source"]}})
            outer.params(versions)
        return summary


def index(job: Context) -> IndexSummary:
    """tables -> index/{users,items}: dense positions of the ids."""
    with job.running("index") as run:
        summary = index_stage(job.spark, job.lake)
        if summary["unchanged"]:
            job.progress.unchanged()
        run.json(summary, "index.json")
        return summary


def split(job: Context) -> SplitSummary:
    """tables -> splits/NAME/{train,validation,test}."""
    with job.running("split", "split") as run:
        summary = split_stage(job.spark, job.lake, job.sections.split)
        if summary["unchanged"]:
            job.progress.unchanged()
        run.metrics(
            {f"rows_{part}": rows for part, rows in summary["counts"].items()}
            | {"cold_share": summary["cold"]["share"]}
            | {f"overlap_{name}": rows for name, rows in summary.get("overlap", {}).items()}
        )
        return summary


def full_split(job: Context, product: str) -> SplitOptions:
    """Publish the split with the test rows of `product`, trained on its train and validation rows."""
    manifest = job.lake.require(product, SplitManifest, "split")
    options = SplitOptions(
        **manifest.options | {"trainOnValidation": True, "name": f"{manifest.options['name']}{FULL}"}
    )
    counts = split(replace(job, sections=replace(job.sections, split=options)))["counts"]
    before = manifest.counts
    expected = before | {"train": before["train"] + before["validation"], "validation": 0}
    source = job.lake.require(f"splits/{options.name}", SplitManifest, "split").source
    if counts != expected or source != manifest.source:
        raise RecsparkError(
            f"the tables have changed since {product} was made ({counts} rows, not {expected}): split and "
            "train again"
        )
    return options


def train(job: Context) -> Figures:
    """index, splits/NAME -> models/NAME. A killed fit goes on from its last finished iteration."""
    with (
        job.lake.reading(f"splits/{job.sections.split.name}"),
        job.lake.writing(f"models/{job.sections.model.product}"),
    ):
        return _train(job)


def _train(job: Context) -> Figures:
    options, product = job.sections.model, f"splits/{job.sections.split.name}"
    manifest = job.lake.require(product, SplitManifest, "split")
    with job.running("train", "model") as run:
        trained = [part for part, rows in manifest.counts.items() if rows and part != "update"]
        parts = {part: labelled(job.read(f"{product}/{part}"), options.positiveFrom) for part in trained}
        copy_index(job, manifest)
        estimator = make_estimator(job, parts)
        watched = {part: rows for part, rows in parts.items() if part != "train"}
        model = (estimator.watch(**watched) if estimator.can_watch else estimator).fit(parts["train"])
        if model.hasParam("index"):
            # the copy is deleted with the work folder
            model.clear(model.getParam("index"))
        kept = keep_updated(job.lake, options.product)
        model_fingerprint = _model_fingerprint(job.lake, job.sections)
        with job.lake.publish(f"models/{options.product}", model_fingerprint) as publication:
            model.write().save(publication.path("").rstrip("/"))
            publication.manifest = ModelManifest(
                fingerprint=model_fingerprint,
                split=product,
                split_fingerprint=manifest.fingerprint,
                params=options.as_dict(),
                features=job.sections.features.as_dict(),
                history=model.summary.history,
                best_iteration=model.summary.best_iteration,
                fit_seconds=model.summary.fit_seconds,
            )
        job.lake.delete(f"work/{options.product}")
        summary = _training_summary(model.summary, options.product) | ({"kept": kept} if kept else {})
        run.dataset(
            product, job.lake.path(product), manifest.fingerprint, manifest.counts["train"], "training"
        )
        run.params({"estimator": estimator.values()})
        run.curve(model.summary.history)
        run.metrics({key: value for key, value in summary.items() if isinstance(value, (int, float))})
        log_figures(job, run, load_model(job.lake.path(f"models/{options.product}")), model.summary)
        log_model(job, run, options.product, parts["test"])
        return summary


def _model_fingerprint(lake: Lake, sections: Sections) -> str:
    """The fingerprint of the model that a conf makes of the split as it is in the lake."""
    split = lake.require(f"splits/{sections.split.name}", Manifest, "split")
    return fingerprint(split.fingerprint, sections.model.as_dict(), sections.features.as_dict())


def is_trained(lake: Lake, sections: Sections) -> bool:
    """Whether models/NAME is the model that `train` would make, and no update has changed it since."""
    return lake.is_current(f"models/{sections.model.product}", _model_fingerprint(lake, sections))


def _training_summary(fit: Summary, name: str) -> Figures:
    last = fit.history[fit.best_iteration - 1] if fit.history else {}
    return {
        "model": name,
        "iterations": len(fit.history),
        "best_iteration": fit.best_iteration,
        "resumed_at": fit.resumed_at,
        **{key: last[key] for key in last if key.endswith(("_rmse", "_auc")) or key == "objective"},
        "fit_seconds": fit.fit_seconds,
        "prepare_seconds": fit.prepare_seconds,
    }


def evaluate(job: Context, table: bool = True) -> Figures:
    """models/NAME on the test rows -> predictions/NAME, metrics/NAME.json.

    With `table` the predictions also replace the rows of evaluation.table, if it is set.
    """
    with job.lake.reading(f"splits/{job.sections.split.name}", f"models/{job.sections.model.product}"):
        return _evaluate(job, job.sections.evaluation.table if table else None)


def _evaluate(job: Context, table: str | None) -> Figures:
    name, product = job.sections.model.product, f"splits/{job.sections.split.name}"
    manifest = job.lake.require(f"models/{name}", ModelManifest, "train")
    rows = job.lake.require(product, Manifest, "split").fingerprint
    with job.running("evaluate", "evaluation", about=name) as run:
        started = time.perf_counter()
        run.params({"model": manifest.params | {"name": name}})
        model = trained_model(job, name, product)
        positive_from = manifest.positive_from
        predictions_fingerprint = fingerprint(manifest.fingerprint, product)
        with job.lake.publish(f"predictions/{name}", predictions_fingerprint) as publication:
            model.transform(labelled(job.read(f"{product}/test"), positive_from)).write.parquet(
                publication.path("test")
            )
            if table is not None:
                write_table(job.spark.read.parquet(publication.path("test")), "evaluation.table", table)
            publication.manifest = PredictionsManifest(
                fingerprint=predictions_fingerprint,
                model=manifest.fingerprint,
                split=product,
                split_fingerprint=rows,
            )
        known = rated_pairs(job, manifest, f"{product}/train")
        seen = rated_pairs(job, manifest, f"{product}/train", f"{product}/validation")
        predictions = job.read(f"predictions/{name}/test")
        labels = positive_from is not None
        scorer = model.scorer if "lists" in model.can else None
        result = evaluate_predictions(
            job.spark, predictions, known, job.sections.evaluation, scorer, seen, labels=labels
        )
        write_evaluation(job.lake, name, result, predictions_fingerprint)
        if result.per_user is not None:
            result.per_user.unpersist()
        run.metrics(result.metrics)
        if result.slices is not None:
            run.figure(plots.plot_distribution(result.histogram), "figures/predicted_vs_actual.png")
            run.figure(plots.plot_residuals(result.slices), "figures/residuals.png")
            run.text(result.slices.to_csv(index=False), "slices.csv")
        return {"model": name, **result.metrics, "evaluate_seconds": time.perf_counter() - started}


def pipeline(job: Context) -> dict[str, object]:
    """Ingest, index, split, train and evaluate, in one run with one nested run per stage; then a report."""
    job.sections.split.require_fold()
    name = job.sections.model.product
    planned = dict.fromkeys(("ingest", "index", "split", "train", "evaluate"), 1)
    planned |= {"report": 1} if job.sections.tracking.report else {}
    with (
        job.running("pipeline", "split", "model") as run,
        job.showing(planned, stage_seconds(job.lake, name)) as progress,
    ):
        data = data_facts(ingest(job))
        index(job)
        cut = split(job)
        rows = {f"rows_{part}": count for part, count in cut["counts"].items()}
        rows |= {f"overlap_{name}": count for name, count in cut.get("overlap", {}).items() if count}
        trained = train(job)
        # MLflow's compare page draws the metric that is written first
        measured = evaluate(job) | trained
        run.metrics(
            {key: value for key, value in (measured | rows).items() if isinstance(value, (int, float))}
        )
        run.describe(_in_a_sentence(job, data, measured))
        reported: dict[str, object] = {}
        if job.sections.tracking.report:
            with progress.stage("report"):
                reported["report"] = write_report(job, run, progress.seconds)
        keep_stage_seconds(job.lake, name, progress.seconds)
    if reported:
        log.info("report: %s", reported["report"])
    return data | rows | measured | reported


def data_facts(read: IngestSummary) -> dict[str, object]:
    """The facts of an ingest that the summary of a job with more stages has as well."""
    return {
        "dataset": read["dataset"],
        "digest": read["digest"],
        "ratings": read["ratings"],
        "users": read["users"],
        "items": read["items"],
        "quarantined": read["quarantined"],
    }


def _in_a_sentence(job: Context, data: Mapping[str, object], measured: Mapping[str, object]) -> str:
    """The work and its result, in Markdown."""
    model, split = job.sections.model, job.sections.split.name
    found = ", ".join(
        f"{name} {measured[name]:.4f}" for name in _IN_WORDS if isinstance(measured.get(name), float)
    )
    return (
        f"`{model.product}` ({model.kind}) on {data['dataset']}, {data['ratings']} ratings, split `{split}`: "
        f"**{found}**"
    )
