"""The whole stage: every format end to end, nothing lost, nothing half done, and the real editions."""

import functools
import gzip
import random
import zipfile

import pandas as pd
import pytest

from recspark.data import ingest as stage
from recspark.data import schemas, work
from recspark.data.formats.movielens import ML_100K_GENRES
from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.errors import ConfigError, DataRejected, InputMissing
from recspark.lake.lake import Lake

ANYTHING = QualityOptions(maxBadFraction=1.0)
GOOD = [
    f"{user},{item},{1 + (user + item) % 9 / 2},{900_000_000 + user * 100 + item}"
    for user in range(1, 9)
    for item in range(1, 6)
]
#: one row of each kind that is bad: its line and its reason
BAD = [
    ("1,2", "field_count"),
    ("1,2,3.5,900000000,6", "field_count"),
    ("1,77,\xff,900000000", "encoding"),
    ("1,77,3\x00,900000000", "encoding"),
    ("one,77,3.5,900000000", "unparsable"),
    ("1,77,good,900000000", "unparsable"),
    ("1,77,,900000000", "unparsable"),
    ("1,77,3.5,yesterday", "unparsable"),
    (",77,3.5,900000000", "null_id"),
    ("1,,3.5,900000000", "null_id"),
    ("1,77,5.5,900000000", "rating_range"),
    ("1,77,0,900000000", "rating_range"),
    ("1,77,3.3,900000000", "rating_step"),
    ("1,77,3.5,-5", "timestamp"),
    ("1,77,3.5,100", "timestamp"),
    ("1,77,3.5,9000000000", "timestamp"),
    ("1,2,0.5,800000000", "duplicate"),
]


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def small_chunks(monkeypatch):
    """Files cut so small that every table has many chunks."""
    monkeypatch.setattr(work, "plan", functools.partial(work.plan, chunk_bytes=300))


