"""The link from a model to its fit: the Params of its estimator, and the estimator itself.

MLlib's code asks for the estimator as the model's ``parent``.
"""

from __future__ import annotations

from pyspark.ml.param import Params

from recspark.models.params import Configurable, getter, getter_name
from recspark.redaction import redacted


class FitsModel:
    """An estimator that declares the class of its models as `model_class`.

    That class then has the Params of the estimator.
    """

    model_class: type[EstimatorParams]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "model_class" in vars(cls) and issubclass(cls, Configurable):
            cls.model_class.fitted_by(cls)


class EstimatorParams(Configurable):
    """A model that has the Params of its estimator, with getters, beside its own Params."""

    #: the class of the estimators that fit this model
    estimator_class: type[Configurable] | None = None

    @classmethod
    def fitted_by(cls, estimator: type[Configurable]) -> None:
        """Declare `estimator` as the class that fits this model, and take over its Params."""
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
        """Take the Params and the uid of `estimator`, without passwords and keys: models are given away."""
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
        """The estimator of the fit: a new object with the model's Params and uid.

        A loaded model has it too.
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

    def _facts_in_words(self) -> dict[str, object]:
        """The facts that `repr` shows."""
        return {}

    def __repr__(self) -> str:
        facts = {"uid": self.uid} | self._facts_in_words()
        shown = (
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in facts.items()
        )
        return f"{type(self).__name__}: {', '.join(shown)}"


class JavaView:
    """A stand-in for the Java object behind a model of MLlib.

    Programs ask for it, as in ``model._java_obj.parent().getRegParam()``.
    """

    def __init__(self, stage: Params) -> None:
        self._stage = stage

    def parent(self) -> JavaView:
        """The view of the model's estimator."""
        return JavaView(self._stage.parent)

    def toString(self) -> str:
        """The uid of an estimator, or the `repr` of a model."""
        return str(self._stage)

    __str__ = toString

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._stage, name)
        return found if callable(found) else lambda: found
