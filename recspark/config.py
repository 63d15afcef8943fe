"""Options: each is written once (name, type, default, check, doc).

TOML, ``--set`` and Spark ML Params all read it. A conf file is TOML with one table per :class:`Section`. A
key that no section declares, a value of the wrong type and a value out of range raise
:class:`~recspark.errors.ConfigError`, which names the key, the value and what is allowed.
"""

from __future__ import annotations

import builtins
import datetime
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from recspark.errors import ConfigError
from recspark.hints import meant

#: the type of an option's value
Value = TypeVar("Value")

#: what a TOML file or ``--set`` gives: keys and values by section, unchecked
Conf = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Check:
    """A condition on a value, with words that tell users what is allowed."""

    holds: Callable[[Any], bool]
    allowed: str


def at_least(low: float) -> Check:
    """`low` or more."""
    return Check(lambda value: value >= low, f"at least {low:g}")


def above(low: float) -> Check:
    """More than `low`."""
    return Check(lambda value: value > low, f"greater than {low:g}")


def between(low: float, high: float) -> Check:
    """From `low` to `high`, both included."""
    return Check(lambda value: low <= value <= high, f"from {low:g} to {high:g}")


def one_of(*choices: str) -> Check:
    """One of a few words."""
    return Check(lambda value: value in choices, "one of " + ", ".join(choices))


def strictly_between(low: float, high: float) -> Check:
    """Between `low` and `high`, both excluded."""
    return Check(lambda value: low < value < high, f"between {low:g} and {high:g}, both excluded")


