"""Rows of files: cut into chunks that workers read on their own, bytes in, typed Arrow columns and line numbers out.

A text file is cut at line ends and each chunk knows the number of its first line, so that a bad row can name its line
without a second pass. One row is one line: a line break inside quotes ends the row, which then goes to quarantine. An
empty line is no row. A chunk of a Parquet file is a row group, and its "lines" are row numbers. Both count from 1, a
header included.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recspark.errors import ConfigError

#: bytes of text in one chunk, which becomes one Parquet file of a table
CHUNK_BYTES = 16 << 20

_ARROW = {
    "bigint": pa.int64(),
    "int": pa.int32(),
    "float": pa.float32(),
    "string": pa.string(),
    "array<string>": pa.list_(pa.string()),
}
_READ_AS = {"bigint": pa.int64(), "int": pa.int32(), "float": pa.float64()}
_COMMON = {
    pa.int64(): r"^-?[0-9]{1,18}$",
    pa.int32(): r"^-?[0-9]{1,9}$",
    pa.float64(): r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$",
}
_INTEGER = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_UNUSED = b"\x1f"


def arrow_schema(ddl: str) -> pa.Schema:
    """The Arrow schema of a table, from its DDL in :mod:`recspark.data.schemas`."""
    return pa.schema([(name, _ARROW[type_]) for name, type_ in map(str.split, ddl.split(","))])


@dataclass(frozen=True)
class Layout:
    """How the fields of a file become the columns of `table`, published with `schema`.

    `names` has the column of every field in order, "" where the field is not read. A file with a header, or a Parquet
    file, names its own fields: then `rename` says which of them is read as which column (see :func:`bind`).
    A column is read as a number where the published column of that name is one, else as text.
    `ticks` is how many units of the file's timestamp make a second.
    """

    table: str
    schema: str
    names: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    separator: str = ","
    quoted: bool = False
    encoding: str = "utf-8"
    header: bool = False
    parquet: bool = False
    ticks: int = 1

    def types(self) -> dict[str, pa.DataType]:
        """The columns that are read, and as what."""
        published = dict(map(str.split, self.schema.split(",")))
        return {name: _READ_AS.get(published.get(name, ""), pa.string()) for name in self.names if name}


@dataclass(frozen=True)
class Chunk:
    """A part of one file: bytes ``start .. start + length`` of a text file, or row group `start` of a Parquet file.

    `whole`: it is all that there is of its table.
    """

    member: str
    path: str
    layout: Layout
    start: int
    length: int
    first_line: int
    whole: bool = False


@dataclass
class Rows:
    """The rows of a chunk: columns, the line of each row, and which rows hold a field that is not of its type.

    `broken` are the lines that gave no row, as (line, reason); `texts` gives the text of lines by their numbers.
    """

    table: pa.Table
    line: np.ndarray
    unparsable: np.ndarray
    texts: Callable[[list[int]], list[str]]
    broken: list[tuple[int, str]] = field(default_factory=list)


def plan(fs: pafs.FileSystem, member: str, path: str, layout: Layout, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Cut one file into chunks; reads a text file once to count its lines."""
    if layout.parquet:
        meta = pq.ParquetFile(path, filesystem=fs).metadata
        first = 1
        for group in range(meta.num_row_groups):
            length = meta.row_group(group).num_rows
            yield Chunk(member, path, layout, group, length, first)
            first += length
        return
    start = len(_first_line(fs, path)) if layout.header else 0
    with fs.open_input_stream(path, compression=None) as stream:
        stream.read(start)
        line, rest = 1 + layout.header, b""
        while block := stream.read(chunk_bytes):
            body = rest + block
            cut = body.rfind(b"\n") + 1
            if cut:
                yield Chunk(member, path, layout, start, cut, line)
                start, line = start + cut, line + body.count(b"\n")
            rest = body[cut:]
        if rest:
            yield Chunk(member, path, layout, start, len(rest), line)


def _first_line(fs: pafs.FileSystem, path: str) -> bytes:
    with fs.open_input_stream(path, compression=None) as stream:
        line, end, _ = stream.read(1 << 20).partition(b"\n")
    return line + end


