"""How files are laid out, and how they are cut into chunks that workers read on their own.

A text file is cut at line ends and each chunk knows the number of its first line, so that a bad row can name its line
without a second pass. A chunk of a Parquet file is a row group, and its "lines" are row numbers. Both count from 1, a
header included.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recspark.config import brief, shown
from recspark.data.quality import key_of
from recspark.data.schemas import columns
from recspark.errors import ConfigError, DataRejected

#: bytes of text in one chunk, which becomes one Parquet file of a table
CHUNK_BYTES = 16 << 20
#: bytes of a line: what has more between two line ends is no text, and would not fit a worker's memory
LINE_BYTES = 64 << 20
#: bytes of a header
_HEADER_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"

_ARROW = {
    "bigint": pa.int64(),
    "int": pa.int32(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "array<string>": pa.list_(pa.string()),
    "array<bigint>": pa.list_(pa.int64()),
    "array<double>": pa.list_(pa.float64()),
    "map<string,double>": pa.map_(pa.string(), pa.float64()),
}
#: what a column of a Parquet file may be
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
_READ_AS = {"bigint": pa.int64(), "int": pa.int32(), "float": pa.float64(), "double": pa.float64()}


def arrow_schema(ddl: str) -> pa.Schema:
    """The Arrow schema of a table, from its DDL in :mod:`recspark.data.schemas`."""
    return pa.schema([(name, _ARROW[type_]) for name, type_ in columns(ddl).items()])


@dataclass(frozen=True)
class Layout:
    """How the fields of a file become the columns of `table`, published with `schema`.

    `names` has the column of every field in order, "" where the field is not read. A file with a header, or a Parquet
    file, names its own fields: then `rename` says which of them is read as which column (see :func:`bind`).
    A column is read as a number where the published column of that name is one, else as text.
    `ticks` is how many units of the file's timestamp make a second.
    `constants` are the values of columns that are published although no file has them.
    `own`: all columns but the id are the user's own, and kept as they are whatever their names.
    `duplicates` says which row with a key stays: the ``last``, the ``first``, or ``all``.
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
    constants: tuple[tuple[str, float], ...] = ()
    own: bool = False
    duplicates: str = "last"

    def key(self) -> list[str]:
        """The columns that tell the rows apart of which one stays; none where all stay."""
        return [] if self.duplicates == "all" else key_of(self.table)

    def types(self) -> dict[str, pa.DataType]:
        """The columns that are read, and as what."""
        published, read_as = columns(self.schema), _ARROW if self.own else _READ_AS
        return {name: read_as.get(published.get(name, ""), pa.string()) for name in self.names if name}

    def split(self, raw: bytes) -> list[str]:
        """The fields of a line: the separator is literal, and quotes count only where the layout has them."""
        text = raw.decode(self.encoding)
        if self.quoted and '"' in text:
            return next(csv.reader([text], delimiter=self.separator, strict=True))
        # one field too many is enough to know
        return text.split(self.separator, len(self.names) or -1)


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


