"""Factorization machines as Spark ML estimators: in place of ``pyspark.ml``'s FMRegressor and FMClassifier, import them from `recspark.models`."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from pyspark.ml import Estimator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.config import above, at_least, between, one_of, strictly_between
from recspark.data.folder import Folder
from recspark.engine.encode import ROLES
from recspark.engine.layout import default_blocks, threads_per_task
from recspark.engine.relations import LEVELS, Relations
from recspark.engine.storage import Store
from recspark.errors import ConfigError, RecsparkError
from recspark.features import FeatureSet, parse_groups
from recspark.models.factor_model import Summary
from recspark.models.fm_entities import FMColumns, FMModel, encode, run
from recspark.models.fm_sampler import FMSampler
from recspark.models.fm_vectors import FMVectorModel, VectorFit, fit_vectors, vector_entries
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.workspace import work_folder

log = logging.getLogger("recspark.fit")

#: MLlib's names of its solvers stand for ours
SOLVERS = ("mcmc", "als", "sgd", "adamW", "gd")


class FactorizationMachine(Estimator, FMColumns, DefaultParamsWritable, DefaultParamsReadable):
    """What the estimators share.

    With `groups` rows have user_id, item_id and what the groups need (timestamp ...), `tables` gives the attributes of users and items,
    and the fit runs on blocks: see `recspark.kernels.gibbs`. Without, rows have a vector in featuresCol as in MLlib, and one task fits
    them: see `recspark.kernels.fm`.
    """

    #: the classes of the fitted models: of groups, of vectors
    model_classes: tuple[type[FMModel], type[FMVectorModel]]

    groups = Hyperparameter(list, None, "feature groups, by name or as tables {group, scope, scale, unknown}, docs/fm.md; not set: featuresCol")
    weightCol = Hyperparameter(str, None, "column of weights >= 0, one a row; with featuresCol only")
    factorSize = Hyperparameter(int, 8, "number of factors", at_least(1))
    maxIter = Hyperparameter(int, 100, "iterations", at_least(1))
    solver = Hyperparameter(
        str,
        "mcmc",
        "mcmc: Gibbs sampling, predictions are means over samples; als: the mode for fixed penalties; sgd (adamW and gd mean it, too), with featuresCol only",
        one_of(*SOLVERS),
    )
    burnIn = Hyperparameter(int, None, "first iterations that no prediction is from; not set: a tenth", at_least(0))
    samples = Hyperparameter(int, 100, "samples that the model keeps of each chain, spread evenly over the iterations after the burn-in", at_least(1))
    chains = Hyperparameter(
        int, 1, "solver mcmc with groups: chains from different starts, side by side where there are cores; predictions are means over all", at_least(1)
    )
    regParam = Hyperparameter(float, 0.0, "penalty of all parameters (als, sgd); with groups: of what an entity differs from its features", at_least(0))
    featureRegParam = Hyperparameter(float, None, "solver als with groups: penalty of the vectors of features; regParam where not set", at_least(0))
    stepSize = Hyperparameter(float, 0.1, "solver sgd: adagrad's first step", above(0))
    miniBatchFraction = Hyperparameter(float, 1.0, "accepted as MLlib's; solver sgd takes one row at a time", between(0, 1))
    fitLinear = Hyperparameter(bool, True, "with featuresCol: fit a weight of every column")
    fitIntercept = Hyperparameter(bool, True, "with featuresCol: fit a constant")
    initStd = Hyperparameter(float, 0.1, "standard deviation of the starting factors", above(0))
    tol = Hyperparameter(float, 0.0, "stop when the watched metric gains less than this, relatively", at_least(0))
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
        """Follow the RMSE of the mean prediction on more data: ``watch(validation=df, test=df)``; only validation can stop the fit; with groups."""
        for role in data:
            if role not in ROLES[1:]:
                raise ConfigError(f"watch({role}=...) is not allowed: it must be one of {', '.join(ROLES[1:])}")
        self._watched = data
        return self

    def tables(self, users: DataFrame | None = None, items: DataFrame | None = None) -> FactorizationMachine:
        """Attributes that groups name: one row an id, ``user_id`` or ``item_id`` first among the columns."""
        self._tables = {"users": users, "items": items}
        return self

    @property
    def can_watch(self) -> bool:
        """Whether `watch` means something: with groups."""
        return bool(self.getGroups())

    def _solver(self) -> str:
        return "sgd" if self.getSolver() in ("adamW", "gd") else self.getSolver()

    def _burn_in(self) -> int:
        """Iterations that are not kept; Raises ConfigError where none would be left."""
        if self._solver() != "mcmc":
            return self.getMaxIter() - 1
        burn_in = self.getMaxIter() // 10 if self.getBurnIn() is None else self.getBurnIn()
        if burn_in >= self.getMaxIter():
            raise ConfigError(f"burnIn = {burn_in} is not allowed with maxIter = {self.getMaxIter()}: it must be less")
        return burn_in

    def _fit(self, dataset: DataFrame) -> FMModel | FMVectorModel:
        started = time.perf_counter()
        fit_some = self._fit_groups if self.getGroups() else self._fit_vectors
        model = fit_some(dataset, work_folder(dataset.sparkSession.sparkContext, self.getWorkDir()), started)
        self._copyValues(model)
        model._resetUid(self.uid)
        return model

    def _fit_groups(self, dataset: DataFrame, work: str, started: float) -> FMModel:
        if self._solver() == "sgd" or self.getWeightCol():
            name = "weightCol" if self.getWeightCol() else "solver"
            raise ConfigError(f"{name} = {self.getOrDefault(name)!r} is not allowed with groups: it needs featuresCol")
        spark, burn_in = dataset.sparkSession, self._burn_in()
        features = FeatureSet.fit(parse_groups(self.getGroups()), dataset, **self._tables)
        staged = Store(f"{work}/encoded-{uuid.uuid4().hex}")
        try:
            relations = encode(features, self.getLabelCol(), dataset, self._watched, staged)
            users = self.getUserBlocks() or self.getItemBlocks() or default_blocks(spark, relations.rows)
            blocks = {"users": users, "items": self.getItemBlocks() or users}
            chains, kept = (self.getChains(), self.getSamples()) if self._solver() == "mcmc" else (1, 1)
            threads = self.getThreads() or max(1, threads_per_task(spark, blocks) // chains)
            sizes = ", ".join(f"{side.size} {side.name}" for side in relations.sides)
            log.info("%s: %d rows, rank %d, %s", type(self).__name__, relations.rows, self.getFactorSize(), sizes)
            limits = {"max_iter": self.getMaxIter(), "burn_in": burn_in, "samples": kept, "tol": self.getTol(), "patience": self.getPatience()}
            fit = run(spark, work, features, relations, self._sampler(relations), chains, blocks, threads=threads, **limits)
        finally:
            staged.delete("")
        model = self.model_classes[0](folder=fit.model)
        model.features = features
        model.summary = Summary(fit.history, fit.best, fit.resumed_at, fit.prepare_seconds, time.perf_counter() - started)
        return model

    def _sampler(self, relations: Relations) -> FMSampler:
        reg = self.getRegParam() if self.getFeatureRegParam() is None else self.getFeatureRegParam()
        return FMSampler(
            rank=self.getFactorSize(),
            noise=1.0 if self._solver() == "mcmc" else 0.0,
            reg=self.getRegParam(),
            feature_reg=reg,
            stdev=self.getInitStd(),
            levels=self._levels(relations.levels),
            clip=relations.range,
            seed=self.getSeed(),
        )

    def _levels(self, labels: tuple[float, ...]) -> tuple[float, ...]:
        """The levels of an ordered model; none of a normal one. Raises RecsparkError where labels are not what the estimator wants."""
        raise NotImplementedError

    def _fit_vectors(self, dataset: DataFrame, work: str, started: float) -> FMVectorModel:
        for name in (self.getFeaturesCol(), self.getLabelCol(), self.getWeightCol()):
            if name and name not in dataset.columns:
                raise RecsparkError(f"column {name!r} is not in the data: its columns are {', '.join(dataset.columns)}")
        settings = VectorFit(
            rank=self.getFactorSize(),
            iterations=self.getMaxIter(),
            burn_in=self._burn_in(),
            samples=self.getSamples(),
            solver=self._solver(),
            link=self._link(),
            reg=self.getRegParam(),
            rate=self.getStepSize(),
            stdev=self.getInitStd(),
            linear=self.getFitLinear(),
            intercept=self.getFitIntercept(),
            tol=self.getTol(),
            seed=self.getSeed(),
        )
        weight = F.col(f"`{self.getWeightCol()}`") if self.getWeightCol() else F.lit(1.0)
        label = F.col(f"`{self.getLabelCol()}`").cast("double").alias("label")
        rows = dataset.select(*vector_entries(F.col(f"`{self.getFeaturesCol()}`")), label, weight.cast("double").alias("weight"))
        folder, history = fit_vectors(rows, work, settings)
        Folder(folder).write_json("fm.json", {"link": settings.link})
        model = self.model_classes[1](folder=folder)
        model.summary = Summary(history, len(history), 0, 0.0, time.perf_counter() - started)
        return model

    def _link(self) -> str:
        raise NotImplementedError


class FMRegressorModel(FMModel):
    """What `FMRegressor` fitted on groups."""


class FMRegressionModel(FMVectorModel, FMColumns):
    """What `FMRegressor` fitted on vectors; `intercept`, `linear` and `factors` as in MLlib."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return dataset.withColumn(self.getPredictionCol(), self._predicted(dataset))


