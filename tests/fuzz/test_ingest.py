"""Damaged files through Spark and through the command: exit codes, quarantine, nothing left behind."""

import functools
import json
import os
import pickle
import random
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.data import work
from recspark.data.batch import publish_batch
from recspark.data.formats.encoding import Vote
from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.lake.lake import Lake
from tests.fuzz.attempts import line_of, rows_of
from tests.fuzz.mutations import TEXT

HEADER = b"user_id,item_id,rating,timestamp\n"
#: damage that leaves the header what it is
ROWS = [
    name
    for name in TEXT
    if "first line" not in name
    and name not in ("empty", "other encoding", "rows shuffled", "truncated", "hole", "CR")
]
ANYTHING = QualityOptions(maxBadFraction=1.0)


def damaged_folder(path, n_files, seed):
    """Files whose rows are damaged, each of users of its own; gives their contents before and after."""
    rng, files = random.Random(seed), {}
    path.mkdir(parents=True)
    for number in range(n_files):
        rows = b"".join(
            b"%d,%d,%d,%d\n" % (1000 * number + i % 7, i, 1 + i % 5, 900_000_000 + i) for i in range(40)
        )
        damaged = TEXT[ROWS[number % len(ROWS)]](rng, rows, b",")
        files[f"part-{number:03}.csv"] = (HEADER + rows, HEADER + damaged)
        (path / f"part-{number:03}.csv").write_bytes(HEADER + damaged)
    return files


def check(spark, lake, product, files):
    facts = lake.read_json(f"{product}/manifest.json")["tables"]
    assert facts["ratings"]["read"] == facts["ratings"]["kept"] + facts["ratings"]["quarantined"]
    assert facts["ratings"]["read"] == sum(len(rows_of(after, True)) for _, after in files.values())
    bad = spark.read.parquet(lake.path(f"{product}/quarantine")).collect()
    assert len(bad) == facts["ratings"]["quarantined"] > 0
    for row in bad:
        assert row.text == line_of(files[row.file][1], row.line, Vote([files[row.file][1]]).encoding), (
            row.file
        )
    kept = {
        (str(row.user_id), str(row.item_id))
        for row in spark.read.parquet(lake.path(f"{product}/ratings")).collect()
    }
    untouched = set().union(
        *(set(rows_of(before, True)) & set(rows_of(after, True)) for before, after in files.values())
    )
    wanted = {tuple(line.decode().split(",")[:2]) for line in untouched}
    assert len(wanted) > 500 and wanted <= kept, sorted(wanted - kept)[:5]


