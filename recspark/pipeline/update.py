"""The job `update`: new ratings into a model without training it again; the old model is kept."""

from __future__ import annotations

import logging
import time
from functools import reduce

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.data.batch import publish_batch
from recspark.data.formats.generic import GENERIC, DataOptions
from recspark.data.index import grow_index
from recspark.engine.spark.hadoop import hadoop_copy
from recspark.engine.spark.session import default_threads
from recspark.errors import ConfigError
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import BatchManifest, ModelManifest
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.pipeline.context import Context
from recspark.pipeline.gate.versions import copy_product, factor_manifest, keep_version, log_model

log = logging.getLogger("recspark")

_COLUMNS = ("user_id", "item_id", "rating")


def update(job: Context) -> dict[str, object]:
    """New ratings -> updates/ID, index, models/NAME; the old model becomes models/NAME-vN.

    The same ratings again change nothing.
    """
    with job.lake.writing(f"models/{job.sections.model.product}"):
        return _update(job)


def _update(job: Context) -> dict[str, object]:
    name, started = job.sections.model.product, time.perf_counter()
    manifest = factor_manifest(job.lake, name)
    with job.running("update", "update", about=name) as run:
        source = _source(job, manifest)
        batch = publish_batch(job.spark, job.lake, source, job.sections.quality, hadoop_copy(job.spark))
        facts = job.lake.require(batch, BatchManifest, "update").tables["ratings"]
        n_rows, digest, _ = facts.published()
        run.dataset(batch, job.lake.path(batch), digest, n_rows, "update")
        run.params({"model": manifest.params})
        unchanged = batch in manifest.updates
        if unchanged:
            log.info("models/%s has the ratings of %s already: nothing to do", name, batch)
            made = manifest
        else:
            made = _apply(job, name, manifest, batch)
        updated = made.update or {}
        counts = dict.fromkeys(updated, 0) if unchanged else updated
        summary: dict[str, object] = {
            "model": name,
            "batch": batch,
            "unchanged": unchanged,
            "version": made.version,
            **counts,
        }
        summary |= {
            "read": facts.read,
            "quarantined": facts.quarantined,
            "seconds": time.perf_counter() - started,
        }
        run.metrics({key: value for key, value in summary.items() if isinstance(value, (int, float))})
        if not unchanged:
            log_model(job, run, name, job.read(f"{batch}/ratings"))
        return summary


def _source(job: Context, manifest: ModelManifest) -> DataOptions:
    """The place of the new ratings, and how to read them."""
    given, source = job.sections.data.as_dict(), job.sections.update.source
    if source:
        # an edition of MovieLens says how the archive is read, not the new ratings
        return DataOptions(
            **given
            | {
                "source": source,
                "asOf": None,
                "dataset": given["dataset"] if given["dataset"] in GENERIC else None,
            }
        )
    part = f"{manifest.split}/update"
    if not job.lake.exists(part):
        missing = f"update.source is not set, and {job.lake.path(part)} does not exist"
        raise ConfigError(f"{missing}: set it, or train on a split of kind new_users")
    return DataOptions(source=job.lake.path(part), dataset="parquet")


def _apply(job: Context, name: str, manifest: ModelManifest, batch: str) -> ModelManifest:
    """Fold the ratings of `batch` into models/NAME.

    Each product is whole before the next one names it; the model comes last.
    """
    lake, options = job.lake, job.sections.update
    ratings, history = _ratings(job, manifest, batch)
    model = FactorTables.read(lake.path(f"models/{name}"))
    started = time.perf_counter()
    threads = default_threads(job.spark)
    folded, counts = fold_in(
        model,
        ratings,
        history,
        options.refreshItems,
        options.sweeps,
        threads,
        options.maxIter,
        options.stepSize,
    )
    solved = counts | {"solve_seconds": time.perf_counter() - started}
    version = keep_version(lake, name, manifest)
    grow_index(job.spark, lake, batch)
    model_fingerprint = fingerprint(manifest.fingerprint, batch)
    with lake.publish(f"models/{name}", model_fingerprint) as publication:
        copy_product(lake, f"models/{name}", publication.product)
        folded.write(publication.path("").rstrip("/"))
        made = msgspec.structs.replace(
            manifest,
            fingerprint=model_fingerprint,
            version=version + 1,
            previous=f"models/{name}-v{version}",
            updates=(*manifest.updates, batch),
            update=solved,
        )
        publication.manifest = made
    return made


def _ratings(job: Context, manifest: ModelManifest, batch: str) -> tuple[pa.Table, list[pa.Table]]:
    """The ratings of `batch`, and all earlier ratings, table by table, that their users and items need."""
    new = job.read(f"{batch}/ratings").select(*_COLUMNS)
    seen = [f"{manifest.split}/train", *(f"{earlier}/ratings" for earlier in manifest.updates)]
    tables = [
        job.read(table).select(*_COLUMNS, F.lit(number).alias("table")) for number, table in enumerate(seen)
    ]
    # an added item has no training rating
    item = F.col("item") if job.sections.update.refreshItems else F.col("item") & (F.col("table") > 0)
    rows = _marked(_marked(reduce(DataFrame.unionByName, tables), new, "user"), new, "item")
    rows = rows.where(F.col("user") | item).select(*_COLUMNS, "table").toArrow()
    return new.toArrow(), [rows.filter(pc.equal(rows["table"], number)) for number in range(len(seen))]


def _marked(rows: DataFrame, batch: DataFrame, side: str) -> DataFrame:
    """`rows` with a boolean column `side`: whether `batch` names their user or item."""
    ids = batch.select(f"{side}_id").distinct().withColumn(side, F.lit(True))
    return rows.join(F.broadcast(ids), f"{side}_id", "left").fillna(False, [side])
