"""Versions of a model: copies in the lake when models/NAME changes, models in MLflow, and their ratings."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import reduce

import msgspec
from pyspark.sql import DataFrame

from recspark.errors import ConfigError, RecsparkError
from recspark.lake.lake import Lake
from recspark.lake.manifests import Manifest, ModelManifest
from recspark.models.folder import read_facts, stamp_of
from recspark.pipeline.context import Context
from recspark.tracking import Run

log = logging.getLogger("recspark")


def copy_product(lake: Lake, product: str, target: str) -> None:
    """Copy all files of a product into the folder `target` of the lake."""
    lake.copy(product, target)


def factor_manifest(lake: Lake, name: str) -> ModelManifest:
    """The manifest of models/NAME.

    Raise ConfigError for a blend and a model of rows, which have no factors to make lists from, or to update.
    """
    manifest = lake.require(f"models/{name}", ModelManifest, "train")
    if manifest.blend is not None:
        models = ", ".join(manifest.blend.models)
        raise ConfigError(
            f"model.name = {name!r} is not allowed: models/{name} is a blend, it must be one model, such as "
            f"those in it: {models}"
        )
    require_ability(lake, name, "lists", "model.name")
    return manifest


def require_ability(lake: Lake, name: str, ability: str, key: str) -> None:
    """Raise ConfigError, which names the option `key`, if models/NAME lacks the ability.

    See `recspark.models.folder.ABILITIES`.
    """
    try:
        read_facts(lake.path(f"models/{name}")).require(ability, f"models/{name}")
    except RecsparkError as error:
        raise ConfigError(f"{key} = {name!r} is not allowed: {error}") from None


def keep_version(lake: Lake, name: str, manifest: ModelManifest) -> int:
    """Keep models/NAME, whose manifest is given, also as models/NAME-vN, unless it is; returns N.

    No other model is replaced.
    """
    found = {
        int(match[1]): other
        for other in lake.names("models")
        if (match := re.fullmatch(rf"{re.escape(name)}-v(\d+)", other))
    }
    for number, other in found.items():
        if fingerprint_and_stamp(lake, other) == fingerprint_and_stamp(lake, name):
            return number
    number = max([manifest.version or 1, *(taken + 1 for taken in found)])
    with lake.publish(f"models/{name}-v{number}", manifest.fingerprint) as publication:
        copy_product(lake, f"models/{name}", publication.product)
        publication.manifest = msgspec.structs.replace(manifest, version=number)
    return number


def fingerprint_and_stamp(lake: Lake, name: str) -> tuple[str | None, str | None]:
    """The fingerprint and the stamp of models/NAME.

    A start from a file (initialModel) is not part of the former.
    """
    manifest = lake.manifest(f"models/{name}", Manifest)
    return manifest.fingerprint if manifest else None, stamp_of(lake.path(f"models/{name}"))


def keep_updated(lake: Lake, name: str) -> str | None:
    """Keep models/NAME as models/NAME-vN before it is trained anew, if updates have changed it.

    A log line says so; returns that name.
    """
    manifest = lake.manifest(f"models/{name}", ModelManifest)
    if manifest is None or not manifest.updates:
        return None
    kept = f"models/{name}-v{keep_version(lake, name, manifest)}"
    batches = ", ".join(manifest.updates)
    log.warning(
        "models/%s is trained anew, without the updates that it had taken in (%s): it is kept as %s",
        name,
        batches,
        kept,
    )
    return kept


def log_model(job: Context, run: Run, name: str, rows: DataFrame) -> None:
    """Log models/NAME as an MLflow model, which answers pairs of ids as they are in `rows`.

    If nothing can serve the model, a log line says so.
    """
    folder = job.lake.path(f"models/{name}")
    if not run.keeps_models:
        return
    facts = read_facts(folder)
    if "serve" in facts.can:
        run.model(facts.find_scorer(), folder, rows.select("user_id", "item_id").limit(3).toPandas())
    else:
        log.info(
            "models/%s is not kept in MLflow: a model of kind %s can't be served, its answers need Spark",
            name,
            facts.kind,
        )


def rated_pairs(job: Context, manifest: ModelManifest, *tables: str) -> DataFrame:
    """The pairs (user_id, item_id) of `tables`, and of the batches that have updated the model of `manifest`.

    Some may occur twice.
    """
    return pairs_of(job, rated_tables(manifest, *tables))


def pairs_of(job: Context, tables: Sequence[str]) -> DataFrame:
    """The pairs (user_id, item_id) of tables of the lake."""
    return reduce(DataFrame.unionByName, (job.read(name).select("user_id", "item_id") for name in tables))


def rated_tables(manifest: ModelManifest, *tables: str) -> list[str]:
    """`tables`, and those of the batches that have updated the model of `manifest`."""
    return [*tables, *(f"{batch}/ratings" for batch in manifest.updates)]
