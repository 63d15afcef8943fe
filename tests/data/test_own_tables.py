"""Tables of users and items of one's own: any columns, kept with their types, beside ratings of any kind."""

import datetime
import functools
import zipfile
from contextlib import ExitStack

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from recspark.data import schemas, work
from recspark.data.batch import publish_batch
from recspark.data.catalogue import described
from recspark.data.formats.layout import arrow_schema
from recspark.data.formats.own_tables import bind_own, own_files, published_type, type_of_text
from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.data.sources.archive import open_source
from recspark.errors import ConfigError, DataRejected, InputMissing
from recspark.features.options import read_tables
from recspark.lake.lake import Lake

ANYTHING = QualityOptions(maxBadFraction=1.0)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def write(tmp_path):
    """Write a CSV file of lines; gives its path."""

    def written(name, *lines):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        return str(path)

    return written


def read(spark, lake, table):
    frame = spark.read.parquet(lake.path(f"tables/{table}"))
    return frame, sorted(
        (row.asDict() for row in frame.collect()), key=lambda row: str(row[frame.columns[0]])
    )


def types_of(frame):
    return {field.name: field.dataType.simpleString() for field in frame.schema}


def test_a_schema_holds_any_name():
    types = {
        "user_id": "bigint",
        "home, sweet `home`": "array<string>",
        "Größe": "double",
        "weights": "map<string,double>",
        "1": "string",
    }
    assert schemas.columns(schemas.ddl(types)) == types
    assert arrow_schema(schemas.ddl(types)).names == list(types)
    for table in (
        schemas.RATINGS,
        schemas.USERS,
        schemas.ITEMS,
        schemas.TAGS,
        schemas.QUARANTINE,
        schemas.INDEX,
    ):
        assert schemas.ddl(schemas.columns(table)) == table


def test_columns_of_csv_have_the_types_of_their_values_whatever_their_names(spark, lake, write, monkeypatch):
    monkeypatch.setattr(work, "plan", functools.partial(work.plan, chunk_bytes=60))
    ratings = write("ratings.csv", "customer;sku;stars", "7;A;3", "8;B;4", "9;A;5")
    # titles with years, a rating and a timestamp that are none, a column of the other side's name: all stay
    # what they are
    lines = [
        "sku;title;year;genres;rating;timestamp;user_id;net. price",
        "A;Heat (1995);1995;Action|Crime;PG-13;noon;x;1.5",
        "B;Brand;1996;;;;;2",
        "C;'67;-3;a;b;c;d;1e2",
        "D;;;;;;;",
    ]
    options = {"separator": ";", "userColumn": "customer", "itemColumn": "sku", "ratingColumn": "stars"}
    summary = ingest(
        spark,
        lake,
        DataOptions(source=ratings, items=write("items.csv", *lines), **options),
        QualityOptions(),
    )
    frame, rows = read(spark, lake, "items")
    assert types_of(frame) == {
        "item_id": "string",
        "title": "string",
        "year": "bigint",
        "genres": "string",
        "rating": "string",
        "timestamp": "string",
        "user_id": "string",
        "net. price": "double",
    }
    first = ("A", "Heat (1995)", 1995, "Action|Crime", "PG-13", "noon", "x", 1.5)
    assert tuple(rows[0].values()) == first and tuple(rows[1].values()) == (
        "B",
        "Brand",
        1996,
        None,
        None,
        None,
        None,
        2.0,
    )
    assert tuple(rows[3].values()) == ("D", *[None] * 7)
    assert (summary["items"], summary["users"], summary["read"], summary["quarantined"]) == (4, 3, 7, 0)
    assert len(frame.inputFiles()) > 1  # many chunks


def test_notation_and_paths_are_those_of_other_data(spark, lake, write, tmp_path):
    ratings = write("ratings.csv", "user_id;item_id;rating", "1;10;3,5")
    write(
        "people/year=2024/a.csv",
        "user_id;height;city;timestamp",
        "1;1,75;N/A;2024-05-01",
        "2;2;Ulm;2024-05-02T10:00Z",
    )
    write("people/year=2023/b.csv", "user_id;height;city;timestamp", "3;NULL; Bonn ;")
    data = DataOptions(source=ratings, users=str(tmp_path / "people"), separator=";", decimal=",")
    ingest(spark, lake, data, QualityOptions())
    frame, rows = read(spark, lake, "users")
    found = {
        "user_id": "bigint",
        "year": "bigint",
        "height": "double",
        "city": "string",
        "timestamp": "string",
    }
    assert types_of(frame) == found
    rows = [tuple(row[name] for name in found) for row in rows]
    assert rows == [
        (1, 2024, 1.75, None, "2024-05-01"),
        (2, 2024, 2.0, "Ulm", "2024-05-02T10:00Z"),
        (3, 2023, None, "Bonn", None),
    ]


