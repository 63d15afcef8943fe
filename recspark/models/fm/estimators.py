"""Factorization machines as Spark ML estimators.

Import FMRegressor and FMClassifier from `recspark.models` in place of ``pyspark.ml``.
"""

from __future__ import annotations

import math
from typing import Self

from pyspark.ml.classification import FMClassificationSummary
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.config import Check, at_least, one_of, strictly_between
from recspark.engine.relations import LEVELS
from recspark.errors import ConfigError, RecsparkError
from recspark.models.engine_params import ComparesItems
from recspark.models.factors.model import Summary
from recspark.models.fm.entities import FMModel
from recspark.models.fm.estimator import FactorizationMachine
from recspark.models.fm.summary import ClassificationSummary, NoSummary, evaluated
from recspark.models.fm.vectors import FMVectorModel
from recspark.models.params import Configurable, Hyperparameter, ParamError
from recspark.models.unread import Unread

#: lower probabilities count as this one in a logit
LEAST = 1e-15


class FMRegressorModel(FMModel):
    """The model that `FMRegressor` fitted on groups."""


class FMRegressionModel(FMVectorModel):
    """The model that `FMRegressor` fitted on vectors; `intercept`, `linear` and `factors` as in MLlib."""


class FMRegressor(FactorizationMachine):
    """Prediction of numbers by a factorization machine.

    ``ordered`` takes labels for levels with thresholds of their own (ordered probit), and predicts the
    probability of each level; it needs groups.

    ``ordered`` takes labels for levels with thresholds of their own (ordered probit), which predicts the
    probability of each; with groups.

    Examples
    --------
    >>> from recspark.models import FMRegressor
    >>> FMRegressor(factorSize=8, maxIter=100).fit(rows_with_features_and_label)  # doctest: +SKIP
    >>> groups = ["user", "item", "rated", "raters", "day"]
    >>> fm = FMRegressor(groups=groups, factorSize=16, labelCol="rating")  # doctest: +SKIP
    >>> model = fm.tables(users, items).fit(train)  # doctest: +SKIP

    References
    ----------
    Rendle 2010, "Factorization machines"; Rendle 2012, "Factorization machines with libFM"; Freudenthaler,
    Schmidt-Thieme, Rendle 2011, "Bayesian factorization machines"; Rendle, Zhang, Koren 2019, "On the
    difficulty of evaluating baselines".
    """

    model_classes = (FMRegressorModel, FMRegressionModel)

    ordered = Hyperparameter(
        bool, False, "labels are ordered levels: thresholds between them are fitted; with groups"
    )
    stdevCol = Hyperparameter(
        str, None, "column of the model for the posterior standard deviation of a new rating; with groups"
    )
    levelsCol = Hyperparameter(
        str, None, "column of the model for the probability of each level (array<float>), where ordered"
    )

    def _levels(self, labels: tuple[float, ...]) -> tuple[float, ...]:
        if self.getOrdered() and not 2 <= len(labels) < LEVELS:
            raise RecsparkError(
                f"column {self.getLabelCol()!r} has {len(labels)} different values: ordered = True takes 2 "
                f"to {LEVELS - 1}"
            )
        return labels if self.getOrdered() else ()

    def _link(self) -> str:
        if self.getOrdered():
            raise ConfigError(
                "ordered = True is not allowed here: it needs solver = 'mcmc', and groups whose contexts "
                "have one level per row"
            )
        return "identity"


def _are_thresholds(values: list[object]) -> bool:
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")
        for value in values
    )
    return numbers and len(values) == 2 and any(values)


class Probabilities(Configurable):
    """The columns that a classifier's model adds beside the prediction."""

    probabilityCol = Hyperparameter(
        str, "probability", "column that transform adds: a vector with the probabilities of 0 and 1"
    )
    rawPredictionCol = Hyperparameter(
        str,
        "rawPrediction",
        "column that transform adds: a vector with minus the logit of label 1, and the logit",
    )
    threshold = Hyperparameter(
        float, 0.5, "probability of label 1 from which on it is predicted", strictly_between(0, 1)
    )
    thresholds = Hyperparameter(
        list,
        None,
        "in place of threshold, as in MLlib: the label with the largest probability / threshold is predicted",
        Check(_are_thresholds, "of two numbers of at least 0, for labels 0 and 1, at most one of them 0"),
    )

    def setThreshold(self, value: float) -> Self:
        """Set threshold and clear thresholds."""
        self.clear(self.getParam("thresholds"))
        return self._set(threshold=value)

    def setThresholds(self, value: list[float]) -> Self:
        """Set thresholds and clear threshold."""
        self.clear(self.getParam("threshold"))
        return self._set(thresholds=value)

    def _check_thresholds(self) -> None:
        if self.isSet("threshold") and self.getThresholds() is not None:
            raise ParamError(
                f"threshold = {self.getThreshold():g} and thresholds = {self.getThresholds()} are both set: "
                "set one of them"
            )

    def _outputs(self, predicted: F.Column) -> list[tuple[str | None, F.Column]]:
        """The columns of Spark's classifiers, with their metadata."""
        self._check_thresholds()
        p = predicted.cast("double")
        logit = F.log(F.greatest(p, F.lit(LEAST)) / F.greatest(1 - p, F.lit(LEAST)))
        if self.getThresholds() is None:
            label = p >= self.getThreshold()
        else:
            none, one = self.getThresholds()
            label = F.lit(none) * p > F.lit(one) * (1 - p)
        found = [
            (self.getRawPredictionCol(), array_to_vector(F.array(-logit, logit)), {"num_attrs": 2}),
            (self.getProbabilityCol(), array_to_vector(F.array(1 - p, p)), {"num_attrs": 2}),
            (self.getPredictionCol(), label.cast("double"), {"type": "nominal", "num_vals": 2}),
        ]
        return [
            (name, value.alias(name, metadata={"ml_attr": attributes})) for name, value, attributes in found
        ]

    def _label(self, probability: float) -> float:
        """The label for a probability of label 1."""
        self._check_thresholds()
        if self.getThresholds() is None:
            return float(probability >= self.getThreshold())
        none, one = self.getThresholds()
        return float(none * probability > one * (1 - probability))


