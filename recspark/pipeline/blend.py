"""The job `blend`: several models of one split as one, with weights from the validation rows.

docs/recipes.md explains the protocol.
"""

from __future__ import annotations

import logging

import pandas as pd

from recspark.data.splitting.splits import SplitOptions
from recspark.errors import ConfigError, RecsparkError
from recspark.features.options import FeatureOptions
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import Manifest, ModelManifest, SplitManifest
from recspark.pipeline import stages
from recspark.pipeline.blend_kinds import FittedBlend, ListBlend, RatingBlend, list_metric
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context
from recspark.pipeline.gate.versions import log_model, require_ability
from recspark.tracking import Run

log = logging.getLogger("recspark")


def blend(job: Context) -> dict[str, object]:
    """models/A, models/B ... -> models/NAME, predictions/NAME, metrics/NAME.json.

    The weights come from the validation rows, by models that only train rows have trained: with
    evaluation.ratings from predicted ratings, else from lists. Then each model is trained again on train and
    validation rows, as models/A-full on splits/SPLIT-full, unless the lake has it; those are blended. The
    test rows are read after that: they can't influence the weights.
    """
    options = job.sections.blend
    manifests = _manifests(job)
    product = next(iter(manifests.values())).split
    kind = RatingBlend if job.sections.evaluation.ratings else ListBlend
    with job.running("blend", "blend") as run:
        with job.lake.reading(product, *(f"models/{name}" for name in manifests)):
            fitted: FittedBlend = kind.fit(job, product, options.models)
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
        tested = [float(refitted[name][fitted.metric]) for name in options.models]
        reached = float(blended[fitted.metric])
        _report(run, _table(options.models, options.name, fitted, tested, reached), fitted)
        log_model(job, run, options.name, job.read(f"predictions/{options.name}/test"))
        best, gain = fitted.gain(reached, tested)
        facts = {
            "split": full.name,
            "models": options.models,
            "weights": list(fitted.weights),
            **fitted.facts,
            f"validation_{fitted.metric}": fitted.value,
            f"best_model_{fitted.metric}": best,
            "gain": gain,
        }
        summary = blended | facts
        run.metrics({key: value for key, value in summary.items() if isinstance(value, float)})
        return summary


def _manifests(job: Context) -> dict[str, ModelManifest]:
    """The manifests of the models to blend; all are of one split with validation rows."""
    options = job.sections.blend
    if options.models is None:
        raise ConfigError("blend.models is not set: name the models, as in `recspark blend als mf`")
    list_metric(options, job.sections.evaluation)
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
        if not job.sections.evaluation.ratings:
            require_ability(job.lake, name, "lists", "blend.models")
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


def _publish(job: Context, full: SplitOptions, names: list[str], fitted: FittedBlend) -> None:
    """Publish models/NAME: the models that were fitted again, and their weights."""
    models = {name + stages.FULL: job.lake.path(f"models/{name + stages.FULL}") for name in names}
    fields = fitted.fields(list(models))
    parts = {name: job.lake.require(f"models/{name}", Manifest, "train").fingerprint for name in models}
    blend_fingerprint = fingerprint("blend", parts, fitted.weights, fitted.facts, fitted.value)
    with job.lake.publish(f"models/{job.sections.blend.name}", blend_fingerprint) as publication:
        fitted.write(models, publication.path("").rstrip("/"))
        publication.manifest = ModelManifest(
            fingerprint=blend_fingerprint, split=f"splits/{full.name}", history=[], **fields
        )


def _table(
    names: list[str], name: str, fitted: FittedBlend, tested: list[float], blended: float
) -> pd.DataFrame:
    """One row per model, the blend last.

    The columns are model, weight, validation_METRIC (without those rows) and test_METRIC (fitted with them).
    """
    columns = {
        "weight": [*fitted.weights, None],
        f"validation_{fitted.metric}": [*fitted.alone, fitted.value],
        f"test_{fitted.metric}": [*tested, blended],
    }
    return pd.DataFrame({"model": [*names, name], **columns})


def _report(run: Run, table: pd.DataFrame, fitted: FittedBlend) -> None:
    text = table.to_string(index=False, na_rep="", float_format="{:.4f}".format)
    facts = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fitted.facts.items()
    )
    log.info("%s\n%s", facts, text)
    run.text(text, "blend.txt")
    run.text(table.to_csv(index=False), "blend.csv")