@pytest.mark.parametrize("cut", [60, 1 << 20])
def test_bad_rows_are_quarantined_ids_of_ratings_are_added_and_others_stay(
    spark, lake, write, monkeypatch, cut
):
    monkeypatch.setattr(work, "plan", functools.partial(work.plan, chunk_bytes=cut))
    ratings = write("ratings.csv", "user_id,item_id,rating", "1,10,3", "2,10,4", "3,11,5")
    lines = ["user_id,age,city", "1,30,Ulm", "1,31,Bonn", ",50,Köln", "2,40", '9,60,"Bad, Ems"', "1,32,Jena"]
    summary = ingest(spark, lake, DataOptions(source=ratings, users=write("people.csv", *lines)), ANYTHING)
    _, rows = read(spark, lake, "users")
    assert [tuple(row.values()) for row in rows] == [
        (1, 32, "Jena"),
        (2, None, None),
        (3, None, None),
        (9, 60, "Bad, Ems"),
    ]
    _, bad = read(spark, lake, "quarantine")
    found = sorted((row["table"], row["file"], row["line"], row["reason"]) for row in bad)
    reasons = [(2, "duplicate"), (3, "duplicate"), (4, "null_id"), (5, "field_count")]
    assert found == [("users", "people.csv", line, reason) for line, reason in reasons]
    facts = lake.read_json("tables/manifest.json")["tables"]["users"]
    assert [facts[key] for key in ("read", "kept", "quarantined", "added", "rows")] == [6, 2, 4, 2, 4]
    assert facts["schema"] == "user_id bigint, age bigint, city string" and summary["users"] == 4
    manifest = lake.read_json("tables/manifest.json")
    assert manifest["users"].endswith("people.csv") and manifest["files"] == ["people.csv", "ratings.csv"]


