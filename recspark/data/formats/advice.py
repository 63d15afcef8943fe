"""Advice for data that could not be read: the option of ``[data]`` that probably helps, by an example."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from pandas.tseries.api import guess_datetime_format

from recspark.config import shown
from recspark.data.formats.layout import Layout
from recspark.data.formats.notation import TICKS, Notation
from recspark.data.formats.timestamps import is_spreadsheet_day
from recspark.data.quality import YEAR_1990, YEAR_2100

#: most characters of a time as text
_LONGEST_TIME = 64
_SEPARATORS = (",", ";", "\t", "|")
_UNITS = dict(zip(TICKS, ("seconds", "milliseconds", "microseconds", "nanoseconds"), strict=True))


def separator_advice(fields: Sequence[str]) -> str | None:
    """The separator that a line seems to have, which was cut into `fields` at another one.

    None if the fields were the right ones.
    """
    text = "".join(fields)
    found = max(_SEPARATORS, key=text.count)
    if text.count(found) < len(fields):
        return None
    return f"its fields look separated by {json.dumps(found)}: set data.separator = {json.dumps(found)}"


def value_advice(layout: Layout, examples: Mapping[str, str], late: np.ndarray) -> str | None:
    """The options to set so that the `examples`, by column, and the `late` timestamps would be read.

    There are none for MovieLens, whose notation no option changes.
    """
    notation = layout.notation
    if notation is None:
        return None
    given = {column: name for name, column in layout.rename}
    advice = [
        f"column {given[column]} holds {shown(text, 50)}, {_about(notation, column, text)}"
        for column, text in examples.items()
    ]
    if len(late):
        advice += _late_advice(given["timestamp"], late, notation.unit)
    return "; ".join(advice) or None


def _late_advice(name: str, late: np.ndarray, unit: str) -> list[str]:
    """The probable unit of timestamps that are out of range, else the format."""
    if other := _unit_of(float(np.median(late)), unit):
        return [f"column {name} looks like {_UNITS[other]}: data.timestampUnit={other}"]
    formats = _likely_formats(str(late[0])) if unit == "s" else ""
    return (
        [f"column {name} looks like dates without separators: set data.timestampFormat{formats}"]
        if formats
        else []
    )


def _about(notation: Notation, column: str, text: str) -> str:
    """The reason why the field `text` was refused, and the option that would help."""
    if column == "timestamp":
        if notation.time_format:
            return f"which is not of the form data.timestampFormat = {notation.time_format!r}"
        number = _number(text)
        if other := _unit_of(number / TICKS[notation.unit], notation.unit):
            return f"which looks like {_UNITS[other]}: data.timestampUnit={other}"
        if is_spreadsheet_day(number):
            return "which looks like days of a spreadsheet: write the column as text of ISO 8601"
        return (
            f"which is neither a count of {_UNITS[notation.unit]} nor ISO 8601: set "
            f"data.timestampFormat{_likely_formats(text)}"
        )
    if "," in text and "." in text:
        return "which is not a number: write numbers without a mark between thousands"
    if "," in text and notation.decimal == ".":
        return 'which is not a number: is data.decimal = ","?'
    if "." in text and notation.decimal == ",":
        return 'which is not a number: is data.decimal = "."?'
    return "which is not a number" + (", is data.idType = string?" if column != "rating" else "")


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")


def _likely_formats(text: str) -> str:
    if len(text) > _LONGEST_TIME:  # a guess takes time by the square of the length
        return ""
    with warnings.catch_warnings(action="ignore"):  # a day may be a month: both are named
        guesses = [guess_datetime_format(text, dayfirst=first) for first in (False, True)]
    found = list(dict.fromkeys(repr(guess) for guess in guesses if guess))
    return f", such as {' or '.join(found)}" if found else ""


def _unit_of(seconds: float, unit: str) -> str | None:
    """The unit in which a count that was taken for `unit` is a time of today; None if there is none."""
    count = seconds * TICKS[unit]
    return next(
        (other for other, ticks in TICKS.items() if other != unit and YEAR_1990 <= count / ticks < YEAR_2100),
        None,
    )
