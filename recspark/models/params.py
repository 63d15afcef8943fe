"""Spark ML Params from options.

A hyper-parameter is one class attribute; its getter, setter, default and check follow from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pyspark.errors import IllegalArgumentException, PySparkException
from pyspark.ml.linalg import Vector
from pyspark.ml.param import Param, Params

from recspark.config import Check, Option, unknown_key
from recspark.errors import ConfigError


class ParamError(ConfigError, IllegalArgumentException):
    """A value that a Param does not allow; Spark's own estimators raise IllegalArgumentException for it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(message)
        PySparkException.__init__(self, message=str(self.args[0]))


class ParamTypeError(ParamError, TypeError):
    """A value of a type that a Param does not allow, or a name that is not a Param.

    Spark's own estimators raise TypeError for it.
    """


def plain(value: object) -> Any:
    """`value` as plain Python: scalars and arrays of numpy, vectors and tuples are converted.

    >>> plain((np.int64(3), np.float32(0.5), np.str_("a"), np.True_))
    [3, 0.5, 'a', True]
    """
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Vector):
        value = value.toArray()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple, range)):
        return [plain(each) for each in value]
    return {key: plain(each) for key, each in value.items()} if isinstance(value, dict) else value


class Hyperparameter(Param):
    """A Param that takes its name from the class attribute it is assigned to.

    >>> from recspark.config import at_least
    >>> class ALS(Configurable):
    ...     rank = Hyperparameter(int, 10, "number of factors", at_least(1))
    """

    name: str

    def __init__(
        self,
        type: type,
        default: object,
        doc: str,
        check: Check | None = None,
        canonical: Callable[[str], str] | None = None,
    ) -> None:
        self.option, self.canonical = Option(type, default, doc, check), canonical
        super().__init__(Params._dummy(), "unnamed", f"{doc} ({self.option.allowed})", self._convert)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name if self.name != "unnamed" else name

    def _convert(self, value: object) -> object:
        value = plain(value)
        if self.canonical is not None and isinstance(value, str):
            value = self.canonical(value)
        try:
            return self.option.parse(self.name, value)
        except ConfigError as error:
            raise (ParamError if self._is_of_type(value) else ParamTypeError)(error) from None

    def _is_of_type(self, value: object) -> bool:
        numbers = (int, float) if self.option.type is float else (self.option.type,)
        return type(value) in numbers


class Configurable(Params):
    """Params with keyword construction, and ``getRank``/``setRank`` for every Hyperparameter ``rank``."""

    if TYPE_CHECKING:  # getRank and setRank, which __init_subclass__ adds

        def __getattr__(self, name: str) -> Any: ...

    #: names of Params that a model takes from its estimator, beside those that it reads
    _carried: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if isinstance(value, Hyperparameter):
                for method, made in (
                    (getter_name(name), getter(value.name)),
                    (f"set{_title(name)}", _setter(value.name)),
                ):
                    if method not in vars(cls):
                        setattr(cls, method, made)
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=p.option.default)
            for name, p in cls.hyperparameters().items()
        ]
        cls.__signature__ = inspect.Signature(keywords)

    def __init__(self, **values: object) -> None:
        super().__init__()
        defaults = {name: param.option.default for name, param in self.declared().items()}
        self._setDefault(**{name: default for name, default in defaults.items() if default is not None})
        self.setParams(**values)

    @classmethod
    def hyperparameters(cls) -> dict[str, Hyperparameter]:
        """All Hyperparameters that the class itself reads, by name, in the order of the source."""
        return {name: param for name, param in cls.declared().items() if name not in cls._carried}

    @classmethod
    def declared(cls) -> dict[str, Hyperparameter]:
        """`hyperparameters`, and those that a model takes from its estimator."""
        found: dict[str, Hyperparameter] = {}
        for base in reversed(cls.__mro__):
            found |= {value.name: value for value in vars(base).values() if isinstance(value, Hyperparameter)}
        return found

    def setParams(self, **values: object) -> Configurable:
        """Set Params by name; the error for an unknown name suggests the nearest one."""
        known = self.hyperparameters()
        for name, value in values.items():
            if name not in known:
                raise ParamTypeError(unknown_key(name, known))
            if value is not None:
                self._set(**{name: value})
        return self

    def getParam(self, paramName: str) -> Param:
        """The Param of this name. Raise ValueError if there is none."""
        for param in self.params:
            if param.name == paramName:
                return param
        raise ValueError(f"Cannot find param with name {paramName}.")

    def hasParam(self, paramName: str) -> bool:
        """Whether there is a Param of this name."""
        if not isinstance(paramName, str):
            raise TypeError("hasParam(): paramName must be a string")
        return any(param.name == paramName for param in self.params)

    # as in Spark, except that errors stay what they are, and that a Param's attribute may have another name
    def set(self, param: Param, value: object) -> None:
        """Set `param`."""
        self._shouldOwn(param)
        self._paramMap[self.getParam(param.name)] = param.typeConverter(value)

    def _set(self, **values: object) -> Self:
        for name, value in values.items():
            param = self.getParam(name)
            self._paramMap[param] = param.typeConverter(value)
        return self

    def _setDefault(self, **values: object) -> Self:
        for name, value in values.items():
            param = self.getParam(name)
            self._defaultParamMap[param] = param.typeConverter(value)
        return self

    def value(self, param: Hyperparameter) -> object:
        """The value of `param`; None if it is optional and not set."""
        return self.getOrDefault(param.name) if self.isDefined(param.name) else None

    def values(self) -> dict[str, object]:
        """All Params by name, as MLflow logs them."""
        return {name: self.value(param) for name, param in self.hyperparameters().items()}


def _title(name: str) -> str:
    return name[0].upper() + name[1:]


def getter_name(name: str) -> str:
    """``getRank`` of ``rank``."""
    return f"get{_title(name)}"


def getter(name: str) -> Callable[[Configurable], object]:
    """The method that gives the value of the Param `name`."""

    def get(self: Configurable) -> object:
        return self.value(self.getParam(name))

    get.__doc__ = f"The value of {name} or its default; None where it is not set."
    return get


def _setter(name: str) -> Callable[[Configurable, object], Configurable]:
    def set(self: Configurable, value: object) -> Configurable:
        return self._set(**{name: value})

    set.__doc__ = f"Set {name}."
    return set
