"""Timestamps as people have them: typed, counted in any unit, ISO 8601, or in a format of their own."""

import datetime
import decimal

import pyarrow as pa
import pytest

from recspark.config import ConfigError
from recspark.data.formats.generic import DataOptions
from recspark.data.formats.notation import TICKS, Notation
from recspark.data.formats.timestamps import seconds
from recspark.data.quality import YEAR_1990, YEAR_2100

NOON = 1_714_564_800  # 2024-05-01 12:00 UTC
UTC = datetime.UTC
AT_NOON = datetime.datetime(2024, 5, 1, 12)


def read(values, type_=None, **notation):
    """What becomes of some values, and whether each was none."""
    found, bad = seconds(pa.array(values, type_), Notation(**notation))
    assert found.type == pa.int64()
    return list(zip(found.to_pylist(), bad.tolist(), strict=True))


@pytest.mark.parametrize("unit", TICKS)
@pytest.mark.parametrize(
    "type_",
    [pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("s")],
)
def test_the_type_of_a_column_wins_over_the_unit(unit, type_):
    values = pa.array([AT_NOON.replace(tzinfo=UTC), None], pa.timestamp("us", "UTC")).cast(type_)
    assert read(values, None, unit=unit, time_format="%Y") == [(NOON, False), (None, False)]


@pytest.mark.parametrize("type_", [pa.date32(), pa.date64()])
def test_a_date_by_type_is_its_midnight(type_):
    assert read([datetime.datetime(1969, 12, 31, 23, 59, 59, 500_000)], pa.timestamp("ms")) == [(-1, False)]
    assert read([AT_NOON.date()], type_, unit="ms") == [(NOON - 43_200, False)]


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T12:00:00",
        "2024-05-01 12:00:00",
        "2024-05-01T12:00",
        "2024-05-01T12:00:00Z",
        "2024-05-01 12:00:00Z",
        "2024-05-01 12:00:00 UTC",
        "2024-05-01T14:00:00+02:00",
        "2024-05-01 14:00:00+02",
        "2024-05-01T06:30:00-0530",
        "2024-05-01 14:00:00 +02:00",
        "2024-05-01T12:00:00.9",
        "2024-05-01 12:00:00,999",
        "2024-05-01T12:00:00.999999999Z",
        "20240501T120000Z",
        " 2024-05-01T12:00:00 ",
    ],
)
def test_iso_8601_is_read_and_utc_where_it_names_no_zone(text):
    assert read([text, "2024-05-01", "1969-12-31T23:59:59.5"]) == [
        (NOON, False),
        (NOON - 43_200, False),
        (-1, False),
    ]


@pytest.mark.parametrize("zone", ["", "Z", "+00:00", " UTC"])
def test_columns_of_one_form_are_read_like_mixed_ones(zone):
    texts = [
        f"{day}{zone}" for day in ("2024-05-01T12:00:00.25", "1969-12-31T23:59:59.5", "2024-05-01 12:00")
    ]
    expected = [(NOON, False), (-1, False), (NOON, False)]
    assert read(texts) == expected
    assert read([*texts, "2024-02-30", None]) == [*expected, (None, True), (None, False)]


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "now",
        "today",
        "2024-02-30",
        "01/05/2024",
        "2024-05",
        "12:00:00",
        "2024-05-01T25:00:00",
        "0x1F",
        "1_000",
        "nan",
    ],
)
def test_other_text_is_no_timestamp(text):
    assert read([text, "2024-05-01T12:00:00", "5", "", None]) == [
        (None, True),
        (NOON, False),
        (5, False),
        (None, False),
        (None, False),
    ]


@pytest.mark.parametrize("unit", TICKS)
def test_counts_of_any_unit_are_cut_to_the_second(unit):
    last = (NOON + 1) * TICKS[unit] - 1
    assert read([last, -1, None], unit=unit) == [(NOON, False), (-1, False), (None, False)]
    assert read([str(last), "-1", ""], unit=unit) == [(NOON, False), (-1, False), (None, False)]


def test_fractions_of_seconds_are_cut_toward_the_past():
    expected = [(NOON, False), (-1, False), (NOON, False)]
    assert read([f"{NOON}.75", "-0.5", "1.7145648e9"]) == expected
    assert read([NOON + 0.75, -0.5, float(NOON)]) == expected
    assert read([decimal.Decimal(f"{NOON}.75"), decimal.Decimal("-0.5"), decimal.Decimal(NOON)]) == expected
    assert read([f"{NOON},75", "-0,5", f"{NOON}"], decimal=",") == expected


