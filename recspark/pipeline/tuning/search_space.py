"""The table ``[tune.space]`` of a conf: the Params to search, and their ranges.

The Params themselves check them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from recspark.config import Option, unknown_key
from recspark.errors import ConfigError
from recspark.pipeline.conf.model_section import ModelSection

_SHAPES = "a table {low, high} with step or log, or {choices}"


#: a value of a Param that can be searched
Searched = bool | int | float | str


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included; in steps from `low`, or even in the logarithm."""

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    def __contains__(self, value: object) -> bool:
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not self.low <= value <= self.high
        ):
            return False
        return self.step is None or _is_whole((value - self.low) / self.step)

    def grid(self) -> list[float] | None:
        """All values; None if they can't be counted."""
        if self.step is None:
            return None
        numbers = range(round((self.high - self.low) / self.step) + 1)
        # twelve digits: steps of .1 give .3, not .30000000000000004
        return [
            self.low + self.step * n if self.whole else float(f"{self.low + self.step * n:.12g}")
            for n in numbers
        ]


@dataclass(frozen=True)
class Choices:
    """One of `values`."""

    values: tuple[Searched, ...]

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in self.values)

    def grid(self) -> list[Searched]:
        """All values."""
        return list(self.values)


Space = dict[str, Interval | Choices]

_PENALTY = {"low": 0.01, "high": 2.0, "log": True}
#: default search space by ``model.type``; penalties have the ratings' unit, so they are standardized
DEFAULT_SPACES: dict[str, dict[str, object]] = {
    "als": {
        "rank": {"low": 8, "high": 64, "step": 8},
        "regParam": _PENALTY,
        "standardize": {"choices": [True]},
    },
    "mf": {
        "rank": {"low": 8, "high": 64, "step": 8},
        "regParam": {"low": 0.005, "high": 0.5, "log": True},
        "stepSize": {"low": 0.002, "high": 0.1, "log": True},
        "standardize": {"choices": [True]},
    },
    "baseline": {"regParam": {"low": 0.5, "high": 50.0, "log": True}},
    "fm": {"factorSize": {"low": 4, "high": 32, "step": 4}},
}


def parse_space(model: ModelSection, declared: Mapping[str, object] | None) -> Space:
    """The search space that `declared` describes for the Params of `model`, or that of `DEFAULT_SPACES`.

    Raises
    ------
    ConfigError
        If there is neither, a Param is unknown, or a bound or choice is of the wrong type or out of the
        Param's own range.
    """
    declared = declared or DEFAULT_SPACES.get(model.kind)
    if not declared:
        raise ConfigError(
            "tune.space is not set: name the Params to search, such as [tune.space] rank = {low = 8, high = "
            "64, step = 8}"
        )
    space = {}
    for name, shape in declared.items():
        key = f"tune.space.{name}"
        if name not in model.known:
            raise unknown_key(key, (f"tune.space.{known}" for known in model.known))
        space[name] = _parse(key, model.known[name].option, shape)
    return space


def start_of(model: ModelSection, space: Space) -> dict[str, Searched] | None:
    """The values in `model` of the Params of `space`; None if they do not lie in it."""
    values: dict[str, Searched] = {}
    for name, part in space.items():
        value = model.params.get(name, model.known[name].option.default)
        if not isinstance(value, (bool, int, float, str)) or value not in part:
            return None
        values[name] = value
    return values


def _parse(key: str, option: Option, shape: object) -> Interval | Choices:
    if isinstance(shape, dict) and shape.keys() == {"choices"}:
        return _choices(key, option, shape["choices"])
    if isinstance(shape, dict) and {"low", "high"} <= shape.keys() <= {"low", "high", "step", "log"}:
        return _interval(key, option, shape)
    raise ConfigError(f"{key} = {shape!r} is not allowed: it must be {_SHAPES}")


def _choices(key: str, option: Option, values: object) -> Choices:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{key}.choices = {values!r} is not allowed: it must be a list, not empty")
    read = (option.parse(f"{key}.choices", value) for value in values)
    parsed = tuple(value for value in read if isinstance(value, (bool, int, float, str)))
    if len(set(parsed)) < len(values):
        raise ConfigError(
            f"{key}.choices = {values!r} is not allowed: it must be a list of different numbers, strings, or "
            "true and false"
        )
    return Choices(parsed)


def _interval(key: str, option: Option, shape: dict[str, object]) -> Interval:
    if option.type not in (int, float):
        raise ConfigError(
            f"{key} = {shape!r} is not allowed: the Param must be {option.allowed}, so name its choices"
        )
    low, high = (option.parse(f"{key}.{end}", shape[end]) for end in ("low", "high"))
    log = bool(Option(bool, False, "").parse(f"{key}.log", shape.get("log", False)))
    whole = option.type is int
    # whole numbers have steps of one, unless their logarithms are even
    step = Option(option.type, None, "").parse(
        f"{key}.step", shape.get("step", 1 if whole and not log else None)
    )
    if low is None or high is None or not low < high:
        raise ConfigError(f"{key}.high = {high!r} is not allowed: it must be greater than low = {low!r}")
    if log and (low <= 0 or step is not None):
        raise ConfigError(
            f"{key} = {shape!r} is not allowed: log = true needs low greater than 0, and no step"
        )
    if step is not None and not (step > 0 and _is_whole((high - low) / step)):
        raise ConfigError(
            f"{key}.step = {step!r} is not allowed: high - low = {high - low:g} must be a multiple of it"
        )
    return Interval(low, high, step, log, whole)


def _is_whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=1e-9)
