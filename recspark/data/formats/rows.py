"""Rows of chunks: bytes in, typed Arrow columns and line numbers out.

One row is one line: a line break inside quotes ends the row, which then goes to quarantine. An empty line is
not a row.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from recspark.data.formats.cast import ORDINARY, as_text, cast, holds_text, readable
from recspark.data.formats.layout import Chunk, Layout, headings, parquet_file
from recspark.data.formats.timestamps import seconds
from recspark.data.quality import IDS, judged, named_parts
from recspark.data.schemas import PART
from recspark.errors import DataRejected

_UNUSED = b"\x1f"
#: the characters between ids of a list, with those that end a line
_BLANKS = " \t\r\v\f"


@dataclass
class Rows:
    """The rows of a chunk: columns, the line of each row, and a mask of rows with unparsable fields.

    `broken` are the lines that gave no row, as (line, reason); `texts` gives the text of lines by their
    numbers. `examples` has for each column with unparsable fields the text of one. `row_texts` gives the text
    of rows by their positions, if a line has several; else the text of a row is that of its line.
    """

    table: pa.Table
    line: np.ndarray
    unparsable: np.ndarray
    texts: Callable[[list[int]], list[str]]
    broken: list[tuple[int, str]] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)
    row_texts: Callable[[np.ndarray], list[str]] | None = None


def read(fs: pafs.FileSystem, chunk: Chunk) -> Rows:
    """The rows of `chunk`, by the fast reader if it is exact, else by the slow one: the same rows.

    Raises
    ------
    DataRejected
        If the file is damaged, or has changed since it was cut.
    """
    if chunk.layout.parquet:
        return _read_parquet(fs, chunk)
    with fs.open_input_file(chunk.path) as file:
        body = file.read_at(chunk.length, chunk.start)
    if len(body) != chunk.length:
        raise DataRejected(f"{chunk.member} became shorter while it was read")
    if chunk.layout.lists:
        return read_lists(body, chunk.layout, chunk.first_line)
    if chunk.layout.heading:
        return read_headed(body, chunk.layout, chunk.first_line, chunk.heading)
    return read_plain(body, chunk.layout, chunk.first_line) or read_mixed(
        body, chunk.layout, chunk.first_line
    )


def read_headed(body: bytes, layout: Layout, first_line: int = 1, heading: str | None = None) -> Rows:
    """Rows of lines between headings (`Layout.heading`), the first of them under `heading`.

    A heading is not a row.
    """
    pieces: list[Rows] = []
    start, line = 0, first_line
    for low, high, text in [*headings(body), (len(body), len(body), "")]:
        given = ((layout.heading, heading),) if layout.heading else ()
        under = replace(layout, heading=None, partition=given)
        if (part := body[start:low]) or not (pieces or high < len(body)):
            pieces.append(read_plain(part, under, line) or read_mixed(part, under, line))
        start, line, heading = high, line + part.count(b"\n") + 1, text
    return Rows(
        pa.concat_tables([piece.table for piece in pieces]),
        np.concatenate([piece.line for piece in pieces]),
        np.concatenate([piece.unparsable for piece in pieces]),
        partial(_line_texts, body, layout, first_line),
        [broken for piece in pieces for broken in piece.broken],
        {name: text for piece in reversed(pieces) for name, text in piece.examples.items()},
    )


def read_lists(body: bytes, layout: Layout, first_line: int = 1) -> Rows:
    """Rows of lines ``user item item ...``, with blanks or tabs between them: one row per item.

    A user without items gives no row. A line whose user is not of the type of its column is one bad row.

    >>> layout = Layout("ratings", "user_id bigint, item_id bigint", ("user_id", "item_id"), lists=True)
    >>> rows = read_lists(b"1 20 30\\n2\\n3 20 x\\n", layout)
    >>> rows.table.to_pydict(), rows.line.tolist(), rows.unparsable.tolist()
    ({'user_id': [1, 1, 3, 3], 'item_id': [20, 30, 20, None]}, [1, 1, 3, 3], [False, False, False, True])
    """
    lines, numbers, broken = [], [], []
    for number, raw in enumerate(body.split(b"\n"), first_line):
        try:
            text = raw.decode(layout.encoding)
        except UnicodeDecodeError:
            broken.append((number, "encoding"))
            continue
        if "\0" in text:
            broken.append((number, "encoding"))
        elif text := text.strip(_BLANKS):
            lines.append(text)
            numbers.append(number)
    ids = pc.ascii_split_whitespace(pa.array(lines, pa.string()))
    n_items, values = pc.list_value_length(ids).to_numpy(zero_copy_only=False) - 1, ids.flatten()
    first = np.cumsum(n_items + 1) - (n_items + 1)
    user, item = layout.names
    wrong = _values(values.take(pa.array(first)), user, layout.types()[user], layout)[1]
    broken += [(numbers[line], "unparsable") for line in np.flatnonzero(wrong & (n_items > 0)).tolist()]
    line = np.repeat(np.arange(len(lines)), n_items)
    line = line[~wrong[line]]
    is_item = np.repeat(~wrong, n_items + 1)
    is_item[first] = False
    columns = {user: values.take(pa.array(first[line])), item: values.filter(pa.array(is_item))}
    rows = _typed(
        columns,
        np.array(numbers, np.int64)[line],
        layout,
        partial(_line_texts, body, layout, first_line),
        broken,
    )
    return replace(rows, row_texts=partial(_pair_texts, columns[user], columns[item]))


def read_mixed(body: bytes, layout: Layout, first_line: int = 1) -> Rows:
    """Rows of lines that aren't all plain, in their order.

    The fast reader reads the plain lines, the slow one the others.
    """
    lines = body.split(b"\n")
    match = ordinary_line(replace(layout, partition=())).fullmatch
    ordinary = np.fromiter((match(line) is not None for line in lines), bool, len(lines))
    plain, odd = np.flatnonzero(ordinary), np.flatnonzero(~ordinary)
    fast = read_plain(b"\n".join([lines[i] for i in plain]), layout) if len(plain) else None
    if fast is None:
        return read_exact(body, layout, first_line)
    slow = read_exact(b"\n".join([lines[i] for i in odd]), layout)
    number = first_line + np.concatenate([plain[fast.line - 1], odd[slow.line - 1]])
    order = np.argsort(number)
    return Rows(
        pa.concat_tables([fast.table, slow.table]).take(pa.array(order)),
        number[order],
        np.concatenate([fast.unparsable, slow.unparsable])[order],
        partial(_line_texts, body, layout, first_line),
        [(first_line + int(odd[line - 1]), reason) for line, reason in slow.broken],
        slow.examples | fast.examples,
    )


@cache
def ordinary_line(layout: Layout) -> re.Pattern[bytes]:
    """The pattern of a line that :func:`read_plain` reads: usual numbers, text without surprises."""
    taken = r'\0\r\n"\x1f' if layout.quoted else r"\0\r\n\x1f"
    separator = re.escape(layout.separator)
    text = rf"(?:(?!{separator}|0[xX])[^{taken}])*"
    types, point = layout.field_types(), re.escape(layout.decimal)
    fields = [ORDINARY.get(types.get(name, pa.string()), text).replace(r"\.", point) for name in layout.names]
    return re.compile(separator.join(fields).encode() + rb"\r?")


def read_plain(body: bytes, layout: Layout, first_line: int = 1) -> Rows | None:
    """Rows of well-formed lines by Arrow's CSV reader; None if it could differ from :func:`read_exact`.

    That is so if a field may be quoted, not of its type, hexadecimal (Arrow reads ``0x1F`` as a number), or
    holds a NUL or a lone carriage return, and if a line is empty or has too few or too many fields.
    """
    separator = layout.separator.encode()
    doubtful = [b"\0", b"0x", b"0X"] + [b'"'] * layout.quoted + [_UNUSED] * (len(separator) > 1)
    if any(mark in body for mark in (*doubtful, b"\n\n", b"\n\r\n")) or body.startswith((b"\n", b"\r\n")):
        return None
    text = body if layout.encoding == "utf-8" else body.decode(layout.encoding).encode()
    if len(separator) > 1:
        text, separator = text.replace(separator, _UNUSED), _UNUSED
    types = layout.field_types()
    names = [name or f"\0{i}" for i, name in enumerate(layout.names)]
    try:
        table = pacsv.read_csv(
            pa.BufferReader(text),
            pacsv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
            pacsv.ParseOptions(delimiter=separator.decode(), quote_char=False, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=layout.nulls,
                decimal_point=layout.decimal,
            ),
        )
    except pa.ArrowInvalid:
        return None
    if len(table) != body.count(b"\n") + (not body.endswith(b"\n")):
        return None
    columns = {name: table[name].combine_chunks() for name in types}
    line = np.arange(first_line, first_line + len(table))
    return _typed(columns, line, layout, partial(_line_texts, body, layout, first_line))


def read_exact(body: bytes, layout: Layout, first_line: int = 1) -> Rows:
    """Rows of any bytes, one line at a time; lines that can't be rows are listed with the reason."""
    width = len(layout.names)
    fields, lines, broken = [], [], []
    for number, raw in enumerate(body.split(b"\n"), first_line):
        raw = raw.removesuffix(b"\r")
        if not raw:
            continue
        try:
            row = layout.split(raw)
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
    columns = dict(zip(layout.names, zip(*fields, strict=True), strict=True)) if fields else {}
    raw_columns = {name: pa.array(columns.get(name, ()), pa.string()) for name in layout.field_types()}
    return _typed(
        raw_columns, np.array(lines, np.int64), layout, partial(_line_texts, body, layout, first_line), broken
    )


