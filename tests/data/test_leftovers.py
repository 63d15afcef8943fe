"""Compressed files, copies and leftovers in a folder or zip: each row is read once, and each file that is not
read is named.
"""

import bz2
import gzip
import logging
import shutil
import zipfile

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from recspark.data.formats.movielens import find_edition
from recspark.data.quality import QualityOptions
from recspark.data.sources import archive
from recspark.data.sources.listing import Listing
from recspark.errors import DataRejected, InputMissing
from recspark.lake.lake import Lake
from tests.data.plans import found

HEADER = "user_id,item_id,rating\n"


def csv(*users):
    return (HEADER + "".join(f"{user},1,3\n" for user in users)).encode()


@pytest.fixture(params=["folder", "zip"])
def make(request, tmp_path):
    """Makes a folder or a zip of files and returns its path."""

    def of(files):
        for name, content in files.items():
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if request.param == "folder":
            return tmp_path / "in"
        shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in")
        return tmp_path / "packed.zip"

    return of


def users(tmp_path, source, **options):
    """The users of each file that is read."""
    return {
        member: [row["user_id"] for row in rows]
        for member, rows in found(tmp_path, source, **options)[0].items()
    }


def test_compressed_files_beside_others_are_read(make, tmp_path, caplog):
    files = {
        "a.csv": csv(1),
        "b.csv.gz": gzip.compress(csv(2)) + gzip.compress(b"3,1,3\n"),
        "c/d.tsv.bz2": bz2.compress(csv(4)),
        "E.CSV.GZ": gzip.compress(csv(5)),
        "f.csv.zst": pa.compress(csv(6), "zstd", asbytes=True),
        "G.CSV": csv(7),
    }
    read = {
        "E.CSV.GZ": [5],
        "G.CSV": [7],
        "a.csv": [1],
        "b.csv.gz": [2, 3],
        "c/d.tsv.bz2": [4],
        "f.csv.zst": [6],
    }
    assert users(tmp_path, make(files)) == read
    assert caplog.messages == []


def test_compressed_parquet_and_editions_are_found(make, tmp_path):
    pq.write_table(pa.table({"user_id": [1], "item_id": [2], "rating": [3.0]}), tmp_path / "a.parquet")
    assert users(tmp_path, make({"a.parquet.gz": gzip.compress((tmp_path / "a.parquet").read_bytes())})) == {
        "a.parquet.gz": [1]
    }
    name, layouts = find_edition(["ml/movies.csv.gz", "ml/ratings.csv.gz", "ml/ratings.csv"], "x")
    assert (name, sorted(layouts)) == ("ml-latest", ["ml/movies.csv.gz", "ml/ratings.csv"])


def test_files_of_another_storage_go_where_the_unpacked_ones_are(tmp_path):
    (tmp_path / "in/x").mkdir(parents=True)
    (tmp_path / "in/x/a.csv").write_bytes(csv(1))
    (tmp_path / "in/b.csv.gz").write_bytes(gzip.compress(csv(2)))
    other = pafs.SubTreeFileSystem(str(tmp_path / "in"), pafs.LocalFileSystem())
    files = {
        info.path: info for info in other.get_file_info(pafs.FileSelector("", recursive=True)) if info.is_file
    }
    source = archive.Source(Listing("in", other, files), str(tmp_path / "scratch"), QualityOptions())
    fs, paths = source.files(["x/a.csv", "b.csv.gz"])
    assert {member: fs.open_input_file(path).read() for member, path in paths.items()} == {
        "x/a.csv": csv(1),
        "b.csv.gz": csv(2),
    }
    assert all(path.startswith(str(tmp_path / "scratch")) for path in paths.values())
    assert source.files(["x/a.csv"]) == (other, {"x/a.csv": "x/a.csv"})


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(csv(*range(999)))[:-9]])
def test_a_damaged_file_among_others_is_named(make, tmp_path, content):
    with pytest.raises(DataRejected, match="(in|packed.zip): b.csv.gz is not a readable compressed file"):
        users(tmp_path, make({"a.csv": csv(1), "b.csv.gz": content}))


def test_compressed_files_in_a_folder_expand_within_the_limits(make, tmp_path, monkeypatch):
    monkeypatch.setattr("recspark.data.sources.safety._HARMLESS", 0)
    source = make({f"{name}.csv.gz": gzip.compress(csv(*[7] * 5000)) for name in "ab"})
    with archive.open_source(
        None, Lake(str(tmp_path / "lake")), str(source), QualityOptions(maxExpansionRatio=2.0)
    ) as opened:
        with pytest.raises(DataRejected, match="quality.maxExpansionRatio = 2 allows"):
            opened.files(opened.members)
        if not isinstance(opened, archive.Zip):
            with pytest.raises(DataRejected, match="quality.maxExpansionRatio = 2 allows"):
                opened.content("a.csv.gz")