class FMRegressor(FactorizationMachine):
    """Numbers by a factorization machine.

    ``ordered`` takes labels for levels with thresholds of their own (ordered probit), which predicts the probability of each; with groups.

    Examples
    --------
    >>> from recspark.models import FMRegressor
    >>> FMRegressor(factorSize=8, maxIter=100).fit(rows_with_features_and_label)  # doctest: +SKIP
    >>> fm = FMRegressor(groups=["user", "item", "rated", "raters", "day"], factorSize=16, labelCol="rating")  # doctest: +SKIP
    >>> model = fm.tables(users, items).fit(train)  # doctest: +SKIP

    References
    ----------
    Rendle 2010, "Factorization machines"; Rendle 2012, "Factorization machines with libFM"; Freudenthaler, Schmidt-Thieme, Rendle 2011,
    "Bayesian factorization machines"; Rendle, Zhang, Koren 2019, "On the difficulty of evaluating baselines".
    """

    model_classes = (FMRegressorModel, FMRegressionModel)

    ordered = Hyperparameter(bool, False, "labels are ordered levels: thresholds between them are fitted; with groups")
    stdevCol = Hyperparameter(str, None, "column of the model for the posterior standard deviation of a new rating; with groups")
    levelsCol = Hyperparameter(str, None, "column of the model for the probability of each level (array<float>), where ordered")

    def _levels(self, labels: tuple[float, ...]) -> tuple[float, ...]:
        if self.getOrdered() and not 2 <= len(labels) < LEVELS:
            raise RecsparkError(f"column {self.getLabelCol()!r} has {len(labels)} different values: ordered = True takes 2 to {LEVELS - 1}")
        return labels if self.getOrdered() else ()

    def _link(self) -> str:
        if self.getOrdered():
            raise ConfigError("ordered = True is not allowed with featuresCol: it needs groups")
        return "identity"


