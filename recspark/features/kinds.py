"""The kind of a group's values, by the type of its column: one level, a set, a map of weights, a number."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    FractionalType,
    IntegralType,
    MapType,
    NumericType,
    StructType,
)

from recspark.errors import ConfigError
from recspark.features.groups import TABLES, Group

#: kinds that a column of a type may have; the first is the default
_KINDS: tuple[tuple[type[DataType], tuple[str, ...]], ...] = (
    (FractionalType, ("real", "level")),
    (IntegralType, ("level", "real")),
    (ArrayType, ("set",)),
    (MapType, ("weights",)),
    (StructType, ()),
    (BinaryType, ()),
    (DataType, ("level",)),
)
#: the kinds that an option is for
_USES = {"scale": ("set", "weights"), "unknown": ("level", "set", "weights")}


def typed(group: Group, frame: DataFrame) -> Group:
    """`group` with a kind, and a scale if it is a set.

    Raises
    ------
    ConfigError
        If the column's type has no such kind, an option is not for the kind, or a rating row has a
        collection.
    """
    _check_columns(group, frame)
    if group.is_column:
        group = replace(group, kind=_kind(group, type_of(group, frame)))
    given = {"scale": group.scale, "unknown": group.unknown if group.unknown != "ignore" else None}
    for option, value in given.items():
        if value is not None and group.kind not in _USES[option]:
            setting = f"features.groups: {option} = {value!r}"
            raise ConfigError(
                f"{setting} is not allowed for group {group.name!r} of kind {group.kind}: leave it out"
            )
    return replace(group, scale=group.scale or "sqrt") if group.kind == "set" else group


def _check_columns(group: Group, frame: DataFrame) -> None:
    """Raise ConfigError if a column is not of the type that a named group or bins need.

    The column may be one of the user's own.
    """
    wanted = dict.fromkeys(group.numbers, (NumericType, "numbers"))
    if group.kind == "set" and not group.key:
        wanted |= dict.fromkeys(group.needs, (ArrayType, "arrays"))
    table = next(table for table, side in TABLES.items() if side == group.side)
    for column, (kind, holds) in wanted.items():
        if not isinstance(type_ := frame.schema[column].dataType, kind):
            found = f"needs {holds}, but column {column!r} has type {type_.simpleString()}"
            raise ConfigError(
                f"features.groups: {group.name!r} {found}: declare {table}.{column} alone, whose kind "
                "follows from its type"
            )


def type_of(group: Group, frame: DataFrame) -> DataType:
    """The type of a group's expression over the table of its side."""
    return frame.select(F.expr(group.expression)).schema[0].dataType


def has_whole_levels(group: Group, frame: DataFrame) -> bool:
    """Whether the levels are whole numbers, which sort as such; all others are text."""
    type_ = type_of(group, frame)
    inner = (
        type_.elementType
        if isinstance(type_, ArrayType)
        else type_.keyType
        if isinstance(type_, MapType)
        else type_
    )
    return isinstance(inner, IntegralType)


def _kind(group: Group, type_: DataType) -> str:
    allowed = next(kinds for kind, kinds in _KINDS if isinstance(type_, kind))
    if group.side == "context":
        allowed = tuple(kind for kind in allowed if kind in ("level", "real"))
    kind = group.kind or next(iter(allowed), None)
    if kind not in allowed:
        words = " or ".join(allowed) or "one value, or on the side of users and items an array or a map"
        column = f"group {group.name!r}, whose column is {type_.simpleString()},"
        raise ConfigError(f"features.groups: {column} is not allowed: it must be {words}")
    return kind
