"""Reading rows: the fast reader against the slow one, chunks against the whole file, and bytes that are no
rows.
"""

import datetime
import decimal
import time

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.data import schemas
from recspark.data.formats.binding import bind, field_names
from recspark.data.formats.layout import Layout, plan
from recspark.data.formats.notation import Notation
from recspark.data.formats.rows import ordinary_line, read, read_exact, read_mixed, read_plain
from recspark.errors import ConfigError, DataRejected

LOCAL = pafs.LocalFileSystem()
RATING = ("user_id", "item_id", "rating", "timestamp")
TABS = Layout("ratings", schemas.RATINGS, RATING, separator="\t")
COLONS = Layout("ratings", schemas.RATINGS, RATING, separator="::")
COMMAS = Layout("ratings", schemas.RATINGS, RATING, quoted=True)
TITLES = Layout("items", schemas.ITEMS, ("item_id", "title", "", "genres"), separator="|", encoding="latin-1")
TAGS = Layout("tags", schemas.TAGS, ("user_id", "item_id", "tag", "timestamp"), quoted=True)
TEXT_IDS = schemas.RATINGS.replace("user_id bigint", "user_id string")
EVENTS = Layout("ratings", TEXT_IDS, RATING, separator=";", quoted=True, notation=Notation(decimal=","))
LAYOUTS = [TABS, COLONS, COMMAS, TITLES, TAGS, EVENTS]


def seen(rows):
    """All that a reader says of its rows, line by line."""
    return list(
        zip(rows.line.tolist(), rows.unparsable.tolist(), rows.table.to_pylist(), strict=False)
    ), rows.broken