def _read_parquet(fs: pafs.FileSystem, chunk: Chunk) -> Rows:
    rename = {name: column for name, column in chunk.layout.rename if column in chunk.layout.names}
    with parquet_file(fs, chunk.member, chunk.path) as parquet:
        read = parquet.read_row_group(chunk.start, columns=list(rename))
        group = pa.table({name: _plain(read[name].combine_chunks()) for name in rename})
    if len(group) != chunk.length:
        raise DataRejected(f"{chunk.member} has {len(group)} rows where its footer says {chunk.length}")
    columns, encoded = {}, np.ones(len(group), bool)
    for name, column in rename.items():
        columns[column], bad = as_text(group[name].combine_chunks())
        encoded &= ~bad
    line = np.arange(chunk.first_line, chunk.first_line + len(group))
    broken = [(number, "encoding") for number in line[~encoded].tolist()]
    if broken:
        columns = {name: column.filter(pa.array(encoded)) for name, column in columns.items()}
    return _typed(columns, line[encoded], chunk.layout, partial(_row_texts, group, chunk.first_line), broken)


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _typed(
    columns: dict[str, pa.Array],
    line: np.ndarray,
    layout: Layout,
    texts: Callable,
    broken: Sequence[tuple[int, str]] = (),
) -> Rows:
    """Rows with every column cast to its type; a value that can't be cast is null, its row unparsable."""
    fixed = dict(layout.partition) | ({PART: layout.part} if layout.part else {})
    columns = columns | {name: pa.array([text] * len(line), pa.string()) for name, text in fixed.items()}
    unparsable = np.zeros(len(line), bool)
    typed, examples = {}, {}
    for name, type_ in layout.types().items():
        typed[name], bad = _values(columns[name], name, type_, layout)
        unparsable |= bad
        if bad.any():
            examples[name] = readable(columns[name][int(bad.argmax())].as_py())
    return Rows(pa.table(typed), line, unparsable, texts, list(broken), examples)