def is_text(value: object) -> bool:
    """Whether all strings in `value` could be written to a file and be part of a path.

    Strings in lists and tables count, too.
    """
    if isinstance(value, dict):
        return all(map(is_text, value)) and is_text([*value.values()])
    if isinstance(value, list):
        return all(map(is_text, value))
    return not isinstance(value, str) or (
        "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    )


_TEXT = Check(is_text, "of Unicode without NUL")
#: conditions on the values of all options: neither Spark nor a file system takes other values
_SANE = {
    int: Check(lambda value: -(2**63) <= value < 2**63, "of at most 64 bits"),
    float: Check(math.isfinite, "finite"),
    str: _TEXT,
    list: _TEXT,
    dict: _TEXT,
}
_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


SEVERAL_NAMES = Check(
    lambda names: all(isinstance(name, str) for name in names) and 2 <= len(set(names)) == len(names),
    'of two different names or more, such as ["als", "mf"]',
)


@dataclass(frozen=True)
class Option(Generic[Value]):
    """One hyper-parameter or setting.

    ``default=None`` makes it optional: ``None`` means "not set" and is never checked.
    """

    type: builtins.type[Value]
    default: Value | None
    doc: str
    check: Check | None = None

    if TYPE_CHECKING:  # an attribute of a class is an Option, the same one of an instance its value

        @overload
        def __get__(self, instance: None, owner: builtins.type) -> Option[Value]: ...

        @overload
        def __get__(self, instance: object, owner: builtins.type) -> Value: ...

        def __get__(self, instance: object, owner: builtins.type) -> object: ...

    def parse(self, key: str, value: object) -> Value | None:
        """`value` as this option's type.

        Raise ConfigError that names `key`, the value and what is allowed.
        """
        if value is None and self.default is None:
            return None
        value = self._as_number(value)
        fits, sane = type(value) is self.type, _SANE.get(self.type)
        wild = sane if fits and sane is not None and not sane.holds(value) else None
        if not fits or wild is not None or (self.check is not None and not self.check.holds(value)):
            allowed = self.allowed if wild is None else f"{self.allowed}, {wild.allowed}"
            raise ConfigError(f"{key} = {shown(value)} is not allowed: it must be {allowed}")
        return cast(Value, value)

    def _as_number(self, value: object) -> object:
        """`value` as the option's kind of number, if it is one: 2 for 2.0, 2.0 for 2."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        if self.type is float and abs(value) < 2**1023:
            return float(value)
        return int(value) if self.type is int and isinstance(value, float) and value.is_integer() else value

    @property
    def type_name(self) -> str:
        """The type of a value in words, such as "a whole number"."""
        return _TYPE_NAMES[self.type]

    @property
    def allowed(self) -> str:
        """The allowed values in words: the type and the check."""
        return self.type_name if self.check is None else f"{self.type_name}, {self.check.allowed}"


class Section:
    """Base of a conf section: options are class attributes, an instance holds their values.

    >>> class Quality(Section):
    ...     name = "quality"
    ...     maxBadFraction = Option(float, 0.01, "largest share of bad rows", between(0, 1))
    >>> Quality(maxBadFraction=0.5).maxBadFraction
    0.5
    """

    name: str
    options: dict[str, Option[Any]]

    def __init_subclass__(cls) -> None:
        cls.options = {key: value for key, value in vars(cls).items() if isinstance(value, Option)}

    def __init__(self, **values: object) -> None:
        section = type(self).name  # an option may be called `name` as well
        for key in values:
            if key not in self.options:
                raise unknown_key(f"{section}.{key}", (f"{section}.{known}" for known in self.options))
        for key, option in self.options.items():
            value = option.parse(f"{section}.{key}", values[key]) if key in values else option.default
            setattr(self, key, value)

    def as_dict(self) -> dict[str, object]:
        """The values by their keys."""
        return {key: getattr(self, key) for key in self.options}


def shown(value: object, limit: int = 200) -> str:
    """`value` as an error message shows it: as Python writes it, with limited length.

    >>> shown("a\\0b"), shown("x" * 1000, limit=5)
    ("'a\\\\x00b'", "'xxxx... (1002 characters)")
    """
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a whole number of more than a few thousand digits
        text = "a whole number of too many digits"
    return brief(text, limit)


def brief(text: object, limit: int = 200) -> str:
    """`text`, such as the message of another library, cut if it is longer than a sentence."""
    text = str(text)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """The error for an undeclared key, with the known keys that may be meant, else all."""
    known = sorted(known)
    likely = meant(key, known)
    hint = f"did you mean {' or '.join(likely)}?" if likely else "known keys: " + ", ".join(known)
    return ConfigError(f"unknown key {_plain(key)}: {hint}")


def _plain(name: str) -> str:
    """A key or a path for an error message: unchanged, or as Python writes it if it is not readable."""
    return name if name.isprintable() and len(name) <= 200 else shown(name)


def read_conf(path: str | None, overrides: Iterable[str] = ()) -> Conf:
    """Read a TOML conf file and apply ``section.key=value`` overrides, without validation.

    The result is ``{section: {key: value}}``.
    """
    conf: Conf = {}
    for key, value in (_read_toml(path) if path else {}).items():
        if not isinstance(value, dict):
            raise ConfigError(
                f"{_plain(key)} = {shown(value)} stands outside a section: write it as [section] "
                f"{_plain(key)} = ..."
            )
        conf[key] = value
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"--set {shown(override)} is not allowed: it must be section.key=value")
        conf.setdefault(section, {})[key] = _parse_value(text.strip())
    return conf


def _read_toml(path: str) -> dict[str, object]:
    try:
        # some editors of Windows begin a file with a mark
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise ConfigError(f"conf file {_plain(path)}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        # more than TOML's own errors: also bytes that are not text, a path with NUL, numbers and nesting
        # beyond all bounds
        raise ConfigError(f"conf file {_plain(path)} is not valid TOML: {brief(error)}") from None


def _parse_value(text: str) -> object:
    """A TOML value if `text` is one, else the text itself.

    So paths and names need no quotes on a command line.
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed.pop("value")
    # no option is a date, but a folder may have such a name; and a text that goes on after a line end is not
    # a value
    return text if parsed or isinstance(value, (datetime.date, datetime.time)) else value


def build_sections(
    conf: Mapping[str, Mapping[str, object]], sections: Iterable[type[Section]]
) -> dict[str, Section]:
    """Validate `conf` against `sections` and return one instance per section, by name."""
    by_name = {section.name: section for section in sections}
    for name in conf:
        if name not in by_name:
            raise unknown_key(name, by_name)
    return {name: section(**conf.get(name, {})) for name, section in by_name.items()}
