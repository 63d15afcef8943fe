"""ALS as a Spark ML estimator: in place of ``pyspark.ml.recommendation.ALS``, import it from `recspark.models`."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.config import at_least, between, one_of
from recspark.data.folder import Folder
from recspark.engine.encode import ROLES, Parts, encode, id_column
from recspark.engine.layout import default_blocks, threads_per_task
from recspark.engine.loop import Fit, Plan, run
from recspark.engine.storage import Store
from recspark.errors import ConfigError
from recspark.models.als_solver import ALSSolver
from recspark.models.factor_model import FactorModel, RatingColumns, Summary
from recspark.models.params import Hyperparameter
from recspark.models.workspace import work_folder

log = logging.getLogger("recspark.fit")

#: a preferred pair whose confidence is that of an unseen one (1) gets this much more: the weighted form divides by it
LEAST_EXCESS = 1e-4


class ALSModel(FactorModel):
    """The factors that `ALS` fitted."""


class ALS(Estimator, RatingColumns, DefaultParamsWritable, DefaultParamsReadable):
    """Matrix factorization by alternating least squares, explicit or implicit.

    With the defaults it minimises what MLlib's ALS minimises,

        sum (r_ui - <x_u, y_i>)^2 + regParam * (sum_u n_u |x_u|^2 + sum_i n_i |y_i|^2),

    and, with ``implicitPrefs``, ``sum_ui c_ui (p_ui - <x_u, y_i>)^2`` plus the same penalty, where p = 1 for r > 0, else 0,
    and c = 1 + alpha |r|. Beyond MLlib: ids of any type, a mean and biases, penalties per side and scaling, weights,
    watched data, early stop, resume. Every Param is explained by ``explainParams()``.

    Examples
    --------
    >>> from recspark.models import ALS
    >>> model = ALS(rank=32, regParam=0.05, userCol="user_id", itemCol="item_id").fit(ratings)  # doctest: +SKIP
    >>> model.transform(test)  # doctest: +SKIP

    References
    ----------
    Zhou, Wilkinson, Schreiber, Pan 2008, "Large-scale parallel collaborative filtering for the Netflix prize".
    Hu, Koren, Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
    """

    rank = Hyperparameter(int, 10, "number of factors", at_least(1))
    maxIter = Hyperparameter(int, 10, "largest number of iterations", at_least(1))
    regParam = Hyperparameter(float, 0.1, "penalty of factors", at_least(0))
    userRegParam = Hyperparameter(float, None, "penalty of user factors; regParam where not set", at_least(0))
    itemRegParam = Hyperparameter(float, None, "penalty of item factors; regParam where not set", at_least(0))
    biasRegParam = Hyperparameter(float, None, "penalty of biases; the side's penalty of factors where not set", at_least(0))
    regPower = Hyperparameter(float, 1.0, "penalties of an id count n^regPower times, n its ratings: 1 as MLlib, 0 plain ridge", between(0, 1))
    center = Hyperparameter(bool, False, "subtract the mean rating before fitting and add it to predictions")
    biases = Hyperparameter(bool, False, "fit a bias of every user and item")
    clip = Hyperparameter(bool, False, "cut predictions to the range of the ratings that trained")
    implicitPrefs = Hyperparameter(bool, False, "ratings are counts of observed preference, not scores")
    alpha = Hyperparameter(float, 1.0, "confidence of implicit feedback is 1 + alpha |rating|", at_least(0))
    nonnegative = Hyperparameter(bool, False, "constrain factors to be at least 0")
    weightCol = Hyperparameter(str, None, "column of weights >= 0; with implicitPrefs the confidence itself, >= 1, in place of alpha")
    validationCol = Hyperparameter(str, None, "boolean column: true rows don't train, their RMSE is watched and stops the fit")
    tol = Hyperparameter(float, 0.0, "stop when the watched metric gains less than this, relatively", at_least(0))
    patience = Hyperparameter(int, 3, "iterations without gain on validation rows after which the fit stops", at_least(1))
    solver = Hyperparameter(str, "auto", "how a row is solved; cg is for implicitPrefs only; auto is cholesky", one_of("auto", "cholesky", "cg"))
    cgSteps = Hyperparameter(int, 3, "conjugate gradient steps a row and iteration, for solver cg", at_least(1))
    seed = Hyperparameter(int, 42, "seed of the starting factors")
    userBlocks = Hyperparameter(int, None, "blocks that users are cut into; not set: 1, or one a core of a cluster for over 5 M ratings", at_least(1))
    itemBlocks = Hyperparameter(int, None, "blocks that items are cut into; not set: as userBlocks", at_least(1))
    threads = Hyperparameter(int, None, "threads of a task; not set: all cores where one task does all, else Spark's task.cpus", at_least(1))
    workDir = Hyperparameter(str, None, "folder or URI that all workers reach, for blocks and checkpoints; one that stays lets a killed fit resume")
    checkpointInterval = Hyperparameter(int, 10, "accepted as MLlib's; every iteration is a checkpoint")
    blockSize = Hyperparameter(int, 4096, "accepted as MLlib's; has no effect")
    intermediateStorageLevel = Hyperparameter(str, "MEMORY_AND_DISK", "accepted as MLlib's; has no effect")
    finalStorageLevel = Hyperparameter(str, "MEMORY_AND_DISK", "accepted as MLlib's; has no effect")
    #: MLlib's names of userBlocks and itemBlocks
    numUserBlocks = userBlocks
    numItemBlocks = itemBlocks

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._watched: dict[str, DataFrame] = {}

    def watch(self, **data: DataFrame) -> ALS:
        """Follow the RMSE on more data at every iteration: ``watch(validation=df, test=df)``; only validation can stop the fit."""
        for role in data:
            if role not in ROLES[1:]:
                raise ConfigError(f"watch({role}=...) is not allowed: it must be one of {', '.join(ROLES[1:])}")
        self._watched = data
        return self

    def _fit(self, dataset: DataFrame) -> ALSModel:
        started = time.perf_counter()
        self._check()
        spark = dataset.sparkSession
        work = work_folder(spark.sparkContext, self.getWorkDir())
        staged = Store(f"{work}/encoded-{uuid.uuid4().hex}")
        try:
            weighted = self.getImplicitPrefs() or self.getWeightCol() is not None
            watched = bool(self._watched) or self.getValidationCol() is not None
            parts = encode(self._rows(dataset), staged, weighted, watched)
            plan = self._plan(spark, work, parts)
            log.info("ALS: %d ratings, rank %d, %d x %d blocks", parts.rows, self.getRank(), *plan.blocks.values())
            fit = run(spark, plan)
        finally:
            staged.delete("")
        return self._model(plan, parts, fit, time.perf_counter() - started)

    def _check(self) -> None:
        """Combinations that no single Param can reject."""
        if self.getImplicitPrefs() and (self.getBiases() or self.getCenter()):
            raise ConfigError("implicitPrefs = true is not allowed with biases or center: preferences are 0 or 1, there is no mean to remove")
        if self.getSolver() == "cg" and (not self.getImplicitPrefs() or self.getNonnegative()):
            raise ConfigError("solver = 'cg' is not allowed here: it is for implicitPrefs = true and nonnegative = false")

    def _rows(self, dataset: DataFrame) -> DataFrame:
        """All rows that train or are watched, as `recspark.engine.encode.COLUMNS`."""
        validation = self.getValidationCol()
        role = F.when(F.col(f"`{validation}`"), 1).otherwise(0) if validation else F.lit(0)
        rows = self._encodable(dataset, role)
        for name, watched in self._watched.items():
            rows = rows.unionAll(self._encodable(watched, F.lit(ROLES.index(name))))
        return rows

    def _encodable(self, dataset: DataFrame, role: F.Column) -> DataFrame:
        user, item = id_column(dataset, self.getUserCol()), id_column(dataset, self.getItemCol())
        # MLlib reads a frame without the rating column as ratings of 1
        rating = F.col(f"`{self.getRatingCol()}`").cast("float") if self.getRatingCol() else F.lit(1.0).cast("float")
        given = self.getWeightCol()
        weight = F.col(f"`{given}`").cast("float") if given else F.lit(1.0).cast("float")
        if self.getImplicitPrefs():
            # (c - 1, c / (c - 1)): the weighted least squares form of recspark.kernels.als; watched rows keep the preference
            excess = weight - 1 if given else self.getAlpha() * F.abs(rating)
            excess = F.when(rating > 0, F.greatest(excess, F.lit(LEAST_EXCESS))).otherwise(excess)
            target = F.when(rating <= 0, 0.0).when(role > 0, 1.0).otherwise((1 + excess) / excess)
            rating, weight = F.when(rating.isNotNull() & ~F.isnan(rating), target), F.when(role > 0, 1.0).otherwise(excess)
        columns = {"user": user, "item": item, "value": rating.cast("float"), "weight": weight.cast("float"), "role": role.cast("byte")}
        rows = dataset.select(*(column.alias(name) for name, column in columns.items()))
        # a pair that is not preferred, with no more confidence than an unseen one, says nothing
        return rows.filter("weight is null or weight <> 0") if self.getImplicitPrefs() else rows

    def _plan(self, spark: SparkSession, work: str, parts: Parts) -> Plan:
        users = self.getUserBlocks() or self.getItemBlocks() or default_blocks(spark, parts.rows)
        blocks = {"users": users, "items": self.getItemBlocks() or users}
        threads = self.getThreads() or threads_per_task(spark, blocks)
        model = f"model-{uuid.uuid4().hex}"
        return Plan(work, model, parts, self._solver(parts), blocks, self.getMaxIter(), self.getTol(), self.getPatience(), threads)

    def _solver(self, parts: Parts) -> ALSSolver:
        implicit = self.getImplicitPrefs()
        given = {"users": self.getUserRegParam(), "items": self.getItemRegParam()}
        reg = {side: self.getRegParam() if value is None else value for side, value in given.items()}
        bias_reg = self.getBiasRegParam()
        return ALSSolver(
            rank=self.getRank(),
            reg=reg,
            bias_reg={side: value if bias_reg is None else bias_reg for side, value in reg.items()},
            reg_power=self.getRegPower(),
            mean=parts.mean if self.getCenter() else 0.0,
            level=0.0 if implicit else parts.mean,
            targets=parts.values if implicit else 0.0,
            biased=self.getBiases(),
            nonnegative=self.getNonnegative(),
            implicit=implicit,
            cg_steps=self.getCgSteps() if self.getSolver() == "cg" else 0,
            clip=(parts.low, parts.high) if self.getClip() else (-float("inf"), float("inf")),
            seed=self.getSeed(),
        )

    def _model(self, plan: Plan, parts: Parts, fit: Fit, seconds: float) -> ALSModel:
        solver = plan.solver
        facts = {
            "rank": solver.rank,
            "mean": solver.mean,
            "level": solver.level,
            "biased": solver.biased,
            "clip": list(solver.clip) if self.getClip() else None,
            "cold": self.getColdStartStrategy(),
            "text_ids": parts.text_ids,
            "stamp": uuid.uuid4().hex,
        }
        Folder(fit.model).write_json("scorer.json", facts)
        model = ALSModel(folder=fit.model)
        self._copyValues(model)
        model._resetUid(self.uid)
        model.summary = Summary(fit.history, fit.best, fit.resumed_at, fit.prepare_seconds, seconds)
        return model
