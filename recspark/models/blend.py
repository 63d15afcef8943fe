"""A blend: one prediction from the predictions of several models.

Ridge regression finds the weights of the models, on rows that trained none of them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Self

import numpy as np
from pyspark.ml import Model
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.data.columns import check_new, unused_name, with_new
from recspark.data.splitting.rules import draw
from recspark.errors import RecsparkError
from recspark.models.factors.model import FactorModel
from recspark.models.folder import BlendFacts, blend_part, blended, read_facts, write_facts
from recspark.models.params import Configurable, Hyperparameter, plain
from recspark.models.saving import Saved, load_model
from recspark.models.serving.explanation import Explanation, Part

#: penalties that cross-validation chooses from, as a share of one squared unit of prediction
PENALTIES = np.logspace(-6, 2, 17)
#: output columns of models beside the prediction
OTHER_OUTPUTS = ("probabilityCol", "rawPredictionCol", "stdevCol", "levelsCol")
#: number of parts that the validation rows are cut into for cross-validation
FOLDS = 5


@dataclass(frozen=True)
class Weights:
    """The intercept and weights of a blend; ``rmse`` is the cross-validation error over the folds."""

    intercept: float
    weights: tuple[float, ...]
    penalty: float
    rmse: float


def fold_moments(predictions: DataFrame, columns: list[str], seed: int = 42) -> np.ndarray:
    """Sums of products over the rows of each fold, in one aggregation.

    They are all that the weights depend on.

    Parameters
    ----------
    predictions : DataFrame
        user_id, item_id, rating and `columns`, a prediction of each model. Rows that a model leaves without a
        finite prediction are not counted. Row order doesn't matter: a row's fold is drawn by a hash of its
        ids.

    Returns
    -------
    ndarray
        ``z z^T`` summed, with ``z = (1, predictions, rating)``: float64, (folds, m + 2, m + 2); folds without
        rows are left out.

    Raises
    ------
    RecsparkError
        If fewer than two folds have a row: there is nothing to cross-validate.
    """
    z = [F.lit(1.0), *(F.col(f"`{name}`").cast("double") for name in (*columns, "rating"))]
    fold = F.floor(draw(seed, "blend", "user_id", "item_id") * FOLDS).alias("fold")
    upper = [(i, j) for i in range(len(z)) for j in range(i, len(z))]
    rows = (
        predictions.where(_all_finite(z))
        .groupBy(fold)
        .agg(*(F.sum(z[i] * z[j]) for i, j in upper))
        .orderBy("fold")
        .collect()
    )
    if len(rows) < 2:
        found = f"they fill {len(rows)} of {FOLDS} folds"
        raise RecsparkError(
            f"the rows that all of {', '.join(columns)} predict are too few to fit weights on: {found}"
        )
    moments = np.zeros((len(rows), len(z), len(z)))
    for fold_sums, row in zip(moments, rows, strict=True):
        for (i, j), value in zip(upper, row[1:], strict=True):
            fold_sums[i, j] = fold_sums[j, i] = value
    return moments


def _all_finite(columns: list[Column]) -> Column:
    finite = F.lit(True)
    for column in columns:
        finite = finite & F.coalesce(F.abs(column) < float("inf"), F.lit(False)) & ~F.isnan(column)
    return finite


def fit_weights(moments: np.ndarray, penalty: float | None = None) -> Weights:
    """Weights from the sums of :func:`fold_moments`.

    They minimise, over intercept b and weights w of m models,

        mean((rating - b - <w, predictions>)^2) + penalty |w - 1/m|^2,

    so few rows, or a high penalty, give the plain mean of the models. If `penalty` is None, it is the one of
    `PENALTIES` with the lowest squared error over the folds, where each fold is predicted by weights from the
    other folds.
    """
    total = moments.sum(axis=0)
    errors = {
        each: _held_out_error(moments, total, each) for each in (PENALTIES if penalty is None else [penalty])
    }
    best = min(errors, key=errors.__getitem__)
    intercept, weights = ridge(total, best)
    return Weights(intercept, tuple(weights.tolist()), float(best), float(np.sqrt(errors[best])))


def _held_out_error(moments: np.ndarray, total: np.ndarray, penalty: float) -> float:
    """Mean squared error over all rows; each fold is predicted by weights from the other folds."""
    return sum(squared_error(fold, *ridge(total - fold, penalty)) for fold in moments) / total[0, 0]


def ridge(moments: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Intercept and weights from one sum of products."""
    means = moments[0, 1:] / moments[0, 0]
    covariance = moments[1:, 1:] / moments[0, 0] - np.outer(means, means)
    xx, xy = covariance[:-1, :-1], covariance[:-1, -1]
    equal = np.full(len(xx), 1 / len(xx))
    # equal models and no penalty leave the weights open: take the smallest change from equal weights
    weights = equal + np.linalg.lstsq(xx + penalty * np.eye(len(xx)), xy - xx @ equal)[0]
    return float(means[-1] - means[:-1] @ weights), weights


