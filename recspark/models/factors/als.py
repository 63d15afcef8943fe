"""ALS as a Spark ML estimator, in place of ``pyspark.ml.recommendation.ALS``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Self

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.algorithms import devices
from recspark.algorithms.als import LEAST_EXCESS, ALSSolver
from recspark.algorithms.devices import DEVICES
from recspark.config import Check, at_least, between, one_of
from recspark.engine.encode import Parts
from recspark.engine.placement import Placement
from recspark.engine.spark.jvm import is_local
from recspark.engine.spark.session import master_of
from recspark.errors import ConfigError
from recspark.kernels.cuda.layout import MOST_RANK
from recspark.models.factors.factorization import Factorization, per_side
from recspark.models.factors.mllib_folder import import_als
from recspark.models.factors.model import FactorModel
from recspark.models.folder import FitFacts, SolverFacts
from recspark.models.params import Hyperparameter
from recspark.models.unread import Unread
from recspark.models.workspace import workspace

log = logging.getLogger("recspark.fit")


#: the preference that implicit fits start from: most scores of preferred pairs have this size after one
#: iteration
PREFERENCE = 0.3


#: the names of Spark's storage levels
STORAGE_LEVELS = (
    *(
        "NONE",
        "DISK_ONLY",
        "DISK_ONLY_2",
        "DISK_ONLY_3",
        "MEMORY_ONLY",
        "MEMORY_ONLY_2",
        "MEMORY_ONLY_SER",
        "MEMORY_ONLY_SER_2",
    ),
    *("MEMORY_AND_DISK", "MEMORY_AND_DISK_2", "MEMORY_AND_DISK_SER", "MEMORY_AND_DISK_SER_2", "OFF_HEAP"),
)


class ALSModel(FactorModel):
    """The factors that `ALS` fitted; `load` also reads a folder of MLlib's ALSModel."""

    mllib_class = "org.apache.spark.ml.recommendation.ALSModel"

    @classmethod
    def import_parts(cls, path: str) -> Self:
        """See `Saved.import_parts`."""
        work = workspace(SparkSession.active(), None)
        import_als(path, work.folder)
        return cls(folder=work.folder, lease=work.lease)

    blockSize = Hyperparameter(int, 4096, "accepted as MLlib's; has no effect", at_least(1))


