"""From a conf to an estimator, and from the lake to a model that can predict."""

from __future__ import annotations

import logging
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.data.index import index_stage
from recspark.errors import ConfigError
from recspark.features.options import read_tables, with_leaks
from recspark.lake.manifests import IndexManifest, Manifest, SplitManifest
from recspark.models.blend import BlendModel
from recspark.models.factors.model import FactorModel
from recspark.models.fm.entities import FMModel
from recspark.models.params import Configurable
from recspark.models.saving import load_model
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context

log = logging.getLogger("recspark")


def labelled(ratings: DataFrame, positive_from: float | None) -> DataFrame:
    """`ratings`, or with `positive_from` labels: 1 for a rating of at least this value, 0 for a lower one."""
    return (
        ratings
        if positive_from is None
        else ratings.withColumn("rating", (F.col("rating") >= positive_from).cast("float"))
    )


def make_estimator(job: Context, parts: dict[str, DataFrame]) -> Configurable:
    """The estimator of the conf on the columns of a lake, with its features if it takes groups."""
    options = job.sections.model
    lake = {
        "userCol": "user_id",
        "itemCol": "item_id",
        "labelCol": "rating",
        "workDir": job.lake.path(f"work/{options.product}"),
    }
    if job.lake.exists(_index_of(options)):
        lake["index"] = job.lake.path(_index_of(options))
    known = options.estimator.hyperparameters()
    params = {name: value for name, value in lake.items() if name in known} | options.params
    if "groups" not in known:
        return options.estimator(**params)
    if not job.sections.features.groups:
        raise ConfigError(
            f"features.groups is not set: model.type = {options.kind!r} needs a list of feature groups, such "
            'as ["user", "item"]'
        )
    users, items = read_tables(job.spark, job.lake)
    if job.sections.features.leak:
        users = with_leaks(users, reduce(DataFrame.unionByName, parts.values()))
    return options.estimator(**params, groups=job.sections.features.groups).tables(users, items)


def copy_index(job: Context, split: SplitManifest) -> None:
    """Copy the lake's index to the work folder of the model, and make the index first if there is none.

    Fits take hours: nobody who appends to the index, or makes it anew, waits for them. If the tables are no
    longer those of the split, nothing is copied, and the fit has positions of its own.
    """
    lake, copy = job.lake, _index_of(job.sections.model)
    tables, made = lake.manifest("tables", Manifest), lake.manifest("index", IndexManifest)
    if tables and tables.fingerprint == split.source and not (made and made.source == split.source):
        index_stage(job.spark, lake)
    lake.delete(copy)
    with lake.reading("index"):
        made = lake.manifest("index", IndexManifest)
        if made and made.source == split.source:
            lake.copy("index", copy)
            return
    log.warning(
        "the index is not of the tables that the split is of: this fit has positions of its own; run "
        "`recspark split` to train on the tables as they are"
    )


def _index_of(model: ModelSection) -> str:
    return f"work/{model.product}/index"


def trained_model(job: Context, name: str, product: str) -> FactorModel | BlendModel:
    """models/NAME, with the rows of a split that features such as ``last`` need."""
    model = load_model(job.lake.path(f"models/{name}"))
    return model.bind(job.read(f"{product}/train")) if isinstance(model, (FMModel, BlendModel)) else model
