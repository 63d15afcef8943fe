"""Tables of Spark's own catalog, which have no versions, as input and output: ``table:db.ratings``."""

import json
from decimal import Decimal

import pandas as pd
import pytest

from recspark.data.batch import publish_batch
from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.data.lakehouse.publish import write_table
from recspark.data.lakehouse.versions import AS_OF, hash_of
from recspark.errors import ConfigError, DataRejected, InputMissing, RecsparkError
from recspark.lake.lake import Lake
from recspark.lake.manifests import TablesManifest

ANYTHING = QualityOptions(maxBadFraction=1.0)
NAMES = {"userColumn": "who", "itemColumn": "what", "ratingColumn": "stars", "timestampColumn": "at"}


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def schema(spark):
    """A schema of the session's catalog, with what is in it dropped at the end."""
    spark.sql("CREATE SCHEMA shop")
    yield "shop"
    spark.sql("DROP SCHEMA shop CASCADE")


@pytest.fixture
def save(spark, schema):
    """Save rows as a table of `schema`; gives the value of the option that names it."""

    def saved(name, rows, ddl, mode="overwrite"):
        spark.createDataFrame(rows, ddl).write.mode(mode).saveAsTable(f"{schema}.{name}")
        return f"table:{schema}.{name}"

    return saved


def rows_of(spark, lake, table):
    return sorted(map(tuple, spark.read.parquet(lake.path(f"tables/{table}")).collect()), key=str)


RATED = "who string, what bigint, stars double, at timestamp, note map<string,string>"


def rated(*rows):
    return [
        (who, what, stars, pd.Timestamp(at).to_pydatetime(), {"by": "hand"}) for who, what, stars, at in rows
    ]


def test_rows_are_read_and_judged_as_those_of_files(spark, lake, save):
    rows = rated(
        ("a", 1, 4.0, "2024-05-01"),
        ("b", 1, 3.5, "2024-05-02"),
        ("b", 2, 9.0, "2024-05-02"),
        (None, 2, 3.0, "2024-05-02"),
        ("c", 3, 2.0, "2024-05-03"),
        ("c", 3, 5.0, "2024-05-03"),
        ("c", 3, 1.0, "2024-05-01"),
    )
    source = save("ratings", rows, RATED)
    summary = ingest(spark, lake, DataOptions(source=source, ratingMin=1, ratingMax=5, **NAMES), ANYTHING)
    # of a pair's rows the last stays, of those of one time the one with the highest rating
    kept = [("a", 1, 4.0, 1714521600), ("b", 1, 3.5, 1714608000), ("c", 3, 5.0, 1714694400)]
    assert rows_of(spark, lake, "ratings") == kept
    assert (summary["dataset"], summary["read"], summary["quarantined"]) == ("table", 7, 4)
    assert summary["reasons"] == {"duplicate": 2, "null_id": 1, "rating_range": 1}
    # a row of a table has no line: its text has the key
    bad = spark.read.parquet(lake.path("tables/quarantine")).collect()
    assert {(row.table, row.file, row.line) for row in bad} == {("ratings", "shop.ratings", None)}
    [wild] = [json.loads(row.text) for row in bad if row.reason == "rating_range"]
    assert list(wild) == ["who", "what", "stars", "at"] and (wild["who"], wild["what"]) == ("b", 2)
    with pytest.raises(DataRejected, match=r"the first: shop\.ratings, (duplicate|rating_range|null_id): '{"):
        ingest(spark, lake, DataOptions(source=source, ratingMin=1, ratingMax=5, **NAMES), QualityOptions())


def test_the_same_rows_again_are_a_no_op_in_any_order(spark, lake, save, monkeypatch):
    rows = rated(("a", 1, 4.0, "2024-05-01"), ("b", 1, 3.5, "2024-05-02"), ("b", 2, 3.0, "2024-05-02"))
    data = DataOptions(source=save("ratings", rows, RATED), **NAMES)
    first = ingest(spark, lake, data, ANYTHING)
    assert not first["unchanged"] and first["digest"].startswith("rows:3:")
    assert lake.require("tables", TablesManifest, "ingest").versions == {"source": first["digest"]}
    save("ratings", rows[::-1], RATED)
    with monkeypatch.context() as patched:
        patched.setattr("recspark.data.lakehouse.source.CatalogTable.files", None)  # nothing is copied
        assert ingest(spark, lake, data, ANYTHING)["unchanged"]
    save("ratings", rated(("c", 1, 4.0, "2024-05-01")), RATED, "append")
    again = ingest(spark, lake, data, ANYTHING)
    assert not again["unchanged"] and again["ratings"] == 4 and again["digest"] != first["digest"]
    assert lake.names(".staging") == []