def field_names(fs: pafs.FileSystem, path: str, layout: Layout) -> list[str]:
    """What a file calls its fields; ``_c0, _c1 ...`` as in Spark where it has no header."""
    if layout.parquet:
        return pq.ParquetFile(path, filesystem=fs).schema_arrow.names
    fields = _splitter(layout)(_first_line(fs, path).rstrip(b"\r\n").removeprefix(b"\xef\xbb\xbf"))
    return [name.strip() for name in fields] if layout.header else [f"_c{i}" for i in range(len(fields))]


def bind(fs: pafs.FileSystem, path: str, member: str, layout: Layout) -> Layout:
    """`layout` with the names of the fields of one file; ConfigError where a column is missing."""
    if layout.names:
        return layout
    fields, rename = field_names(fs, path, layout), dict(layout.rename)
    if missing := [name for name in rename if name not in fields]:
        raise ConfigError(
            f"{member} has no column {', '.join(missing)}, it has {', '.join(fields)}: "
            "set data.dataset to csv or parquet and data.userColumn, data.itemColumn ... to the columns it has"
        )
    return replace(layout, names=tuple(rename.get(name, "") for name in fields))


def read(fs: pafs.FileSystem, chunk: Chunk) -> Rows:
    """The rows of `chunk`, by the fast reader where it is exact and by the slow one elsewhere: the same rows."""
    if chunk.layout.parquet:
        return _read_parquet(fs, chunk)
    with fs.open_input_file(chunk.path) as file:
        body = file.read_at(chunk.length, chunk.start)
    return read_plain(body, chunk) or read_exact(body, chunk)


def read_plain(body: bytes, chunk: Chunk) -> Rows | None:
    """Rows of well-formed lines by Arrow's CSV reader; None where that reader could differ from :func:`read_exact`.

    That is where a field may be quoted, not of its type, hexadecimal (Arrow reads ``0x1F`` as a number), or holds a
    NUL or a lone carriage return, and where a line is empty or its fields are too few or too many.
    """
    layout = chunk.layout
    separator = layout.separator.encode()
    doubtful = [b"\0", b"0x", b"0X"] + [b'"'] * layout.quoted + [_UNUSED] * (len(separator) > 1)
    if any(mark in body for mark in (*doubtful, b"\n\n", b"\n\r\n")) or body.startswith((b"\n", b"\r\n")):
        return None
    text = body if layout.encoding == "utf-8" else body.decode(layout.encoding).encode()
    if len(separator) > 1:
        text, separator = text.replace(separator, _UNUSED), _UNUSED
    types = layout.types()
    names = [name or f"\0{i}" for i, name in enumerate(layout.names)]
    try:
        table = pacsv.read_csv(
            pa.BufferReader(text),
            pacsv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
            pacsv.ParseOptions(delimiter=separator.decode(), quote_char=False, ignore_empty_lines=False),
            pacsv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[""]),
        )
    except pa.ArrowInvalid:
        return None
    if len(table) != body.count(b"\n") + (not body.endswith(b"\n")):
        return None
    line = np.arange(chunk.first_line, chunk.first_line + len(table))
    return Rows(_in_seconds(table, layout), line, np.zeros(len(table), bool), partial(_line_texts, body, chunk))


def read_exact(body: bytes, chunk: Chunk) -> Rows:
    """Rows of any bytes, one line at a time: what cannot be a row is listed with its reason."""
    split, width = _splitter(chunk.layout), len(chunk.layout.names)
    fields, lines, broken = [], [], []
    for number, raw in enumerate(body.split(b"\n"), chunk.first_line):
        raw = raw.removesuffix(b"\r")
        if not raw:
            continue
        try:
            row = split(raw)
        except (UnicodeDecodeError, csv.Error) as error:
            broken.append((number, "encoding" if isinstance(error, UnicodeDecodeError) else "unparsable"))
            continue
        if b"\0" in raw:
            broken.append((number, "encoding"))
        elif len(row) != width:
            broken.append((number, "field_count"))
        else:
            fields.append(row)
            lines.append(number)
    columns = dict(zip(chunk.layout.names, zip(*fields))) if fields else {}
    raw_columns = {name: pa.array(columns.get(name, ()), pa.string()) for name in chunk.layout.types()}
    return _typed(raw_columns, np.array(lines, np.int64), chunk, partial(_line_texts, body, chunk), broken)


