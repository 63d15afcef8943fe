"""The layout of files, and how they are cut into chunks that workers read on their own.

A text file is cut at line ends and each chunk knows the number of its first line, so that a bad row can name
its line without a second pass. A chunk of a Parquet file is a row group, and its "lines" are row numbers.
Both count from 1, a header included.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recspark.config import brief
from recspark.data.formats.encoding import AUTO, Vote, check_byte_order
from recspark.data.formats.notation import Notation
from recspark.data.quality import key_of
from recspark.data.schemas import PART, columns
from recspark.errors import DataRejected

#: bytes of text in one chunk, which becomes one Parquet file of a table
CHUNK_BYTES = 16 << 20
#: most tasks that read chunks: enough for 256 cores, whatever cores there are
MOST_TASKS = 256
#: most bytes of a line: data with longer lines is not text, and would not fit a worker's memory
LINE_BYTES = 64 << 20
#: most bytes of a header
_HEADER_BYTES = 1 << 20
#: the byte-order mark of UTF-8
BOM = b"\xef\xbb\xbf"

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
_READ_AS = {"bigint": pa.int64(), "int": pa.int32(), "float": pa.float64(), "double": pa.float64()}


def arrow_schema(ddl: str) -> pa.Schema:
    """The Arrow schema of a table, from its DDL in :mod:`recspark.data.schemas`."""
    return pa.schema([(name, _ARROW[type_]) for name, type_ in columns(ddl).items()])


@dataclass(frozen=True)
class Layout:
    """How the fields of a file become the columns of `table`, published with `schema`.

    `names` has the column of every field in order, "" if the field is not read. A file with a header, or a
    Parquet file, names its own fields: then `rename` maps them to columns (see
    :func:`recspark.data.formats.binding.bind`). `partition` has the columns in the path of the file with
    their text, by the names in the path until the layout is bound. A column is read as a number if the
    published column of that name is one, else as text. `notation` says how fields are written in data other
    than MovieLens (None). `constants` are the values of columns that are published although no file has them.
    `own`: all columns but the id are the user's own, and stay as they are, with any names.
    `duplicates` says which row with a key stays: the ``last``, the ``first``, or ``all``.
    `heading`: the column that lines such as ``7:`` give for all rows below them.
    `rest`: the last field is the rest of the line, separators included.
    `lists`: a line has a user and any number of items, with blanks between them: one row per item.
    `part`: the part of a split that all rows are of, which becomes a column.
    `catalog_table`: the table of a catalog that the file is a copy of; its rows have no place to name.
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
    notation: Notation | None = None
    partition: tuple[tuple[str, str | None], ...] = ()
    constants: tuple[tuple[str, float], ...] = ()
    own: bool = False
    duplicates: str = "last"
    heading: str | None = None
    rest: bool = False
    lists: bool = False
    part: str | None = None
    catalog_table: str | None = None

    def key(self) -> list[str]:
        """The columns that identify a row, of which one is kept; none if all rows stay."""
        return [] if self.duplicates == "all" else key_of(self.table, columns(self.schema))

    def types(self) -> dict[str, pa.DataType]:
        """The columns to read, and their types."""
        published, read_as = columns(self.schema), _ARROW if self.own else _READ_AS
        names = [*filter(None, self.names), *dict(self.partition), *([PART] if self.part else [])]
        return {name: read_as.get(published.get(name, ""), pa.string()) for name in names}

    def field_types(self) -> dict[str, pa.DataType]:
        """The types of the fields of a text file at first: timestamps of any notation are text."""
        types = {name: type_ for name, type_ in self.types().items() if name in self.names}
        return {name: pa.string() if self.is_timestamp(name) else type_ for name, type_ in types.items()}

    def is_timestamp(self, name: str) -> bool:
        """Whether a column holds timestamps in a notation; columns of the user's own are left as they are."""
        return name == "timestamp" and self.notation is not None and not self.own

    @property
    def decimal(self) -> str:
        """The decimal mark of numbers."""
        return self.notation.decimal if self.notation else "."

    @property
    def nulls(self) -> list[str]:
        """The fields that mean a missing number."""
        return ["", *self.notation.nulls] if self.notation else [""]

    def split(self, raw: bytes) -> list[str]:
        """The fields of a line: the separator is literal, and quotes count only if the layout has them."""
        text = raw.decode(self.encoding)
        if self.quoted and '"' in text:
            blanks = self.notation is not None
            return next(csv.reader([text], delimiter=self.separator, strict=True, skipinitialspace=blanks))
        # one field too many is enough to notice
        return text.split(self.separator, len(self.names) - self.rest or -1)


@dataclass(frozen=True)
class Chunk:
    """A part of one file: bytes ``start .. start + length`` of a text file, or row group `start` of Parquet.

    `whole`: it is all of its table. `heading` is the last one before it (`Layout.heading`). `source` is the
    option that names its source.
    """

    member: str
    path: str
    layout: Layout
    start: int
    length: int
    first_line: int
    whole: bool = False
    heading: str | None = None
    source: str = "source"


def tasks_for(n_chunks: int) -> int:
    """The number of Spark tasks that share `n_chunks` chunks."""
    return max(1, min(n_chunks, MOST_TASKS))


