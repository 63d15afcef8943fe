"""Lists ``user item item ...``: one row per item, bad ones in quarantine, repeated ones as the rule says."""

import zipfile

import pandas as pd
import pytest

from recspark.data.formats.generic import DataOptions
from recspark.data.ingest import ingest
from recspark.data.quality import QualityOptions
from recspark.errors import ConfigError, DataRejected, InputMissing
from recspark.lake.lake import Lake
from tests.data.plans import found

ANYTHING = QualityOptions(maxBadFraction=1.0)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def lists(path, body):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return DataOptions(source=str(path), dataset="adjacency")


def table(lake, name):
    return pd.read_parquet(lake.path(f"tables/{name}"))


def pairs(lake):
    ratings = table(lake, "ratings")
    return sorted(zip(ratings.user_id, ratings.item_id, ratings.rating, strict=True))


def test_a_line_is_a_user_and_items(spark, lake, tmp_path):
    summary = ingest(spark, lake, lists(tmp_path / "a.txt", "3 10 20\n\n4\n 5\t7  8 \r\n6 7"), ANYTHING)
    assert pairs(lake) == [(3, 10, 1.0), (3, 20, 1.0), (5, 7, 1.0), (5, 8, 1.0), (6, 7, 1.0)]
    assert table(lake, "ratings").timestamp.isna().all() and table(lake, "ratings").user_id.dtype == "int64"
    assert (summary["dataset"], summary["read"], summary["quarantined"]) == ("adjacency", 5, 0)
    # a user without items has no rating, so no one knows the user
    assert (summary["users"], summary["items"]) == (3, 4)


def test_ids_may_be_text(spark, lake, tmp_path):
    data = lists(tmp_path / "a.txt", "Zoë NA null\n\ufeffx é\n")
    ingest(spark, lake, data, ANYTHING)
    assert pairs(lake) == [("Zoë", "NA", 1.0), ("Zoë", "null", 1.0), ("\ufeffx", "é", 1.0)]


def test_all_txt_files_of_an_archive_are_read(spark, lake, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, body in {"x/a.txt": "1 2", "x/b.txt": "1 3", "README.md": "1 4"}.items():
            archive.writestr(name, body)
    ingest(spark, lake, DataOptions(source=str(tmp_path / "a.zip"), dataset="adjacency"), ANYTHING)
    assert pairs(lake) == [(1, 2, 1.0), (1, 3, 1.0)]


def test_bad_rows_go_to_quarantine(spark, lake, tmp_path):
    body = b"1 2 3\n2 x 5\nuser 6 7\n3 4\xff 5\n4 \x00 6\n5 1 1.5 99999999999999999999\n"
    data = DataOptions(**lists(tmp_path / "a.txt", body).as_dict() | {"encoding": "utf-8"})
    summary = ingest(spark, lake, data, ANYTHING)
    assert pairs(lake) == [(1, 2, 1.0), (1, 3, 1.0), (2, 5, 1.0), (5, 1, 1.0)]
    bad = table(lake, "quarantine")[["file", "line", "reason", "text"]].values.tolist()
    assert bad == [
        ["a.txt", 2, "unparsable", "2 x"],
        # the line of a bad user is one bad row
        ["a.txt", 3, "unparsable", "user 6 7"],
        ["a.txt", 4, "encoding", "3 4\ufffd 5"],
        ["a.txt", 5, "encoding", "4 \0 6"],
        ["a.txt", 6, "unparsable", "5 1.5"],
        ["a.txt", 6, "unparsable", "5 99999999999999999999"],
    ]
    assert summary["read"] == 10
    with pytest.raises(DataRejected, match="6 of 10 rows are bad.* a.txt line 2, unparsable: '2 x'"):
        ingest(spark, lake, data, QualityOptions())


@pytest.mark.parametrize(
    ("rule", "expected", "reasons"),
    [
        (None, [(1, 2, 3.0), (1, 3, 1.0)], {}),
        ("mean", [(1, 2, 1.0), (1, 3, 1.0)], {}),
        ("last", [(1, 2, 1.0), (1, 3, 1.0)], {"duplicate": 2}),
        ("first", [(1, 2, 1.0), (1, 3, 1.0)], {"duplicate": 2}),
    ],
)
def test_repeated_items_follow_the_rule(spark, lake, tmp_path, rule, expected, reasons):
    path = tmp_path / "a.txt"
    lists(path, "1 2 3 2\n1 2\n")
    data = DataOptions(source=str(path), dataset="adjacency", **({"duplicates": rule} if rule else {}))
    summary = ingest(spark, lake, data, ANYTHING)
    assert pairs(lake) == expected and summary["reasons"] == reasons
    assert summary["merged"] == (0 if reasons else 2)
    if rule == "last":
        assert table(lake, "quarantine")[["line", "text"]].values.tolist() == [[1, "1 2"], [1, "1 2"]]


@pytest.mark.parametrize("chunk_bytes", [4, 9, 1000])
def test_any_cut_gives_the_same_rows(tmp_path, monkeypatch, chunk_bytes):
    from functools import partial

    from recspark.data import work

    monkeypatch.setattr(work, "plan", partial(work.plan, chunk_bytes=chunk_bytes))
    lists(tmp_path / "a.txt", "1 2 3\n\n2 4\n3 5 6 7\n4\n")
    rows, types = found(tmp_path, tmp_path / "a.txt", dataset="adjacency")
    seen = [(row["user_id"], row["item_id"]) for row in rows["a.txt"]]
    assert seen == [(1, 2), (1, 3), (2, 4), (3, 5), (3, 6), (3, 7)] and types == ("bigint", "bigint")


def test_what_cannot_be_read_is_said(spark, lake, tmp_path):
    data = lists(tmp_path / "in/a.txt", "1 2\n")
    with pytest.raises(ConfigError, match="data.timestampColumn = 't' is not allowed .* no times"):
        ingest(spark, lake, DataOptions(**data.as_dict() | {"timestampColumn": "t"}), ANYTHING)
    (tmp_path / "in/a.txt").rename(tmp_path / "in/a.dat")
    (tmp_path / "in/b.dat").write_text("1 2\n")
    with pytest.raises(InputMissing, match="has no adjacency file"):
        ingest(spark, lake, DataOptions(source=str(tmp_path / "in"), dataset="adjacency"), ANYTHING)
    with pytest.raises(DataRejected, match="no rating that can be kept"):
        ingest(spark, lake, lists(tmp_path / "b.txt", "1\n2\n"), ANYTHING)
