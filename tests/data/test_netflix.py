"""The Netflix prize's files: rows below a line that names their movie, in one file per movie or in a few."""

import zipfile

import numpy as np
import pyarrow.fs as pafs
import pytest

from recspark.data.formats import layout as layout_module
from recspark.data.formats.generic import DataOptions
from recspark.data.formats.layout import headings, plan
from recspark.data.formats.movielens import EDITIONS, find_edition
from recspark.data.formats.rows import read, read_headed
from recspark.data.ingest import QualityOptions, ingest
from recspark.data.sources.download import download
from recspark.errors import ConfigError
from recspark.lake.lake import Lake

[RATINGS] = [layout for layout in EDITIONS["netflix"].files.values() if layout.table == "ratings"]
LOCAL = pafs.LocalFileSystem()
DAY = 1_125_964_800  # 2005-09-06
TITLES = "1,2003,Dinosaur Planet\n2,1999,Isle of Man, TT 2004 Review\n3,NULL,None of the above\n".encode(
    "latin-1"
)
GOOD = b"1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\r\n885013,4,2005-10-19\r\n"


def rows_of(rows):
    columns = ("user_id", "item_id", "rating", "timestamp")
    return [tuple(row[name] for name in columns) for row in rows.table.to_pylist()]


def test_a_heading_gives_the_item_of_the_rows_below_it():
    rows = read_headed(GOOD, RATINGS)
    assert rows_of(rows) == [
        (1488844, 1, 3.0, DAY),
        (822109, 1, 5.0, 1_115_942_400),
        (885013, 2, 4.0, 1_129_680_000),
    ]
    assert rows.line.tolist() == [2, 3, 5] and not rows.unparsable.any()
    assert rows.texts([2, 5]) == ["1488844,3,2005-09-06", "885013,4,2005-10-19"]
    assert rows_of(read_headed(b"", RATINGS)) == rows_of(read_headed(b"7:\n", RATINGS)) == []


def test_what_is_no_row():
    under_3 = b"7,3\n8,three,2005-09-06\n9,3,6 September\n\xff,3,2005-09-06\n10,3,2005-09-06\n"
    body = b"5,3,2005-09-06\nx1:\n6,3,2005-09-06\n3:\n" + under_3 + b":\n11,3,2005-09-06"
    rows = read_headed(body, RATINGS)
    assert rows_of(rows) == [
        (5, None, 3.0, DAY),
        (6, None, 3.0, DAY),
        (8, 3, None, DAY),
        (9, 3, 3.0, None),
        (10, 3, 3.0, DAY),
        (11, None, 3.0, DAY),
    ]
    assert rows.line.tolist() == [1, 3, 6, 7, 9, 11]
    assert rows.unparsable.tolist() == [False, True, True, True, False, False]
    assert rows.broken == [(5, "field_count"), (8, "encoding")]


@pytest.mark.parametrize("chunk_bytes", [1, 20, 64, 1000])
def test_chunks_know_the_heading_before_them(tmp_path, chunk_bytes):
    draw = np.random.default_rng(3)
    lines = [f"{n}:" if n % 9 == 0 else f"{n},{draw.integers(1, 6)},2005-09-06" for n in range(200)]
    (tmp_path / "combined_data_1.txt").write_text("\n".join(lines))
    chunks = plan(LOCAL, "combined_data_1.txt", str(tmp_path / "combined_data_1.txt"), RATINGS, chunk_bytes)
    assert len(chunks) > 1 or chunk_bytes == 1000
    found = [row for chunk in chunks for row in rows_of(read(LOCAL, chunk))]
    assert found == rows_of(read_headed("\n".join(lines).encode(), RATINGS))
    assert {item for _, item, *_ in found} == set(range(0, 200, 9)) and len(found) == 200 - 23
    assert [line for chunk in chunks for line in read(LOCAL, chunk).line.tolist()] == [
        n + 1 for n in range(200) if n % 9
    ]


def test_a_colon_inside_a_line_is_no_heading():
    assert list(headings(b"1,3,20:05\n7:8:\n a:\n")) == [(10, 15, "7:8"), (15, 19, " a")]


def test_the_files_are_known_by_their_names():
    combined = ["combined_data_1.txt", "combined_data_2.txt", "movie_titles.csv", "README"]
    for names in (combined, ["set/mv_0000001.txt", "set/mv_0000002.txt"]):
        name, layouts = find_edition(names, "somewhere")
        assert name == "netflix" and sorted(layouts) == [member for member in names if member != "README"]
    with pytest.raises(ConfigError, match="needs combined_data_\\*.txt|mv_\\*.txt in one folder"):
        find_edition(["a.csv"], "somewhere", "netflix")
    with pytest.raises(
        ConfigError, match="data.dataset = 'netflix' can't be downloaded: it must be one of ml-100k"
    ):
        download("netflix")


@pytest.mark.parametrize("form", ["combined", "per movie"])
def test_ingest(spark, tmp_path, monkeypatch, form):
    monkeypatch.setattr(layout_module, "CHUNK_BYTES", 40)
    twice, bad = b"2:\n885013,1,2005-10-20\n", b"3:\n7,9,2005-09-06\n,3,2005-09-06\n8,3\n9,3,1889-01-01\n"
    files = {"movie_titles.csv": TITLES}
    if form == "combined":
        files |= {"combined_data_1.txt": GOOD, "combined_data_2.txt": twice + bad}
    else:
        one, two = GOOD.split(b"2:")
        files |= {"mv_0000001.txt": one, "mv_0000002.txt": b"2:" + two + twice, "mv_0000003.txt": bad}
    with zipfile.ZipFile(tmp_path / "nf.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"nf/{name}", content)
    lake = Lake(str(tmp_path / "lake"))
    found = ingest(
        spark, lake, DataOptions(source=str(tmp_path / "nf.zip")), QualityOptions(maxBadFraction=0.9)
    )
    assert (found["dataset"], found["ratings"], found["items"], found["users"]) == ("netflix", 3, 3, 3)
    assert found["reasons"] == {
        "duplicate": 1,
        "rating_range": 1,
        "null_id": 1,
        "field_count": 1,
        "timestamp": 1,
    }
    ratings = spark.read.parquet(lake.path("tables/ratings")).orderBy("item_id", "user_id").collect()
    assert [tuple(row) for row in ratings] == [
        (822109, 1, 5.0, 1_115_942_400),
        (1488844, 1, 3.0, DAY),
        (885013, 2, 1.0, 1_129_766_400),
    ]
    items = spark.read.parquet(lake.path("tables/items")).orderBy("item_id").collect()
    assert [(row.title, row.year) for row in items] == [
        ("Dinosaur Planet", 2003),
        ("Isle of Man, TT 2004 Review", 1999),
        ("None of the above", None),
    ]
