"""Tables of users and items of one's own.

They have the id, and any other columns with the types that their files give them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from pyspark.sql import SparkSession

from recspark.data.formats.binding import bind, field_names
from recspark.data.formats.cast import holds_text
from recspark.data.formats.generic import DataOptions, generic_files
from recspark.data.formats.layout import Chunk, Layout, parquet_file, tasks_for
from recspark.data.formats.rows import read
from recspark.data.quality import key_of
from recspark.data.schemas import ddl
from recspark.data.sources.names import setting
from recspark.errors import ConfigError, DataRejected

log = logging.getLogger(__name__)

#: the options that name the files of the tables, which are also the names of the tables, with the option that
#: names their id column
OWN = {"users": "userColumn", "items": "itemColumn"}

#: patterns of numbers written as text: whole numbers without leading zeros, and numbers that float64 tells
#: apart
_WHOLE = r"^\s*[+-]?(0|[1-9][0-9]{0,17})\s*$"
_DECIMAL = r"^\s*[+-]?(0|[1-9][0-9]{0,14})?(\.[0-9]*)?([eE][+-]?[0-9]+)?\s*$"
_SOME_DIGIT = r"[0-9]"
#: the types of text columns; each can hold the values of those before it
_WIDER = ("void", "bigint", "double", "string")
_FOUND = "name string, type string"
_FOUND_ARROW = pa.schema([("name", pa.string()), ("type", pa.string())])


def own_files(data: DataOptions, table: str, members: Iterable[str]) -> tuple[str, dict[str, Layout]]:
    """The format of ``data.users`` or ``data.items``, and its members to read, with layouts.

    These know no column but the id yet.
    """
    dataset, layouts = generic_files(data, members, setting(table, getattr(data, table)))
    return dataset, {member: own_layout(data, table, layout) for member, layout in layouts.items()}


def own_layout(data: DataOptions, table: str, ratings: Layout) -> Layout:
    """The layout of a file of `table`, users or items, that is written as `ratings` are."""
    (key,) = key_of(table)
    return replace(
        ratings,
        table=table,
        schema=ddl({key: "bigint"}),
        rename=((getattr(data, OWN[table]), key),),
        constants=(),
        own=True,
        duplicates="last",
    )


def bind_own(
    fs: pafs.FileSystem, paths: Mapping[str, str], layouts: Mapping[str, Layout]
) -> dict[str, Layout]:
    """The layouts of one table with all columns of all its files.

    Columns of text files are text until :func:`with_text_types`.

    Raises
    ------
    ConfigError
        If a file has no id, two columns of one name, or a column of another type than the file before it.
    """
    bound: dict[str, Layout] = {}
    types: dict[str, str] = {}
    in_paths = _path_types(layouts.values())
    for member, layout in layouts.items():
        ids = dict(layout.rename)
        found = {
            name: type_
            for name, type_ in (in_paths | _file_types(fs, member, paths[member], layout)).items()
            if name not in ids
        }
        bound[member] = bind(
            fs,
            paths[member],
            member,
            replace(layout, rename=(*layout.rename, *((name, name) for name in found))),
        )
        _check_names(member, found, next(iter(ids)), key_of(layout.table)[0])
        types = _merged(member, types, found)
    schema = ddl(
        {key_of(layout.table)[0]: "bigint"}
        | {name: type_.replace("void", "string") for name, type_ in types.items()}
    )
    return {member: replace(layout, schema=schema) for member, layout in bound.items()}


def _path_types(layouts: Iterable[Layout]) -> dict[str, str]:
    """The columns in the paths of files, and their types by the values of all paths."""
    values: dict[str, list[str | None]] = {}
    for layout in layouts:
        for name, text in layout.partition:
            values.setdefault(name, []).append(text)
    return {
        name: type_of_text(pa.chunked_array([pa.array(texts, pa.string())])) for name, texts in values.items()
    }


def _file_types(fs: pafs.FileSystem, member: str, path: str, layout: Layout) -> dict[str, str]:
    """The columns of one file and their types.

    A column without a name, or of a type that no table holds, is left out, and a warning names it.
    """
    if not layout.parquet:
        names = field_names(fs, member, path, layout)
        if "" in names:
            log.warning("%s: column %d has no name and is left out", member, names.index("") + 1)
        return dict.fromkeys(filter(None, names), "string")
    with parquet_file(fs, member, path) as parquet:
        found = {field.name: published_type(field.type) for field in parquet.schema_arrow}
        for name in (name for name, type_ in found.items() if type_ is None):
            log.warning(
                "%s: column %s is left out: no table can hold its type, %s",
                member,
                name,
                parquet.schema_arrow.field(name).type,
            )
    return {name: type_ for name, type_ in found.items() if type_}


def published_type(type_: pa.DataType) -> str | None:
    """The type of a table's column for a type of Parquet.

    None if a table has none for it, ``void`` if it holds only nulls.
    """
    if pa.types.is_dictionary(type_):
        return published_type(type_.value_type)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        inner = published_type(type_.value_type)
        return f"array<{inner}>" if inner in ("string", "bigint", "double") else None
    if pa.types.is_map(type_):
        fits = published_type(type_.key_type) == "string" and published_type(type_.item_type) in (
            "bigint",
            "double",
        )
        return "map<string,double>" if fits else None
    is_text = holds_text(type_) and not (pa.types.is_binary(type_) or pa.types.is_large_binary(type_))
    kinds = {
        "void": pa.types.is_null(type_),
        "boolean": pa.types.is_boolean(type_),
        "bigint": pa.types.is_integer(type_),
        "double": pa.types.is_floating(type_) or pa.types.is_decimal(type_),
        "date": pa.types.is_date(type_),
        "timestamp": pa.types.is_timestamp(type_),
        "string": is_text,
    }
    return next((kind for kind, holds in kinds.items() if holds), None)


def _check_names(member: str, names: Iterable[str], id_name: str, key: str) -> None:
    """Raise ConfigError if Spark, which ignores case, would take two columns for one."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.lower(), []).append(name)
    if key in alike:
        raise ConfigError(
            f"{member} has the columns {id_name} and {alike[key][0]}: the first becomes {key}, so drop or "
            "rename the second"
        )
    if twice := [found for found in alike.values() if len(found) > 1]:
        raise ConfigError(
            f"{member} has the columns {' and '.join(twice[0])}, which differ by case alone: drop or rename "
            "one"
        )


