"""A refusal names the column, what it holds, and the option that would read it."""

import numpy as np
import pyarrow.fs as pafs
import pytest

from recspark.data import schemas
from recspark.data.formats.advice import separator_advice, value_advice
from recspark.data.formats.binding import bind
from recspark.data.formats.layout import Layout
from recspark.data.formats.notation import Notation
from recspark.errors import ConfigError

LOCAL = pafs.LocalFileSystem()
NONE = np.array([], np.int64)
RENAME = (("who", "user_id"), ("what", "item_id"), ("stars", "rating"), ("when", "timestamp"))


def advice(examples=None, late=NONE, **notation):
    return value_advice(
        Layout("ratings", schemas.RATINGS, rename=RENAME, notation=Notation(**notation)),
        examples or {},
        np.array(late),
    )


@pytest.mark.parametrize(
    ("example", "notation", "words"),
    [
        (
            {"timestamp": "13/05/2024"},
            {},
            "which is neither a count of seconds nor ISO 8601: set data.timestampFormat, such as '%d/%m/%Y'",
        ),
        ({"timestamp": "03/05/2024 10:00"}, {}, "such as '%m/%d/%Y %H:%M' or '%d/%m/%Y %H:%M'"),
        (
            {"timestamp": "soon"},
            {},
            "column when holds 'soon', which is neither a count of seconds nor ISO 8601: set "
            "data.timestampFormat",
        ),
        ({"timestamp": "20240501"}, {}, "ISO 8601: set data.timestampFormat, such as '%Y%m%d'"),
        (
            {"timestamp": "1714564800"},
            {"unit": "ms"},
            "column when holds '1714564800', which looks like seconds: data.timestampUnit=s",
        ),
        (
            {"timestamp": "1714564800000.0"},
            {"unit": "us"},
            "which looks like milliseconds: data.timestampUnit=ms",
        ),
        ({"timestamp": "20240501"}, {"unit": "ms"}, "ISO 8601: set data.timestampFormat, such as '%Y%m%d'"),
        (
            {"timestamp": "45413.5"},
            {},
            "which looks like days of a spreadsheet: write the column as text of ISO 8601",
        ),
        (
            {"timestamp": "soon"},
            {"time_format": "%Y"},
            "which is not of the form data.timestampFormat = '%Y'",
        ),
        (
            {"rating": "3,5"},
            {},
            """column stars holds '3,5', which is not a number: is data.decimal = ","?""",
        ),
        ({"rating": "3.5"}, {"decimal": ","}, 'is data.decimal = "."?'),
        (
            {"rating": "1.234,5"},
            {"decimal": ","},
            "which is not a number: write numbers without a mark between thousands",
        ),
        ({"rating": "1,234.5"}, {}, "which is not a number: write numbers without a mark between thousands"),
        ({"timestamp": "inf"}, {}, "which is neither a count of seconds nor ISO 8601"),
        ({"rating": "good"}, {}, "column stars holds 'good', which is not a number"),
        ({"user_id": "ann"}, {}, "column who holds 'ann', which is not a number, is data.idType = string?"),
        (
            {"rating": "x", "timestamp": "y"},
            {},
            "column stars holds 'x', which is not a number; column when holds 'y', which is neither",
        ),
    ],
)
def test_what_could_not_be_read_is_named_with_its_option(example, notation, words):
    assert words in advice(example, **notation)


@pytest.mark.parametrize(
    ("late", "unit", "words"),
    [
        ([1714564800 * 10**3], "s", "column when looks like milliseconds: data.timestampUnit=ms"),
        (
            [1714564800 * 10**6, 5 * 10**17, 1714564800 * 10**6],
            "s",
            "column when looks like microseconds: data.timestampUnit=us",
        ),
        ([1714564800 * 10**9], "s", "column when looks like nanoseconds: data.timestampUnit=ns"),
        ([1714564800 * 10**3], "ms", "column when looks like microseconds: data.timestampUnit=us"),
        (
            [20240501120000],
            "s",
            "column when looks like dates without separators: set data.timestampFormat, such as "
            "'%Y%m%d%H%M%S'",
        ),
        ([4_200_000_000], "s", None),
        ([-5], "s", None),
    ],
)
def test_a_wrong_unit_is_known_by_the_size_of_the_counts(late, unit, words):
    assert advice(late=late, unit=unit) == words


def test_no_option_is_named_for_movielens():
    assert (
        value_advice(Layout("ratings", schemas.RATINGS, rename=RENAME), {"rating": "x"}, np.array([10**13]))
        is None
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [(["a;b;c"], '";"'), (["a\tb"], r'"\t"'), (["a|b,5|c"], '"|"'), (["a", "b;c;d"], '";"')],
)
def test_another_separator_is_named(fields, words):
    assert separator_advice(fields) == f"its fields look separated by {words}: set data.separator = {words}"


@pytest.mark.parametrize("fields", [["user", "item"], ["a"], [""], ["a;b", "c"]])
def test_the_right_separator_is_left_alone(fields):
    assert separator_advice(fields) is None


@pytest.mark.parametrize("header", [True, False])
def test_a_file_with_another_separator_is_refused_with_the_option(tmp_path, header):
    (tmp_path / "a.csv").write_text("who;what;stars;when\nann;b;3;4\n")
    rename = RENAME if header else (("_c0", "user_id"), ("_c1", "item_id"), ("_c2", "rating"))
    layout = Layout("ratings", schemas.RATINGS, rename=rename, header=header, quoted=True)
    with pytest.raises(
        ConfigError,
        match='a.csv has no column .* it has .*: its fields look separated by ";": set data.separator = ";"',
    ):
        bind(LOCAL, str(tmp_path / "a.csv"), "a.csv", layout)