FIELDS = st.one_of(
    st.integers(-3, 10**20).map(str),
    st.decimals(-9, 9, places=2).map(str),
    st.sampled_from(["NULL", " nan ", "2,5", "2024-05-01", "2024-05-01T12:00:00.5Z", "0.5", "1_5"]),
    st.sampled_from(
        [
            "",
            " ",
            " 7 ",
            "+5",
            "0x1F",
            "007",
            "1e3",
            "nan",
            "inf",
            ".5",
            "5.",
            "1.0",
            "abc",
            'a "quote"',
            "a: b",
            "Amélie",
        ]
    ),
    st.text(st.characters(max_codepoint=0x24F, exclude_characters="\n"), max_size=4),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(LAYOUTS),
    st.lists(st.lists(FIELDS, max_size=5), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
def test_the_fast_readers_give_the_rows_of_the_slow_one(layout, lines, end):
    body = "".join(layout.separator.join(fields) + end for fields in lines).encode(layout.encoding, "replace")
    # as text, where NaN equals NaN
    exact = str(seen(read_exact(body, layout)))
    fast = read_plain(body, layout)
    assert fast is None or str(seen(fast)) == exact
    assert str(seen(read_mixed(body, layout))) == exact


@pytest.mark.parametrize("layout", [TABS, COLONS, COMMAS])
def test_the_fast_reader_takes_ordinary_lines(layout):
    body = layout.separator.join(["196", "242", "3.5", "881250949"]).encode() + b"\r\n"
    assert seen(read_plain(body, layout)) == (
        [(1, False, {"user_id": 196, "item_id": 242, "rating": 3.5, "timestamp": 881250949})],
        [],
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lines=st.lists(
        st.sampled_from(["1,2,3.5,900000000", "", "1,2", '"4",5,1,900000001', "é,1,1,1"]), max_size=12
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    closed=st.booleans(),
    size=st.integers(1, 60),
)
def test_chunks_of_any_size_give_the_rows_and_lines_of_the_file(tmp_path_factory, lines, end, closed, size):
    path = str(tmp_path_factory.mktemp("chunks") / "ratings.csv")
    text = end.join(["userId,movieId,rating,timestamp", *lines]) + (end if closed else "")
    with open(path, "wb") as file:
        file.write(text.encode())
    layout = Layout("ratings", schemas.RATINGS, RATING, quoted=True, header=True)
    parts = [seen(read(LOCAL, chunk)) for chunk in plan(LOCAL, "ratings.csv", path, layout, size)]
    rows = [row for kept, _ in parts for row in kept]
    broken = [bad for _, bads in parts for bad in bads]
    expected = [(number, line) for number, line in enumerate(lines, 2) if line]
    assert [line for line, _, _ in rows] == [number for number, line in expected if line != "1,2"]
    assert broken == [(number, "field_count") for number, line in expected if line == "1,2"]
    assert [unparsable for _, unparsable, _ in rows] == [
        line == "é,1,1,1" for _, line in expected if line != "1,2"
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3", "field_count"),
        (b"1,2,3,4,5", "field_count"),
        (b"1,2,tag\xff,4", "encoding"),
        (b"1,2,ta\0g,4", "encoding"),
        (b'1,2,"tag,4', "unparsable"),
        (b'1,2,"tag"gy,4', "unparsable"),
    ],
)
def test_a_line_that_is_no_row_is_named_with_its_reason_and_text(line, reason):
    body = b"1,2,first,4\n" + line + b"\n1,2,last,4\n"
    rows = read_exact(body, TAGS)
    assert rows.broken == [(2, reason)]
    assert rows.line.tolist() == [1, 3]
    assert rows.texts([2]) == [line.decode("utf-8", "replace")]
    assert read_plain(body, TAGS) is None


def test_most_lines_are_ordinary_and_odd_ones_are_not():
    match = ordinary_line(COMMAS).fullmatch
    assert all(match(line) for line in (b"1,2,3.5,900000000", b"1,2,5,-1\r"))
    assert not any(
        match(line)
        for line in (b"", b"1,2,3.5", b"1,2,3.5,4,5", b"x,2,3.5,4", b'"1",2,3.5,4', b" 1,2,3,4", b"0x1,2,3,4")
    )
    assert ordinary_line(COLONS).fullmatch(b"1::2::3::4") and not ordinary_line(COLONS).fullmatch(
        b"1:2::3::4"
    )
    assert ordinary_line(TITLES).fullmatch('7|a: "b" é||Drama'.encode("latin-1"))


def test_separators_and_quotes_are_literal_outside_csv():
    layout = Layout("items", schemas.ITEMS, ("item_id", "title", "genres"), separator="::")
    body = b'51372::"Great Performances" Cats (1998)::Musical\n2::a: b :c::Drama\n'
    for rows in (read_plain(body, layout), read_exact(body, layout)):
        assert rows.table["title"].to_pylist() == ['"Great Performances" Cats (1998)', "a: b :c"]


def test_quoted_fields_hold_commas_and_doubled_quotes():
    body = b'1,2,"a, ""b"" c",900000000\r\n'
    assert read_exact(body, TAGS).table["tag"].to_pylist() == ['a, "b" c']


def test_integers_may_be_large_signed_or_written_by_a_float_column():
    body = (
        b"9223372036854775807\t-1\t3\t0\n9223372036854775808\t1\t3\t0\n12.0\t+7\t3\t 900000000 "
        b"\n1.5\t1\t3\t0\n"
    )
    rows = read_exact(body, TABS)
    assert rows.table["user_id"].to_pylist() == [2**63 - 1, None, 12, None]
    assert rows.table["item_id"].to_pylist() == [-1, 1, 7, 1]
    assert rows.unparsable.tolist() == [False, True, False, True]


def test_parquet_columns_of_many_types_and_their_row_numbers(tmp_path):
    path = str(tmp_path / "a.parquet")
    moment = datetime.datetime(2001, 9, 9, 1, 46, 40)
    table = pa.table(
        {
            "u": pa.array([1.0, 2.5, None, 4.0]),
            "i": pa.array(["7", "8", "x", "9"]).dictionary_encode(),
            "r": pa.array([decimal.Decimal("3.5"), None, decimal.Decimal("1.0"), decimal.Decimal("2.0")]),
            "t": pa.array([moment, None, moment, moment]),
        }
    )
    pq.write_table(table, path, row_group_size=3)
    rename = (("u", "user_id"), ("i", "item_id"), ("r", "rating"), ("t", "timestamp"))
    layout = bind(LOCAL, path, "a.parquet", Layout("ratings", schemas.RATINGS, rename=rename, parquet=True))
    first, second = (read(LOCAL, chunk) for chunk in plan(LOCAL, "a.parquet", path, layout))
    assert first.table.to_pylist()[0] == {
        "user_id": 1,
        "item_id": 7,
        "rating": 3.5,
        "timestamp": 1_000_000_000,
    }
    assert first.unparsable.tolist() == [False, True, True]
    assert first.table["user_id"].to_pylist() == [1, None, None]
    assert second.line.tolist() == [4]
    assert second.texts([4]) == ['{"u": 4.0, "i": "9", "r": "2.0", "t": "2001-09-09 01:46:40"}']


def test_milliseconds_become_seconds():
    body = b"1\t2\t3\t1000000000999\n"
    layout = Layout("ratings", schemas.RATINGS, RATING, separator="\t", notation=Notation(unit="ms"))
    assert read_plain(body, layout).table["timestamp"].to_pylist() == [1_000_000_000]


def test_fields_are_found_by_name_whatever_their_order(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"\xef\xbb\xbftimestamp,rating,extra,movieId,userId\r\n1,2,3,4,5\r\n")
    rename = (("userId", "user_id"), ("movieId", "item_id"), ("rating", "rating"))
    layout = bind(
        LOCAL, str(path), "ratings.csv", Layout("ratings", schemas.RATINGS, rename=rename, header=True)
    )
    assert layout.names == ("", "rating", "", "item_id", "user_id")
    with pytest.raises(ConfigError, match="ratings.csv has no column stars, it has timestamp, rating"):
        bind(
            LOCAL,
            str(path),
            "ratings.csv",
            Layout("ratings", schemas.RATINGS, rename=(("stars", "rating"),), header=True),
        )
    assert field_names(LOCAL, "ratings.csv", str(path), Layout("ratings", schemas.RATINGS)) == [
        "_c0",
        "_c1",
        "_c2",
        "_c3",
        "_c4",
    ]


def parquet(path, **columns):
    """The layout and the chunks of a file of three ratings, some of whose columns are given."""
    pq.write_table(
        pa.table({"user_id": [1, 2, 3], "item_id": [4, 5, 6], "rating": [1.0, 2.0, 3.0]} | columns), path
    )
    rename = tuple((name, name) for name in ("user_id", "item_id", "rating"))
    layout = bind(
        LOCAL, str(path), path.name, Layout("ratings", schemas.RATINGS, rename=rename, parquet=True)
    )
    return layout, list(plan(LOCAL, path.name, str(path), layout))


def test_text_in_parquet_that_is_none_goes_to_quarantine_with_its_row(tmp_path):
    ids = pa.array([b"\xff", b"7", b"a\0b"], pa.binary()).view(pa.string())
    _, [chunk] = parquet(tmp_path / "a.parquet", item_id=ids)
    rows = read(LOCAL, chunk)
    assert rows.broken == [(1, "encoding"), (3, "encoding")]
    assert rows.table.to_pylist() == [{"user_id": 2, "item_id": 7, "rating": 2.0}] and rows.line.tolist() == [
        2
    ]
    assert rows.texts([1]) == ['{"user_id": 1, "item_id": "\ufffd", "rating": 1.0}']


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        (pa.array([2**60, 1, None]), [2.0**60, 1.0, None]),
        (pa.array([2**64 - 1, 1, None], pa.uint64()), [2.0**64, 1.0, None]),
        (pa.array([0.5, 1, None]).cast(pa.float16()), [0.5, 1.0, None]),
        (pa.array([b"2", b"x", None], pa.large_binary()), [2.0, None, None]),
        (pa.nulls(3), [None, None, None]),
        (pa.array([True, False, None]), [None, None, None]),
    ],
)
def test_ratings_of_any_type_in_parquet(tmp_path, ratings, expected):
    _, [chunk] = parquet(tmp_path / "a.parquet", rating=ratings)
    assert read(LOCAL, chunk).table["rating"].to_pylist() == expected