@pytest.mark.slow
@pytest.mark.parametrize("chunk_bytes", [1 << 24, 400])
def test_many_damaged_files_at_once(spark, tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(work, "plan", functools.partial(work.plan, chunk_bytes=chunk_bytes))
    files = damaged_folder(tmp_path / "in", len(ROWS) * 2, seed=3)
    lake = Lake(str(tmp_path / "lake"))
    ingest(spark, lake, DataOptions(source=str(tmp_path / "in"), dataset="csv"), ANYTHING)
    check(spark, lake, "tables", files)


@pytest.mark.slow
def test_a_damaged_batch_of_updates(spark, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "a.csv").write_bytes(HEADER + b"1,2,3,900000000\n")
    lake = Lake(str(tmp_path / "lake"))
    ingest(spark, lake, DataOptions(source=str(tmp_path / "first")), ANYTHING)
    files = damaged_folder(tmp_path / "in", len(ROWS), seed=4)
    check(
        spark,
        lake,
        publish_batch(spark, lake, DataOptions(source=str(tmp_path / "in"), dataset="csv"), ANYTHING),
        files,
    )
    assert lake.names(".staging") == []


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def make(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def link(member, target):
    info = zipfile.ZipInfo(member)
    info.external_attr = 0o120777 << 16
    return info, target


def bad_parquet(path, **columns):
    pq.write_table(pa.table({"user_id": [1], "item_id": [1], "rating": [1.0]} | columns), path)
    return path


def looped(path):
    path.mkdir()
    (path / "in").symlink_to(path)
    return path


def linked(path, target):
    path.mkdir()
    (path / "ratings.csv").symlink_to(target)
    return path


GOOD = HEADER + b"1,2,3,900000000\n"
#: what is given as data.source, made in a folder; the exit code; words of the message
SOURCES = {
    "nothing": (lambda f: make(f, "a.csv", b""), 5, "a.csv' is an empty file"),
    "an upload that goes on": (
        lambda f: make(f, "a.csv.part", GOOD).parent,
        5,
        "has no csv file (it has no file)",
    ),
    "a folder without data": (
        lambda f: make(f / "in" / "_SUCCESS", "x", b"").parent.parent,
        5,
        "has no csv file (it has no file)",
    ),
    "a folder with one other file": (
        lambda f: make(f, "readme.txt", b"x").parent,
        2,
        "readme.txt has no column",
    ),
    "a header only": (lambda f: make(f, "a.csv", HEADER), 3, "no rating that can be kept"),
    "a column twice": (
        lambda f: make(f, "a.csv", b"user_id,item_id,rating,rating\n1,2,3,4\n"),
        2,
        "has the column rating more than once",
    ),
    "a column missing": (
        lambda f: make(f, "a.csv", b"user_id,item_id\n1,2\n"),
        2,
        "a.csv has no column rating",
    ),
    "UTF-16": (
        lambda f: make(f, "a.csv", GOOD.decode().encode("utf-16")),
        3,
        "a.csv is UTF-16, it starts with that byte-order mark",
    ),
    "quotes in the header": (
        lambda f: make(f, "a.csv", b'user_id,"item_id,rating\n1,2,3\n'),
        3,
        "a.csv line 1 can't be read as utf-8",
    ),
    "an endless header": (lambda f: make(f, "a.csv", b"x" * (1 << 21)), 3, "a.csv line 1 is longer than"),
    "a folder in place of a file": (
        lambda f: make(f / "ml" / "ratings.csv", "x", b"").parent.parent,
        5,
        "ratings.csv/x is an empty file",
    ),
    "no Parquet": (lambda f: make(f, "a.parquet", GOOD), 3, "a.parquet is not a readable Parquet file"),
    "a list as rating": (
        lambda f: bad_parquet(f / "a.parquet", rating=[[1.0]]),
        2,
        "column rating is list<element: double>, it must hold numbers",
    ),
    "no zip": (lambda f: make(f, "a.zip", GOOD), 3, "a.zip is not a readable zip archive"),
    "no gzip": (lambda f: make(f, "a.csv.gz", GOOD), 3, "a.csv.gz is not a readable compressed file"),
    "zip with ..": (
        lambda f: zip_of(f / "a.zip", [("../../ratings.csv", GOOD)]),
        3,
        "leads out of its folder",
    ),
    "zip with an absolute name": (
        lambda f: zip_of(f / "a.zip", [("/tmp/ratings.csv", GOOD)]),
        3,
        "absolute path",
    ),
    "zip with a link": (lambda f: zip_of(f / "a.zip", [link("ratings.csv", "/etc/passwd")]), 3, "is a link"),
    "a zip bomb": (
        lambda f: zip_of(f / "a.zip", [("ratings.csv", bytes(70 << 20))]),
        3,
        "more than quality.maxExpansionRatio = 200 allows",
    ),
    "a link out of the folder": (
        lambda f: linked(f / "in", "/etc/hostname"),
        3,
        "ratings.csv is a link to /etc/hostname",
    ),
    "a link to its own folder": (lambda f: looped(f / "in"), 3, "in is a link to"),
    "a device": (lambda f: "/dev/zero", 2, "'/dev/zero' is neither a file nor a folder"),
    "a path with NUL": (lambda f: "a\0b", 2, "without NUL"),
}


@pytest.fixture
def call(command):
    def run(job, *settings):
        code, summary, err = command(job, "tracking.enabled=false", *settings)
        assert "Traceback" not in err and (code == 0) == bool(summary), err[-2000:]
        return code, err

    return run


@pytest.mark.parametrize("name", SOURCES)
def test_hostile_sources_are_refused_in_one_sentence(call, tmp_path, name):
    folder, lake = tmp_path / "given", tmp_path / "lake"
    folder.mkdir()
    source, expected, words = SOURCES[name]
    code, err = call("ingest", f"paths.lake={lake}", f"data.source={source(folder)}")
    assert (code, words in err) == (expected, True), err
    assert len(err) < 1500 and not (lake / "tables").exists()
    assert not [path for path in (lake / ".staging").rglob("*") if path.is_file()]


@pytest.mark.parametrize("setting", ["maxExpandedBytes=1000", "maxExpansionRatio=2.0"])
def test_the_limits_of_archives_can_be_set(call, tmp_path, monkeypatch, setting):
    monkeypatch.setattr("recspark.data.sources.safety._HARMLESS", 0)
    path = zip_of(
        tmp_path / "a.zip",
        [("ratings.csv", HEADER + b"".join(b"%d,2,3,900000000\n" % i for i in range(300)))],
    )
    code, err = call("ingest", f"paths.lake={tmp_path / 'lake'}", f"data.source={path}", f"quality.{setting}")
    assert code == 3 and f"more than quality.{setting.partition('=')[0]} = " in err
    assert call("ingest", f"paths.lake={tmp_path / 'lake'}", f"data.source={path}")[0] == 0


@pytest.mark.parametrize(
    ("job", "setting", "words"),
    [
        ("train", "model.name=../../x", "model.name = '../../x' is not allowed"),
        ("train", "model.name=/etc/x", "model.name = '/etc/x' is not allowed"),
        ("train", 'model.name="a\\u0000b"', "without NUL"),
        ("train", f"model.name={'x' * 300}", "at most 128 bytes"),
        ("split", "split.name=..", "split.name = '..' is not allowed"),
        ("split", "split.fold=../x", "split.fold"),
        ("curves", 'curves.models=["../../x"]', "is not the name of a product of a lake"),
        ("curves", "curves.figure=../x", "curves.figure = '../x' is not allowed"),
        ("crossvalidate", 'crossvalidation.folds=["../../x"]', "split."),
        ("ingest", "paths.lake=a\0b", "without NUL"),
        ("ingest", "paths.lake=lake[1]", "for a pattern"),
        ("ingest", 'data.separator="\\n"', "without quotes and line ends"),
        ("ingest", "data.ratingMin=nan", "finite"),
        ("split", "split.seed=99999999999999999999", "of at most 64 bits"),
    ],
)
def test_settings_that_would_reach_elsewhere_are_refused(call, tmp_path, job, setting, words):
    source = make(
        tmp_path / "in", "a.csv", HEADER + b"".join(b"%d,%d,3,900000000\n" % (i, i % 5) for i in range(40))
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "lake").mkdir()
    settings = [
        f"paths.lake={tmp_path / 'lake'}",
        f"data.source={source}",
        "split.kind=random",
        "split.folds=2",
        "split.fold=1",
    ]
    code, err = call(job, *settings, setting)
    assert code == 2 and words in err, err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "lake") == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["start.pt", "start.npz"])
