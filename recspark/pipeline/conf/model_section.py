"""The conf section ``[model]``: the estimator, the name of its model, and its Params."""

from __future__ import annotations

import builtins

from recspark.config import Option, Section, one_of, unknown_key
from recspark.lake.lake import FILE_NAME
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.registry import KINDS, find

#: Params that the jobs set: the lake has one name per column, work goes to the lake, and groups have a
#: section of their own
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
_FIXED += ("probabilityCol", "rawPredictionCol", "workDir", "index", "groups")


class ModelSection(Section):
    """The type of the model, its name in the lake and the Params of its estimator.

    The Params are validated by the estimator itself, so that each is written in one place only.
    """

    name = "model"
    type = Option(str, "als", "estimator", one_of(*KINDS))
    positiveFrom = Option(
        float,
        None,
        "ratings of at least this value are label 1, lower ones 0, in training and evaluation",
    )

    def __init__(self, **values: object) -> None:
        super().__init__(**{key: value for key, value in values.items() if key in self.options})
        #: the type, the name in the lake, and the Params that are set
        self.kind: str = self.type
        self.product: str = self.name or self.kind
        known = self.known
        params = {key: value for key, value in values.items() if key not in self.options}
        for key in params:
            if key not in known:
                raise unknown_key(f"model.{key}", (f"model.{name}" for name in (*self.options, *known)))
        self.params = {key: known[key].option.parse(f"model.{key}", value) for key, value in params.items()}

    @property
    def estimator(self) -> builtins.type[Configurable]:
        """The class that ``model.type`` names."""
        return find(KINDS[self.kind].estimator)

    @property
    def known(self) -> dict[str, Hyperparameter]:
        """The Params that a conf may set, by name."""
        return {name: param for name, param in self.estimator.hyperparameters().items() if name not in _FIXED}

    def as_dict(self) -> dict[str, object]:
        """The values that are set, under their keys."""
        labels: dict[str, object] = {} if self.positiveFrom is None else {"positiveFrom": self.positiveFrom}
        return {"type": self.kind, "name": self.product, **labels, **self.params}


# an option called `name` can't be a class attribute, which names the section itself
ModelSection.options = {
    "type": ModelSection.type,
    "name": Option(str, None, "the model is kept as models/NAME; not set: its type", FILE_NAME),
    "positiveFrom": ModelSection.positiveFrom,
}
