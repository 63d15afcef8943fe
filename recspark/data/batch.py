"""Batches of new ratings, read and judged as by ingest.

They are kept as ``updates/ID`` beside the tables that they add to.
"""

from __future__ import annotations

from pyspark.sql import SparkSession

from recspark.data.formats.generic import DataOptions
from recspark.data.formats.movielens import EDITIONS
from recspark.data.formats.own_tables import OWN
from recspark.data.ingest import ingest
from recspark.data.quality import IDS, QualityOptions, Rules
from recspark.data.schemas import columns
from recspark.data.sources.archive import Copy
from recspark.lake.fingerprints import fingerprint
from recspark.lake.lake import Lake
from recspark.lake.manifests import BatchManifest, TablesManifest

_KEPT = ("ratings", "quarantine")


def publish_batch(
    spark: SparkSession, lake: Lake, data: DataOptions, quality: QualityOptions, copy: Copy | None = None
) -> str:
    """Publish the ratings of ``data.source`` as ``updates/ID/{ratings,quarantine}`` and return that product.

    The ID is made from the set of ratings: the same ratings in another order or file are the same batch. Row
    rules are those of ingest, the rating scale and the type of ids those of the lake's tables, and errors
    those of :func:`recspark.data.ingest.ingest`.

    Parameters
    ----------
    spark, lake, data, quality, copy
        As in :func:`recspark.data.ingest.ingest`.
    """
    with lake.reading("tables"), lake.writing("updates"), lake.staged("updates") as scratch:
        staged = Lake(lake.path(scratch))
        ratings_only, ids = _as_the_tables(lake, data)
        ingest(spark, staged, ratings_only, quality, ids, copy)
        found = staged.require("tables", TablesManifest, "ingest")
        ratings = found.tables["ratings"]
        batch_fingerprint = fingerprint("batch", ratings.rows, ratings.digest)
        product = f"updates/{batch_fingerprint[:16]}"
        if not lake.is_current(product, batch_fingerprint):
            with lake.publish(product, batch_fingerprint) as publication:
                for table in _KEPT:
                    lake.move(f"{scratch}/tables/{table}", f"{publication.product}/{table}")
                publication.manifest = BatchManifest(
                    fingerprint=batch_fingerprint,
                    source=found.source,
                    digest=found.digest,
                    tables={table: found.tables[table] for table in _KEPT},
                )
        return product


def _as_the_tables(lake: Lake, data: DataOptions) -> tuple[DataOptions, dict[str, str]]:
    """`data` for ratings alone, with the rating scale of the lake's tables, and the types of their ids."""
    manifest = lake.require("tables", TablesManifest, "ingest")
    known = DataOptions(**manifest.options).rules(
        EDITIONS[manifest.dataset].rules if manifest.dataset in EDITIONS else Rules()
    )
    scale = {"ratingMin": known.rating_min, "ratingMax": known.rating_max, "ratingStep": known.rating_step}
    types = columns(manifest.tables["ratings"].published()[2])
    ratings_only = DataOptions(**data.as_dict() | scale | dict.fromkeys((*OWN, "tables")))
    return ratings_only, {name: types[name] for name in IDS}
