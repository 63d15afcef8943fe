"""The kinds of models by the value of ``model.type``, with their classes and modules.

All other lists of kinds are made from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Kind:
    """An estimator and its models, by name.

    `home` is the module of both under ``recspark.models``.
    """

    home: str
    estimator: str
    models: tuple[str, ...]


#: by the value of ``model.type``
KINDS = {
    "als": Kind("factors.als", "ALS", ("ALSModel",)),
    "mf": Kind("factors.mf", "MatrixFactorization", ("MatrixFactorizationModel",)),
    "baseline": Kind("factors.baseline", "Baseline", ("BaselineModel",)),
    "popularity": Kind("factors.popularity", "Popularity", ("PopularityModel",)),
    "ease": Kind("item_item.ease", "EASE", ("EASEModel",)),
    "item_knn": Kind("item_item.knn", "ItemKNN", ("ItemKNNModel",)),
    "slim": Kind("item_item.slim", "SLIM", ("SLIMModel",)),
    "graph_filter": Kind("item_item.graph_filter", "GraphFilter", ("GraphFilterModel",)),
    "fm": Kind("fm.estimators", "FMRegressor", ("FMRegressorModel", "FMRegressionModel")),
    "fm_classifier": Kind("fm.estimators", "FMClassifier", ("FMClassifierModel", "FMClassificationModel")),
    "fm_ranker": Kind("fm.estimators", "FMRanker", ("FMRankerModel",)),
}

#: public names that do not belong to an estimator
_OTHERS = {"BlendModel": "blend", "ListBlendModel": "list_blend", "load_model": "saving"}

#: the module of each public name under ``recspark.models``
HOMES = {name: kind.home for kind in KINDS.values() for name in (kind.estimator, *kind.models)} | _OTHERS


def find(name: str) -> Any:
    """The public class or function of that name. Raise KeyError if there is none."""
    return getattr(import_module(f"recspark.models.{HOMES[name]}"), name)


def kind_of(estimator: type) -> str:
    """The kind of an estimator, or of a class that is derived from one.

    >>> from recspark.models import ALS
    >>> kind_of(type("MyALS", (ALS,), {}))
    'als'
    """
    kinds = {kind.estimator: name for name, kind in KINDS.items()}
    return next(kinds[base.__name__] for base in estimator.__mro__ if base.__name__ in kinds)
