"""The notation of fields in data other than MovieLens: blanks, missing values, the decimal mark, timestamps.

MovieLens has rules of its own: a title "None" is a title there.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

#: texts that databases, pandas, R and spreadsheets write for a missing value
NULLS = ("NULL", "null", "None", "nan", "NaN", "NaT", "NA", "<NA>", "N/A", "n/a", "#N/A", "\\N")
#: number of ticks per second, by unit
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Notation:
    """How the text of a field becomes a value.

    `nulls` are the texts that mean a missing value, as the empty text does. `decimal` is the decimal mark of
    numbers. `unit` is the unit of timestamps written as numbers (a key of TICKS), `time_format` the strptime
    format of all others.
    """

    nulls: tuple[str, ...] = NULLS
    decimal: str = "."
    unit: str = "s"
    time_format: str | None = None

    def clean(self, text: pa.Array) -> pa.Array:
        """`text` without the blanks around it, null if it means a missing value."""
        text = pc.utf8_trim_whitespace(text)
        return pc.if_else(pc.is_in(text, value_set=pa.array(["", *self.nulls])), None, text)

    def with_points(self, text: pa.Array) -> pa.Array:
        """`text` of numbers with a decimal point in place of the decimal mark.

        A number that had a point is then not a number.
        """
        if self.decimal == ".":
            return text
        return pc.replace_substring(pc.replace_substring(text, ".", "_"), self.decimal, ".")
