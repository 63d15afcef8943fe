"""What every model keeps of the fit: the Params of its estimator, and the estimator itself as MLlib's code
asks for it.
"""

from __future__ import annotations

from typing import Any

from recspark.models.params import Configurable, getter, getter_name
from recspark.redaction import redacted


class FitsModel:
    """An estimator that declares the class of its models as `model_class`, which then has the Params of the
    estimator.
    """

    model_class: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "model_class" in vars(cls):
            cls.model_class.fitted_by(cls)


class EstimatorParams(Configurable):
    """A model that has the Params of its estimator, with getters, beside those that it reads itself."""

    #: the class whose fits give this model
    estimator_class: type[Configurable] | None = None

    @classmethod
    def fitted_by(cls, estimator: type[Configurable]) -> None:
        """Declare `estimator` as the class whose fits give this model, and its Params as Params of the
        model.
        """
        cls.estimator_class = estimator
        for name, param in estimator.hyperparameters().items():
            if name in cls.declared():
                continue
            # the model's own attribute, such as its rank, keeps the name
            setattr(cls, f"{name}Param" if hasattr(cls, name) else name, param)
            cls._carried |= {name}
            if not hasattr(cls, getter_name(name)):
                setattr(cls, getter_name(name), getter(name))

    def take_params(self, estimator: Configurable) -> None:
        """Take the Params and the uid of `estimator`, but no password or key: models are given away."""
        estimator._copyValues(self)
        for param, value in self._paramMap.items():
            self._paramMap[param] = redacted(value)
        self._resetUid(estimator.uid)

    @property
    def hasParent(self) -> bool:
        """Whether `parent` gives an estimator."""
        return self.estimator_class is not None

    @property
    def parent(self) -> Configurable | None:
        """The estimator of the fit: a new one with the model's Params and uid, also of a model that was
        loaded.
        """
        if self.estimator_class is None:
            return None
        estimator = self.estimator_class()
        self._copyValues(estimator)
        estimator._resetUid(self.uid)
        return estimator

    @property
    def _java_obj(self) -> JavaView:
        return JavaView(self)

    def _facts_in_words(self) -> dict[str, Any]:
        """What `repr` tells of the model."""
        return {}

    def __repr__(self) -> str:
        facts = {"uid": self.uid} | self._facts_in_words()
        shown = (
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in facts.items()
        )
        return f"{type(self).__name__}: {', '.join(shown)}"


class JavaView:
    """Answers as the Java object behind a model of MLlib, for programs that ask it:
    ``model._java_obj.parent().getRegParam()``.
    """

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def parent(self) -> JavaView:
        """The view of the model's estimator."""
        return JavaView(self._stage.parent)

    def toString(self) -> str:
        """The uid of an estimator, or what a model says of itself."""
        return str(self._stage)

    __str__ = toString

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._stage, name)
        return found if callable(found) else lambda: found
