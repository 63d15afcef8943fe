"""Factorization machines of declared feature groups: from an estimator and its data to the sampler's plan, and the model of its samples."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.data.folder import Folder
from recspark.engine.encode import ROLES
from recspark.engine.loop import Fit
from recspark.engine.memory import require_worker_memory
from recspark.engine.relations import Relations, Side, encode_rows, write_ids
from recspark.engine.sampling import SamplingPlan, sample
from recspark.engine.storage import Store
from recspark.errors import ConfigError, RecsparkError
from recspark.features import FeatureSet
from recspark.features.context import with_context
from recspark.features.frames import Tables
from recspark.features.groups import IDS
from recspark.features.layout import Block, Layout
from recspark.models import fm_scorer
from recspark.models.factor_model import FactorModel
from recspark.models.fm_joined import TABLES, require_columns
from recspark.models.fm_sampler import FMSampler
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.scorer import StoredScorer


def encode(
    features: FeatureSet, label: str, weight: str | None, train: DataFrame, watched: Mapping[str, DataFrame], staged: Store
) -> Relations:
    """The features of users and items, and all rows, as files in `staged`."""
    check_groups(features)
    sides = [write_ids(features.side(side), staged, TABLES[side], attributes(features, side)) for side in IDS]
    sides += [Side(block.column, block.size, False) for block in contexts(features.layout)]
    rows = _rows(features, train, label, weight, 0)
    for role, df in watched.items():
        rows = rows.unionAll(_rows(features, df, label, weight, ROLES.index(role)))
    return encode_rows(rows, staged, tuple(sides))


def contexts(layout: Layout) -> list[Block]:
    """The groups of the context in the order of a model's sides: those without factors last."""
    return sorted(layout.side("context"), key=lambda block: not block.group.factors)


def attributes(features: FeatureSet, side: str) -> list[tuple[str, int, int]]:
    """(name, offset, size) of a side's groups without the id, which is the entity itself."""
    return [(block.name, block.offset, block.size) for block in features.layout.side(side) if block.name not in IDS]


def check_groups(features: FeatureSet) -> None:
    """Raises ConfigError for groups that need an entity which is not declared."""
    for side in IDS:
        names = [block.name for block in features.layout.side(side)]
        if names and side not in names:
            raise ConfigError(
                f"groups {', '.join(names)} are not allowed without the group {side!r}, whose vectors they explain; "
                "solver = 'sgd' takes them"
            )


def _rows(features: FeatureSet, dataset: DataFrame, label: str, weight: str | None, role: int) -> DataFrame:
    require_columns(dataset, label, weight)
    levels = [F.col(f"`{block.column}`") for block in contexts(features.layout)]
    ids = [F.col(key).alias(TABLES[side]) for side, key in IDS.items()]
    value, code = F.col(f"`{label}`").cast("float").alias("value"), F.lit(role).cast("byte").alias("role")
    weights = [F.col(f"`{weight}`").cast("float").alias("weight")] if weight else []
    return features.context(dataset).select(*ids, *levels, value, code, *weights)


def run(
    spark: SparkSession, work: str, features: FeatureSet, relations: Relations, samplers: list[FMSampler], blocks: dict[str, int],
    judge: Callable[[dict[str, float]], bool] | None, **limits: Any,
) -> Fit:  # fmt: skip
    """Sample, a chain each of `samplers`; the fit, whose folder then holds a whole model.

    `limits` are the other fields of `SamplingPlan`; `judge` may end it.
    """
    by_rows = [block.column for block in contexts(features.layout)]
    groups = {TABLES[side]: tuple(name for name, *_ in attributes(features, side)) for side in IDS}
    plan = SamplingPlan(
        work=work,
        model=f"model-{uuid.uuid4().hex}",
        relations=relations,
        sampler=samplers[0],
        blocks=blocks | dict.fromkeys(by_rows, 1),
        features=groups | dict.fromkeys(by_rows, ()),
        **limits,
    )
    fit, samples = sample(spark, [replace(plan, sampler=sampler) for sampler in samplers], judge)
    sides = [{"name": side.name, "by_id": side.by_id, "absent": relations.absent[side.name]} for side in relations.sides]
    first = samplers[0]
    write_model(fit.model, features, sides, first.rank, samples, first.levels, "probit", first.clip)
    return fit