@pytest.mark.parametrize("value", [20240501, 20240501.0, "20240501", "20240501.0", "19991231"])
def test_a_written_day_is_no_count_of_seconds(value):
    """As seconds it would be in August 1970, and nobody would be told."""
    assert read([value]) == [(None, True)]
    assert read([str(value).partition(".")[0]], time_format="%Y%m%d") != [(None, True)]
    assert read([20241301, 20240532, 900_000_000, 5]) == [
        (20241301, False),
        (20240532, False),
        (900_000_000, False),
        (5, False),
    ]


@pytest.mark.parametrize("unit", TICKS)
@pytest.mark.parametrize("made", [int, float, str])
def test_a_time_in_a_coarser_unit_is_no_count(unit, made):
    """It would be of January or February 1970, and nobody would be told."""
    for other, ticks in TICKS.items():
        for moment in (YEAR_1990, NOON, YEAR_2100 - 1) if ticks < TICKS[unit] else ():
            assert read([made(moment * ticks)], unit=unit) == [(None, True)], other
    assert read([made(5), made(NOON * TICKS[unit])], unit=unit) == [(5 // TICKS[unit], False), (NOON, False)]


@pytest.mark.parametrize("unit", TICKS)
@pytest.mark.parametrize("value", [20240501, 45413.5, "45413.5", 32874.25])
def test_days_as_numbers_are_no_count_of_any_unit(unit, value):
    assert read([value], unit=unit) == [(None, True)]


def test_small_numbers_may_count_rows_and_types_may_hold_1970():
    assert read([0, 45413, 73050, 99_999]) == [(0, False), (45413, False), (73050, False), (99_999, False)]
    assert read([32873.5, 73051.5]) == [(32873, False), (73051, False)]
    assert read([datetime.datetime(1970, 1, 20, 20, 16)], unit="ms") == [(1_714_560, False)]
    assert read(["1970-01-20T20:16:00"], unit="ms") == [(1_714_560, False)]


def test_floats_that_are_missing_and_those_that_are_none():
    assert read([float("nan"), float("inf"), 1e300, 2.0]) == [
        (None, False),
        (None, True),
        (None, True),
        (2, False),
    ]
    assert read([2**63, 2], pa.uint64()) == [(None, True), (2, False)]


@pytest.mark.parametrize(
    ("time_format", "value"),
    [
        ("%d/%m/%Y %H:%M", "01/05/2024 12:00"),
        ("%d.%m.%Y %H:%M:%S.%f", "01.05.2024 12:00:00.75"),
        ("%b %d, %Y %I:%M %p", "May 01, 2024 12:00 PM"),
        ("%Y%m%d%H", "2024050112"),
        ("%Y%m%d%H", 2024050112),
        ("%d/%m/%Y %H:%M %z", "01/05/2024 14:00 +0200"),
    ],
)
def test_a_format_of_ones_own(time_format, value):
    assert read([value, None], time_format=time_format) == [(NOON, False), (None, False)]
    assert read(["2024-13-01", "12"], time_format=time_format) == [(None, True)] * 2


@pytest.mark.parametrize(
    "beside", [[], ["2024-05-01T12:00:00Z"], ["2024-05-01T12:00:00.123456789+00:00", "2024-02-30"]]
)
@pytest.mark.parametrize(
    ("day", "expected"),
    [("9999-12-31", 253_402_214_400), ("0001-01-01", -62_135_596_800), ("1500-01-01", -14_831_769_600)],
)
def test_a_day_far_away_is_a_timestamp(day, expected, beside):
    """It is before or after any allowed, and not unparsable."""
    found = [(expected, False), *[(NOON, False), (None, True)][: len(beside)]]
    assert read([day, *beside]) == found
    assert read([f"{day}T00:00:00.5", *beside])[0] == (expected, False)
    assert read([day, "2024-05-01", "x"], time_format="%Y-%m-%d") == [
        (expected, False),
        (NOON - 43_200, False),
        (None, True),
    ]


@pytest.mark.parametrize("value", ["%Q", "mixed", "ISO8601", "", "dd/mm/yyyy"])
def test_what_is_no_format_is_refused(value):
    with pytest.raises(
        ConfigError,
        match="data.timestampFormat = .* is not allowed: it must be a string, a format of Python's strptime",
    ):
        DataOptions(timestampFormat=value)
