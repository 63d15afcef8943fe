"""The conf section ``[model]``: which estimator, under which name its model is kept, and its Params."""

from __future__ import annotations

from typing import Any

from recspark import models
from recspark.config import Option, one_of, unknown_key
from recspark.data.lake import FILE_NAME
from recspark.models.params import Configurable

#: estimators by the value of ``model.type``
ESTIMATORS = {"als": "ALS", "mf": "MatrixFactorization", "baseline": "Baseline", "fm": "FMRegressor", "popularity": "Popularity"}

#: set by the jobs: the lake has one name for each column, work goes to the lake, and groups have a section of their own
_FIXED = ("userCol", "itemCol", "ratingCol", "labelCol", "featuresCol", "predictionCol", "weightCol", "validationCol", "workDir", "groups")


class ModelSection:
    """Validated against the estimator itself, so that a Param is written in one place only."""

    name = "model"
    type = Option(str, "als", "estimator", one_of(*ESTIMATORS))
    model_name = Option(str, None, "the model is kept as models/NAME", FILE_NAME)

    def __init__(self, **values: Any) -> None:
        self.kind = self.type.parse("model.type", values.pop("type", self.type.default))
        self.product = self.model_name.parse("model.name", values.pop("name", None)) or self.kind
        known = {name: param for name, param in self.estimator.hyperparameters().items() if name not in _FIXED}
        for key in values:
            if key not in known:
                raise unknown_key(f"model.{key}", ("model.type", "model.name", *(f"model.{name}" for name in known)))
        self.params = {key: known[key].option.parse(f"model.{key}", value) for key, value in values.items()}

    @property
    def estimator(self) -> type[Configurable]:
        return getattr(models, ESTIMATORS[self.kind])

    def as_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "name": self.product, **self.params}
