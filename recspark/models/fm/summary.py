"""MLlib's summary of a classifier: accuracy, precision, recall and ROC, by Spark's own classes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pyspark.ml.classification import FMClassificationSummary, FMClassificationTrainingSummary
from pyspark.sql import DataFrame

from recspark.data.columns import number
from recspark.engine.spark.mllib import JavaObject, classification_summary
from recspark.engine.spark.session import is_remote
from recspark.errors import RecsparkError
from recspark.models.factors.model import Summary

if TYPE_CHECKING:
    from recspark.models.fm.vectors import FMVectorModel


class TrainingSummary(FMClassificationTrainingSummary):
    """MLlib's summary of the training rows."""

    def __init__(self, java_obj: JavaObject, history: list[dict[str, float]]) -> None:
        super().__init__(java_obj)
        self._history = history

    @property
    def objectiveHistory(self) -> list[float]:
        """The objective after each iteration."""
        return [row["objective"] for row in self._history]

    @property
    def totalIterations(self) -> int:
        """The number of iterations."""
        return len(self._history)


@dataclass(frozen=True)
class ClassificationSummary(Summary):
    """A `Summary` that is also MLlib's method ``summary()``."""

    model: FMVectorModel
    trained: DataFrame

    @classmethod
    def of(cls, model: FMVectorModel, trained: DataFrame) -> ClassificationSummary:
        """The summary of `model`, which was fitted on `trained`."""
        known = {field.name: getattr(model.summary, field.name) for field in fields(Summary)}
        return cls(**known, model=model, trained=trained)

    def __repr__(self) -> str:
        return f"ClassificationSummary(iterations={len(self.history)}, fit_seconds={self.fit_seconds:.3g})"

    def __call__(self) -> TrainingSummary:
        """MLlib's summary of the predictions for the training rows."""
        return TrainingSummary(_java_summary(self.model, self.trained), self.history)


class NoSummary:
    """The summary of a loaded model: false, and one sentence when it is called."""

    def __bool__(self) -> bool:
        return False

    def __call__(self) -> TrainingSummary:
        """Raise RecsparkError: nothing is known of the fit."""
        raise RecsparkError(
            "there is no training summary: a fitted model has it, a saved one does not; evaluate(dataset) "
            "gives one"
        )


def evaluated(model: FMVectorModel, dataset: DataFrame) -> FMClassificationSummary:
    """MLlib's summary of the predictions of `model` for `dataset`."""
    if not isinstance(dataset, DataFrame):
        raise TypeError(f"dataset must be a DataFrame but got {type(dataset)}.")
    return FMClassificationSummary(_java_summary(model, dataset))


def _java_summary(model: FMVectorModel, dataset: DataFrame) -> JavaObject:
    if is_remote(dataset.sparkSession):
        raise RecsparkError(
            "there are no summaries over Spark Connect: use pyspark.ml.evaluation on transform(dataset)"
        )
    number(dataset, model.getLabelCol(), "a label")
    # as in MLlib: columns that transform does not add have another name here
    named = {
        name: model.getOrDefault(name) or f"{name}_{model.uid}"
        for name in ("probabilityCol", "predictionCol")
    }
    predicted = model.transform(dataset, {model.getParam(name): column for name, column in named.items()})
    return classification_summary(
        predicted, *named.values(), model.getLabelCol(), model.getWeightCol() or "weightCol"
    )
