"""Tables of Delta and Iceberg as input and output; those that are read are not written by Spark."""

import datetime
import json
import os
import sqlite3
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.data.lakehouse.publish import write_table
from recspark.errors import ConfigError, InputMissing, RecsparkError
from recspark.lake.lake import Lake
from recspark.lake.manifests import TablesManifest

pytestmark = pytest.mark.slow

FIRST = [(1, 10, 4.0), (2, 10, 3.0), (3, 11, 5.0)]
SECOND = [(1, 10, 2.0), (2, 12, 3.0), (2, 13, 1.0), (4, 11, 5.0)]
#: SECOND without the ratings of user 2
LAST = [(1, 10, 2.0), (4, 11, 5.0)]
LISTS = "user_id bigint, rank int, item_id bigint"


def arrow(rows):
    columns = list(zip(*rows, strict=True))
    return pa.table(
        {
            "user_id": pa.array(columns[0], pa.int64()),
            "item_id": pa.array(columns[1], pa.int64()),
            "rating": pa.array(columns[2], pa.float64()),
        }
    )


@pytest.fixture(scope="module")
def delta(settings, tmp_path_factory):
    """A table of Delta with an overwrite and a delete behind it: its name, folder, versions and a time."""
    from deltalake import DeltaTable, write_deltalake

    folder = str(tmp_path_factory.mktemp("delta") / "ratings")
    write_deltalake(folder, arrow(FIRST))
    time.sleep(0.05)
    between = datetime.datetime.now(datetime.UTC).isoformat()
    time.sleep(0.05)
    write_deltalake(folder, arrow(SECOND), mode="overwrite")
    DeltaTable(folder).delete("user_id = 2")
    return f"table:delta.`{folder}`", folder, ["0", "1", "2"], between


