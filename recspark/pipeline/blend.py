"""The job `blend`: several models of one split as one, with weights from the validation rows.

docs/recipes.md explains the protocol.
"""

from __future__ import annotations

import logging
from dataclasses import asdict

import pandas as pd

from recspark.data.splitting.splits import SplitOptions
from recspark.errors import ConfigError, RecsparkError
from recspark.features.options import FeatureOptions
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import BlendedModels, Manifest, ModelManifest, SplitManifest
from recspark.models.blend import BlendModel, Weights, fit_weights, fold_moments, model_rmse, with_predictions
from recspark.models.saving import load_model
from recspark.pipeline import stages
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context
from recspark.pipeline.estimators import trained_model
from recspark.pipeline.gate.versions import log_model
from recspark.tracking import Run

log = logging.getLogger("recspark")


def blend(job: Context) -> dict[str, object]:
    """models/A, models/B ... -> models/NAME, predictions/NAME, metrics/NAME.json.

    The weights come from the predictions for the validation rows of models that only train rows have trained.
    Then each model is trained again on train and validation rows, as models/A-full on splits/SPLIT-full,
    unless the lake has it; those are blended. The test rows are read after that: they can't influence the
    weights.
    """
    options = job.sections.blend
    manifests = _manifests(job)
    product = next(iter(manifests.values())).split
    with job.running("blend", "blend") as run:
        with job.lake.reading(product, *(f"models/{name}" for name in manifests)):
            validated, fitted = _weights(job, product, options.models)
        log.info(
            "weights: %s",
            ", ".join(
                f"{name} {weight:.3f}" for name, weight in zip(options.models, fitted.weights, strict=True)
            ),
        )
        full = stages.full_split(job, product)
        refitted = {name: _refit(job, full, name, manifest) for name, manifest in manifests.items()}
        with job.lake.reading(*(f"models/{name}{stages.FULL}" for name in manifests)):
            _publish(job, full, list(refitted), fitted)
        blended = stages.evaluate(job.on(full, ModelSection(name=options.name)))
        table = _table(options.models, validated, refitted, fitted, float(blended["rmse"]), options.name)
        _report(run, table, fitted)
        log_model(job, run, options.name, job.read(f"predictions/{options.name}/test"))
        best = table["test_rmse"].iloc[:-1].min()
        facts = {
            "split": full.name,
            "models": options.models,
            "weights": list(fitted.weights),
            "intercept": fitted.intercept,
        }
        facts |= {
            "penalty": fitted.penalty,
            "validation_rmse": fitted.rmse,
            "best_model_rmse": best,
            "gain": best - float(blended["rmse"]),
        }
        summary = blended | facts
        run.metrics({key: value for key, value in summary.items() if isinstance(value, float)})
        return summary


def _manifests(job: Context) -> dict[str, ModelManifest]:
    """The manifests of the models to blend; all are of one split with validation rows."""
    options = job.sections.blend
    if options.models is None:
        raise ConfigError("blend.models is not set: name the models, as in `recspark blend als mf`")
    if not job.sections.evaluation.ratings:
        raise ConfigError(
            "evaluation.ratings = False is not allowed with blend: a blend predicts ratings, and is judged "
            "by their RMSE"
        )
    if taken := {options.name, options.name.removesuffix(stages.FULL)} & set(options.models):
        raise ConfigError(
            f"blend.name = {options.name!r} is not allowed: it would replace models/{taken.pop()}, which is "
            "to be blended"
        )
    manifests = {name: job.lake.require(f"models/{name}", ModelManifest, "train") for name in options.models}
    for name, manifest in manifests.items():
        if manifest.best_iteration is None or manifest.updates or manifest.positive_from is not None:
            raise ConfigError(
                f"models/{name} is not allowed in a blend: train one of ratings, which no update has "
                "changed, again"
            )
    splits = {name: manifest.split for name, manifest in manifests.items()}
    if len(set(splits.values())) > 1:
        found = ", ".join(f"{name} is of {split}" for name, split in splits.items())
        raise ConfigError(f"models of different splits can't be blended: {found}")
    split = job.lake.require(next(iter(splits.values())), SplitManifest, "split")
    stale = [name for name, manifest in manifests.items() if manifest.split_fingerprint != split.fingerprint]
    if stale:
        raise RecsparkError(
            f"models/{stale[0]} was trained on other rows than {splits[stale[0]]} has now: train it again"
        )
    if not split.counts["validation"]:
        raise ConfigError(
            f"{splits[options.models[0]]} has no validation rows, which the weights of a blend come from: "
            "split again with "
            "split.validationFraction, such as 0.1, and train the models on that"
        )
    return manifests


def _weights(job: Context, product: str, names: list[str]) -> tuple[list[float], Weights]:
    """RMSE of each model on the validation rows, and the weights from these rows."""
    models = {name: trained_model(job, name, product) for name in names}
    moments = fold_moments(
        with_predictions(job.read(f"{product}/validation"), models), names, job.sections.blend.seed
    )
    return model_rmse(moments), fit_weights(moments, job.sections.blend.regParam)


def _refit(job: Context, full: SplitOptions, name: str, manifest: ModelManifest) -> stages.Figures:
    """Train models/NAME again on train and validation rows; returns its test metrics.

    It gets as many iterations as were best.
    """
    params = manifest.params | {"name": name + stages.FULL}
    if "maxIter" in ModelSection(**params).estimator.hyperparameters():
        params["maxIter"] = manifest.best_iteration
    one = job.on(full, ModelSection(**params), FeatureOptions(**manifest.features))
    with one.running(name + stages.FULL):
        if stages.is_trained(one.lake, one.sections):
            log.info("models/%s is in the lake", name + stages.FULL)
        else:
            stages.train(one)
        return stages.evaluate(one)


def _publish(job: Context, full: SplitOptions, names: list[str], fitted: Weights) -> None:
    """Publish models/NAME: the models that were fitted again, and their weights."""
    product = f"models/{job.sections.blend.name}"
    models = {name + stages.FULL: load_model(job.lake.path(f"models/{name + stages.FULL}")) for name in names}
    parts = {name: job.lake.require(f"models/{name}", Manifest, "train").fingerprint for name in models}
    blend_fingerprint = fingerprint("blend", parts, asdict(fitted))
    with job.lake.publish(product, blend_fingerprint) as publication:
        BlendModel(models, fitted).write().save(publication.path("").rstrip("/"))
        publication.manifest = ModelManifest(
            fingerprint=blend_fingerprint,
            split=f"splits/{full.name}",
            history=[],
            blend=BlendedModels(models=tuple(models), **asdict(fitted)),
        )


def _table(
    names: list[str],
    validated: list[float],
    refitted: dict[str, stages.Figures],
    fitted: Weights,
    rmse: float,
    name: str,
) -> pd.DataFrame:
    """One row per model, the blend last.

    The columns are model, weight, validation_rmse (without those rows) and test_rmse (fitted with them).
    """
    tested = [refitted[model]["rmse"] for model in names]
    columns = {
        "weight": [*fitted.weights, None],
        "validation_rmse": [*validated, fitted.rmse],
        "test_rmse": [*tested, rmse],
    }
    return pd.DataFrame({"model": [*names, name], **columns})


def _report(run: Run, table: pd.DataFrame, fitted: Weights) -> None:
    text = table.to_string(index=False, na_rep="", float_format="{:.4f}".format)
    log.info("intercept %.4f, penalty %.2g\n%s", fitted.intercept, fitted.penalty, text)
    run.text(text, "blend.txt")
    run.text(table.to_csv(index=False), "blend.csv")