def _merged(member: str, known: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """The types of the columns of all files so far."""
    merged = dict(known)
    for name, type_ in found.items():
        before = merged.get(name, "void")
        if type_ != before and not {type_, before} <= {"bigint", "double"} and "void" not in (type_, before):
            raise ConfigError(
                f"{member}: column {name} is {type_}, in other files of the same table it is {before}: write "
                "it as one type"
            )
        merged[name] = max(
            type_, before, key=lambda each: _WIDER.index(each) if each in _WIDER else len(_WIDER)
        )
    return merged


def text_types(spark: SparkSession, fs: pafs.FileSystem, chunks: list[Chunk]) -> dict[str, str]:
    """The types of the columns of text files, by all their values, in one Spark job.

    A column of numbers is one, all others are text.
    """
    found = (
        spark.range(0, len(chunks), 1, tasks_for(len(chunks)))
        .mapInArrow(TypeFinder(chunks, fs), _FOUND)
        .distinct()
        .collect()
    )
    types: dict[str, str] = {}
    for name, type_ in found:
        types[name] = max(type_, types.get(name, "void"), key=_WIDER.index)
    return {name: type_.replace("void", "string") for name, type_ in types.items()}


@dataclass(frozen=True)
class TypeFinder:
    """Finds the types of text columns in chunks by number, as the function of a ``mapInArrow``."""

    chunks: list[Chunk]
    fs: pafs.FileSystem

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The types in each chunk of `batches`; none for a damaged one, which the loading reports."""
        for batch in batches:
            for number in batch.column(0).to_pylist():
                try:
                    found = self.find(self.chunks[number])
                except DataRejected:
                    continue
                rows = [{"name": name, "type": type_} for name, type_ in found.items()]
                yield pa.RecordBatch.from_pylist(rows, schema=_FOUND_ARROW)

    def find(self, chunk: Chunk) -> dict[str, str]:
        """The type of each column of text in one chunk, except the id."""
        table, notation = read(self.fs, chunk).table, chunk.layout.notation
        texts = (field.name for field in table.schema if pa.types.is_string(field.type))
        names = [name for name in texts if name not in key_of(chunk.layout.table)]
        columns = {name: notation.with_points(table[name]) if notation else table[name] for name in names}
        return {name: type_of_text(column) for name, column in columns.items()}


def type_of_text(column: pa.ChunkedArray) -> str:
    """The type that fits all values of a column of text: ``bigint``, ``double`` or ``string``.

    It is ``void`` without values.

    >>> columns = ["1", "", "-20"], ["1", ".5"], ["01002", "1"], [""]
    >>> [type_of_text(pa.chunked_array([texts])) for texts in columns]
    ['bigint', 'double', 'string', 'void']
    """
    values = column.filter(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False))
    if not len(values):
        return "void"
    if _all_match(values, _WHOLE):
        return "bigint"
    return "double" if _all_match(values, _DECIMAL) and _all_match(values, _SOME_DIGIT) else "string"


def _all_match(values: pa.ChunkedArray, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(values, pattern)).as_py()