@pytest.fixture(scope="module")
def iceberg(settings, warehouse):
    """The same rows in a table of Iceberg."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog(
        "lake", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}/iceberg"
    )
    catalog.create_namespace("db")
    table = catalog.create_table("db.ratings", schema=arrow(FIRST).schema)
    table.append(arrow(FIRST))
    time.sleep(0.05)
    between = datetime.datetime.now(datetime.UTC).isoformat()
    time.sleep(0.05)
    table.overwrite(arrow(SECOND))
    after = str(table.current_snapshot().snapshot_id)
    table.delete("user_id = 2")
    first = str(table.history()[0].snapshot_id)
    versions = [first, after, str(table.current_snapshot().snapshot_id)]
    return "table:lake.db.ratings", table.location().removeprefix("file://"), versions, between


@pytest.fixture(params=["delta", "iceberg"])
def written(request):
    return request.getfixturevalue(request.param)


def rows_of(spark, lake):
    return sorted(map(tuple, spark.read.parquet(lake.path("tables/ratings")).drop("timestamp").collect()))


def test_every_version_is_read_with_exactly_its_rows(spark, written, tmp_path):
    name, _, versions, between = written
    lake = Lake(str(tmp_path / "lake"))
    for version, rows in zip(versions, (FIRST, SECOND, LAST), strict=True):
        summary = ingest(spark, lake, DataOptions(source=name, asOf=version), QualityOptions())
        assert rows_of(spark, lake) == rows and summary["read"] == len(rows) and not summary["unchanged"]
        assert version in summary["digest"].split(":")
        manifest = lake.require("tables", TablesManifest, "ingest")
        assert manifest.versions == {"source": summary["digest"]} and manifest.digest == summary["digest"]
    # the last version is the one without asOf, and a time means the version of then
    assert ingest(spark, lake, DataOptions(source=name), QualityOptions())["unchanged"]
    assert ingest(spark, lake, DataOptions(source=name, asOf=between), QualityOptions())["ratings"] == 3
    assert rows_of(spark, lake) == FIRST
    with pytest.raises(InputMissing, match="had no version yet at that time"):
        ingest(spark, lake, DataOptions(source=name, asOf="2020-01-01"), QualityOptions())
    with pytest.raises(
        ConfigError, match=rf"asOf = '99' is not allowed: .* has the versions {versions[0]}, "
    ):
        ingest(spark, lake, DataOptions(source=name, asOf="99"), QualityOptions())


def test_a_folder_of_a_table_is_never_read_as_parquet(spark, written, tmp_path):
    name, folder, *_ = written
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(ConfigError, match='read it as "table:') as raised:
        ingest(spark, lake, DataOptions(source=folder), QualityOptions())
    if "delta." in name:  # the sentence has what to write
        assert f'read it as "{name}"' in str(raised.value)
    parts = [os.path.join(at, file) for at, _, files in os.walk(folder) for file in files]
    part = next(part for part in parts if part.endswith(".parquet"))
    with pytest.raises(ConfigError, match="rows that were deleted or overwritten"):
        ingest(spark, lake, DataOptions(source=part), QualityOptions())


def test_what_is_not_there_is_one_sentence(spark, tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    for place in ("table:lake.db.nothing", "table:lake.nowhere.x", f"table:delta.`{tmp_path}/x`", "table:x"):
        with pytest.raises(InputMissing, match="does not exist in Spark's catalogs") as raised:
            ingest(spark, lake, DataOptions(source=place), QualityOptions())
        assert "\n" not in str(raised.value)


@pytest.fixture(params=["default.lists USING delta", "lake.out.lists USING iceberg"])
def lists(request, spark):
    """A table of lists with the rows of users 1 and 2; gives its name."""
    name = request.param.partition(" ")[0]
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS {name.rpartition('.')[0]}")
    spark.sql(f"CREATE OR REPLACE TABLE {name} ({LISTS}) {request.param.partition(' ')[2]}")
    spark.sql(f"INSERT INTO {name} VALUES (1, 1, 10), (1, 2, 11), (1, 3, 12), (2, 1, 20)")
    yield name
    spark.sql(f"DROP TABLE {name}")


def versions_of(spark, name):
    history = f"DESCRIBE HISTORY {name}" if name.startswith("default") else f"SELECT * FROM {name}.snapshots"
    return spark.sql(history).count()


def content(spark, name):
    return sorted(map(tuple, spark.table(name).select("user_id", "rank", "item_id").collect()))


def test_lists_replace_all_rows_or_those_of_their_users_in_one_version(spark, lists):
    before = versions_of(spark, lists)
    merged = spark.createDataFrame([(30, 1, 1), (40, 3, 1)], "item_id bigint, user_id bigint, rank int")
    assert write_table(merged, "recommend.table", lists, "user_id").split(":")[0] in ("delta", "iceberg")
    assert content(spark, lists) == [(1, 1, 30), (2, 1, 20), (3, 1, 40)]
    assert versions_of(spark, lists) == before + 1
    write_table(merged.where("user_id = 3"), "recommend.table", lists)
    assert content(spark, lists) == [(3, 1, 40)] and versions_of(spark, lists) == before + 2


@pytest.mark.parametrize("key", [None, "user_id"])
def test_a_failure_leaves_the_old_rows(spark, lists, key):
    old, before = content(spark, lists), versions_of(spark, lists)
    rows = spark.createDataFrame([(1, 1, 30), (5, 1, 31)], LISTS)
    stops = F.when(F.col("user_id") == 5, F.raise_error(F.lit("stop"))).otherwise(F.col("item_id"))
    with pytest.raises(RecsparkError, match=r"recommend\.table = "):
        write_table(rows.withColumn("item_id", stops.cast("bigint")), "recommend.table", lists, key)
    with pytest.raises(RecsparkError, match=r"recommend\.table = "):
        write_table(rows.drop("rank").withColumn("other", F.lit(1)), "recommend.table", lists, key)
    assert content(spark, lists) == old and versions_of(spark, lists) == before


def test_the_jobs_read_and_write_tables(spark, command, tmp_path):
    rows = [
        (user, item, float(1 + (user * item) % 5)) for user in range(20) for item in range(user % 3, 30, 3)
    ]
    frame = spark.createDataFrame(rows, "user_id bigint, item_id bigint, rating double")
    spark.sql("CREATE SCHEMA lake.jobs")
    frame.writeTo("lake.jobs.events").create()
    words = (f"paths.lake={tmp_path}", "tracking.enabled=false", "model.rank=2", "model.maxIter=1")
    tables = ("data.source=table:lake.jobs.events", "data.tables=lake.jobs")
    code, summary, err = command("pipeline", *words, *tables, "evaluation.table=lake.jobs.predictions")
    assert code == 0, err
    assert summary["ratings"] == len(rows) == spark.table("lake.jobs.ratings").count()
    assert spark.table("lake.jobs.predictions").count() == summary["rows_test"]
    assert spark.table("lake.jobs.quarantine").count() == 0
    folds = ("split.folds=2", "model.name=folds", "evaluation.table=lake.jobs.predictions")
    code, _, err = command("crossvalidate", *words, *tables, *folds)
    assert code == 0, err
    assert spark.table("lake.jobs.predictions").count() == summary["rows_test"]
    lists = (*words, "recommend.table=lake.jobs.lists", "recommend.tableMode=merge")
    code, summary, err = command("recommend", *lists, "recommend.n=3")
    assert code == 0, err
    assert spark.table("lake.jobs.lists").count() == summary["rows"] == 60
    code, _, err = command("recommend", *lists, "recommend.n=1", "recommend.users=[4, 5]")
    assert code == 0, err
    assert spark.table("lake.jobs.lists").count() == 60 - 2 * 3 + 2


def test_a_conf_brings_jars_and_catalogs(delta, settings, tmp_path):
    conf = tmp_path / "own.toml"
    given = (f"{json.dumps(key)} = {json.dumps(value)}" for key, value in settings.items())
    conf.write_text("\n".join(["[spark.conf]", *given, '"spark.sql.shuffle.partitions" = 2', ""]))
    start = "import sys; from recspark.cli import main; sys.exit(main())"
    words = [
        "--set",
        "spark.master=local[2]",
        "--set",
        f"data.source={delta[0]}",
        "--set",
        f"paths.lake={tmp_path / 'lake'}",
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            start,
            "ingest",
            "--conf-file",
            str(conf),
            *words,
            "--set",
            "spark.master=local[2]",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["ratings"] == len(LAST) and summary["versions"] == {"source": summary["digest"]}
    with sqlite3.connect(tmp_path / "lake/mlflow.db") as runs:
        query = "SELECT value FROM params WHERE key = 'data.version.source'"
        assert runs.execute(query).fetchall() == [(summary["digest"],)]
        found = runs.execute("SELECT name, digest FROM datasets").fetchall()
    runs.close()
    assert found == [("table", summary["digest"][:36])]