class Probabilities(Configurable):
    """What a classifier's model adds beside the prediction."""

    probabilityCol = Hyperparameter(str, "probability", "column that transform adds: a vector with the probabilities of 0 and 1")
    rawPredictionCol = Hyperparameter(str, "rawPrediction", "column that transform adds: a vector with minus the logit of label 1, and the logit")
    threshold = Hyperparameter(float, 0.5, "probability of label 1 from which on it is predicted", strictly_between(0, 1))

    def _classified(self, dataset: DataFrame, probability: F.Column, columns: list[str]) -> DataFrame:
        """`columns` of `dataset`, and what Spark's classifiers add."""
        p = F.col("_probability")
        logit = F.log(F.greatest(p, F.lit(1e-15)) / F.greatest(1 - p, F.lit(1e-15)))
        added = {
            self.getRawPredictionCol(): array_to_vector(F.array(-logit, logit)),
            self.getProbabilityCol(): array_to_vector(F.array(1 - p, p)),
            self.getPredictionCol(): (p >= self.getThreshold()).cast("double"),
        }
        return dataset.withColumn("_probability", probability.cast("double")).withColumns(added).select(*(f"`{name}`" for name in columns), *added)


class FMClassifierModel(FMModel, Probabilities):
    """What `FMClassifier` fitted on groups."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return self._classified(self._with_predictions(dataset), F.col("_predicted.prediction"), dataset.columns)


class FMClassificationModel(FMVectorModel, FMColumns, Probabilities):
    """What `FMClassifier` fitted on vectors."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return self._classified(dataset, self._predicted(dataset), dataset.columns)


class FMClassifier(FactorizationMachine, Probabilities):
    """Labels 0 and 1 by a factorization machine: probit (mcmc, als), logistic (sgd). See `FMRegressor`."""

    model_classes = (FMClassifierModel, FMClassificationModel)

    def _levels(self, labels: tuple[float, ...]) -> tuple[float, ...]:
        if not set(labels) <= {0.0, 1.0}:
            other = next(label for label in labels if label not in (0.0, 1.0))
            raise RecsparkError(f"column {self.getLabelCol()!r} has the label {other:g}: FMClassifier takes 0 and 1")
        return 0.0, 1.0

    def _link(self) -> str:
        return "logistic" if self._solver() == "sgd" else "probit"
