"""Row rules: which rows are kept, and the one reason why another is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recspark.config import Option, Section, above, between
from recspark.data.schemas import PART, PART_WORDS
from recspark.errors import DataRejected

#: reasons why a row is not kept, in the order of the rules: the first that fails gives the reason
REASONS = {
    "field_count": "the line has too few or too many fields",
    "encoding": "the line is not text in the file's encoding, or holds a NUL",
    "unparsable": "a field that must be a number is none or is empty, or quotes don't close within 128 KiB",
    "null_id": "the user or item id is empty",
    "rating_range": "the rating is outside the edition's range",
    "rating_step": "the rating lies between two steps of the edition's scale",
    "timestamp": "the timestamp is before or after any that the edition can hold",
    "part": "the column of the part of a split has none of train, validation (valid, val, dev) and test",
    "duplicate": "another row with the same key is kept, the last one if nothing else is said",
}
_CODE = {reason: code for code, reason in enumerate(REASONS, 1)}

#: seconds since 1970-01-01 UTC: MovieLens starts in 1995, so an earlier year is an error of units or of
#: parsing
YEAR_1990 = 631_152_000
#: a fixed far future instead of "now", so that the same input gives the same tables on any day; catches
#: milliseconds
YEAR_2100 = 4_102_444_800

IDS = ("user_id", "item_id")
#: the columns of rating rows that have rules
_RATED = (*IDS, "rating", "timestamp", PART)


class QualityOptions(Section):
    """The limits of acceptable input."""

    name = "quality"
    maxBadFraction = Option(
        float,
        0.01,
        "largest share of bad rows in a table; more ends the job and publishes nothing",
        between(0, 1),
    )
    maxExpandedBytes = Option(int, 8 << 30, "largest size in bytes that an archive may expand to", above(0))
    maxExpansionRatio = Option(
        float, 200.0, "how many times its own size an archive may expand to; any below 64 MiB", above(1)
    )


@dataclass(frozen=True)
class Rules:
    """The limits of an edition: rating scale (None: any finite number) and timestamps.

    Timestamps must be ``time_min <= t < time_max``. `required` are the columns other than the ids that may
    not be empty.
    """

    rating_min: float | None = None
    rating_max: float | None = None
    rating_step: float | None = None
    time_min: int = 0
    time_max: int = YEAR_2100
    required: tuple[str, ...] = ("rating",)


def judge(table: pa.Table, unparsable: np.ndarray, rules: Rules) -> np.ndarray:
    """The code of the first rule that each row breaks, 0 if it breaks none.

    :func:`reason_of` names a code.
    """
    codes = np.zeros(len(table), np.int8)

    def mark(reason: str, broken: np.ndarray) -> None:
        codes[(codes == 0) & broken] = _CODE[reason]

    columns = table.column_names
    mark("unparsable", unparsable)
    for name in (name for name in rules.required if name in columns):
        mark("unparsable", _mask(pc.is_null(table[name])))
    for name in (name for name in IDS if name in columns):
        mark("null_id", _is_empty(table[name]))
    if "rating" in columns:
        for reason, broken in _off_scale(_numbers(table["rating"], np.float64), rules):
            mark(reason, broken)
    if "timestamp" in columns:
        moment = _numbers(table["timestamp"].fill_null(rules.time_min), np.int64)
        mark("timestamp", (moment < rules.time_min) | (moment >= rules.time_max))
    if PART in columns:
        mark("part", _mask(pc.is_null(table[PART])))
    return codes


def named_parts(column: pa.Array) -> pa.Array:
    """The names of parts for the words of a column; null for any other.

    >>> named_parts(pa.array([" Train", "dev", "TEST", "holdout", None])).to_pylist()
    ['train', 'validation', 'test', None, None]
    """
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    place = pc.index_in(words, value_set=pa.array([*PART_WORDS]))
    return pa.array([*PART_WORDS.values()]).take(place)


def key_of(table: str, columns: Iterable[str] = ()) -> list[str]:
    """The columns that identify a row of a table with those `columns`; none for tags.

    A tag may be given twice; a pair may be in several parts of a split.
    """
    if table == "ratings" or table.startswith("given/"):
        return [*IDS, *([PART] if PART in columns else [])]
    return {"users": ["user_id"], "items": ["item_id"], "links": ["item_id"]}.get(table, [])


def judged(table: str) -> list[str]:
    """The columns of a table that have rules.

    Other columns of users and items are kept as they are, with any names.
    """
    key = key_of(table)
    return key if len(key) == 1 else list(_RATED)


def repeated_rows(table: pa.Table, key: list[str], keep: str = "last") -> np.ndarray:
    """Positions of the rows that another row with the same `key` replaces.

    The ``last`` or ``first`` row by timestamp is kept (a missing timestamp is the earliest), and among equal
    ones the last or first by position.
    """
    if not key or not len(table):
        return np.array([], np.int64)
    n_rows = len(table)
    moment = (
        table["timestamp"].fill_null(-1).to_numpy()
        if "timestamp" in table.column_names
        else np.zeros(n_rows, np.int8)
    )
    order = np.lexsort((np.arange(n_rows), moment))
    ordered = table.select(key).take(pa.array(order)).to_pandas()
    return np.sort(order[ordered.duplicated(keep=keep).to_numpy()])


def reason_of(code: int) -> str:
    """The reason that a code stands for."""
    return list(REASONS)[code - 1]


def code_of(reason: str) -> int:
    """The code that stands for a reason."""
    return _CODE[reason]


@dataclass
class Count:
    """The counts of the rows that files give for a table.

    Attributes
    ----------
    read, kept, quarantined : int
        Rows of the files, rows of the table, and rows that were not kept.
    digest : int or None
        Sum of the digests of its chunks; None if the table changed after they were loaded.
    reasons : Counter
        Quarantined rows by reason.
    first : str or None
        One bad row, in words.
    advice : str or None
        Options that may help.
    merged, added : int or None
        Rows that became part of another one; ids that were added to a table of one's own. None if there
        can be none.
    """

    read: int = 0
    kept: int = 0
    quarantined: int = 0
    digest: int | None = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: str | None = None
    advice: str | None = None
    merged: int | None = None
    added: int | None = None


def require_quality(counts: Mapping[str, Count], quality: QualityOptions) -> None:
    """Raise DataRejected if the bad share of a table is above ``maxBadFraction``, or no rating is left."""
    for table, count in counts.items():
        if count.quarantined > quality.maxBadFraction * count.read:
            advice = f"; {count.advice}" if count.advice else ""
            reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(count.reasons.items()))
            raise DataRejected(
                f"{table}: {count.quarantined} of {count.read} rows are bad, more than "
                f"quality.maxBadFraction = {quality.maxBadFraction:g} allows ({reasons}); the first: "
                f"{count.first}{advice}"
            )
    if counts["ratings"].kept == 0:
        raise DataRejected("the source has no rating that can be kept")


def _off_scale(rating: np.ndarray, rules: Rules) -> list[tuple[str, np.ndarray]]:
    with np.errstate(over="ignore"):
        finite = np.isfinite(rating.astype(np.float32))
    broken = [("unparsable", ~finite)]
    rating = np.where(finite, rating, np.nan)
    if rules.rating_min is not None:
        broken.append(("rating_range", rating < rules.rating_min))
    if rules.rating_max is not None:
        broken.append(("rating_range", rating > rules.rating_max))
    if rules.rating_step is not None:
        steps = (rating - (rules.rating_min or 0.0)) / rules.rating_step
        broken.append(("rating_step", np.abs(steps - np.rint(steps)) > 1e-4))
    return broken


def _is_empty(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        return _mask(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True))
    return _mask(pc.is_null(column))


def _mask(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy()


def _numbers(column: pa.ChunkedArray, dtype: type) -> np.ndarray:
    """The values as numpy; a null rating becomes NaN (its row has a reason already)."""
    return column.to_numpy().astype(dtype, copy=False)