def folder(path, **files):
    path.mkdir(parents=True)
    for name, lines in files.items():
        (path / name.replace("__", ".")).write_bytes(
            "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        )
    return str(path)


def csv_edition(path, ratings, **more):
    movies = ["movieId,title,genres", *(f"{item},Title {item} (1999),Drama" for item in range(1, 6))]
    return folder(
        path, ratings__csv=["userId,movieId,rating,timestamp", *ratings], movies__csv=movies, **more
    )


def rows(spark, lake, table):
    return sorted(map(tuple, spark.read.parquet(lake.path(f"tables/{table}")).collect()), key=str)


def schema_of(spark, ddl):
    return spark.createDataFrame([], ddl).schema


def test_ml_100k_with_its_given_splits(spark, lake, tmp_path):
    flags = "|".join("1" if genre in ("Comedy", "Drama") else "0" for genre in ML_100K_GENRES)
    source = folder(
        tmp_path / "ml-100k",
        u__data=["1\t1\t5\t881250949", "2\t1\t3\t891717742"],
        u__item=[f"1|Caf\xe9 (1995)|01-Jan-1995||http://x|{flags}"],
        u__user=["1|24|M|technician|01002", "2|53|F|other|94043"],
        u1__base=["1\t1\t5\t881250949"],
        u1__test=["2\t1\t3\t891717742"],
    )
    summary = ingest(spark, lake, DataOptions(source=source), QualityOptions())
    assert {key: value for key, value in summary.items() if key not in ("source", "digest")} == {
        "ratings": 2,
        "users": 2,
        "items": 1,
        "tags": 0,
        "read": 7,
        "merged": 0,
        "quarantined": 0,
        "reasons": {},
        "unchanged": False,
        "dataset": "ml-100k",
        "versions": {},
    }
    assert rows(spark, lake, "ratings") == [(1, 1, 5.0, 881250949), (2, 1, 3.0, 891717742)]
    assert rows(spark, lake, "items") == [(1, "Caf\xe9", 1995, ["Comedy", "Drama"], None, None)]
    assert rows(spark, lake, "users") == [(1, "M", 24, "technician", "01002"), (2, "F", 53, "other", "94043")]
    assert rows(spark, lake, "given/u1/train") == [(1, 1, 5.0, 881250949)]
    assert rows(spark, lake, "given/u1/test") == [(2, 1, 3.0, 891717742)]


def test_csv_edition_from_a_zip_with_tags_and_links(spark, lake, tmp_path):
    source = csv_edition(
        tmp_path / "ml-20m",
        ["1,1,4.5,900000000", "2,2,0.5,900000001"],
        tags__csv=["userId,movieId,tag,timestamp", '3,1,"dark, ""odd""",900000002'],
        links__csv=["movieId,imdbId,tmdbId", "1,0114709,862", "2,0113497,"],
    )
    path = tmp_path / "renamed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for found in (tmp_path / "ml-20m").iterdir():
            archive.write(found, f"ml-20m/{found.name}")
    summary = ingest(spark, lake, DataOptions(source=str(path)), QualityOptions())
    assert (summary["dataset"], summary["source"], summary["items"]) == ("ml-20m", str(path), 5)
    assert rows(spark, lake, "tags") == [(3, 1, 'dark, "odd"', 900000002)]
    assert rows(spark, lake, "users") == [(user, None, None, None, None) for user in (1, 2, 3)]
    assert rows(spark, lake, "items")[:3] == [
        (1, "Title 1", 1999, ["Drama"], "0114709", 862),
        (2, "Title 2", 1999, ["Drama"], "0113497", None),
        (3, "Title 3", 1999, ["Drama"], None, None),
    ]
    assert not list((tmp_path / "lake" / ".staging").iterdir())
    other = Lake(str(tmp_path / "other"))
    in_place = ingest(spark, other, DataOptions(source=source), QualityOptions())
    assert (
        other.read_json("tables/manifest.json")["tables"] == lake.read_json("tables/manifest.json")["tables"]
    )
    assert in_place["dataset"] == "ml-20m"


def test_tables_have_the_stated_schemas_also_where_they_are_empty(spark, lake, tmp_path):
    ingest(spark, lake, DataOptions(source=csv_edition(tmp_path / "in", GOOD)), QualityOptions())
    for table in ("ratings", "users", "items", "tags", "quarantine"):
        ddl = getattr(schemas, table.upper())
        assert spark.read.parquet(lake.path(f"tables/{table}")).schema == schema_of(spark, ddl), table
        assert lake.read_json("tables/manifest.json")["tables"][table]["schema"] == ddl


@pytest.mark.parametrize("cut", ["one chunk", "many chunks"])
def test_one_bad_row_of_each_kind_is_quarantined_and_no_other(spark, lake, tmp_path, request, cut):
    if cut == "many chunks":
        request.getfixturevalue("small_chunks")
    mixed = [*GOOD[:20], *(line for line, _ in BAD), *GOOD[20:]]
    source = csv_edition(tmp_path / "in", mixed)
    summary = ingest(spark, lake, DataOptions(source=source), ANYTHING)
    # line 1 is the header
    expected = [
        ("ratings", "ratings.csv", line, reason, text.replace("\xff", "\ufffd"))
        for line, (text, reason) in enumerate(BAD, 22)
    ]
    assert rows(spark, lake, "quarantine") == sorted(expected, key=str)
    kept = [line.split(",") for line in GOOD]
    assert rows(spark, lake, "ratings") == sorted(
        ((int(u), int(i), float(r), int(t)) for u, i, r, t in kept), key=str
    )
    assert (
        summary["read"]
        == len(GOOD) + len(BAD) + 5
        == summary["ratings"] + summary["quarantined"] + summary["items"]
    )
    table = lake.read_json("tables/manifest.json")["tables"]["ratings"]
    assert (table["read"], table["kept"], table["quarantined"]) == (len(mixed), len(GOOD), len(BAD))
    assert summary["reasons"] == {reason: [r for _, r in BAD].count(reason) for _, reason in BAD}


@pytest.mark.parametrize("cut", ["one chunk", "many chunks"])
def test_of_equal_keys_the_last_stays_by_time_then_by_line(spark, lake, tmp_path, request, cut):
    if cut == "many chunks":
        request.getfixturevalue("small_chunks")
    twice = ["1,1,0.5,999999999", "1,1,1.0,999999999", "1,1,1.5,999999998", "2,2,2.0,1"]
    source = csv_edition(tmp_path / "in", [*twice[:1], *GOOD, *twice[1:]])
    ingest(spark, lake, DataOptions(source=source), ANYTHING)
    assert [row for row in rows(spark, lake, "ratings") if row[:2] == (1, 1)] == [(1, 1, 1.0, 999999999)]
    found = {(line, reason) for _, _, line, reason, _ in rows(spark, lake, "quarantine")}
    assert found == {(2, "duplicate"), (3, "duplicate"), (44, "duplicate"), (45, "timestamp")}


def test_row_order_and_chunks_do_not_change_the_tables(spark, tmp_path, request):
    shuffled = random.Random(7).sample(GOOD, len(GOOD))
    first, second = Lake(str(tmp_path / "a")), Lake(str(tmp_path / "b"))
    ingest(spark, first, DataOptions(source=csv_edition(tmp_path / "in-a", GOOD)), QualityOptions())
    request.getfixturevalue("small_chunks")
    ingest(spark, second, DataOptions(source=csv_edition(tmp_path / "in-b", shuffled)), QualityOptions())
    digests = [
        {name: facts["digest"] for name, facts in lake.read_json("tables/manifest.json")["tables"].items()}
        for lake in (first, second)
    ]
    assert digests[0] == digests[1]
    assert len(list((tmp_path / "b/tables/ratings").glob("*.parquet"))) > 1
    assert digests[0]["ratings"] not in (digests[0]["users"], f"{0:016x}")


def test_a_second_run_changes_nothing_and_a_changed_file_or_option_does(spark, lake, tmp_path):
    source = csv_edition(tmp_path / "in", GOOD)
    first = ingest(spark, lake, DataOptions(source=source), QualityOptions())
    made = lake.read_json("tables/manifest.json")
    assert ingest(spark, lake, DataOptions(source=source), QualityOptions()) == first | {"unchanged": True}
    assert lake.read_json("tables/manifest.json") == made
    with open(f"{source}/ratings.csv", "ab") as file:
        file.write(b"9,1,3.5,900000000\r\n")
    again = ingest(spark, lake, DataOptions(source=source), QualityOptions())
    assert (again["unchanged"], again["ratings"]) == (False, len(GOOD) + 1)
    assert again["digest"] != first["digest"]
    assert not ingest(spark, lake, DataOptions(source=source, ratingMax=10.0), QualityOptions())["unchanged"]


def test_too_many_bad_rows_publish_nothing(spark, lake, tmp_path):
    source = csv_edition(tmp_path / "in", [*GOOD, "1,77,9,900000000"])
    with pytest.raises(
        DataRejected,
        match=r"ratings: 1 of 41 rows are bad.*1 rating_range.*ratings.csv line 42, .*'1,77,9,900000000'",
    ):
        ingest(spark, lake, DataOptions(source=source), QualityOptions())
    assert lake.read_json("tables/manifest.json") is None
    assert not lake.exists("tables")
    assert not list((tmp_path / "lake" / ".staging").iterdir())


def test_a_failure_halfway_leaves_the_old_tables(spark, lake, tmp_path, monkeypatch):
    source = csv_edition(tmp_path / "in", GOOD)
    ingest(spark, lake, DataOptions(source=source), QualityOptions())
    before = lake.read_json("tables/manifest.json")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(stage, "_derive", fail)
    with pytest.raises(OSError, match="disk full"):
        ingest(spark, lake, DataOptions(source=csv_edition(tmp_path / "new", GOOD[:5])), QualityOptions())
    assert lake.read_json("tables/manifest.json") == before
    assert len(rows(spark, lake, "ratings")) == len(GOOD)


def test_other_csv_with_ids_of_text_and_no_header(spark, lake, tmp_path):
    source = folder(tmp_path / "in", events__csv=["2|B-01|ann|7.5", "3|B-02|bob|-1", "4|B-01|ann|8"])
    mapping = {"userColumn": "_c2", "itemColumn": "_c1", "ratingColumn": "_c3"}
    data = DataOptions(
        source=f"file://{source}/events.csv", separator="|", header=False, ratingMin=0.0, **mapping
    )
    summary = ingest(spark, lake, data, ANYTHING)
    assert summary["dataset"] == "csv"
    assert rows(spark, lake, "ratings") == [("ann", "B-01", 8.0, None)]
    assert [(row[2], row[3]) for row in rows(spark, lake, "quarantine")] == [
        (1, "duplicate"),
        (2, "rating_range"),
    ]
    assert rows(spark, lake, "users") == [("ann", None, None, None, None)]
    assert spark.read.parquet(lake.path("tables/tags")).schema["user_id"].dataType.simpleString() == "string"


@pytest.mark.parametrize(
    ("ids", "id_type", "kept"),
    [
        (["1", "2", "x"], "auto", [1, 2]),
        (["007", "008", "009"], "auto", ["007", "008", "009"]),
        (["1", "2", "x"], "string", ["1", "2", "x"]),
        (["007", "008"], "bigint", [7, 8]),
    ],
)
def test_the_type_of_ids_is_that_of_most_or_as_set(spark, lake, tmp_path, ids, id_type, kept):
    source = folder(tmp_path / "in", a__csv=["user_id,item_id,rating", *(f"{user},{user},1" for user in ids)])
    ingest(spark, lake, DataOptions(source=source, idType=id_type), ANYTHING)
    assert [row[0] for row in rows(spark, lake, "ratings")] == kept


def test_other_parquet_with_a_mapping(spark, lake, tmp_path):
    (tmp_path / "in").mkdir()
    when = pd.to_datetime([1, 2, 1, 3], unit="s")
    frame = pd.DataFrame(
        {"who": [5, 6, 6, 7], "what": ["a", "b", "b", "c"], "stars": [1.0, 2.0, 3.0, None], "when": when}
    )
    frame.to_parquet(tmp_path / "in/part-0.parquet", row_group_size=2)
    data = DataOptions(
        source=str(tmp_path / "in"),
        userColumn="who",
        itemColumn="what",
        ratingColumn="stars",
        timestampColumn="when",
    )
    summary = ingest(spark, lake, data, ANYTHING)
    assert summary["dataset"] == "parquet"
    assert rows(spark, lake, "ratings") == [(5, "a", 1.0, 1), (6, "b", 2.0, 2)]
    bad = rows(spark, lake, "quarantine")
    assert [row[1:4] for row in bad] == [
        ("part-0.parquet", 3, "duplicate"),
        ("part-0.parquet", 4, "unparsable"),
    ]
    assert bad[1][4] == '{"who": 7, "what": "c", "stars": null, "when": "1970-01-01 00:00:03"}'


def test_a_spreadsheet_export_in_partitions_some_of_them_compressed(spark, lake, tmp_path):
    header, null = "customer; sku ;stars;when", "NULL;A1;3;2024-05-01"
    german = [header, "ann;A1;3,5;2024-05-01 12:00:00", null, " bob ;A2;4;1714564800,75", "ann;A3;5;N/A"]
    folder(tmp_path / "in/country=DE", a__csv=german)
    folder(
        tmp_path / "in/country=S%C3%A3o%20Tom%C3%A9", b__csv=[header, "eve;A1;1,5;2024-05-01T14:00:00+02:00"]
    )
    packed = tmp_path / "in/country=S%C3%A3o%20Tom%C3%A9/b.csv"
    (packed.with_suffix(".csv.gz")).write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    mapping = {
        "itemColumn": "sku",
        "ratingColumn": "stars",
        "timestampColumn": "when",
        "separator": ";",
        "decimal": ",",
    }
    ingest(spark, lake, DataOptions(source=str(tmp_path / "in"), userColumn="customer", **mapping), ANYTHING)
    noon = 1_714_564_800
    kept = [
        ("ann", "A1", 3.5, noon),
        ("ann", "A3", 5.0, None),
        ("bob", "A2", 4.0, noon),
        ("eve", "A1", 1.5, noon),
    ]
    assert rows(spark, lake, "ratings") == kept
    assert rows(spark, lake, "quarantine") == [("ratings", "country=DE/a.csv", 3, "null_id", null)]
    ingest(spark, lake, DataOptions(source=str(tmp_path / "in"), userColumn="country", **mapping), ANYTHING)
    assert {row[0] for row in rows(spark, lake, "users")} == {"DE", "S\xe3o Tom\xe9"}


def test_a_partition_of_the_next_day_with_the_same_rows_is_other_input(spark, lake, tmp_path):
    for day, second in (("2024-05-01", 1_714_521_600), ("2024-05-02", 1_714_608_000)):
        source = folder(tmp_path / f"in/date={day}", a__csv=["user_id,item_id,rating", "1,2,3"])
        ingest(spark, lake, DataOptions(source=source, timestampColumn="date"), QualityOptions())
        assert rows(spark, lake, "ratings") == [(1, 2, 3.0, second)]


def test_a_refusal_names_the_column_and_the_option_that_would_read_it(spark, lake, tmp_path):
    lines = [f"{user},{user},3,{1_714_564_800_000 + user}" for user in range(3)]
    source = folder(tmp_path / "in", a__csv=["user_id,item_id,rating,when", *lines])
    data = {"source": source, "timestampColumn": "when"}
    with pytest.raises(
        DataRejected, match="3 of 3 rows are bad.* column when looks like milliseconds: data.timestampUnit=ms"
    ):
        ingest(spark, lake, DataOptions(**data), QualityOptions())
    with pytest.raises(
        DataRejected,
        match="column when holds '1714564800000', which is not of the form data.timestampFormat = '%d/%m/%Y'",
    ):
        ingest(spark, lake, DataOptions(**data, timestampFormat="%d/%m/%Y"), QualityOptions())
    assert ingest(spark, lake, DataOptions(**data, timestampUnit="ms"), QualityOptions())["ratings"] == 3


def test_sources_that_cannot_be_read_say_why(spark, lake, tmp_path):
    def error(kind=ConfigError, **options):
        with pytest.raises(kind) as raised:
            ingest(spark, lake, DataOptions(**options), QualityOptions())
        return str(raised.value)

    source = folder(tmp_path / "in", readme__md=["x"], a__csv=["user,item_id,rating", "1,2,3"])
    assert "data.source is not set" in error()
    assert "has no column user_id, it has user, item_id, rating" in error(source=source)
    assert "has no parquet file (it has a.csv, readme.md)" in error(
        InputMissing, source=source, dataset="parquet"
    )
    assert "needs u.data, u.item, u.user" in error(InputMissing, source=source, dataset="ml-100k")
    assert "data.dataset = 'ml-2m' is not allowed" in error(dataset="ml-2m")
    assert not lake.exists("tables")


@pytest.mark.parametrize(
    ("dataset", "ratings", "users", "items", "tags"),
    [
        ("ml-100k", 100_000, 943, 1_682, 0),
        ("ml-1m", 1_000_209, 6_040, 3_883, 0),
        ("ml-latest-small", 100_836, 610, 9_742, 3_683),
    ],
)
def test_the_real_editions_have_exact_counts(spark, lake, movielens, dataset, ratings, users, items, tags):
    summary = ingest(spark, lake, DataOptions(source=str(movielens / f"{dataset}.zip")), QualityOptions())
    assert summary["dataset"] == dataset
    assert (summary["ratings"], summary["users"], summary["items"], summary["tags"]) == (
        ratings,
        users,
        items,
        tags,
    )
    assert summary["quarantined"] == 0
    table = spark.read.parquet(lake.path("tables/items")).toPandas()
    without = int((table["genres"].str.len() == 0).sum())
    assert without == {"ml-100k": 2, "ml-1m": 0, "ml-latest-small": 34}[dataset]
    assert table["year"].isna().sum() == {"ml-100k": 1, "ml-1m": 0, "ml-latest-small": 12}[dataset]
    if dataset == "ml-100k":
        given = lake.read_json("tables/manifest.json")["tables"]
        assert [
            (given[f"given/u{i}/train"]["rows"], given[f"given/u{i}/test"]["rows"]) for i in range(1, 6)
        ] == [(80_000, 20_000)] * 5
        assert [given[f"given/u{s}/test"]["rows"] for s in "ab"] == [9_430, 9_430]