def plan(fs: pafs.FileSystem, member: str, path: str, layout: Layout, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Cut one file into chunks; reads a text file once to count its lines.

    Raises
    ------
    DataRejected
        Where the file is no Parquet file, or holds a line of more than LINE_BYTES.
    """
    if layout.parquet:
        yield from _row_groups(fs, member, path, layout)
        return
    start, line = (len(_first_line(fs, member, path)), 2) if layout.header else (len(_mark(fs, path)), 1)
    with fs.open_input_stream(path, compression=None) as stream:
        stream.read(start)
        rest = b""
        while block := stream.read(chunk_bytes):
            body = rest + block
            cut = body.rfind(b"\n") + 1
            if cut:
                yield Chunk(member, path, layout, start, cut, line)
                start, line = start + cut, line + body.count(b"\n")
            rest = body[cut:]
            if len(rest) > LINE_BYTES:
                raise DataRejected(f"{member} line {line} is longer than {LINE_BYTES} bytes: it is no text file with a row a line")
        if rest:
            yield Chunk(member, path, layout, start, len(rest), line)


def _row_groups(fs: pafs.FileSystem, member: str, path: str, layout: Layout) -> Iterator[Chunk]:
    with parquet_file(fs, member, path) as parquet:
        first = 1
        for group in range(parquet.metadata.num_row_groups):
            length = parquet.metadata.row_group(group).num_rows
            yield Chunk(member, path, layout, group, length, first)
            first += length


@contextmanager
def parquet_file(fs: pafs.FileSystem, member: str, path: str) -> Iterator[pq.ParquetFile]:
    """An open Parquet file; DataRejected where it, or what the body reads of it, is damaged. Checksums that it has are checked."""
    try:
        with pq.ParquetFile(path, filesystem=fs, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataRejected(f"{member} is not a readable Parquet file: {brief(error)}") from None


def _first_line(fs: pafs.FileSystem, member: str, path: str) -> bytes:
    """The bytes of the first line, with what ends it."""
    with fs.open_input_stream(path, compression=None) as stream:
        line, end, _ = stream.read(_HEADER_BYTES).partition(b"\n")
    if not end and len(line) == _HEADER_BYTES:
        raise DataRejected(f"{member} line 1 is longer than {_HEADER_BYTES} bytes: it can't be a header, nor the first of such rows")
    return line + end


def _mark(fs: pafs.FileSystem, path: str) -> bytes:
    """The mark of UTF-8 that a file begins with, where it has one: no part of its first field."""
    with fs.open_input_stream(path, compression=None) as stream:
        return _BOM if stream.read(len(_BOM)) == _BOM else b""


def field_names(fs: pafs.FileSystem, member: str, path: str, layout: Layout) -> list[str]:
    """What a file calls its fields; ``_c0, _c1 ...`` as in Spark where it has no header.

    Raises
    ------
    DataRejected
        Where its first line is no text of its encoding, or quotes in it don't close; where it is no Parquet file.
    """
    if layout.parquet:
        with parquet_file(fs, member, path) as parquet:
            return parquet.schema_arrow.names
    line = _first_line(fs, member, path).rstrip(b"\r\n").removeprefix(_BOM)
    try:
        fields = layout.split(line)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataRejected(f"{member} line 1 can't be read as {layout.encoding}: {brief(error)}") from None
    return [name.strip() for name in fields] if layout.header else [f"_c{i}" for i in range(len(fields))]


def bind(fs: pafs.FileSystem, path: str, member: str, layout: Layout) -> Layout:
    """`layout` with the names of the fields of one file; ConfigError where a column that is read is missing, comes twice, or is
    of a type that holds neither numbers, text nor moments."""
    if layout.names:
        return layout
    fields, rename = field_names(fs, member, path, layout), dict(layout.rename)
    found = shown(", ".join(fields))[1:-1]
    if missing := [name for name in rename if name not in fields]:
        clicks = ', or data.ratingColumn = "" where rows are events without a rating' if "rating" in map(rename.get, missing) else ""
        raise ConfigError(
            f"{member} has no column {', '.join(missing)}, it has {found}: "
            f"set data.dataset to csv or parquet and data.userColumn, data.itemColumn ... to the columns it has{clicks}"
        )
    if twice := [name for name in rename if fields.count(name) > 1]:
        raise ConfigError(f"{member} has the column {', '.join(twice)} more than once, it has {found}: which one is meant can't be known")
    if layout.parquet:
        _check_types(fs, member, path, [name for name, column in rename.items() if not layout.own or column in key_of(layout.table)])
    return replace(layout, names=tuple(rename.get(name, "") for name in fields))


def _check_types(fs: pafs.FileSystem, member: str, path: str, columns: Iterable[str]) -> None:
    with parquet_file(fs, member, path) as parquet:
        types = {name: parquet.schema_arrow.field(name).type for name in columns}
    for name, type_ in types.items():
        value = type_.value_type if pa.types.is_dictionary(type_) else type_
        if not any(holds(value) for holds in _READABLE):
            raise ConfigError(f"{member}: column {name} is {type_}, it must hold numbers, text or moments")