class ALS(Factorization):
    """Matrix factorization by alternating least squares, explicit or implicit.

    With the defaults it minimises the objective of MLlib's ALS,

        sum (r_ui - <x_u, y_i>)^2 + regParam * (sum_u n_u |x_u|^2 + sum_i n_i |y_i|^2),

    and, with ``implicitPrefs``, ``sum_ui c_ui (p_ui - <x_u, y_i>)^2`` plus the same penalty, where p = 1 for
    r > 0, else 0, and c = 1 + alpha |r|. Beyond MLlib: ids of any type, a mean and biases, penalties per side
    and scaling, weights, watched data, early stop, resume. Every Param is explained by ``explainParams()``.

    Examples
    --------
    >>> from recspark.models import ALS
    >>> als = ALS(rank=32, regParam=0.05, userCol="user_id", itemCol="item_id")
    >>> model = als.fit(ratings)  # doctest: +SKIP
    >>> model.transform(test)  # doctest: +SKIP

    References
    ----------
    Zhou, Wilkinson, Schreiber, Pan 2008, "Large-scale parallel collaborative filtering for the Netflix
    prize". Hu, Koren, Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
    """

    model_class = ALSModel
    mllib_class = "org.apache.spark.ml.recommendation.ALS"

    rank = Hyperparameter(int, 10, "number of factors", at_least(1))
    maxIter = Hyperparameter(int, 10, "largest number of iterations", at_least(0))
    regParam = Hyperparameter(float, 0.1, "penalty of factors", at_least(0))
    userRegParam = Hyperparameter(float, None, "penalty of user factors; regParam if not set", at_least(0))
    itemRegParam = Hyperparameter(float, None, "penalty of item factors; regParam if not set", at_least(0))
    biasRegParam = Hyperparameter(
        float, None, "penalty of biases; the side's penalty of factors if not set", at_least(0)
    )
    regPower = Hyperparameter(
        float,
        1.0,
        "penalties of an id count n^regPower times, n its ratings: 1 as MLlib, 0 plain ridge",
        between(0, 1),
    )
    userRegPower = Hyperparameter(float, None, "regPower of users; regPower if not set", between(0, 1))
    itemRegPower = Hyperparameter(float, None, "regPower of items; regPower if not set", between(0, 1))
    standardize = Hyperparameter(
        bool,
        False,
        "multiply penalties of factors by the ratings' standard deviation: one value for any unit",
    )
    center = Hyperparameter(bool, False, "subtract the mean rating before fitting and add it to predictions")
    biases = Hyperparameter(bool, False, "fit a bias of every user and item")
    implicitPrefs = Hyperparameter(bool, False, "ratings are counts of observed preference, not scores")
    alpha = Hyperparameter(float, 1.0, "confidence of implicit feedback is 1 + alpha |rating|", at_least(0))
    nonnegative = Hyperparameter(bool, False, "constrain factors to be at least 0")
    weightCol = Hyperparameter(
        str, None, "column of weights >= 0; with implicitPrefs the confidence itself, >= 1, in place of alpha"
    )
    solver = Hyperparameter(
        str,
        "auto",
        "how a row is solved; cg is for implicitPrefs only; auto is exact as cholesky, and quicker for ids "
        "with fewer ratings than factors",
        one_of("auto", "cholesky", "cg"),
    )
    cgSteps = Hyperparameter(
        int, 3, "conjugate gradient steps per row and iteration, for solver cg", at_least(1)
    )
    device = Hyperparameter(
        str,
        "cpu",
        "where rows are solved: cuda is a card, which must be there; auto is a card where there is one",
        one_of(*DEVICES),
    )
    checkpointInterval = Hyperparameter(
        int,
        10,
        "accepted as MLlib's; every iteration is a checkpoint",
        Check(lambda value: value == -1 or value >= 1, "-1 or at least 1"),
    )
    blockSize = Hyperparameter(int, 4096, "accepted as MLlib's; has no effect", at_least(1))
    intermediateStorageLevel = Hyperparameter(
        str,
        "MEMORY_AND_DISK",
        "accepted as MLlib's; has no effect",
        one_of(*(level for level in STORAGE_LEVELS if level != "NONE")),
    )
    finalStorageLevel = Hyperparameter(
        str, "MEMORY_AND_DISK", "accepted as MLlib's; has no effect", one_of(*STORAGE_LEVELS)
    )
    numUserBlocks = Hyperparameter(
        int, 10, "MLlib's; a set value counts where blocks are tasks; userBlocks is an order", at_least(1)
    )
    numItemBlocks = Hyperparameter(
        int, 10, "MLlib's; a set value counts where blocks are tasks; itemBlocks is an order", at_least(1)
    )

    def setNumBlocks(self, value: int) -> ALS:
        """Set numUserBlocks and numItemBlocks."""
        return self._set(numUserBlocks=value, numItemBlocks=value)

    def _wished_blocks(self) -> dict[str, int]:
        names = {"users": "numUserBlocks", "items": "numItemBlocks"}
        return {side: self.getOrDefault(name) for side, name in names.items() if self.isSet(name)}

    def _place(self, spark: SparkSession, ratings: int) -> Placement:
        found, wished = super()._place(spark, ratings), self._wished_blocks()
        if found.one_task and wished and not (self.getUserBlocks() or self.getItemBlocks()):
            log.info(
                "numUserBlocks and numItemBlocks are not followed: one task is faster; userBlocks and "
                "itemBlocks are orders"
            )
        return found

    unread: tuple[Unread, ...] = (
        Unread("alpha", lambda e, _: not e.getImplicitPrefs(), "implicitPrefs = false"),
        Unread(
            "alpha",
            lambda e, _: e.getImplicitPrefs() and e.getWeightCol() is not None,
            "weightCol holds the confidence",
        ),
        Unread("standardize", lambda e, _: e.getImplicitPrefs(), "implicitPrefs = true"),
        Unread("cgSteps", lambda e, _: e.getSolver() != "cg", "solver = {solver!r}"),
        Unread("biasRegParam", lambda e, _: not e.getBiases(), "biases = false"),
    )

    @property
    def ranks_watched(self) -> bool:
        """Whether watched rows are preferences: true with implicitPrefs."""
        return self.getImplicitPrefs()

    def _check(self) -> None:
        super()._check()
        if self.getImplicitPrefs() and (self.getBiases() or self.getCenter()):
            raise ConfigError(
                "implicitPrefs = true is not allowed with biases or center: preferences are 0 or 1, there is "
                "no mean to remove"
            )
        if self.getSolver() == "cg" and (not self.getImplicitPrefs() or self.getNonnegative()):
            raise ConfigError(
                "solver = 'cg' is not allowed here: it is for implicitPrefs = true and nonnegative = false"
            )

        if self.getDevice() == "cuda":
            self._check_card()

    def _check_card(self) -> None:
        """Refuse what a card can't do, and on one machine a card that is not there."""
        for name, refused in (
            ("nonnegative", self.getNonnegative()),
            ("solver", self.getSolver() == "cg"),
            ("rank", self.getRank() > MOST_RANK),
        ):
            if refused:
                raise ConfigError(
                    f"device = 'cuda' is not allowed with {name} = {self.getOrDefault(name)!r}: a card "
                    f"solves rows exactly, of any sign, with rank at most {MOST_RANK}; set device to 'cpu' "
                    "or 'auto'"
                )
        if is_local(master_of(SparkSession.active())):
            devices.find("cuda")

    def _is_weighted(self) -> bool:
        return self.getImplicitPrefs() or super()._is_weighted()

    def _encodable(self, dataset: DataFrame, role: F.Column) -> DataFrame:
        rows = super()._encodable(dataset, role)
        # a pair that is not preferred, with the confidence of an unseen pair, says nothing
        return rows.filter("weight is null or weight <> 0") if self.getImplicitPrefs() else rows

    def _target(self, rating: F.Column, weight: F.Column, role: F.Column) -> tuple[F.Column, F.Column]:
        if not self.getImplicitPrefs():
            return rating, weight
        # (c / (c - 1), c - 1): the weighted least squares form of recspark.kernels.als; watched rows keep the
        # preference
        excess = weight - 1 if self.getWeightCol() else self.getAlpha() * F.abs(rating)
        excess = F.when(rating > 0, F.greatest(excess, F.lit(LEAST_EXCESS))).otherwise(excess)
        target = F.when(rating <= 0, 0.0).when(role > 0, 1.0).otherwise((1 + excess) / excess)
        return F.when(rating.isNotNull() & ~F.isnan(rating), target), F.when(role > 0, 1.0).otherwise(excess)

    def _solver(self, parts: Parts) -> ALSSolver:
        implicit, bias_reg = self.getImplicitPrefs(), self.getBiasRegParam()
        # fitting ratings / unit, and then multiplying the factors by its root,
        # equals this fit with the penalty of factors multiplied by the unit
        unit = parts.deviation if self.getStandardize() and not implicit else 1.0
        reg = per_side(self.getRegParam(), self.getUserRegParam(), self.getItemRegParam())
        bias_regs = reg if bias_reg is None else {"users": bias_reg, "items": bias_reg}
        return ALSSolver(
            rank=self.getRank(),
            reg={side: value * unit for side, value in reg.items()},
            bias_reg=bias_regs,
            reg_power=per_side(self.getRegPower(), self.getUserRegPower(), self.getItemRegPower()),
            mean=parts.mean if self.getCenter() else 0.0,
            level=0.0 if implicit else parts.mean,
            targets=parts.values if implicit else 0.0,
            biased=self.getBiases(),
            nonnegative=self.getNonnegative(),
            implicit=implicit,
            cg_steps=self.getCgSteps() if self.getSolver() == "cg" else 0,
            clip=(parts.low, parts.high) if self.getClip() else (-float("inf"), float("inf")),
            seed=self.getSeed(),
            length=self._length(parts),
            rotates=self.getSolver() == "auto",
            device=self.getDevice(),
        )

    def _length(self, parts: Parts) -> float:
        """The length of a user's starting row.

        Products of two rows of this length are as large as ratings are.
        """
        if self.getImplicitPrefs():
            return float(np.sqrt(PREFERENCE))
        return float(np.float32(np.sqrt(parts.spread_around(parts.mean if self.getCenter() else 0.0))))

    def _facts(self, solver: ALSSolver) -> FitFacts:
        # recspark.models.factors.row_solvers solves more rows from these settings
        rows: SolverFacts = {
            "kind": "als",
            "settings": {key: value for key, value in asdict(solver).items() if key != "device"},
            "alpha": self.getAlpha(),
            "weights": self.getWeightCol() is not None,
        }
        return {**super()._facts(solver), "solver": rows}