@pytest.mark.parametrize(
    ("ids", "expected", "unparsable"),
    [
        (pa.array([2**64 - 1, 2**63, 7], pa.uint64()), [None, None, 7], [True, True, False]),
        (pa.array([2**32 - 1, 0, 7], pa.uint32()), [2**32 - 1, 0, 7], [False] * 3),
        (pa.array([2.0**53, 2.0**53 + 2, 2.0**64]), [2**53, None, None], [False, True, True]),
        (pa.array([2.0**24, 2.0**24 + 2, 7], pa.float32()), [2**24, None, 7], [False, True, False]),
    ],
)
def test_an_id_that_could_be_another_is_none(tmp_path, ids, expected, unparsable):
    _, [chunk] = parquet(tmp_path / "a.parquet", user_id=ids)
    rows = read(LOCAL, chunk)
    assert rows.table["user_id"].to_pylist() == expected and rows.unparsable.tolist() == unparsable


@pytest.mark.parametrize("column", [[[1]] * 3, [{"a": 1}] * 3, [datetime.time(1)] * 3])
def test_columns_that_hold_neither_numbers_nor_text_are_refused(tmp_path, column):
    with pytest.raises(
        ConfigError, match="a.parquet: column user_id is .*, it must hold numbers, text or timestamps"
    ):
        parquet(tmp_path / "a.parquet", user_id=column)