def test_a_pickle_to_start_from_is_refused(call, tmp_path, name):
    source = make(
        tmp_path / "in",
        "a.csv",
        HEADER + b"".join(b"%d,%d,3,%d\n" % (i % 9, i, 900_000_000 + i) for i in range(60)),
    )
    settings = [f"paths.lake={tmp_path / 'lake'}", f"data.source={source}", "model.rank=2", "model.maxIter=1"]
    assert call("ingest", *settings)[0] == call("split", *settings)[0] == 0
    trap, start = tmp_path / "trapped", tmp_path / name
    if name.endswith(".npz"):
        np.savez(start, users_emb=np.array([Hostile(str(trap))], object), items_emb=np.ones((2, 2)))
    else:
        start.write_bytes(pickle.dumps({"users_emb": Hostile(str(trap))}))
    code, err = call("train", *settings, f"model.initialModel={start}")
    assert code in (1, 3) and name in err and not trap.exists(), err


def test_the_message_about_bad_rows_is_short(call, tmp_path):
    source = make(tmp_path / "in", "a.csv", HEADER + b"1,2,3," + b"9" * 3_000_000 + b"\n")
    code, err = call("ingest", f"paths.lake={tmp_path / 'lake'}", f"data.source={source}")
    assert code == 3 and "1 unparsable" in err and "characters)" in err and len(err) < 1500


def test_a_damaged_lake_is_named(call, tmp_path):
    make(tmp_path / "lake" / "tables", "manifest.json", json.dumps({"fingerprint": 1}).encode()[:-3])
    code, err = call("split", f"paths.lake={tmp_path / 'lake'}")
    assert code == 1 and "tables/manifest.json is damaged" in err
