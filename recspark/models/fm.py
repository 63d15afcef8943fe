"""Factorization machines as Spark ML estimators: in place of ``pyspark.ml``'s FMRegressor and FMClassifier, import them from
`recspark.models`."""

from __future__ import annotations

from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.config import at_least, one_of, strictly_between
from recspark.engine.relations import LEVELS
from recspark.errors import ConfigError, RecsparkError
from recspark.models.fm_entities import FMColumns, FMModel
from recspark.models.fm_estimator import FactorizationMachine
from recspark.models.fm_vectors import FMVectorModel
from recspark.models.params import Configurable, Hyperparameter


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
            raise ConfigError(
                "ordered = True is not allowed here: it needs solver = 'mcmc', and groups whose contexts have one level a row"
            )
        return "identity"


class Probabilities(Configurable):
    """What a classifier's model adds beside the prediction."""

    probabilityCol = Hyperparameter(str, "probability", "column that transform adds: a vector with the probabilities of 0 and 1")
    rawPredictionCol = Hyperparameter(
        str, "rawPrediction", "column that transform adds: a vector with minus the logit of label 1, and the logit"
    )
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
        return (
            dataset.withColumn("_probability", probability.cast("double"))
            .withColumns(added)
            .select(*(f"`{name}`" for name in columns), *added)
        )


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


class FMRankerModel(FMModel):
    """What `FMRanker` fitted: scores that say which item comes first."""


class FMRanker(FactorizationMachine):
    """Rankings by a factorization machine of `groups`: each row with a label above 0 against items that its user has no row with, drawn
    evenly (BPR).

    Examples
    --------
    >>> from recspark.models import FMRanker
    >>> ranker = FMRanker(groups=["user", "item", "genres"], factorSize=16, maxIter=30, labelCol="rating")  # doctest: +SKIP
    >>> ranker.tables(items=items).fit(train).recommendForAllUsers(10)  # doctest: +SKIP

    References
    ----------
    Rendle, Freudenthaler, Gantner, Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit feedback".
    """

    model_classes = (FMRankerModel, FMVectorModel)

    solver = Hyperparameter(str, "sgd", "stochastic gradients; there is no other", one_of("sgd", "adamW", "gd"))
    regParam = Hyperparameter(float, 0.01, "penalty of all parameters", at_least(0))

    @property
    def can_watch(self) -> bool:
        """No: its scores are no ratings."""
        return False

    def _fit(self, dataset: DataFrame) -> FMModel:
        if not self.getGroups():
            raise ConfigError("groups is not set, and FMRanker needs them: it has to know which features are an item's")
        if self._watched:
            raise ConfigError(
                "validation rows are not allowed with FMRanker: its scores are no ratings; watch the ranking metrics of evaluate"
            )
        return super()._fit(dataset)

    def _link(self) -> str:
        return "identity"

    def _loss(self) -> str:
        return "bpr"
