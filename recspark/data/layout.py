"""How files are laid out, and how they are cut into chunks that workers read on their own.

A text file is cut at line ends and each chunk knows the number of its first line, so that a bad row can name its line
without a second pass. A chunk of a Parquet file is a row group, and its "lines" are row numbers. Both count from 1, a
header included.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
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

    def split(self, raw: bytes) -> list[str]:
        """The fields of a line: the separator is literal, and quotes count only where the layout has them."""
        text = raw.decode(self.encoding)
        if self.quoted and '"' in text:
            return next(csv.reader([text], delimiter=self.separator, strict=True))
        return text.split(self.separator)


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
    fields = layout.split(_first_line(fs, path).rstrip(b"\r\n").removeprefix(b"\xef\xbb\xbf"))
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
