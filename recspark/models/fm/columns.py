"""Columns that factorization machines read and write."""

from __future__ import annotations

from recspark.models.params import Configurable, Hyperparameter


class FMColumns(Configurable):
    """The columns that an FM's estimators read and its models write."""

    labelCol = Hyperparameter(str, "label", "column of labels: numbers; of FMClassifier 0 and 1")
    predictionCol = Hyperparameter(str, "prediction", "column that transform adds")
    featuresCol = Hyperparameter(str, "features", "column of vectors, where no groups are declared")