def test_columns_of_parquet_keep_their_types(spark, lake, write, tmp_path, caplog):
    ratings = write("ratings.csv", "user_id,item_id,rating", "1,10,3")
    day, noon = datetime.date(2024, 5, 1), datetime.datetime(2024, 5, 1, 12)
    columns = {
        "item_id": pa.array([10, 11], pa.int32()),
        "brand": pa.array(["x", "y"]).dictionary_encode(),
        "price": pa.array([1, 2], pa.decimal128(9, 2)),
        "stock": pa.array([3, None], pa.int16()),
        "new": pa.array([True, None]),
        "since": pa.array([day, None]),
        "seen": pa.array([noon, None], pa.timestamp("ns")),
        "tags": pa.array([["a", "b"], None], pa.large_list(pa.string())),
        "sizes": pa.array([[1, 2], []], pa.list_(pa.int32())),
        "weights": pa.array([[("a", 0.5)], None], pa.map_(pa.string(), pa.float32())),
        "nothing": pa.nulls(2),
        "vendor": pa.array([{"a": 1}, None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    ingest(spark, lake, DataOptions(source=ratings, items=str(tmp_path / "items.parquet")), QualityOptions())
    frame, rows = read(spark, lake, "items")
    assert types_of(frame) == {
        "item_id": "bigint",
        "brand": "string",
        "price": "double",
        "stock": "bigint",
        "new": "boolean",
        "since": "date",
        "seen": "timestamp",
        "tags": "array<string>",
        "sizes": "array<bigint>",
        "weights": "map<string,double>",
        "nothing": "string",
    }
    assert frame.selectExpr("unix_seconds(seen)").first()[0] == noon.replace(tzinfo=datetime.UTC).timestamp()
    rows[0].pop("seen")
    assert tuple(rows[0].values()) == (10, "x", 1.0, 3, True, day, ["a", "b"], [1, 2], {"a": 0.5}, None)
    assert "column vendor is left out: no table can hold its type, struct<a: int64>" in caplog.text


@pytest.mark.parametrize(
    ("rated", "known", "found", "added"),
    [
        (["1", "2"], ["1", "2"], "bigint", 0),
        (["1", "2"], pd.Series([1, 2, 3]), "bigint", 0),
        (["1", "2"], pd.Series(["1", "2"]), "string", 0),
        (["1", "2"], pd.Series([1.0, 2.0, None]), "bigint", 0),
        (["x1", "2", "y"], pd.Series([1.0, 2.0, None]), "string", 2),
        (["1", "2"], ["C1", "C2", "2"], "string", 1),
    ],
)
def test_ids_have_one_type_in_all_tables(spark, lake, write, tmp_path, rated, known, found, added):
    ratings = write("ratings.csv", "user_id,item_id,rating", *(f"{user},i,1" for user in rated))
    if isinstance(known, pd.Series):
        people = str(tmp_path / "people.parquet")
        known.to_frame("user_id").to_parquet(people)
    else:
        people = write("people.csv", "user_id,age", *(f"{user},1" for user in known))
    ingest(spark, lake, DataOptions(source=ratings, users=people), ANYTHING)
    assert {types_of(read(spark, lake, table)[0])["user_id"] for table in ("ratings", "users", "tags")} == {
        found
    }
    assert lake.read_json("tables/manifest.json")["tables"]["users"]["added"] == added


def test_a_table_without_any_id_of_the_ratings_is_told(spark, lake, write, caplog):
    ratings = write("ratings.csv", "user_id,item_id,rating", "1,10,3", "2,10,4")
    ingest(
        spark,
        lake,
        DataOptions(source=ratings, users=write("people.csv", "user_id,age", "001,30")),
        QualityOptions(),
    )
    assert "no user_id of the ratings is in their own table" in caplog.text
    assert len(read(spark, lake, "users")[1]) == 3


def test_a_batch_has_the_types_of_ids_of_the_tables_and_no_table_of_its_own(spark, lake, write):
    ratings = write("ratings.csv", "user_id,item_id,rating", "1,10,3", "2,10,4")
    data = DataOptions(source=ratings, users=write("people.csv", "user_id,age", "A,30", "B,50", "1,40"))
    ingest(spark, lake, data, QualityOptions())
    more = DataOptions(
        **data.as_dict()
        | {"source": write("more.csv", "user_id,item_id,rating", "3,11,5"), "users": "gone.csv"}
    )
    batch = publish_batch(spark, lake, more, QualityOptions())
    assert types_of(spark.read.parquet(lake.path(f"{batch}/ratings"))) == types_of(
        read(spark, lake, "ratings")[0]
    )
    assert types_of(read(spark, lake, "ratings")[0]) == {
        "user_id": "string",
        "item_id": "bigint",
        "rating": "float",
        "timestamp": "bigint",
    }


def test_readers_of_items_take_any_columns(spark, lake, write):
    ratings = write("ratings.csv", "user_id,item_id,rating", "1,10,3")
    lines = ["item_id;genres;year;tags", "10;Drama;1999 or so;dark", "11;;2001;"]
    data = DataOptions(source=ratings, items=write("items.csv", *(line.replace(";", ",") for line in lines)))
    ingest(spark, lake, data, QualityOptions())
    _, items = read_tables(spark, lake)
    assert items.columns == ["item_id", "genres", "year", "tags"]
    assert dict(items.select("item_id", "tags").collect()) == {10: "dark", 11: None}
    found = described(items).orderBy("item_id").collect()
    assert [tuple(row) for row in found] == [(10, None, None, ["Drama"]), (11, None, 2001, None)]


def test_an_edition_takes_tables_of_ones_own_and_archives_are_unpacked(spark, lake, write, tmp_path):
    write("ml/ratings.csv", "userId,movieId,rating,timestamp", "1,1,4.5,900000000")
    write("ml/movies.csv", "movieId,title,genres", "1,Heat (1995),Action")
    write("ml/links.csv", "movieId,imdbId,tmdbId", "1,0114709,862")
    with zipfile.ZipFile(tmp_path / "items.zip", "w") as archive:
        archive.writestr("a/part-1.csv", "item_id,brand\n1,x\n")
        archive.writestr("a/part-2.csv", "item_id,price\n2,3\n")
    data = DataOptions(source=str(tmp_path / "ml"), items=str(tmp_path / "items.zip"))
    summary = ingest(spark, lake, data, QualityOptions())
    assert summary["dataset"] == "ml-latest" and not summary["unchanged"]
    assert [tuple(row.values()) for row in read(spark, lake, "items")[1]] == [(1, "x", None), (2, None, 3)]
    assert ingest(spark, lake, data, QualityOptions())["unchanged"]
    with zipfile.ZipFile(tmp_path / "items.zip", "a") as archive:
        archive.writestr("a/part-3.csv", "item_id,brand\n3,z\n")
    assert ingest(spark, lake, data, QualityOptions())["items"] == 3


def test_mistakes_name_the_file_or_the_option(spark, lake, write, tmp_path):
    ratings = write("ratings.csv", "customer,item_id,rating", "1,1,4.5")

    def error(kind=ConfigError, **options):
        with pytest.raises(kind) as raised:
            ingest(
                spark, lake, DataOptions(source=ratings, userColumn="customer", **options), QualityOptions()
            )
        return str(raised.value)

    assert "data.users = 'nowhere.csv' does not exist" in error(InputMissing, users="nowhere.csv")
    assert "people.csv has no column customer, it has id, age" in error(
        users=write("people.csv", "id,age", "1,2")
    )
    both = write("both.csv", "customer,User_ID,age", "1,2,3")
    assert (
        "both.csv has the columns customer and User_ID: the first becomes user_id, so drop or rename the "
        "second" in error(users=both)
    )
    assert "has the columns age and Age, which differ by case alone: drop or rename one" in error(
        users=write("case.csv", "customer,age,Age", "1,2,3")
    )
    (tmp_path / "empty").mkdir()
    for name in ("read.me", "too.md"):
        (tmp_path / "empty" / name).write_text("x")
    assert (
        "data.items = " in (said := error(InputMissing, items=str(tmp_path / "empty")))
        and "it must have CSV or Parquet files" in said
    )
    for part, values in (("a", [1]), ("b", ["x"])):
        pd.DataFrame({"customer": [1], "city": values}).to_parquet(tmp_path / f"empty/{part}.parquet")
    assert "b.parquet: column city is string, in other files of the same table it is bigint" in error(
        users=str(tmp_path / "empty")
    )
    assert "users: 1 of 2 rows are bad" in error(
        DataRejected, users=write("bad.csv", "customer,age", "1,2", ",3")
    )
    assert not lake.exists("tables")


def test_an_id_in_another_case_is_missing(write, tmp_path):
    path = write("people.csv", "User_Id,age", "1,2")
    _, layouts = own_files(DataOptions(), "users", ["people.csv"])
    with pytest.raises(ConfigError, match="people.csv has no column user_id, it has User_Id, age: "):
        bind_own(pafs.LocalFileSystem(), {"people.csv": path}, layouts)


@pytest.mark.parametrize("option", ["users", "items"])
def test_files_of_another_format_are_named_with_their_option(write, tmp_path, caplog, option):
    write("in/a.csv", "user_id,item_id,age", "1,1,2")
    pd.DataFrame({"user_id": [1], "item_id": [1], "age": [2]}).to_parquet(tmp_path / "in/b.parquet")
    data = DataOptions(
        source=write("ratings.csv", "user_id,item_id,rating", "1,1,3"), **{option: str(tmp_path / "in")}
    )
    with ExitStack() as stack:
        places = {"source": data.source, option: str(tmp_path / "in")}
        opened = (
            stack.enter_context(open_source(None, Lake(str(tmp_path / "lake")), place, ANYTHING, name))
            for name, place in places.items()
        )
        _, layouts = work.formats(data, dict(zip(places, opened, strict=True)))
    assert list(layouts[option]) == ["b.parquet"]
    [line] = caplog.messages
    assert f"not read, as not part of parquet: a.csv; to read one, set data.{option} to it" in line


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["1", "-20", "+3", " 4 ", "0", ""], "bigint"),
        (["1", "2.0"], "double"),
        (["1e3", ".5", "-7."], "double"),
        (["007", "1"], "string"),
        (["12345678901234567890"], "string"),
        (["1", "x"], "string"),
        (["."], "string"),
        (["nan"], "string"),
        (["0x10"], "string"),
        (["", " "], "void"),
        ([], "void"),
    ],
)
def test_the_type_of_text_is_that_of_all_values(texts, found):
    assert type_of_text(pa.chunked_array([pa.array(texts, pa.string())])) == found


def test_types_that_no_table_holds_are_known():
    for type_ in (
        pa.struct([("a", pa.int8())]),
        pa.binary(),
        pa.list_(pa.bool_()),
        pa.map_(pa.int8(), pa.float32()),
        pa.time32("s"),
    ):
        assert published_type(type_) is None