def test_tables_of_users_and_items_beside_files(spark, lake, save, tmp_path):
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("user_id,item_id,rating\n1,x,3\n2,y,4\n")
    people = [(1, "Ulm", {"a": 1.0}, [1, 2]), (1, "Bonn", None, None), (7, None, None, [])]
    users = save("people", people, "USER_ID bigint, city string, taste map<string,double>, seen array<int>")
    items = save("things", [("x", Decimal("2.5")), (None, None)], "item_id string, price decimal(5,2)")
    summary = ingest(spark, lake, DataOptions(source=str(ratings), users=users, items=items), ANYTHING)
    assert {row[0] for row in rows_of(spark, lake, "users")} == {1, 2, 7}
    assert rows_of(spark, lake, "items") == [("x", 2.5), ("y", None)]
    assert (summary["users"], summary["quarantined"], summary["dataset"]) == (3, 2, "csv")
    assert lake.require("tables", TablesManifest, "ingest").versions.keys() == {"users", "items"}
    assert ingest(spark, lake, DataOptions(source=str(ratings), users=users, items=items), ANYTHING)[
        "unchanged"
    ]


def test_a_table_is_cut_into_files_whose_duplicates_are_found(spark, lake, save, monkeypatch):
    monkeypatch.setattr("recspark.data.lakehouse.source._FILE_ROWS", 10)
    rows = rated(*((f"u{n % 20}", n % 3, 1.0 + n % 5, f"2024-05-{1 + n % 28:02}") for n in range(300)))
    summary = ingest(spark, lake, DataOptions(source=save("ratings", rows, RATED), **NAMES), ANYTHING)
    assert (summary["ratings"], summary["read"], summary["reasons"]) == (60, 300, {"duplicate": 240})
    newest = max((row[3], row[2]) for row in rows if row[:2] == ("u0", 0))
    assert [row[2] for row in rows_of(spark, lake, "ratings") if row[:2] == ("u0", 0)] == [newest[1]]


def test_a_view_is_a_table_and_events_are_merged(spark, lake, save, schema):
    save("ratings", rated(*(("a", 1, 4.0, "2024-05-01"),) * 3, ("b", 2, 1.0, "2024-05-01")), RATED)
    spark.sql(f"CREATE VIEW {schema}.clicks AS SELECT who, what FROM {schema}.ratings")
    data = DataOptions(source=f"table:{schema}.clicks", userColumn="who", itemColumn="what", ratingColumn="")
    assert ingest(spark, lake, data, ANYTHING)["merged"] == 2
    assert rows_of(spark, lake, "ratings") == [("a", 1, 3.0, None), ("b", 2, 1.0, None)]


def test_a_batch_of_new_ratings_may_be_a_table(spark, lake, save):
    ddl = "user_id bigint, item_id bigint, rating float"
    source = save("events", [(1, 1, 4.0), (2, 1, 3.0)], ddl)
    ingest(spark, lake, DataOptions(source=source, tables="shop"), ANYTHING)
    new = save("fresh", [(3, 1, 5.0)], ddl)
    batch = publish_batch(spark, lake, DataOptions(source=new, tables="shop"), ANYTHING)
    assert spark.read.parquet(lake.path(f"{batch}/ratings")).count() == 1
    assert spark.table("shop.ratings").count() == 2  # data.tables is for ingest alone: an update leaves it


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"source": "table:"}, ConfigError, "'table:' is not allowed: after table: it must be the name of a"),
        ({"source": "table:a b"}, ConfigError, "a part that is not a word is in backticks"),
        ({"source": "table:shop.nothing"}, InputMissing, "does not exist in Spark's catalogs"),
        ({"source": "table:lake.db.ratings"}, ConfigError, "add its package (spark.jars.packages)"),
        ({"source": "table:delta.`/nowhere`"}, InputMissing, "or Spark lacks its format's package"),
        (
            {"source": "table:shop.ratings", "asOf": "3"},
            ConfigError,
            "data.asOf = '3' is not allowed: data.so",
        ),
        ({"source": "table:shop.ratings", "tables": "shop"}, ConfigError, "would replace table:shop.ratings"),
        ({"source": "ratings.csv", "asOf": "3"}, ConfigError, "only tables have versions"),
        ({"source": "table:shop.ratings", "dataset": "ml-1m"}, ConfigError, "a table has columns"),
        ({"source": "table:shop.ratings", "dataset": "adjacency"}, ConfigError, "a table has columns"),
        (
            {"source": "table:shop.ratings", "ratingColumn": "grade"},
            ConfigError,
            "has no column grade, it has who, what, stars, at, note: set data.ratingColumn",
        ),
    ],
)
def test_mistakes_are_one_clear_sentence(spark, lake, save, options, error, text):
    save("ratings", rated(("a", 1, 4.0, "2024-05-01")), RATED)
    with pytest.raises(error) as raised:
        ingest(spark, lake, DataOptions(**NAMES | options), ANYTHING)
    message = str(raised.value)
    assert text in message and "\n" not in message, message
    assert not lake.exists("tables") and lake.names(".staging") == []


