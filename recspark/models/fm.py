"""Factorization machines as Spark ML estimators: ratings, levels of ratings, yes or no, from declared feature groups."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

import numpy as np
import pandas as pd
from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.config import above, at_least, one_of
from recspark.data.folder import Folder
from recspark.engine.encode import ROLES
from recspark.engine.layout import default_blocks, threads_per_task
from recspark.engine.relations import LEVELS, Relations, Side, encode_rows, write_ids
from recspark.engine.sampling import SamplingPlan, sample
from recspark.engine.storage import Store
from recspark.errors import ConfigError, RecsparkError
from recspark.features import FeatureSet, parse_groups
from recspark.features.groups import IDS
from recspark.features.layout import Block
from recspark.models import fm_scorer
from recspark.models.factor_model import FactorModel, Summary
from recspark.models.fm_sampler import FMSampler
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.workspace import work_folder

log = logging.getLogger("recspark.fit")

#: names of the entity sides in the engine and in a model, by their names in a layout
TABLES = {"user": "users", "item": "items"}


class FMColumns(Configurable):
    """The columns that estimators read and models write."""

    labelCol = Hyperparameter(str, "label", "column of labels: numbers; of FMClassifier 0 and 1")
    predictionCol = Hyperparameter(str, "prediction", "column that transform adds: the mean prediction over samples")
    stdevCol = Hyperparameter(str, None, "column for the posterior standard deviation of a new rating")
    probabilityCol = Hyperparameter(str, None, "column for the probability of each level (array<float>), of ordered models")


class FactorizationMachine(Estimator, FMColumns, DefaultParamsWritable, DefaultParamsReadable):
    """What the estimators share: an FM whose feature groups belong to users, items and contexts; see `recspark.kernels.gibbs`.

    Rows have user_id, item_id and what the groups need (timestamp ...); `tables` gives the attributes of users and items.
    """

    groups = Hyperparameter(list, ["user", "item"], "feature groups, by name or as tables {group, scope, scale, unknown}; docs/fm.md")
    factorSize = Hyperparameter(int, 8, "number of factors", at_least(1))
    maxIter = Hyperparameter(int, 200, "iterations", at_least(1))
    solver = Hyperparameter(str, "mcmc", "mcmc: Gibbs sampling, predictions are means over samples; als: their mode for fixed penalties", one_of("mcmc", "als"))
    burnIn = Hyperparameter(int, None, "first iterations that no prediction is from; not set: a tenth", at_least(0))
    samples = Hyperparameter(int, 100, "samples that the model keeps, spread evenly over the iterations after the burn-in", at_least(1))
    regParam = Hyperparameter(float, 5.0, "solver als: penalty of what an entity's vector and bias differ from its features'", at_least(0))
    featureRegParam = Hyperparameter(float, 5.0, "solver als: penalty of the vectors and biases of features", at_least(0))
    initStd = Hyperparameter(float, 0.1, "standard deviation of the starting factors", above(0))
    tol = Hyperparameter(float, 0.0, "stop when the RMSE on validation rows gains less than this, relatively", at_least(0))
    patience = Hyperparameter(int, 20, "iterations without gain on validation rows after which the fit stops", at_least(1))
    seed = Hyperparameter(int, 42, "seed of all draws")
    userBlocks = Hyperparameter(int, None, "blocks that users are cut into; not set: 1, or one a core of a cluster for over 5 M rows", at_least(1))
    itemBlocks = Hyperparameter(int, None, "blocks that items are cut into; not set: as userBlocks", at_least(1))
    threads = Hyperparameter(int, None, "threads of a task; not set: all cores where one task does all, else Spark's task.cpus", at_least(1))
    workDir = Hyperparameter(str, None, "folder or URI that all workers reach, for blocks and checkpoints; one that stays lets a killed fit resume")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._watched: dict[str, DataFrame] = {}
        self._tables: dict[str, DataFrame | None] = {"users": None, "items": None}

    def watch(self, **data: DataFrame) -> FactorizationMachine:
        """Follow the RMSE of the running mean on more data: ``watch(validation=df, test=df)``; only validation can stop the fit."""
        for role in data:
            if role not in ROLES[1:]:
                raise ConfigError(f"watch({role}=...) is not allowed: it must be one of {', '.join(ROLES[1:])}")
        self._watched = data
        return self

    def tables(self, users: DataFrame | None = None, items: DataFrame | None = None) -> FactorizationMachine:
        """Attributes that groups name: one row an id, ``user_id`` or ``item_id`` first among the columns."""
        self._tables = {"users": users, "items": items}
        return self

    def _is_ordered(self, relations: Relations) -> bool:
        """Whether labels are levels; raises where they can't be what the estimator wants."""
        raise NotImplementedError

    def _fit(self, dataset: DataFrame) -> FMModel:
        started = time.perf_counter()
        spark = dataset.sparkSession
        if self.getBurnIn() is not None and self.getBurnIn() >= self.getMaxIter():
            raise ConfigError(f"burnIn = {self.getBurnIn()} is not allowed with maxIter = {self.getMaxIter()}: it must be less")
        features = FeatureSet.fit(parse_groups(self.getGroups()), dataset, **self._tables)
        _check_groups(features)
        work = work_folder(spark.sparkContext, self.getWorkDir())
        staged = Store(f"{work}/encoded-{uuid.uuid4().hex}")
        try:
            relations, plan = self._plan(spark, work, staged, features, dataset)
            sizes = ", ".join(f"{side.size} {side.name}" for side in relations.sides)
            log.info("%s: %d rows, rank %d, %s", type(self).__name__, relations.rows, self.getFactorSize(), sizes)
            fit, samples = sample(spark, plan)
        finally:
            staged.delete("")
        model = self._model(features, relations, plan, fit.model, samples)
        model.summary = Summary(fit.history, fit.best, fit.resumed_at, fit.prepare_seconds, time.perf_counter() - started)
        return model

    def _plan(self, spark: SparkSession, work: str, staged: Store, features: FeatureSet, dataset: DataFrame) -> tuple[Relations, SamplingPlan]:
        groups = {side: [(block.name, block.offset, block.size) for block in features.layout.side(side) if block.name not in IDS] for side in IDS}
        sides = [write_ids(features.side(side), staged, TABLES[side], groups[side]) for side in IDS]
        contexts = features.layout.side("context")
        sides += [Side(block.column, block.size, False) for block in contexts]
        rows = self._rows(features, dataset, 0)
        for role, watched in self._watched.items():
            rows = rows.unionAll(self._rows(features, watched, ROLES.index(role)))
        relations = encode_rows(rows, staged, tuple(sides))
        if self._is_ordered(relations) and len(relations.levels) >= LEVELS:
            raise RecsparkError(f"{self.getLabelCol()} has {LEVELS} or more different values: they are no levels; use FMRegressor with ordered = False")
        users = self.getUserBlocks() or self.getItemBlocks() or default_blocks(spark, relations.rows)
        blocks = {"users": users, "items": self.getItemBlocks() or users} | {block.column: 1 for block in contexts}
        burn_in = self.getMaxIter() // 10 if self.getBurnIn() is None else self.getBurnIn()
        mode = self.getSolver() == "als"
        plan = SamplingPlan(
            work=work,
            model=f"model-{uuid.uuid4().hex}",
            relations=relations,
            sampler=self._sampler(relations),
            blocks=blocks,
            features={TABLES[side]: tuple(name for name, *_ in groups[side]) for side in IDS} | {block.column: () for block in contexts},
            max_iter=self.getMaxIter(),
            burn_in=self.getMaxIter() - 1 if mode else burn_in,
            samples=1 if mode else self.getSamples(),
            tol=self.getTol(),
            patience=self.getPatience(),
            threads=self.getThreads() or threads_per_task(spark, blocks),
        )
        return relations, plan

    def _rows(self, features: FeatureSet, dataset: DataFrame, role: int) -> DataFrame:
        label = self.getLabelCol()
        if label not in dataset.columns:
            raise RecsparkError(f"column {label!r} is not in the data: its columns are {', '.join(dataset.columns)}")
        contexts = [F.col(f"`{block.column}`") for block in features.layout.side("context")]
        ids = [F.col(key).alias(TABLES[side]) for side, key in IDS.items()]
        value, code = F.col(f"`{label}`").cast("float").alias("value"), F.lit(role).cast("byte").alias("role")
        return features.context(dataset).select(*ids, *contexts, value, code)

    def _sampler(self, relations: Relations) -> FMSampler:
        ordered = self._is_ordered(relations)
        return FMSampler(
            rank=self.getFactorSize(),
            noise=1.0 if self.getSolver() == "mcmc" else 0.0,
            reg=self.getRegParam(),
            feature_reg=self.getFeatureRegParam(),
            stdev=self.getInitStd(),
            levels=relations.levels if ordered else (),
            clip=self._range(relations),
            seed=self.getSeed(),
        )

    def _range(self, relations: Relations) -> tuple[float, float]:
        """What predictions are cut to."""
        return min(relations.levels), max(relations.levels)

    def _model(self, features: FeatureSet, relations: Relations, plan: SamplingPlan, folder: str, samples: list[dict[str, Any]]) -> FMModel:
        sides = [{"name": side.name, "by_id": side.by_id, "absent": relations.absent[side.name]} for side in relations.sides]
        sampler = plan.sampler
        response = {"kernel": "linear"}
        if sampler.ordered:
            response = {"kernel": "ordered", "cuts": np.mean([each["cuts"] for each in samples], axis=0).tolist(), "levels": list(sampler.levels)}
        text = {TABLES[side]: dict(features.tables.train.dtypes)[key] == "string" for side, key in IDS.items()}
        mean = float(np.mean([each["offset"] for each in samples]))
        scorer = {"rank": sampler.rank * len(samples), "mean": mean, "level": mean, "biased": True, "response": response, "text_ids": text}
        scorer |= {"clip": list(sampler.clip), "cold": "mean", "stamp": uuid.uuid4().hex}
        scorer["fm"] = fm_scorer.facts(sides, samples, sampler.levels, sampler.clip)
        Folder(folder).write_json("scorer.json", scorer)
        features.save(folder)
        model = self.model_class(folder=folder)
        self._copyValues(model)
        model._resetUid(self.uid)
        model.features = features
        return model