class FMClassifierModel(Probabilities, FMModel):
    """The model that `FMClassifier` fitted on groups."""

    def _outputs(self, predicted: F.Column) -> list[tuple[str | None, F.Column]]:
        _, *more = FMModel._outputs(self, predicted)
        return [*super()._outputs(predicted["prediction"]), *more]


class FMClassificationModel(Probabilities, FMVectorModel):
    """The model that `FMClassifier` fitted on vectors.

    `summary` is both the summary of recspark's models, with the history of the fit, and MLlib's method:
    ``model.summary.history``, ``model.summary().accuracy``.
    """

    numClasses = 2

    @property
    def summary(self) -> Summary | NoSummary:
        """The history of the fit; called, MLlib's summary of the training rows.

        A loaded model has none: see `hasSummary`.
        """
        return self._summary or NoSummary()

    @summary.setter
    def summary(self, summary: Summary | NoSummary | None) -> None:
        self._summary = summary

    @property
    def hasSummary(self) -> bool:
        """Whether there is a `summary`: it is not saved."""
        return self._summary is not None

    def evaluate(self, dataset: DataFrame) -> FMClassificationSummary:
        """Accuracy, precision, recall, ROC and the like of the predictions for `dataset`."""
        return evaluated(self, dataset)

    def predict(self, value: Vector) -> float:
        """The predicted label for one vector."""
        return self._label(self._of_vector(value))

    def predictRaw(self, value: Vector) -> DenseVector:
        """Minus the logit of label 1, and the logit, for one vector."""
        p = self._of_vector(value)
        logit = math.log(max(p, LEAST) / max(1 - p, LEAST))
        return DenseVector([-logit, logit])

    def predictProbability(self, value: Vector) -> DenseVector:
        """The probabilities of labels 0 and 1 for one vector."""
        p = self._of_vector(value)
        return DenseVector([1 - p, p])

    def _facts_in_words(self) -> dict[str, object]:
        return {"numClasses": 2} | super()._facts_in_words()


class FMClassifier(FactorizationMachine, Probabilities):
    """Labels 0 and 1 by a factorization machine: probit (mcmc, als), logistic (sgd). See `FMRegressor`."""

    model_classes = (FMClassifierModel, FMClassificationModel)

    def _fit(self, dataset: DataFrame) -> FMModel | FMVectorModel:
        self._check_thresholds()
        model = super()._fit(dataset)
        if isinstance(model, FMClassificationModel):
            model.summary = ClassificationSummary.of(model, dataset)
        return model

    def _levels(self, labels: tuple[float, ...]) -> tuple[float, ...]:
        if not set(labels) <= {0.0, 1.0}:
            other = next(label for label in labels if label not in (0.0, 1.0))
            raise RecsparkError(
                f"column {self.getLabelCol()!r} has the label {other:g}: FMClassifier takes 0 and 1"
            )
        return 0.0, 1.0

    def _link(self) -> str:
        return "logistic" if self._solver() == "sgd" else "probit"


class FMRankerModel(FMModel):
    """The scores that `FMRanker` fitted: they say which item comes first."""


class FMRanker(ComparesItems, FactorizationMachine):
    """Rankings by a factorization machine of `groups`: BPR, or a sampled softmax.

    Each row with a label above 0 is compared with `negatives` items that its user has no row with
    (`recspark.kernels.ranking.losses`).

    Examples
    --------
    >>> from recspark.models import FMRanker
    >>> groups = ["user", "item", "genres"]
    >>> ranker = FMRanker(groups=groups, factorSize=16, maxIter=30, labelCol="rating")  # doctest: +SKIP
    >>> ranker.tables(items=items).fit(train).recommendForAllUsers(10)  # doctest: +SKIP

    References
    ----------
    Rendle, Freudenthaler, Gantner, Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit
    feedback".
    """

    model_classes = (FMRankerModel,)

    solver = Hyperparameter(
        str, "sgd", "stochastic gradients; there is no other", one_of("sgd", "adamW", "gd")
    )
    regParam = Hyperparameter(float, 0.01, "penalty of all parameters", at_least(0))
    loss = Hyperparameter(
        str, "bpr", "what the scores of an item and of those drawn for it cost", one_of("bpr", "softmax")
    )

    unread: tuple[Unread, ...] = (
        Unread("fitIntercept", lambda *_: True, "a constant is the same for all items"),
    )

    @property
    def can_watch(self) -> bool:
        """False: its scores are not ratings."""
        return False

    def _fit(self, dataset: DataFrame) -> FMModel:
        if not self.getGroups():
            raise ConfigError(
                "groups is not set, and FMRanker needs them: it has to know which features are an item's"
            )
        if self._watched:
            raise ConfigError(
                "validation rows are not allowed with FMRanker: its scores are not ratings; watch the "
                "ranking metrics of evaluate"
            )
        return super()._fit(dataset)

    def _link(self) -> str:
        return "identity"

    def _loss(self) -> str:
        return self.getLoss()
