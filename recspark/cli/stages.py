"""The jobs: each reads and writes the lake, reports an MLflow run and returns its summary."""

from __future__ import annotations

import logging
import time
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame

from recspark.cli.context import Context
from recspark.cli.model_figures import log_figures
from recspark.cli.versions import keep_updated, rated_pairs
from recspark.data.index import index_stage
from recspark.data.ingest import ingest as ingest_tables
from recspark.data.lake import fingerprint
from recspark.data.splits import split_stage
from recspark.errors import ConfigError
from recspark.evaluation import plots
from recspark.evaluation.evaluate import evaluate as evaluate_predictions
from recspark.evaluation.evaluate import write as write_evaluation
from recspark.features.options import read_tables, with_leaks
from recspark.models.factor_model import FactorModel, load_model
from recspark.models.fm_entities import FMModel
from recspark.models.params import Configurable
from recspark.models.scorer import Scorer

log = logging.getLogger("recspark")


def ingest(job: Context) -> dict[str, Any]:
    """Raw files -> tables/{ratings,users,items,tags,quarantine}."""
    with job.running("ingest", "data", "quality") as run:
        summary = ingest_tables(job.spark, job.lake, job["data"], job["quality"])
        run.metrics({key: summary[key] for key in ("ratings", "users", "items", "tags", "read", "quarantined")})
        run.dataset(summary["dataset"], summary["source"], summary["digest"], summary["ratings"], "ingest")
        return summary


def index(job: Context) -> dict[str, Any]:
    """tables -> index/{users,items}: dense positions of the ids."""
    with job.running("index") as run:
        summary = index_stage(job.spark, job.lake)
        run.json(summary, "index.json")
        return summary


def split(job: Context) -> dict[str, Any]:
    """tables -> splits/NAME/{train,validation,test}."""
    with job.running("split", "split") as run:
        summary = split_stage(job.spark, job.lake, job["split"])
        run.metrics({f"rows_{part}": rows for part, rows in summary["counts"].items()} | {"cold_share": summary["cold"]["share"]})
        return summary


def train(job: Context) -> dict[str, Any]:
    """splits/NAME -> models/NAME. A fit that was killed goes on from its last finished iteration."""
    options, product = job["model"], f"splits/{job['split'].name}"
    manifest = job.lake.require(product, "split")
    with job.running("train", "model") as run:
        parts = {part: job.read(f"{product}/{part}") for part, rows in manifest["counts"].items() if rows and part != "update"}
        estimator = _estimator(job, parts)
        watched = {part: rows for part, rows in parts.items() if part != "train"}
        model = (estimator.watch(**watched) if estimator.can_watch else estimator).fit(parts["train"])
        kept = keep_updated(job.lake, options.product)
        with job.lake.publish(f"models/{options.product}", fingerprint(manifest["fingerprint"], options.as_dict(), job["features"].as_dict())) as publication:
            model.write().save(publication.path("").rstrip("/"))
            publication.manifest.update(split=product, params=options.as_dict(), history=model.summary.history)
        job.lake.delete(f"work/{options.product}")
        summary = _training_summary(model, options.product) | ({"kept": kept} if kept else {})
        run.dataset(product, job.lake.path(product), manifest["fingerprint"], manifest["counts"]["train"], "training")
        run.params({"estimator": estimator.values()})
        run.curve(model.summary.history)
        run.metrics({key: value for key, value in summary.items() if isinstance(value, (int, float))})
        log_figures(job, run, load_model(job.lake.path(f"models/{options.product}")), model.summary)
        example = parts["test"].select("user_id", "item_id").limit(3).toPandas()
        run.model(Scorer, job.lake.path(f"models/{options.product}"), example)
        return summary


def _estimator(job: Context, parts: dict[str, DataFrame]) -> Configurable:
    """The estimator of the conf on the columns of a lake, with its features where it takes groups."""
    options = job["model"]
    lake = {"userCol": "user_id", "itemCol": "item_id", "labelCol": "rating", "workDir": job.lake.path(f"work/{options.product}")}
    known = options.estimator.hyperparameters()
    params = {name: value for name, value in lake.items() if name in known} | options.params
    if "groups" not in known:
        return options.estimator(**params)
    if not job["features"].groups:
        raise ConfigError(f'features.groups is not set: model.type = {options.kind!r} needs a list of feature groups, such as ["user", "item"]')
    users, items = read_tables(job.spark, job.lake)
    if job["features"].leak:
        users = with_leaks(users, reduce(DataFrame.unionByName, parts.values()))
    return options.estimator(**params, groups=job["features"].groups).tables(users, items)


def _training_summary(model: FactorModel, name: str) -> dict[str, Any]:
    fit = model.summary
    last = fit.history[fit.best_iteration - 1] if fit.history else {}
    facts = {"model": name, "iterations": len(fit.history), "best_iteration": fit.best_iteration, "resumed_at": fit.resumed_at}
    metrics = {key: last[key] for key in last if key.endswith("_rmse") or key == "objective"}
    return facts | metrics | {"fit_seconds": fit.fit_seconds, "prepare_seconds": fit.prepare_seconds}


def evaluate(job: Context) -> dict[str, Any]:
    """models/NAME on the test rows -> predictions/NAME, metrics/NAME.json."""
    name, product = job["model"].product, f"splits/{job['split'].name}"
    manifest = job.lake.require(f"models/{name}", "train")
    job.lake.require(product, "split")
    with job.running("evaluate", "evaluation") as run:
        started = time.perf_counter()
        model = load_model(job.lake.path(f"models/{name}"))
        if isinstance(model, FMModel):
            model.bind(job.read(f"{product}/train"))
        identity = fingerprint(manifest["fingerprint"], product)
        with job.lake.publish(f"predictions/{name}", identity) as publication:
            model.transform(job.read(f"{product}/test")).write.parquet(publication.path("test"))
        known = rated_pairs(job, manifest, f"{product}/train")
        seen = rated_pairs(job, manifest, f"{product}/train", f"{product}/validation")
        predictions = job.read(f"predictions/{name}/test")
        result = evaluate_predictions(job.spark, predictions, known, job["evaluation"], model.scorer, seen)
        write_evaluation(job.lake, name, result, identity)
        if result.per_user is not None:
            result.per_user.unpersist()
        run.metrics(result.metrics)
        if result.slices is not None:
            run.figure(plots.plot_distribution(result.histogram), "figures/predicted_vs_actual.png")
            run.figure(plots.plot_residuals(result.slices), "figures/residuals.png")
            run.text(result.slices.to_csv(index=False), "slices.csv")
        return {"model": name, **result.metrics, "evaluate_seconds": time.perf_counter() - started}


def pipeline(job: Context) -> dict[str, Any]:
    """All of it: ingest, index, split, train, evaluate, in one run with a nested run a stage."""
    with job.running("pipeline", "data", "split", "model") as run:
        results = {}
        for stage in (ingest, index, split, train, evaluate):
            started = time.perf_counter()
            log.info("%s ...", stage.__name__)
            results[stage.__name__] = stage(job)
            log.info("%s done in %.1f s", stage.__name__, time.perf_counter() - started)
        data = {key: results["ingest"][key] for key in ("dataset", "digest", "ratings", "users", "items", "quarantined")}
        rows = {f"rows_{part}": count for part, count in results["split"]["counts"].items()}
        measured = results["train"] | results["evaluate"]
        run.metrics({key: value for key, value in (rows | measured).items() if isinstance(value, (int, float))})
        return data | rows | measured