def _check_groups(features: FeatureSet) -> None:
    """Groups that entities can't have: they need rows of their own."""
    for side in IDS:
        blocks = features.layout.side(side)
        if blocks and side not in [block.name for block in blocks]:
            raise ConfigError(f"groups = {[block.name for block in blocks]} of the {side} side is not allowed without the group {side!r}")
    for block in features.layout.side("context"):
        if block.is_real or block.group.is_history_set:
            raise ConfigError(f"group {block.name!r} is not allowed with solver mcmc or als: of context groups they take those with one level a row")


class FMModel(FactorModel, FMColumns):
    """Samples of the vectors of users, items and contexts.

    The tables ``users, items`` hold the samples one after the other, so a model is also a factor model of rank factorSize * samples:
    recommendations and similar items come from the mean score over samples, without context.
    """

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

    def bind(self, train: DataFrame, users: DataFrame | None = None, items: DataFrame | None = None) -> FMModel:
        """Give a loaded model the tables that its context groups look into; see `FeatureSet.bind`."""
        self._features = self.features.bind(train, users, items)
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(side["name"] for side in self._facts["fm"]["sides"])

    files = ("scorer.json", "layout.json")

    def _transform(self, dataset: DataFrame) -> DataFrame:
        contexts = [block.column for block in self.features.layout.side("context")]
        features = self.features
        if features.tables is None:
            features = features.bind(dataset.limit(0))
        framed = features.context(dataset)
        columns = [F.col(key) for key in IDS.values()] + [F.col(f"`{name}`") for name in contexts]
        predicted = framed.withColumn("_predicted", self._predictor()(*columns))
        names = {"prediction": self.getPredictionCol(), "stdev": self.getStdevCol(), "probability": self.getProbabilityCol()}
        added = {name: F.col(f"_predicted.{key}") for key, name in names.items() if name}
        return predicted.withColumns(added).select(*(f"`{name}`" for name in dataset.columns), *added)

    def _predictor(self) -> Any:
        folder, stamp = self.folder, self._facts["stamp"]

        @F.pandas_udf("prediction float, stdev float, probability array<float>")
        def predict(*columns: pd.Series) -> pd.DataFrame:
            found = fm_scorer.load_cached(folder, stamp).predict(*(column.to_numpy() for column in columns))
            probability = found.probabilities
            lists = [None] * len(found.mean) if probability is None else list(probability.astype(np.float32))
            return pd.DataFrame({"prediction": found.mean.astype(np.float32), "stdev": found.stdev.astype(np.float32), "probability": lists})

        return predict


class FMRegressorModel(FMModel):
    """The samples that `FMRegressor` drew."""


class FMRegressor(FactorizationMachine):
    """Ratings by a factorization machine.

    ``ordered`` takes the ratings for levels with thresholds of their own (ordered probit), which predicts the probability of each.

    Examples
    --------
    >>> from recspark.models import FMRegressor
    >>> fm = FMRegressor(groups=["user", "item", "rated", "raters", "day"], factorSize=16, labelCol="rating")  # doctest: +SKIP
    >>> model = fm.tables(users, items).fit(train)  # doctest: +SKIP

    References
    ----------
    Rendle 2010, "Factorization machines"; Rendle 2012, "Factorization machines with libFM"; Freudenthaler, Schmidt-Thieme, Rendle 2011,
    "Bayesian factorization machines"; Rendle, Zhang, Koren 2019, "On the difficulty of evaluating baselines".
    """

    model_class = FMRegressorModel

    ordered = Hyperparameter(bool, False, "labels are ordered levels: thresholds between them are fitted")

    def _is_ordered(self, relations: Relations) -> bool:
        return self.getOrdered()