def squared_error(moments: np.ndarray, intercept: float, weights: np.ndarray) -> float:
    """The sum of squared errors over the rows behind `moments`."""
    residual = np.array([-intercept, *(-weights), 1.0])
    return float(max(residual @ moments @ residual, 0.0))


def model_rmse(moments: np.ndarray) -> list[float]:
    """RMSE of each model by itself over the rows behind the sums of :func:`fold_moments`."""
    total, models = moments.sum(axis=0), moments.shape[1] - 2
    return [float(np.sqrt(squared_error(total, 0.0, one) / total[0, 0])) for one in np.eye(models)]


#: of a blend of no models
NO_WEIGHTS = Weights(0.0, (), 0.0, float("nan"))


class BlendModel(Model, Configurable, Saved):
    """``intercept + sum of weight x prediction`` over the models that it holds.

    It predicts rows and makes no lists. A row has no prediction (NaN) if one of the models has none.
    """

    predictionCol = Hyperparameter(str, "prediction", "column that transform adds (float)")

    def __init__(
        self, models: Mapping[str, FactorModel] | None = None, fitted: Weights = NO_WEIGHTS, **values: object
    ) -> None:
        super().__init__(**values)
        self.models = dict(models or {})
        self.fitted = fitted

    @property
    def can(self) -> tuple[str, ...]:
        """See `FittedModel.can`: lists would need the same ids in all models."""
        models = self.models.values()
        return tuple(what for what in ("explain", "serve") if all(what in model.can for model in models))

    def explain(self, user: object, item: object) -> Explanation:
        """Why `item` has its score for `user`: the intercept, and each model's weight times its prediction.

        To see why a model predicts what it does, call its own ``explain``.
        """
        parts = [Part("intercept", self.fitted.intercept, shared=True)]
        for (name, model), weight in zip(self.models.items(), self.fitted.weights, strict=True):
            parts.append(Part(name, weight * model.explain(user, item).prediction))
        score = sum(part.value for part in parts)
        return Explanation.of(plain(item), score, score, parts)

    def bind(self, train: DataFrame) -> BlendModel:
        """Give the training rows to the models with features; see `FMModel.bind`."""
        for model in self.models.values():
            if hasattr(model, "bind"):
                model.bind(train)
        return self

    def _transform(self, dataset: DataFrame) -> DataFrame:
        check_new(dataset, [self.getPredictionCol()])
        names = [unused_name(dataset, f"prediction_of_{number}") for number in range(len(self.models))]
        predicted = with_predictions(dataset, dict(zip(names, self.models.values(), strict=True)))
        terms = (F.lit(weight) * F.col(name) for weight, name in zip(self.fitted.weights, names, strict=True))
        blended = reduce(operator.add, terms, F.lit(self.fitted.intercept)).cast("float")
        return with_new(predicted, {}, [(self.getPredictionCol(), blended)]).drop(*names)

    def write_parts(self, path: str) -> None:
        """Write the weights as facts; each model saves itself."""
        for number, model in enumerate(self.models.values()):
            model.write().save(blend_part(path, number))
        write_facts(
            path, BlendFacts(kind="blend", can=self.can, models=tuple(self.models), **asdict(self.fitted))
        )

    @classmethod
    def read_parts(cls, path: str) -> Self:
        """See `Saved.read_parts`."""
        facts = read_facts(path, BlendFacts)
        models = dict(zip(facts.models, map(load_model, blended(path, facts)), strict=True))
        return cls(models, Weights(facts.intercept, facts.weights, facts.penalty, facts.rmse))


def with_predictions(dataset: DataFrame, models: Mapping[str, FactorModel]) -> DataFrame:
    """`dataset` with one more column per model: its predictions, under its name."""
    for name, model in models.items():
        # other outputs of the model are switched off
        others = (model.getParam(other) for other in OTHER_OUTPUTS if model.hasParam(other))
        dataset = model.transform(
            dataset, {model.getParam("predictionCol"): name, **dict.fromkeys(others, "")}
        )
    return dataset
