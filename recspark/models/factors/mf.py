"""Matrix factorization by stochastic gradient descent, as a Spark ML estimator."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from pyspark.sql import SparkSession

from recspark.algorithms.sgd import SCHEDULES, SGDSolver
from recspark.config import above, at_least, between, one_of
from recspark.engine.encode import Parts
from recspark.engine.placement import Placement
from recspark.errors import ConfigError
from recspark.kernels.ranking import losses
from recspark.kernels.ranking.losses import Ranking
from recspark.kernels.sgd import KERNELS, LOSSES, OPTIMIZERS, Penalty
from recspark.models.engine_params import ComparesItems
from recspark.models.factors.factorization import Factorization, per_side
from recspark.models.factors.model import FactorModel
from recspark.models.folder import FitFacts, SolverFacts
from recspark.models.params import Hyperparameter
from recspark.models.serving.response import Response
from recspark.models.unread import Unread

#: kernels by loss; other losses have all that make a rating of a score
KERNELS_OF = {
    "logistic": ("linear",),
    "bpr": ("linear",),
    "softmax": ("linear", "cosine"),
    "ccl": ("cosine",),
}


class MatrixFactorizationModel(FactorModel):
    """The factors and biases that `MatrixFactorization` fitted."""


class MatrixFactorization(Factorization, ComparesItems):
    """Biased matrix factorization by gradient descent: ``mean + b_u + b_i + <x_u, y_i>``.

    Other kernels and losses are available. With the defaults it minimises

        sum_ui w_ui [ (r_ui - s_ui)^2 + regParam (|x_u|^2 + |y_i|^2) + biasRegParam (b_u^2 + b_i^2) ] / 2.

    ``kernel`` puts the score through a function (`recspark.kernels.sgd`). The losses ``bpr``, ``softmax`` and
    ``ccl`` compare each preferred item with `negatives` items that the user has not rated
    (`recspark.kernels.ranking.losses`), and read ratings above 0 as preferences.

    ``batchSize`` is the number of ratings per step. 0 takes all of them, as deep learning's full batch: the
    cost is then the mean over ratings plus ``regParam |row|^2 / 2`` once per row.

    Examples
    --------
    >>> from recspark.models import MatrixFactorization
    >>> mf = MatrixFactorization(rank=64, userCol="user_id", itemCol="item_id")
    >>> model = mf.fit(ratings)  # doctest: +SKIP

    References
    ----------
    Koren, Bell, Volinsky 2009, "Matrix factorization techniques for recommender systems".
    Rendle, Schmidt-Thieme 2008, "Online-updating regularized kernel matrix factorization models".
    Gemulla, Nijkamp, Haas, Sismanis 2011, "Large-scale matrix factorization with distributed stochastic
    gradient descent". Rendle, Freudenthaler, Gantner, Schmidt-Thieme 2009, "BPR: Bayesian personalized
    ranking from implicit feedback". Zhang, Chen, Wang, Yu 2013, "Optimizing top-N collaborative filtering via
    dynamic negative item sampling". Mao, Zhu, Wang, Dai, Dong, Xiao, He 2021, "SimpleX: a simple and strong
    baseline for collaborative filtering". Wu et al. 2024, "On the effectiveness of sampled softmax loss for
    item recommendation".
    """

    model_class = MatrixFactorizationModel

    rank = Hyperparameter(int, 32, "number of factors", at_least(1))
    maxIter = Hyperparameter(int, 20, "largest number of epochs", at_least(0))
    stepSize = Hyperparameter(float, 0.02, "learning rate of the first epoch", above(0))
    schedule = Hyperparameter(
        str,
        "constant",
        "learning rate of epoch t = 0, 1 ...: inverse stepSize / (1 + decay t), exponential stepSize (1 - "
        "decay)^t",
        one_of(*SCHEDULES),
    )
    decay = Hyperparameter(float, 0.1, "of the learning rate, if schedule is not constant", between(0, 1))
    optimizer = Hyperparameter(
        str,
        "sgd",
        "adagrad keeps one sum of squares per row, adam moments of every number",
        one_of(*OPTIMIZERS),
    )
    batchSize = Hyperparameter(int, 1, "ratings of a step; 0: all of them", at_least(0))
    regParam = Hyperparameter(float, 0.05, "L2 penalty of factors", at_least(0))
    userRegParam = Hyperparameter(float, None, "L2 penalty of user factors; regParam if not set", at_least(0))
    itemRegParam = Hyperparameter(float, None, "L2 penalty of item factors; regParam if not set", at_least(0))
    biasRegParam = Hyperparameter(float, 0.01, "L2 penalty of biases", at_least(0))
    regPower = Hyperparameter(
        float,
        None,
        "L2 penalties of an id count n^regPower times, n its ratings; not set: 1, as one is paid with every "
        "rating, for batchSize 0: 0",
        between(0, 1),
    )
    l1RegParam = Hyperparameter(float, 0.0, "L1 penalty of factors, by proximal steps", at_least(0))
    biasL1RegParam = Hyperparameter(float, 0.0, "L1 penalty of biases, by proximal steps", at_least(0))
    standardize = Hyperparameter(
        bool,
        False,
        "fit ratings / their standard deviation: penalties and steps that fit ratings of any unit; kernel "
        "linear",
    )
    center = Hyperparameter(
        bool, True, "add the mean rating to every score (sigmoid: the score whose prediction it is)"
    )
    biases = Hyperparameter(bool, True, "fit a bias of every user and item")
    kernel = Hyperparameter(
        str,
        "linear",
        "from score to rating; sigmoid and rbf stay inside the range of the training ratings; cosine, for "
        "losses softmax and ccl, keeps factors at length 1",
        one_of(*KERNELS),
    )
    gamma = Hyperparameter(float, None, "scale of the rbf kernel; 1 / rank if not set", above(0))
    loss = Hyperparameter(
        str,
        "squared",
        "logistic is for ratings 0 and 1; bpr, softmax and ccl (cosine contrastive) are for preferences",
        one_of(*LOSSES, *losses.LOSSES),
    )
    margin = Hyperparameter(
        float, 0.5, "loss ccl: drawn items whose cosine is below it cost nothing", between(-1, 1)
    )
    negativeWeight = Hyperparameter(
        float, 20.0, "loss ccl: weight of the mean cost of drawn items beside the preferred one", at_least(0)
    )
    nonnegative = Hyperparameter(bool, False, "constrain factors to be at least 0")
    initStdev = Hyperparameter(float, 0.1, "standard deviation of the starting factors", at_least(0))

    unread: tuple[Unread, ...] = (
        Unread("decay", lambda e, _: e.getSchedule() == "constant", "schedule = {schedule!r}"),
        Unread(
            "standardize",
            lambda e, _: e.getKernel() != "linear" or not e._has_unit(),
            "kernel and loss have no unit",
        ),
        Unread("gamma", lambda e, _: e.getKernel() != "rbf", "kernel = {kernel!r}"),
        Unread("biasRegParam biasL1RegParam", lambda e, _: not e.getBiases(), "biases = false"),
        Unread(
            "biases biasRegParam biasL1RegParam center", lambda e, _: e.getKernel() == "rbf", "kernel = 'rbf'"
        ),
        Unread("center", lambda e, _: e._compares_items(), "loss = {loss!r}"),
        Unread("margin negativeWeight", lambda e, _: e.getLoss() != "ccl", "loss = {loss!r}"),
        Unread(
            "biases biasRegParam regParam userRegParam itemRegParam regPower initStdev",
            lambda e, _: e.getKernel() == "cosine",
            "kernel = 'cosine', which has no biases, and factors of length 1",
        ),
    )

    @property
    def ranks_watched(self) -> bool:
        """Whether watched rows are preferences: true with the losses bpr, softmax and ccl."""
        return self._compares_items()

    def _has_unit(self) -> bool:
        """Whether the loss is one of errors in the unit of ratings."""
        return self.getLoss() in ("squared", "absolute")

    def _check(self) -> None:
        super()._check()
        kernels = KERNELS_OF.get(self.getLoss(), ("linear", "sigmoid", "rbf"))
        if self.getKernel() not in kernels:
            raise ConfigError(
                f"kernel = {self.getKernel()!r} is not allowed with loss = {self.getLoss()!r}: it must be "
                f"{' or '.join(kernels)}"
            )
        if self._compares_items():
            plain = {
                "optimizer": "sgd",
                "batchSize": 1,
                "l1RegParam": 0.0,
                "biasL1RegParam": 0.0,
                "nonnegative": False,
            }
            for name, only in plain.items():
                if self.getOrDefault(name) != only:
                    raise ConfigError(
                        f"{name} = {self.getOrDefault(name)!r} is not allowed with loss = "
                        f"{self.getLoss()!r}: it must be {only!r}"
                    )

    def _ranking(self) -> Ranking | None:
        found = super()._ranking()
        if found is None or self.getLoss() != "ccl":
            return found
        return found._replace(margin=self.getMargin(), negative_weight=self.getNegativeWeight())

    def _place(self, spark: SparkSession, ratings: int) -> Placement:
        found = super()._place(spark, ratings)
        # a loss that compares items needs all of them in one block
        return replace(found, blocks=found.blocks | {"items": 1}) if self._compares_items() else found

    def _solver(self, parts: Parts) -> SGDSolver:
        preferences, unit = self._compares_items(), self._unit(parts)
        score_unit = unit if self.getKernel() == "linear" else 1.0
        return SGDSolver(
            rank=self.getRank(),
            kernel=self.getKernel(),
            loss=self.getLoss(),
            optimizer=self.getOptimizer(),
            batch=self.getBatchSize(),
            rate=self.getStepSize(),
            schedule=self.getSchedule(),
            decay=self.getDecay(),
            penalty=self._penalties(),
            reg_power=self._reg_power(),
            biased=self._is_biased(),
            mean=0.0 if preferences or not self.getCenter() else self._mean_score(parts) / score_unit,
            level=0.0 if preferences else self._mean_score(parts) if self._is_biased() else parts.mean,
            weight=parts.weight,
            low=parts.low,
            high=parts.high,
            gamma=self.getGamma() or 1 / self.getRank(),
            nonnegative=self.getNonnegative(),
            stdev=1.0 if self.getKernel() == "cosine" else self.getInitStdev(),
            clip=(parts.low, parts.high) if self.getClip() else (-math.inf, math.inf),
            seed=self.getSeed(),
            unit=unit,
            ranking=self._ranking(),
        )

    def _unit(self, parts: Parts) -> float:
        """The number that errors are divided by.

        With the kernels sigmoid and rbf, the range of ratings has four units, as from 1 to 5.
        """
        if not self._has_unit():
            return 1.0
        if self.getKernel() != "linear":
            return (parts.high - parts.low) / 4 or 1.0
        return parts.deviation if self.getStandardize() else 1.0

    def _reg_power(self) -> float:
        default = 1.0 if self.getBatchSize() else 0.0
        return default if self.getRegPower() is None else self.getRegPower()

    def _penalties(self) -> dict[str, Penalty]:
        l2 = per_side(self.getRegParam(), self.getUserRegParam(), self.getItemRegParam())
        of_biases = (self.getBiasRegParam(), self.getBiasL1RegParam()) if self._is_biased() else (0.0, 0.0)
        return {side: Penalty(value, self.getL1RegParam(), *of_biases) for side, value in l2.items()}

    def _is_biased(self) -> bool:
        """Whether scores have biases; kernels of distances and angles have no use for them."""
        return self.getBiases() and self.getKernel() not in ("rbf", "cosine")

    def _mean_score(self, parts: Parts) -> float:
        """The score that predicts the mean rating."""
        low, high = (0.0, 1.0) if self.getLoss() == "logistic" else (parts.low, parts.high)
        if self.getLoss() != "logistic" and self.getKernel() == "linear":
            return parts.mean
        if self.getKernel() == "rbf" or not low < parts.mean < high:
            return 0.0
        return math.log((parts.mean - low) / (high - parts.mean))

    def _facts(self, solver: SGDSolver) -> FitFacts:
        # factors of length 1 are served by their products
        kernel = "linear" if solver.kernel == "cosine" else solver.kernel
        response = Response(kernel, solver.low, solver.high, solver.gamma)
        if solver.loss == "logistic":
            response = Response("sigmoid", 0.0, 1.0)
        mean = solver.mean * (solver.unit if solver.kernel == "linear" else 1.0)
        weighted = self.getWeightCol() is not None
        rows: SolverFacts = {"kind": "sgd", "settings": asdict(solver), "weights": weighted}
        return {**super()._facts(solver), "mean": mean, "response": response, "solver": rows}

    def _can(self) -> tuple[str, ...]:
        # such a loss compares items with all items that a user has not rated: no row can be solved by itself
        can_t = {"update"} if self._compares_items() else set()
        return tuple(ability for ability in super()._can() if ability not in can_t)