def headings(body: bytes) -> Iterator[tuple[int, int, str]]:
    """The lines that are only some text and a colon: their starts, their ends, and that text.

    >>> list(headings(b"7:\\n1,3,2005-09-06\\n8:\\r\\n"))
    [(0, 3, '7'), (18, 22, '8')]
    """
    colon = -1
    while (colon := body.find(b":", colon + 1)) >= 0:
        start, end = body.rfind(b"\n", 0, colon) + 1, body.find(b"\n", colon) + 1 or len(body)
        line = body[start:end].rstrip(b"\r\n")
        if line.endswith(b":") and b"," not in line:
            yield start, end, line[:-1].decode("utf-8", "replace")
        colon = end - 1


def plan(
    fs: pafs.FileSystem, member: str, path: str, layout: Layout, chunk_bytes: int = CHUNK_BYTES
) -> list[Chunk]:
    """Cut one file into chunks.

    A text file is read once, to count its lines and to decide its encoding.

    Parameters
    ----------
    fs, member, path
        The file's file system, its name in the source, and its path.
    layout
        The layout of the file.
    chunk_bytes
        The size of a chunk of text, in bytes, about.

    Raises
    ------
    DataRejected
        If the file is not a Parquet file, or holds a line of more than LINE_BYTES.
    """
    if layout.parquet:
        return list(_row_groups(fs, member, path, layout))
    vote, parts = Vote(), []
    heading: str | None = None
    for start, line, body in _parts(fs, member, path, layout, chunk_bytes):
        if layout.encoding == AUTO:
            vote.count(body)
        parts.append((start, len(body), line, False, heading))
        if layout.heading:
            heading = [heading, *(text for *_, text in headings(body))][-1]
    layout = decided(layout, vote)
    return [Chunk(member, path, layout, *part) for part in parts]


def chunks_alone(
    fs: pafs.FileSystem, member: str, path: str, layout: Layout, chunk_bytes: int
) -> Iterator[Chunk]:
    """The chunks of a text file one after the other, each with the encoding that it decides by itself.

    Nothing is read ahead.

    Parameters
    ----------
    fs, member, path
        The file's file system, its name in the source, and its path.
    layout
        The layout of the file.
    chunk_bytes
        The size of a chunk, in bytes, about.
    """
    for start, line, body in _parts(fs, member, path, layout, chunk_bytes):
        yield Chunk(member, path, decided(layout, Vote([body])), start, len(body), line)


def decided(layout: Layout, vote: Vote) -> Layout:
    """`layout` with the encoding that `vote` decides, if the file is to decide it."""
    return replace(layout, encoding=vote.encoding) if layout.encoding == AUTO else layout


def _parts(
    fs: pafs.FileSystem, member: str, path: str, layout: Layout, chunk_bytes: int
) -> Iterator[tuple[int, int, bytes]]:
    """The start of each chunk of a text file, the number of its first line, and its bytes."""
    start, line = (
        (len(first_line(fs, member, path)), 2) if layout.header else (len(_mark(fs, member, path)), 1)
    )
    with fs.open_input_stream(path, compression=None) as stream:
        stream.read(start)
        rest = b""
        while block := stream.read(chunk_bytes):
            body = rest + block
            cut = body.rfind(b"\n") + 1
            if cut:
                yield start, line, body[:cut]
                start, line = start + cut, line + body.count(b"\n")
            rest = body[cut:]
            if len(rest) > LINE_BYTES:
                raise DataRejected(
                    f"{member} line {line} is longer than {LINE_BYTES} bytes: it is not a text file with one "
                    "row per line"
                )
        if rest:
            yield start, line, rest


def _row_groups(fs: pafs.FileSystem, member: str, path: str, layout: Layout) -> Iterator[Chunk]:
    with parquet_file(fs, member, path) as parquet:
        first = 1
        for group in range(parquet.metadata.num_row_groups):
            length = parquet.metadata.row_group(group).num_rows
            yield Chunk(member, path, layout, group, length, first)
            first += length


@contextmanager
def parquet_file(fs: pafs.FileSystem, member: str, path: str) -> Iterator[pq.ParquetFile]:
    """An open Parquet file, whose checksums are checked if it has any.

    Raise DataRejected if the file, or the part that the body reads, is damaged.
    """
    try:
        with pq.ParquetFile(path, filesystem=fs, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataRejected(f"{member} is not a readable Parquet file: {brief(error)}") from None


def first_line(fs: pafs.FileSystem, member: str, path: str) -> bytes:
    """The bytes of the first line, with its line end."""
    with fs.open_input_stream(path, compression=None) as stream:
        line, end, _ = stream.read(_HEADER_BYTES).partition(b"\n")
    check_byte_order(member, line)
    if not end and len(line) == _HEADER_BYTES:
        raise DataRejected(
            f"{member} line 1 is longer than {_HEADER_BYTES} bytes: it can't be a header, nor the first of "
            "such rows"
        )
    return line + end


def is_empty(fs: pafs.FileSystem, path: str, layout: Layout) -> bool:
    """Whether a text file has only empty lines, and maybe a byte-order mark."""
    # in a line that is not the header, blanks may be separators
    skipped = None if layout.header else b"\r\n"
    with fs.open_input_stream(path, compression=None) as stream:
        block = stream.read(_HEADER_BYTES).removeprefix(BOM)
        while block and not block.strip(skipped):
            block = stream.read(_HEADER_BYTES)
    return not block


def _mark(fs: pafs.FileSystem, member: str, path: str) -> bytes:
    """The byte-order mark of UTF-8 if the file has one: it is not part of its first field."""
    with fs.open_input_stream(path, compression=None) as stream:
        start = stream.read(4)
    check_byte_order(member, start)
    return BOM if start.startswith(BOM) else b""
