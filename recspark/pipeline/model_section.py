"""The conf section ``[model]``: which estimator, under which name its model is kept, and its Params."""

from __future__ import annotations

import builtins
from typing import Any

from recspark.config import Option, one_of, unknown_key
from recspark.lake.lake import FILE_NAME
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.registry import KINDS, find

#: set by the jobs: the lake has one name for each column, work goes to the lake, and groups have a section of
#: their own
_FIXED: tuple[str, ...] = (
    "userCol",
    "itemCol",
    "ratingCol",
    "labelCol",
    "featuresCol",
    "predictionCol",
    "weightCol",
    "validationCol",
)
_FIXED += ("probabilityCol", "rawPredictionCol", "workDir", "groups")


class ModelSection:
    """Validated against the estimator itself, so that a Param is written in one place only."""

    name = "model"
    type = Option(str, "als", "estimator", one_of(*KINDS))
    model_name = Option(str, None, "the model is kept as models/NAME; not set: its type", FILE_NAME)
    positive = Option(
        float, None, "ratings of at least this value are label 1, lower ones 0, in training and evaluation"
    )

    def __init__(self, **values: Any) -> None:
        self.kind = self.type.parse("model.type", values.pop("type", self.type.default))
        self.product = self.model_name.parse("model.name", values.pop("name", None)) or self.kind
        self.positive_from = self.positive.parse("model.positiveFrom", values.pop("positiveFrom", None))
        known = self.known
        for key in values:
            if key not in known:
                raise unknown_key(
                    f"model.{key}",
                    ("model.type", "model.name", "model.positiveFrom", *(f"model.{name}" for name in known)),
                )
        self.params = {key: known[key].option.parse(f"model.{key}", value) for key, value in values.items()}

    @property
    def estimator(self) -> builtins.type[Configurable]:
        """The class that ``model.type`` names."""
        return find(KINDS[self.kind].estimator)

    @property
    def known(self) -> dict[str, Hyperparameter]:
        """The Params that a conf may set, by name."""
        return {name: param for name, param in self.estimator.hyperparameters().items() if name not in _FIXED}

    def as_dict(self) -> dict[str, Any]:
        """The values that are set, under their keys."""
        labels = {} if self.positive_from is None else {"positiveFrom": self.positive_from}
        return {"type": self.kind, "name": self.product, **labels, **self.params}