def test_a_parquet_file_that_is_damaged_is_named_where_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"user_id": range(1000), "item_id": range(1000), "rating": [1.0] * 1000})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    rename = tuple((name, name) for name in table.column_names)
    layout = bind(
        LOCAL, str(path), "a.parquet", Layout("ratings", schemas.RATINGS, rename=rename, parquet=True)
    )
    [chunk] = plan(LOCAL, "a.parquet", str(path), layout)
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    with pytest.raises(DataRejected, match="a.parquet is not a readable Parquet file: .*checksum"):
        read(LOCAL, chunk)
    path.write_bytes(whole[:-10])
    with pytest.raises(DataRejected, match="a.parquet is not a readable Parquet file"):
        list(plan(LOCAL, "a.parquet", str(path), layout))


def test_a_mark_of_utf_8_is_no_part_of_the_first_id(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbf1\t2\t3\t900000000\n4\t5\t3\t900000000\n")
    for size in (1, 1 << 20):
        chunks = list(plan(LOCAL, "a.tsv", str(path), TABS, size))
        assert [row for chunk in chunks for row in read(LOCAL, chunk).table["user_id"].to_pylist()] == [1, 4]
        assert [line for chunk in chunks for line in read(LOCAL, chunk).line.tolist()] == [1, 2]


def test_a_file_without_line_ends_is_no_text_file(tmp_path, monkeypatch):
    monkeypatch.setattr("recspark.data.formats.layout.LINE_BYTES", 1000)
    (tmp_path / "a.tsv").write_bytes(b"1\t2\t3\t900000000\n" + b"x" * 5000)
    with pytest.raises(DataRejected, match="a.tsv line 2 is longer than 1000 bytes"):
        list(plan(LOCAL, "a.tsv", str(tmp_path / "a.tsv"), TABS, 100))


def test_a_file_that_becomes_shorter_is_noticed(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"1\t2\t3\t900000000\n" * 2)
    [chunk] = plan(LOCAL, "a.tsv", str(path), TABS)
    path.write_bytes(b"1\t2\t3\t900000000\n")
    with pytest.raises(DataRejected, match="a.tsv became shorter while it was read"):
        read(LOCAL, chunk)


@pytest.mark.parametrize(
    "field", [b"9" * 10**6 + b"x", b"1e" + b"9" * 10**6, b" " * 10**6, b"-" * 10**6, b"0" * 10**6 + b".0."]
)
def test_a_field_of_a_million_characters_takes_no_longer_than_others(field):
    started = time.perf_counter()
    rows = read_mixed(b"1\t2\t" + field + b"\t900000000\n5\t6\t3\t900000000\n", TABS)
    assert rows.table["user_id"].to_pylist() == [1, 5] and rows.table["rating"].to_pylist()[1] == 3.0
    assert time.perf_counter() - started < 5


def test_a_line_of_separators_only_is_cut_no_further_than_needed():
    assert len(TABS.split(b"\t" * 10**6)) == 5
    assert read_exact(b"\t" * 10**6, TABS).broken == [(1, "field_count")]
