"""Binding: from the names of the fields of one file to the columns of the table."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.fs as pafs

from recspark.config import brief, shown
from recspark.data.formats.advice import separator_advice
from recspark.data.formats.encoding import Vote
from recspark.data.formats.layout import BOM, Layout, decided, first_line, parquet_file
from recspark.data.quality import key_of
from recspark.errors import ConfigError, DataRejected

#: types that a column of a Parquet file may have
_READABLE = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_null,
)


def field_names(fs: pafs.FileSystem, member: str, path: str, layout: Layout) -> list[str]:
    """The names of the fields of a file; without a header ``_c0, _c1 ...`` as in Spark.

    Raises
    ------
    DataRejected
        If the first line can't be decoded, or a quote in it is not closed; if the file is not a Parquet file.
    """
    if layout.parquet:
        with parquet_file(fs, member, path) as parquet:
            return parquet.schema_arrow.names
    fields = _first_fields(fs, member, path, layout)
    return [name.strip() for name in fields] if layout.header else [f"_c{i}" for i in range(len(fields))]


def _first_fields(fs: pafs.FileSystem, member: str, path: str, layout: Layout) -> list[str]:
    line = first_line(fs, member, path).rstrip(b"\r\n").removeprefix(BOM)
    layout = decided(layout, Vote([line]))
    try:
        return layout.split(line)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataRejected(f"{member} line 1 can't be read as {layout.encoding}: {brief(error)}") from None


def bind(fs: pafs.FileSystem, path: str, member: str, layout: Layout) -> Layout:
    """`layout` with the names of the fields of one file, and the values of columns that only its path has.

    Raises
    ------
    ConfigError
        If a column to read is missing, occurs twice, or is of a type that holds neither numbers, text nor
        timestamps.
    """
    if layout.names:
        return layout
    fields, rename = field_names(fs, member, path, layout), dict(layout.rename)
    in_path = dict(layout.partition)
    found = shown(", ".join([*fields, *in_path]))[1:-1]
    if missing := [name for name in rename if name not in fields and name not in in_path]:
        advice = None if layout.parquet else separator_advice(_first_fields(fs, member, path, layout))
        columns = (
            "set data.dataset to csv or parquet and data.userColumn, data.itemColumn ... to the columns it "
            "has"
        )
        clicks = (
            ', or data.ratingColumn = "" where rows are events without a rating'
            if "rating" in map(rename.get, missing)
            else ""
        )
        raise ConfigError(
            f"{member} has no column {', '.join(missing)}, it has {found}: {advice or columns + clicks}"
        )
    if twice := [name for name in rename if fields.count(name) > 1]:
        raise ConfigError(
            f"{member} has the column {', '.join(twice)} more than once, it has {found}: which one is meant "
            "can't be known"
        )
    if layout.parquet:
        checked = {
            name for name, column in rename.items() if not layout.own or column in key_of(layout.table)
        }
        _check_types(fs, member, path, [name for name in fields if name in checked])
    partition = tuple(
        (rename[name], text) for name, text in in_path.items() if name in rename and name not in fields
    )
    return replace(layout, names=tuple(rename.get(name, "") for name in fields), partition=partition)


def _check_types(fs: pafs.FileSystem, member: str, path: str, columns: Iterable[str]) -> None:
    with parquet_file(fs, member, path) as parquet:
        types = {name: parquet.schema_arrow.field(name).type for name in columns}
    for name, type_ in types.items():
        value = type_.value_type if pa.types.is_dictionary(type_) else type_
        if not any(holds(value) for holds in _READABLE):
            raise ConfigError(f"{member}: column {name} is {type_}, it must hold numbers, text or timestamps")
