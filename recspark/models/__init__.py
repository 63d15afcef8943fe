"""Spark ML estimators and models. Imported on demand, so that `recspark.models.scorer` works where there is no Spark."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "als": ("ALS", "ALSModel"),
    "baseline": ("Baseline", "BaselineModel"),
    "fm": (
        *("FMClassificationModel", "FMClassifier", "FMClassifierModel"),
        *("FMRanker", "FMRankerModel", "FMRegressionModel", "FMRegressor", "FMRegressorModel"),
    ),
    "mf": ("MatrixFactorization", "MatrixFactorizationModel"),
    "popularity": ("Popularity", "PopularityModel"),
}
_HOME = {name: f"recspark.models.{module}" for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