def _read_parquet(fs: pafs.FileSystem, chunk: Chunk) -> Rows:
    rename = dict(chunk.layout.rename)
    group = pq.ParquetFile(chunk.path, filesystem=fs).read_row_group(chunk.start, columns=list(rename))
    columns = {rename[name]: group[name].combine_chunks() for name in rename}
    line = np.arange(chunk.first_line, chunk.first_line + len(group))
    return _typed(columns, line, chunk, partial(_row_texts, group, chunk))


def _typed(columns: dict[str, pa.Array], line: np.ndarray, chunk: Chunk, texts: Callable, broken: list = ()) -> Rows:
    """Rows with every column cast to the type it is read as; a value that can't be is null and its row unparsable."""
    unparsable = np.zeros(len(line), bool)
    typed = {}
    for name, type_ in chunk.layout.types().items():
        typed[name], bad = _cast(columns[name], type_)
        unparsable |= bad
    return Rows(_in_seconds(pa.table(typed), chunk.layout), line, unparsable, texts, list(broken))


def _cast(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    none_bad = np.zeros(len(column), bool)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if type_ == pa.string() or (numeric and type_ == pa.float64()) or column.type in (pa.int8(), pa.int16(), pa.int32(), type_):
        return column.cast(type_), none_bad
    if pa.types.is_floating(column.type):
        whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less(pc.abs(column), 2.0**63))
        bad = pc.fill_null(pc.invert(whole), False).to_numpy(zero_copy_only=False)
        return pc.if_else(whole, column, None).cast(type_), bad
    return _parse(column.cast(pa.string()), type_)


def _parse(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Numbers from text, and which texts are none: all the ordinary ones at once, the odd ones one by one."""
    common = pc.match_substring_regex(column, _COMMON[type_])
    values = pc.if_else(common, column, None).cast(type_)
    odd = np.flatnonzero(~pc.fill_null(common, False).to_numpy(zero_copy_only=False))
    bad = np.zeros(len(column), bool)
    if not len(odd):
        return values, bad
    values = values.to_pylist()
    for i in odd.tolist():
        text = (column[i].as_py() or "").strip()
        values[i] = _decimal(text) if type_ == pa.float64() else _integer(text, type_.bit_width)
        bad[i] = text != "" and values[i] is None
    return pa.array(values, type_), bad


def _integer(text: str, bits: int) -> int | None:
    """An integer of that many bits, also one that a float column wrote ("12.0")."""
    match = _INTEGER.fullmatch(text)
    if match is None or len(match[1]) > 20:
        return None
    value = int(match[1])
    return value if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else None


def _decimal(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None


def _in_seconds(table: pa.Table, layout: Layout) -> pa.Table:
    if layout.ticks == 1 or "timestamp" not in table.column_names:
        return table
    seconds = pc.divide(table["timestamp"], layout.ticks)
    return table.set_column(table.column_names.index("timestamp"), "timestamp", seconds)


def _splitter(layout: Layout) -> Callable[[bytes], list[str]]:
    """Cut a line into fields: the separator is literal, and quotes count only where the layout has them."""

    def split(raw: bytes) -> list[str]:
        text = raw.decode(layout.encoding)
        if layout.quoted and '"' in text:
            return next(csv.reader([text], delimiter=layout.separator, strict=True))
        return text.split(layout.separator)

    return split


def _line_texts(body: bytes, chunk: Chunk, lines: list[int]) -> list[str]:
    body_lines = body.split(b"\n") if lines else []
    found = (body_lines[line - chunk.first_line].removesuffix(b"\r") for line in lines)
    return [raw.decode(chunk.layout.encoding, "replace") for raw in found]


def _row_texts(group: pa.Table, chunk: Chunk, lines: list[int]) -> list[str]:
    rows = group.take(pa.array([line - chunk.first_line for line in lines], pa.int64()))
    return [json.dumps(row, default=str, ensure_ascii=False) for row in rows.to_pylist()]
