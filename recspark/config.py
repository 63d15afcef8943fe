"""Options: each is written once (name, type, default, check, doc) and read from TOML, ``--set`` and Spark ML Params alike.

A conf file is TOML with one table per :class:`Section`; a key that no section declares, a value of the wrong type
and a value out of range are :class:`~recspark.errors.ConfigError` and name the key, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recspark.errors import ConfigError


@dataclass(frozen=True)
class Check:
    """A condition on a value, with the words that tell a user what is allowed."""

    holds: Callable[[Any], bool]
    allowed: str


def at_least(low: float) -> Check:
    return Check(lambda value: value >= low, f"at least {low:g}")


def above(low: float) -> Check:
    return Check(lambda value: value > low, f"greater than {low:g}")


def between(low: float, high: float) -> Check:
    return Check(lambda value: low <= value <= high, f"from {low:g} to {high:g}")


def one_of(*choices: str) -> Check:
    return Check(lambda value: value in choices, "one of " + ", ".join(choices))


def strictly_between(low: float, high: float) -> Check:
    return Check(lambda value: low < value < high, f"between {low:g} and {high:g}, both excluded")


_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", list: "a list", dict: "a table"}


@dataclass(frozen=True)
class Option:
    """One hyper-parameter or setting.

    ``default=None`` makes it optional: ``None`` means "not set" and is never checked.
    """

    type: type
    default: Any
    doc: str
    check: Check | None = None

    def parse(self, key: str, value: Any) -> Any:
        """Return `value` as this option's type, or raise ConfigError that names `key`, the value and what is allowed."""
        if value is None and self.default is None:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.type is float and number:
            value = float(value)
        elif self.type is int and number and float(value).is_integer():
            value = int(value)
        if type(value) is not self.type or (self.check is not None and not self.check.holds(value)):
            raise ConfigError(f"{key} = {value!r} is not allowed: it must be {self.allowed}")
        return value

    @property
    def allowed(self) -> str:
        text = _TYPE_NAMES[self.type]
        return text if self.check is None else f"{text}, {self.check.allowed}"


class Section:
    """Base of a conf section: options are class attributes, an instance holds their values.

    >>> class Quality(Section):
    ...     name = "quality"
    ...     maxBadFraction = Option(float, 0.01, "largest share of bad rows", between(0, 1))
    >>> Quality(maxBadFraction=0.5).maxBadFraction
    0.5
    """

    name: str
    options: dict[str, Option]

    def __init_subclass__(cls) -> None:
        cls.options = {key: value for key, value in vars(cls).items() if isinstance(value, Option)}

    def __init__(self, **values: Any) -> None:
        for key in values:
            if key not in self.options:
                raise unknown_key(f"{self.name}.{key}", (f"{self.name}.{known}" for known in self.options))
        for key, option in self.options.items():
            value = option.parse(f"{self.name}.{key}", values[key]) if key in values else option.default
            setattr(self, key, value)

    def as_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.options}


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that nothing declares, with the nearest known keys."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(known)
    return ConfigError(f"unknown key {key}: {hint}")


def read_conf(path: str | None, overrides: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Read a TOML conf file and apply ``section.key=value`` overrides, unvalidated: ``{section: {key: value}}``."""
    try:
        conf = tomllib.loads(Path(path).read_text("utf-8")) if path else {}
    except OSError as error:
        raise ConfigError(f"conf file {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"conf file {path} is not valid TOML: {error}") from None
    for key, value in conf.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{key} = {value!r} stands outside a section: write it as [section] {key} = ...")
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"--set {override!r} is not allowed: it must be section.key=value")
        conf.setdefault(section, {})[key] = _parse_value(text.strip())
    return conf


def _parse_value(text: str) -> Any:
    """A TOML value where `text` is one, else the text itself: paths and names need no quotes on a command line."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def build_sections(conf: Mapping[str, Mapping[str, Any]], sections: Iterable[type[Section]]) -> dict[str, Section]:
    """Validate `conf` against `sections` and return one instance per section, by name."""
    by_name = {section.name: section for section in sections}
    for name in conf:
        if name not in by_name:
            raise unknown_key(name, by_name)
    return {name: section(**conf.get(name, {})) for name, section in by_name.items()}