def _values(column: pa.Array, name: str, type_: pa.DataType, layout: Layout) -> tuple[pa.Array, np.ndarray]:
    """The values of one column, and a mask of fields that are not of its type."""
    notation = layout.notation
    if name == PART and not layout.own:
        return named_parts(column), np.zeros(len(column), bool)
    if notation is not None and pa.types.is_string(column.type):
        column = column if layout.parquet else notation.clean(column)
        column = column if type_ == pa.string() or layout.is_timestamp(name) else notation.with_points(column)
    if notation is not None and layout.is_timestamp(name):
        return seconds(column, notation)
    return cast(column, type_, exact=name in IDS and name in judged(layout.table))


def _line_texts(body: bytes, layout: Layout, first_line: int, lines: list[int]) -> list[str]:
    body_lines = body.split(b"\n") if lines else []
    found = (body_lines[line - first_line].removesuffix(b"\r") for line in lines)
    return [raw.decode(layout.encoding, "replace") for raw in found]


def _pair_texts(users: pa.Array, items: pa.Array, rows: np.ndarray) -> list[str]:
    pairs = zip(users.take(pa.array(rows)).to_pylist(), items.take(pa.array(rows)).to_pylist(), strict=True)
    return [f"{user} {item}" for user, item in pairs]


def _row_texts(group: pa.Table, first_line: int, lines: list[int]) -> list[str]:
    rows = group.take(pa.array([line - first_line for line in lines], pa.int64()))
    columns = [_python_values(column) for column in rows.columns]
    found = (dict(zip(rows.column_names, row, strict=True)) for row in zip(*columns, strict=True))
    return [json.dumps(row, default=readable, ensure_ascii=False) for row in found]


def _python_values(column: pa.ChunkedArray) -> list[object]:
    if holds_text(column.type):
        # as bytes, because Arrow can't make a str of invalid text
        return column.cast(pa.binary()).to_pylist()
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        # a timestamp outside Python's calendar
        return column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64()).to_pylist()
