"""Timestamps of data other than MovieLens as seconds since 1970-01-01 UTC.

They are typed, counted in a unit, or written as text.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recspark.config import Check
from recspark.data.formats.cast import cast, is_temporal
from recspark.data.formats.notation import TICKS, Notation
from recspark.data.quality import YEAR_1990, YEAR_2100

#: a whole number of 64 bits
_WHOLE = r"^-?([0-9]{1,18}|[1-8][0-9]{18})$"
#: ISO 8601 as data uses it: the extended form, or the basic form with a time (a basic date alone looks like a
#: number)
_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
_ZONE = r"( ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?))?"
_ISO = rf"^({_DATE}([T ]{_TIME}{_ZONE})?|[0-9]{{8}}T[0-9]{{4}}([0-9]{{2}})?Z?)$"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: the years between which pandas knows every time
_FIRST_YEAR, _LAST_YEAR = pd.Timestamp.min.year, pd.Timestamp.max.year
#: days of a spreadsheet at the start of these years
_SPREADSHEET_1990, _SPREADSHEET_2100 = (year // 86_400 + 25_569 for year in (YEAR_1990, YEAR_2100))


def _is_time_format(text: str) -> bool:
    try:
        pd.to_datetime(pd.Series([""]), format=text, errors="coerce")
    except ValueError:
        return False
    return "%" in text


TIME_FORMAT = Check(_is_time_format, 'a format of Python\'s strptime, such as "%d/%m/%Y %H:%M:%S"')


def seconds(column: pa.Array, notation: Notation) -> tuple[pa.Array, np.ndarray]:
    """`column` as int64 seconds, fractions cut off (toward the past), and a mask of other values.

    A column whose type is a timestamp or a date is taken as such, for any `notation`.
    """
    if is_temporal(column.type):
        return cast(column, pa.int64())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column := column.cast(pa.float64())), None, column)
    elif not pa.types.is_integer(column.type):
        column = pc.utf8_trim_whitespace(column.cast(pa.string()))
        column = pc.if_else(pc.equal(column, ""), None, column)
    found = _converted(column, notation)
    return found, pc.and_(pc.is_valid(column), pc.is_null(found)).to_numpy(zero_copy_only=False)


def _converted(column: pa.Array, notation: Notation) -> pa.Array:
    """`column` of numbers or text as seconds, null if a value is not a timestamp."""
    ticks = TICKS[notation.unit]
    if notation.time_format:
        return _calendar(column.cast(pa.string()), notation.time_format)
    if pa.types.is_floating(column.type):
        return _floor(column, ticks)
    if pa.types.is_integer(column.type):
        return _floor(cast(column, pa.int64())[0], ticks)
    whole = pc.match_substring_regex(column, _WHOLE)
    found = _floor(pc.if_else(whole, column, None).cast(pa.int64()), ticks)
    if found.null_count == column.null_count:
        return found
    iso = pc.match_substring_regex(column, _ISO)
    number, _ = cast(notation.with_points(pc.if_else(pc.or_(whole, iso), None, column)), pa.float64())
    return pc.coalesce(found, _iso(pc.if_else(iso, column, None)), _floor(number, ticks))


def _floor(count: pa.Array, ticks: int) -> pa.Array:
    """A count of ticks as whole seconds.

    It is null if these are beyond 64 bits, or the count is a time in another notation.
    """
    number = pc.fill_null(count, 0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):  # infinity
        whole = number // ticks
        other = _is_written_day(number) | is_spreadsheet_day(number) | _is_of_coarser_unit(number, ticks)
    fits = np.abs(whole) < 2.0**63
    whole = np.where(fits, whole, 0).astype(np.int64)
    return pa.array(whole, mask=~fits | other | count.is_null().to_numpy(zero_copy_only=False))


def _is_written_day(number: np.ndarray) -> np.ndarray:
    """A mask of numbers that are a day such as 20240501.

    As counts they would all lie in 1970, where there are no ratings.
    """
    month, day = number // 100 % 100, number // 1 % 100
    return (
        (number > 19_800_000)
        & (number < 21_000_000)
        & (month >= 1)
        & (month <= 12)
        & (day >= 1)
        & (day <= 31)
    )


def is_spreadsheet_day(number: np.ndarray | float) -> np.ndarray:
    """A mask of numbers that are days since 1899-12-30 with a time of day, from 1990 to 2099.

    Whole numbers may as well count rows.
    """
    number = np.asarray(number)
    return (np.floor(number) != number) & (number >= _SPREADSHEET_1990) & (number < _SPREADSHEET_2100)


def _is_of_coarser_unit(number: np.ndarray, ticks: int) -> np.ndarray:
    """A mask of counts of ticks that are a time from 1990 to 2099 in a coarser unit.

    As counts of ticks they would all lie in 1970.
    """
    found = np.zeros(len(number), bool)
    for other in (other for other in TICKS.values() if other < ticks):
        found |= (number >= YEAR_1990 * other) & (number < YEAR_2100 * other)
    return found


def _iso(text: pa.Array) -> pa.Array:
    """ISO 8601 as seconds: at once by Arrow if all values have one form, else by pandas.

    pandas takes 20 times as long.
    """
    text = pc.replace_substring_regex(
        text, "[.,][0-9]+", ""
    )  # dropping the fraction cuts a time toward the past
    for type_ in (pa.timestamp("s"), pa.timestamp("s", "UTC")):
        with suppress(pa.ArrowInvalid):
            return cast(text.cast(type_), pa.int64())[0]
    return _calendar(pc.replace_substring_regex(text, " ?UTC$", "Z"), "ISO8601")


def _calendar(text: pa.Array, time_format: str) -> pa.Array:
    """Dates and times written in one format, UTC if they name no zone; null if a text is not in it."""
    texts = text.to_pandas()
    read = pd.to_datetime(texts, format=time_format, utc=True, errors="coerce")
    instant = read.dt.tz_localize(None).to_numpy("datetime64[ns]")
    found, missing = instant.astype("datetime64[s]").astype(np.int64), np.isnat(instant)
    for i in np.flatnonzero(missing & texts.notna().to_numpy()):
        if (far := _far(texts[i], time_format)) is not None:
            found[i], missing[i] = far, False
    return pa.array(found, mask=missing)


def _far(text: str, time_format: str) -> int | None:
    """A time beyond the nanoseconds of 64 bits that pandas counts; None if `text` is not a time."""
    try:
        moment = (
            datetime.fromisoformat(text) if time_format == "ISO8601" else datetime.strptime(text, time_format)
        )
    except ValueError:
        return None
    if _FIRST_YEAR < moment.year < _LAST_YEAR:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(seconds=1)