def write_model(
    folder: str, features: FeatureSet, sides: list[dict[str, Any]], rank: int, samples: list[dict[str, Any]], levels: tuple[float, ...],
    link: str,
    clip: tuple[float, float] | None, rows: bool = False,
) -> None:  # fmt: skip
    """What a folder needs beside its tables: for `recspark.models.fm_scorer` and, where they are of entities, for
    `recspark.models.scorer.Scorer`, which makes lists by the mean score."""
    response: dict[str, Any] = {"kernel": "linear"}
    if levels:
        response = {"kernel": "ordered", "cuts": np.mean([each["cuts"] for each in samples], axis=0).tolist(), "levels": list(levels)}
        response = response if link == "probit" else {"kernel": "sigmoid", "low": levels[0], "high": levels[1]}
    text = {TABLES[side]: dict(features.tables.train.dtypes)[key] == "string" for side, key in IDS.items()}
    mean = float(np.mean([each["offset"] for each in samples]))
    scorer = {"rank": rank * len(samples), "mean": mean, "level": mean, "biased": True, "response": response, "text_ids": text}
    scorer |= {"clip": clip and list(clip), "cold": "mean", "stamp": uuid.uuid4().hex}
    Folder(folder).write_json("scorer.json", scorer | {"fm": fm_scorer.facts(sides, samples, levels, link, clip, rows)})
    features.save(folder)


class FMColumns(Configurable):
    """The columns that an FM's estimators read and its models write."""

    labelCol = Hyperparameter(str, "label", "column of labels: numbers; of FMClassifier 0 and 1")
    predictionCol = Hyperparameter(str, "prediction", "column that transform adds")
    featuresCol = Hyperparameter(str, "features", "column of vectors, where no groups are declared")


class FMModel(FMColumns, FactorModel):
    """Samples of the vectors of users, items and contexts.

    The tables ``users, items`` hold the samples one after the other, so a model is also a factor model of rank factorSize * samples:
    recommendations and similar items come from the mean score over samples, without context.
    """

    userCol = Hyperparameter(str, "user_id", "column of user ids")
    itemCol = Hyperparameter(str, "item_id", "column of item ids")
    stdevCol = Hyperparameter(str, None, "column for the posterior standard deviation of a new rating")
    levelsCol = Hyperparameter(str, None, "column for the probability of each level (array<float>), of ordered models")

    def __init__(self, folder: str | None = None, **values: Any) -> None:
        super().__init__(folder=folder, **values)
        self._features: FeatureSet | None = None

    @property
    def features(self) -> FeatureSet:
        """The feature set; of a loaded model without tables."""
        return self._features or FeatureSet.load(self.folder)

    @features.setter
    def features(self, features: FeatureSet) -> None:
        self._features = features

    def bind(self, train: DataFrame) -> FMModel:
        """Give a loaded model the training rows, which groups such as ``last`` look into."""
        self._features = FeatureSet(self.features.layout, Tables(train, None, None))
        return self

    @property
    def is_of_rows(self) -> bool:
        """Whether rows are scored from the parameters of their features: then there are no vectors of users and items, and no lists."""
        return self._facts["fm"]["rows"]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that a saved model is made of."""
        return ("parameters", "sides", "ids") if self.is_of_rows else tuple(side["name"] for side in self._facts["fm"]["sides"])

    @property
    def scorer(self) -> StoredScorer | None:
        """See `FactorModel.scorer`; None for a model of rows, which has no users and items."""
        return None if self.is_of_rows else super().scorer

    files = ("scorer.json", "layout.json")

    def _transform(self, dataset: DataFrame) -> DataFrame:
        predicted = self._with_predictions(dataset)
        names = {"prediction": self.getPredictionCol(), "stdev": self.getStdevCol(), "levels": self.getLevelsCol()}
        added = {name: F.col(f"_predicted.{key}") for key, name in names.items() if name}
        return predicted.withColumns(added).select(*(f"`{name}`" for name in dataset.columns), *added)

    def _with_predictions(self, dataset: DataFrame) -> DataFrame:
        """`dataset` with a struct ``_predicted`` (prediction, stdev, levels), and columns of the context."""
        require_worker_memory(dataset.sparkSession)
        layout, tables = self.features.layout, self.features.tables
        past = [block.name for block in layout.side("context") if block.group.key]
        if past and tables is None:
            raise RecsparkError(f"group {past[0]!r} looks into the rows that trained: call bind(train) on a loaded model first")
        tables = tables or Tables(dataset.limit(0), None, None)
        if self.is_of_rows:
            framed, context = FeatureSet(layout, tables).context_rows(dataset), ["_context.columns", "_context.values"]
        else:
            framed, context = with_context(dataset, layout, tables), [F.col(f"`{block.column}`") for block in contexts(layout)]
        return framed.withColumn("_predicted", self._predictor()(*IDS.values(), *context))

    def _predictor(self) -> Any:
        folder, stamp = self.folder, self._facts["stamp"]

        @F.pandas_udf("prediction float, stdev float, levels array<float>")
        def predict(*columns: pd.Series) -> pd.DataFrame:
            found = fm_scorer.load_cached(folder, stamp).predict(*(column.to_numpy() for column in columns))
            probability = found.probabilities
            lists = [None] * len(found.mean) if probability is None else list(probability.astype(np.float32))
            return pd.DataFrame({"prediction": found.mean.astype(np.float32), "stdev": found.stdev.astype(np.float32), "levels": lists})

        return predict


