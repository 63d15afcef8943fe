"""Spark ML Params from options: a hyper-parameter is one class attribute, its getter, setter, default and check follow."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pyspark.ml.param import Param, Params

from recspark.config import Check, Option, unknown_key


class Hyperparameter(Param):
    """A Param whose name is that of the class attribute it is assigned to.

    >>> class ALS(Configurable):
    ...     rank = Hyperparameter(int, 10, "number of factors", at_least(1))
    """

    name: str

    def __init__(self, type: type, default: Any, doc: str, check: Check | None = None) -> None:
        self.option = Option(type, default, doc, check)
        super().__init__(Params._dummy(), "unnamed", f"{doc} ({self.option.allowed})", self._convert)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name if self.name != "unnamed" else name

    def _convert(self, value: Any) -> Any:
        return self.option.parse(self.name, value)


class Configurable(Params):
    """Params with keyword construction, and ``getRank``/``setRank`` for every Hyperparameter ``rank``."""

    if TYPE_CHECKING:  # getRank and setRank, which __init_subclass__ adds

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if isinstance(value, Hyperparameter):
                title = name[0].upper() + name[1:]
                setattr(cls, f"get{title}", _getter(value.name))
                setattr(cls, f"set{title}", _setter(value.name))
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=p.option.default) for name, p in cls.hyperparameters().items()
        ]
        cls.__signature__ = inspect.Signature(keywords)

    def __init__(self, **values: Any) -> None:
        super().__init__()
        defaults = {name: param.option.default for name, param in self.hyperparameters().items()}
        self._setDefault(**{name: default for name, default in defaults.items() if default is not None})
        self.setParams(**values)

    @classmethod
    def hyperparameters(cls) -> dict[str, Hyperparameter]:
        """All Hyperparameters of the class by name, in the order in which they are written; aliases left out."""
        found = {}
        for base in reversed(cls.__mro__):
            found |= {name: value for name, value in vars(base).items() if isinstance(value, Hyperparameter) and name == value.name}
        return found

    def setParams(self, **values: Any) -> Configurable:
        """Set Params by name; an unknown name is an error that suggests the nearest one."""
        for name, value in values.items():
            param = getattr(type(self), name, None)
            if not isinstance(param, Hyperparameter):
                raise unknown_key(name, self.hyperparameters())
            if value is not None:
                self._set(**{param.name: value})
        return self

    def value(self, param: Hyperparameter) -> Any:
        """The value of `param` here; None where it is optional and not set."""
        return self.getOrDefault(param.name) if self.isDefined(param.name) else None

    def values(self) -> dict[str, Any]:
        """All Params by name: what MLflow logs."""
        return {name: self.value(param) for name, param in self.hyperparameters().items()}


def _getter(name: str) -> Any:
    def get(self: Configurable) -> Any:
        return self.value(self.getParam(name))

    get.__doc__ = f"The value of {name} or its default; None where it is not set."
    return get


def _setter(name: str) -> Any:
    def set(self: Configurable, value: Any) -> Configurable:
        return self._set(**{name: value})

    set.__doc__ = f"Set {name}."
    return set
