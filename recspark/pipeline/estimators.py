"""From a conf to an estimator, and from the lake to a model that can predict."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.features.options import read_tables, with_leaks
from recspark.models.blend import BlendModel
from recspark.models.factors.model import FactorModel
from recspark.models.fm.entities import FMModel
from recspark.models.params import Configurable
from recspark.models.saving import load_model
from recspark.pipeline.context import Context


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
        "index": job.lake.path("index"),
        "workDir": job.lake.path(f"work/{options.product}"),
    }
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


def trained_model(job: Context, name: str, product: str) -> FactorModel | BlendModel:
    """models/NAME, with the rows of a split that features such as ``last`` need."""
    model = load_model(job.lake.path(f"models/{name}"))
    return model.bind(job.read(f"{product}/train")) if isinstance(model, (FMModel, BlendModel)) else model
