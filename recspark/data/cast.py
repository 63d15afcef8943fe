"""Columns of text, or of whatever a Parquet file holds, as numbers; and which values are none."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: how almost all numbers are written
ORDINARY = {
    pa.int64(): r"-?[0-9]{1,18}",
    pa.int32(): r"-?[0-9]{1,9}",
    pa.float64(): r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?",
}
_INTEGER = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def cast(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """`column` as int32, int64, float64 or text, null where a value can't be, and which values could not.

    A moment becomes seconds since 1970-01-01 UTC; an empty text becomes a null number and counts as none at all.
    """
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
    common = pc.match_substring_regex(column, f"^{ORDINARY[type_]}$")
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
