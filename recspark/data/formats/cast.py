"""Columns of text, or of any type of a Parquet file, as numbers, and the values that can't be converted."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: the usual notation of numbers
ORDINARY = {
    pa.int64(): r"-?[0-9]{1,18}",
    pa.int32(): r"-?[0-9]{1,9}",
    pa.float64(): r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?",
}
_INTEGER = re.compile(r"([+-]?[0-9]+)(\.0*)?")
# no two adjacent repetitions match the same text: else a field of a million digits would take a million times
# as long
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def cast(column: pa.Array, type_: pa.DataType, exact: bool = False) -> tuple[pa.Array, np.ndarray]:
    """`column` as int32, int64, float64 or text, and a mask of the values that can't be converted.

    These are null. A timestamp becomes seconds since 1970-01-01 UTC. An empty text becomes a null number and
    counts as not convertible. With `exact` so does a float that can stand for several whole numbers: it can't
    be an id.
    """
    none_bad = np.zeros(len(column), bool)
    if pa.types.is_nested(type_) or pa.types.is_temporal(type_):
        return column.cast(type_, safe=False), none_bad
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_timestamp(column.type):
        column = pc.floor_temporal(column, unit="second")
    if exact and type_ == pa.string() and pa.types.is_floating(column.type):
        # 1.0 is the id that others write as 1
        whole, bad = cast(column, pa.int64(), exact)
        return whole.cast(type_), bad
    if is_temporal(column.type):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if (
        type_ == pa.string()
        or (numeric and type_ == pa.float64())
        or column.type in (pa.int8(), pa.int16(), pa.int32(), type_)
    ):
        return column.cast(type_, safe=False), none_bad
    if pa.types.is_floating(column.type):
        largest = (
            {pa.float64(): 2.0**53, pa.float32(): 2.0**24}[column.type] if exact else np.nextafter(2.0**63, 0)
        )
        whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less_equal(pc.abs(column), largest))
        bad = pc.fill_null(pc.invert(whole), False).to_numpy(zero_copy_only=False)
        return pc.if_else(whole, column, None).cast(type_), bad
    return _parse(column.cast(pa.string()), type_)


def as_text(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """`column`, as text if it holds bytes or text, and a mask of the values that are not text.

    Those are not UTF-8 or hold a NUL, and become null. Writers of Parquet files may put any bytes into a
    column of strings; nobody checks them at reading.
    """
    if not holds_text(column.type):
        return column, np.zeros(len(column), bool)
    found = column.cast(pa.binary())
    try:
        text = found.cast(pa.string())
    except pa.ArrowInvalid:
        text = pa.array([_decoded(value) for value in found.to_pylist()], pa.string())
    nul = pc.fill_null(pc.match_substring(text, "\0"), False)
    bad = pc.or_(nul, pc.and_(pc.is_null(text), pc.is_valid(found)))
    return pc.if_else(nul, None, text), bad.to_numpy(zero_copy_only=False)


def readable(value: object) -> str:
    """Any value as text; bytes that are not UTF-8 get marks."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def is_temporal(type_: pa.DataType) -> bool:
    """Whether a column of that type holds timestamps or dates."""
    return pa.types.is_timestamp(type_) or pa.types.is_date(type_)


def holds_text(type_: pa.DataType) -> bool:
    """Whether a column of that type holds text, or bytes that may be text."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(type_) for is_kind in (*kinds, pa.types.is_binary, pa.types.is_large_binary))


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _parse(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Numbers from text, and a mask of texts that are not numbers: usual ones at once, others one by one."""
    common = pc.match_substring_regex(column, f"^{ORDINARY[type_]}$")
    values = pc.if_else(common, column, None).cast(type_)
    odd = np.flatnonzero(~pc.fill_null(common, True).to_numpy(zero_copy_only=False))
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
    """An integer of that many bits, including one that a float column wrote ("12.0")."""
    match = _INTEGER.fullmatch(text)
    if match is None or len(match[1]) > 20:
        return None
    value = int(match[1])
    return value if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else None


def _decimal(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None
