"""Blanks, missing values and decimal commas in CSV files of any origin: by every reader the same."""

import pyarrow.fs as pafs
import pytest

from recspark.config import ConfigError
from recspark.data import schemas
from recspark.data.formats.binding import field_names
from recspark.data.formats.generic import DataOptions, generic_files
from recspark.data.formats.layout import Layout
from recspark.data.formats.notation import NULLS, Notation
from recspark.data.formats.rows import read_exact, read_mixed, read_plain

NAMES = ("user_id", "item_id", "rating", "timestamp")


def layout(
    separator=",", schema="user_id string, item_id bigint, rating float, timestamp bigint", **notation
):
    return Layout("ratings", schema, NAMES, separator=separator, quoted=True, notation=Notation(**notation))


def rows_of(readers, line, of):
    """What each reader makes of a line between two ordinary ones."""
    number = f"2{of.decimal}5" if of.decimal != of.separator else f'"2{of.decimal}5"'
    ordinary = of.separator.join(["ann", "1", number, "3"]).encode()
    body = b"\n".join([ordinary, line.encode(), ordinary]) + b"\n"
    found = [reader(body, of) for reader in readers]
    assert all(
        rows.table.to_pylist()[::2] == [dict(zip(NAMES, ("ann", 1, 2.5, 3), strict=True))] * 2
        for rows in found
    )
    return [(*rows.table.to_pylist()[1].values(), bool(rows.unparsable[1])) for rows in found]


@pytest.mark.parametrize("null", ["", " ", *NULLS, " NULL "])
def test_a_missing_value_is_missing_in_every_column(null):
    line = ",".join([null] * 4)
    readers = (read_mixed, read_exact)
    assert rows_of(readers, line, layout()) == [(None, None, None, None, False)] * len(readers)


@pytest.mark.parametrize("null", ["", *NULLS])
def test_the_fast_reader_knows_them_too(null):
    assert rows_of([read_plain], ",".join([null] * 4), layout()) == [(None, None, None, None, False)]


def test_other_words_for_missing_values():
    mine = layout(nulls=("-", "?"))
    assert (
        rows_of([read_mixed, read_exact, read_plain], "?,-,?,-", mine)
        == [(None, None, None, None, False)] * 3
    )
    assert rows_of([read_mixed, read_exact], "NULL,5,4,3", mine) == [("NULL", 5, 4.0, 3, False)] * 2
    with pytest.raises(ConfigError, match="data.nullValues = .* must be a list, of strings"):
        DataOptions(nullValues=[1])


def test_blanks_around_fields_are_no_part_of_them():
    line, expected = " ann b ,\t5 , 4.5, 3 ", ("ann b", 5, 4.5, 3, False)
    assert rows_of([read_mixed, read_exact], line, layout()) == [expected] * 2
    assert rows_of([read_mixed, read_exact], '"ann b", "5", "4.5", 3', layout()) == [expected] * 2


def test_blanks_around_the_names_of_a_header_are_no_part_of_them(tmp_path):
    (tmp_path / "a.csv").write_text('user_id , item_id, "rating","a, b"\n')
    of = Layout("ratings", schemas.RATINGS, header=True, quoted=True, notation=Notation())
    assert field_names(pafs.LocalFileSystem(), "a.csv", str(tmp_path / "a.csv"), of) == [
        "user_id",
        "item_id",
        "rating",
        "a, b",
    ]


def test_a_decimal_comma():
    comma = layout(";", decimal=",")
    readers = (read_plain, read_mixed, read_exact)
    assert rows_of(readers, "bob;7;-3,25;3", comma) == [("bob", 7, -3.25, 3, False)] * 3
    assert (
        rows_of(readers[1:], "bob;7,0;3,5e0;1714564800,5", comma) == [("bob", 7, 3.5, 1714564800, False)] * 2
    )
    assert rows_of(readers[1:], "bob;7;3.5;3", comma) == [("bob", 7, None, 3, True)] * 2
    assert rows_of(readers[1:], "bob;7;1.234,5;3", comma) == [("bob", 7, None, 3, True)] * 2


def test_a_decimal_comma_in_quotes_where_commas_separate_fields():
    comma = layout(",", decimal=",")
    assert rows_of((read_mixed, read_exact), 'bob,7,"3,5",3', comma) == [("bob", 7, 3.5, 3, False)] * 2
    ((_, read),) = generic_files(DataOptions(decimal=","), ["a.csv"])[1].items()
    assert read.notation.decimal == read.separator == ","


def test_a_decimal_mark_that_also_separates_fields_is_refused_without_a_header():
    with pytest.raises(
        ConfigError, match="data.decimal and data.separator are both ',' and data.header is false"
    ):
        generic_files(DataOptions(decimal=",", header=False), ["a.csv"])


def test_editions_of_movielens_keep_their_own_rules():
    names = ("item_id", "title", "genres")
    body = b"1,None, NULL \n2,nan,N/A\n"
    for reader in (read_plain, read_mixed, read_exact):
        rows = reader(body, Layout("items", schemas.ITEMS, names, quoted=True))
        assert rows.table["title"].to_pylist() == ["None", "nan"] and rows.table["genres"].to_pylist() == [
            " NULL ",
            "N/A",
        ]
