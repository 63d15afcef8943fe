"""The encoding of a file is decided by its bytes, once for all of its chunks."""

import codecs
import zipfile

import pyarrow.fs as pafs
import pytest

from recspark.data import schemas
from recspark.data.formats.binding import bind
from recspark.data.formats.encoding import Vote
from recspark.data.formats.layout import Layout, chunks_alone, plan
from recspark.data.formats.movielens import EDITIONS
from recspark.data.formats.rows import read
from recspark.errors import DataRejected

LOCAL = pafs.LocalFileSystem()
MOVIES = EDITIONS["ml-1m"].files["movies.dat"]
RENAME = (("käufer", "user_id"), ("item", "item_id"), ("rating", "rating"))
TEXT = Layout(
    "ratings",
    schemas.RATINGS.replace("bigint", "string"),
    rename=RENAME,
    header=True,
    quoted=True,
    encoding="auto",
)


def titles(path, body, size=1 << 20):
    path.write_bytes(body)
    return [
        title
        for chunk in plan(LOCAL, path.name, str(path), MOVIES, size)
        for title in read(LOCAL, chunk).table["title"].to_pylist()
    ]


@pytest.mark.parametrize("size", [1, 40, 1 << 20])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_editions_in_latin_1_and_their_copies_in_utf_8_give_the_same_titles(tmp_path, encoding, size):
    """Only the last line has a letter that tells: the chunks before it get the same decision."""
    lines = [
        "1::Toy Story (1995)::Comedy",
        "2::Jumanji (1995)::Drama",
        "3::Amélie (2001)::Comedy",
        "4::El Niño à Paris (1999)::Drama",
    ]
    expected = [line.split("::")[1] for line in lines]
    assert (
        titles(tmp_path / "movies.dat", "".join(f"{line}\n" for line in lines).encode(encoding), size)
        == expected
    )


def test_all_editions_that_were_latin_1_decide_by_their_bytes():
    decided = {
        (name, file)
        for name, edition in EDITIONS.items()
        for file, layout in edition.files.items()
        if layout.encoding == "auto"
    }
    assert decided == {
        ("ml-100k", "u.item"),
        ("ml-1m", "movies.dat"),
        ("netflix", "movie_titles.csv|movie_titles.txt"),
    }


def test_one_damaged_line_does_not_change_the_encoding_of_the_others(tmp_path):
    path = tmp_path / "movies.dat"
    path.write_bytes("1::Amélie::Comedy\n2::Ni\xf1o::Drama\n".encode() + b"3::Da\xffmaged::Drama\n")
    [chunk] = plan(LOCAL, path.name, str(path), MOVIES)
    rows = read(LOCAL, chunk)
    assert rows.broken == [(3, "encoding")] and rows.table["title"].to_pylist() == ["Amélie", "Niño"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_any_csv_its_header_included(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes("käufer,item,rating\nJosé,Größe,3\n".encode(encoding))
    layout = bind(LOCAL, str(path), path.name, TEXT)
    for chunk in (
        *chunks_alone(LOCAL, path.name, str(path), layout, 1 << 20),
        *plan(LOCAL, path.name, str(path), layout),
    ):
        assert read(LOCAL, chunk).table.to_pylist() == [
            {"user_id": "José", "item_id": "Größe", "rating": 3.0}
        ]


@pytest.mark.parametrize(
    ("parts", "encoding"),
    [
        ([], "utf-8"),
        ([b"abc"], "utf-8"),
        (["é".encode()], "utf-8"),
        ([b"\xe9"], "latin-1"),
        ([b"abc", b"\xe9\n", "éüß".encode()], "utf-8"),
    ],
)
def test_the_majority_decides(parts, encoding):
    assert Vote(parts).encoding == encoding


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("mark", "name"),
    [(codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"), (codecs.BOM_UTF32_LE, "UTF-32")],
)
def test_a_file_of_utf_16_is_named_as_such(tmp_path, header, mark, name):
    path = tmp_path / "a.csv"
    path.write_bytes(mark + "a,b\n".encode(f"{name}-le"))
    layout = Layout("ratings", schemas.RATINGS, ("user_id", "item_id"), header=header)
    with pytest.raises(
        DataRejected, match=f"a.csv is {name}, it starts with that byte-order mark: convert it to UTF-8"
    ):
        plan(LOCAL, path.name, str(path), layout)


@pytest.mark.parametrize(("dataset", "member"), [("ml-1m", "movies.dat"), ("ml-100k", "u.item")])
def test_utf_8_copies_of_the_real_editions_have_the_same_titles(movielens, tmp_path, dataset, member):
    with zipfile.ZipFile(movielens / f"{dataset}.zip") as archive:
        body = archive.read(f"{dataset}/{member}")
    layout, found = EDITIONS[dataset].files[member], []
    for encoding in ("latin-1", "utf-8", "utf-8-sig"):
        (tmp_path / member).write_bytes(body.decode("latin-1").encode(encoding))
        chunks = plan(LOCAL, member, str(tmp_path / member), layout, 40_000)
        assert {chunk.layout.encoding for chunk in chunks} == {encoding.removesuffix("-sig")} and len(
            chunks
        ) > 1
        found.append([title for chunk in chunks for title in read(LOCAL, chunk).table["title"].to_pylist()])
    assert found[0] == found[1] == found[2] and any("\xe9" in title for title in found[0])