def test_versions_are_numbers_or_times():
    assert DataOptions(asOf=3).asOf == "3" and DataOptions(asOf="2024-05-01T10:00Z").asOf
    for wrong in ("latest", "-1", "1.5", "", True):
        with pytest.raises(
            ConfigError, match=r"data\.asOf = .* is not allowed: it must be a string, the number"
        ):
            DataOptions(asOf=wrong)
    assert AS_OF.holds("8293749823749823749")


def test_the_hash_of_rows_depends_on_values_and_columns_alone(spark):
    frame = spark.createDataFrame([(1, {"a": 1}), (2, None)], "id bigint, more map<string,bigint>")
    assert hash_of(frame) == hash_of(frame.orderBy("id", ascending=False).repartition(3))
    others = (
        frame.limit(1),
        frame.toDF("key", "more"),
        frame.withColumn("id", frame.id + 1),
        frame.union(frame),
    )
    assert len({hash_of(other) for other in (frame, *others)}) == 5


def test_tables_of_the_lake_go_into_a_schema_too(spark, lake, save):
    rows = [(1, 1, 4.0), (2, 1, 3.0), (None, 1, 3.0)]
    source = save("events", rows, "user_id bigint, item_id bigint, rating float")
    ingest(spark, lake, DataOptions(source=source, tables="shop"), ANYTHING)
    for table in ("ratings", "users", "items", "tags", "quarantine"):
        assert sorted(spark.table(f"shop.{table}").collect(), key=str) == sorted(
            spark.read.parquet(lake.path(f"tables/{table}")).collect(), key=str
        )
    assert spark.table("shop.quarantine").count() == 1
    # without the option the lake's tables are the same, with it they are written again
    assert not ingest(spark, lake, DataOptions(source=source), ANYTHING)["unchanged"]


LISTS = "user_id bigint, rank int, item_id bigint"


def test_rows_replace_those_of_a_table_by_name(spark, save, schema):
    name = save("lists", [(1, 1, 10), (2, 1, 20)], LISTS).removeprefix("table:")
    rows = spark.createDataFrame([(30, 3, 1)], "item_id bigint, user_id bigint, rank int")
    assert write_table(rows, "recommend.table", name) is None  # no versions
    assert [tuple(row) for row in spark.table(name).collect()] == [(3, 1, 30)]
    write_table(rows, "recommend.table", f"{schema}.new")
    assert spark.table(f"{schema}.new").columns == ["item_id", "user_id", "rank"]


def test_what_can_not_be_written_leaves_the_old_rows(spark, save):
    name = save("lists", [(1, 1, 10), (2, 1, 20)], LISTS).removeprefix("table:")
    rows = spark.createDataFrame([(1, 30)], "user_id bigint, item_id bigint")
    with pytest.raises(RecsparkError, match=r"recommend\.table = 'shop\.lists'"):
        write_table(rows, "recommend.table", name)
    with pytest.raises(ConfigError, match="only Delta and Iceberg replace the rows of some users"):
        write_table(spark.table(name), "recommend.table", name, "user_id")
    with pytest.raises(ConfigError, match=r"add its package \(spark\.jars\.packages\)"):
        write_table(rows, "recommend.table", "lake.db.lists")
    assert spark.table(name).count() == 2