LEFTOVERS = (
    "~$a.csv a.csv~ a.csv.bak Thumbs.db desktop.ini #a.csv# .~lock.a.csv# "
    "__MACOSX/._a.csv .DS_Store a.csv.tmp"
).split()


@pytest.mark.parametrize("options", [{}, {"dataset": "csv"}])
def test_leftovers_are_named_and_not_read(make, tmp_path, caplog, options):
    source = make({"a.csv": csv(1), **dict.fromkeys(LEFTOVERS, csv(2)), "_SUCCESS": b"", ".a.csv.crc": b"x"})
    assert users(tmp_path, source, **options) == {"a.csv": [1]}
    [line] = caplog.messages
    assert (
        f"not read, as hidden or leftovers by their names: {', '.join(sorted(LEFTOVERS))}; to read one, "
        "rename it" in line
    )


def test_a_leftover_that_is_the_source_is_read(tmp_path):
    (tmp_path / "_a.csv~").write_bytes(csv(1))
    assert users(tmp_path, tmp_path / "_a.csv~") == {"_a.csv~": [1]}


def test_copies_are_named_and_not_read_twice(make, tmp_path, caplog):
    same = csv(1, 2)
    source = make(
        {
            "ratings.csv": same,
            "ratings (1).csv": csv(1),
            "ratings(2).csv": csv(2),
            "ratings - Copy.csv": same,
            "x/ratings.csv": same,
            "x/only (1).csv": csv(3),
            "other.csv": csv(4, 5),
        }
    )
    read = {"other.csv": [4, 5], "ratings.csv": [1, 2], "x/only (1).csv": [3], "x/ratings.csv": [1, 2]}
    assert users(tmp_path, source) == read
    [line] = caplog.messages
    for copy in ("ratings (1).csv", "ratings(2).csv", "ratings - Copy.csv"):
        assert f"{copy} (of ratings.csv)" in line
    assert "not read, as copies" in line and "to read one, move it to a folder of its own" in line


def test_a_compressed_file_beside_itself_unpacked_is_a_copy(tmp_path):
    (tmp_path / "in").mkdir()
    for name, content in {
        "a.csv": csv(1),
        "a.csv.gz": gzip.compress(csv(1)),
        "b.csv": csv(2),
        "b.csv.gz": gzip.compress(csv(3)),
    }.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert users(tmp_path, tmp_path / "in") == {"a.csv": [1], "b.csv": [2], "b.csv.gz": [3]}


def test_files_of_no_known_format_are_named(make, tmp_path, caplog):
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.writestr("b.csv", csv(2))
    source = make(
        {
            "a.csv": csv(1),
            "README.md": b"x",
            "b.zip": (tmp_path / "inner.zip").read_bytes(),
            "c.json.gz": b"x",
        }
    )
    with caplog.at_level(logging.WARNING):
        assert users(tmp_path, source) == {"a.csv": [1]}
    [line] = caplog.messages
    assert (
        "not read, as not part of csv: README.md, b.zip, c.json.gz; to read one, set data.source to it"
        in line
    )


EMPTY = {
    "no bytes": b"",
    "empty lines": b"\n\r\n\n",
    "blanks": b" \n",
    "mark": b"\xef\xbb\xbf",
    "mark and line": b"\xef\xbb\xbf\r\n",
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("content", EMPTY.values(), ids=EMPTY)
def test_an_empty_file_beside_others_is_named_and_skipped(make, tmp_path, caplog, content, pack):
    name = "a.csv.gz" if pack is gzip.compress else "a.csv"
    assert users(tmp_path, make({name: pack(content), "b.csv": csv(1)})) == {"b.csv": [1]}
    [line] = caplog.messages
    assert f"skipped, as empty: {name}" in line


@pytest.mark.parametrize("content", EMPTY.values(), ids=EMPTY)
def test_a_source_of_empty_files_is_not_there_yet(make, tmp_path, content):
    source = make({"a.csv.gz": gzip.compress(content), "b.csv": b"\n\n"})
    with pytest.raises(
        InputMissing, match="data.source = .* has nothing to read: .* is an empty file, as are the other 1"
    ):
        users(tmp_path, source)
    with pytest.raises(
        InputMissing, match=r"data.source = .*a.csv.gz' has nothing to read: a.csv is an empty file$"
    ):
        users(tmp_path, tmp_path / "in/a.csv.gz")


def test_a_line_of_separators_is_a_row(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"\t\t\n")
    columns = {"userColumn": "_c0", "itemColumn": "_c1", "ratingColumn": "_c2"}
    assert users(tmp_path, tmp_path / "a.tsv", header=False, separator="\t", **columns) == {"a.tsv": [None]}
