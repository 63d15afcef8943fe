"""Files of users and items of one's own are read by the rules for files of ratings: notation, copies,
compression, partitions.
"""

import gzip
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.data.ingest import DataOptions, QualityOptions, ingest
from recspark.data.schemas import columns
from recspark.errors import ConfigError, InputMissing
from recspark.lake.lake import Lake

RATINGS = "user_id;item_id;rating\n1;10;3,5\n2;11;4\n"


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def read(spark, lake, tmp_path):
    """Ingest RATINGS with a table of items; gives the schema and the rows of items in order of their ids."""
    (tmp_path / "ratings.csv").write_text(RATINGS)

    def read(items, **options):
        settings = {"separator": ";", "decimal": ","} | options
        data = DataOptions(source=str(tmp_path / "ratings.csv"), items=str(items), **settings)
        ingest(spark, lake, data, QualityOptions())
        rows = spark.read.parquet(lake.path("tables/items")).orderBy("item_id").collect()
        return columns(lake.read_json("tables/manifest.json")["tables"]["items"]["schema"]), [
            tuple(row) for row in rows
        ]

    return read


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.slow
def test_numbers_and_missing_values_have_the_notation_of_the_ratings(read, tmp_path):
    lines = ["item_id;price;stock;size;point", '10;"1,5";NULL; L ;1.5', "11;-2;7;n/a;2.5", " 12 ;nan;;XL;NA"]
    types, rows = read(write(tmp_path / "items.csv", "\n".join(lines)))
    assert types == {
        "item_id": "bigint",
        "price": "double",
        "stock": "bigint",
        "size": "string",
        "point": "string",
    }
    assert rows == [(10, 1.5, None, "L", "1.5"), (11, -2.0, 7, None, "2.5"), (12, None, None, "XL", None)]
    types, _ = read(write(tmp_path / "items.csv", "\n".join(lines)), nullValues=["n/a"])
    assert types["stock"] == "string" and types["price"] == "string"


def test_a_column_called_timestamp_is_kept_as_it_is(read, tmp_path):
    types, rows = read(
        write(tmp_path / "items.csv", "item_id;timestamp\n10;2024-05-01\n11;noon\n"), timestampUnit="ms"
    )
    assert types["timestamp"] == "string" and [row[1] for row in rows] == ["2024-05-01", "noon"]


def test_files_are_unpacked_decoded_and_read_once(read, tmp_path, caplog):
    folder = tmp_path / "items"
    write(folder / "a.csv.gz", gzip.compress("item_id;name\n10;Amélie\n".encode()))
    write(folder / "b.csv", "item_id;name\n11;Café\n".encode("latin-1"))
    write(folder / "b (1).csv", "item_id;name\n11;copy\n")
    write(folder / "~$b.csv", "item_id;name\n11;lock\n")
    write(folder / "README.md", "no data")
    assert read(folder)[1] == [(10, "Amélie"), (11, "Café")]
    assert (
        "not read, as copies: b (1).csv (of b.csv)" in caplog.text
        and "leftovers by their names: ~$b.csv" in caplog.text
    )
    assert "not part of csv: README.md; to read one, set data.items to it" in caplog.text


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_partitions_in_the_path_are_columns(read, tmp_path, ending):
    for item, (year, brand) in enumerate(
        [("2023", "A%20B"), ("2024", "7"), ("__HIVE_DEFAULT_PARTITION__", "x")], 10
    ):
        path = tmp_path / f"items/year={year}/brand={brand}/part.{ending}"
        if ending == "csv":
            write(path, f"item_id;price\n{item};1,5\n")
        else:
            path.parent.mkdir(parents=True)
            pq.write_table(pa.table({"item_id": [item], "price": [1.5]}), path)
    types, rows = read(tmp_path / "items")
    assert types == {"item_id": "bigint", "year": "bigint", "brand": "string", "price": "double"}
    by_name = [dict(zip(types, row, strict=True)) for row in rows]
    assert [(row["item_id"], row["year"], row["brand"], row["price"]) for row in by_name] == [
        (10, 2023, "A B", 1.5),
        (11, 2024, "7", 1.5),
        (12, None, "x", 1.5),
    ]


def test_the_id_may_be_in_the_path(read, tmp_path):
    for item in (10, 11):
        write(tmp_path / f"items/sku={item}/a.csv", f"brand\nB{item}\n")
    write(tmp_path / "ratings.csv", RATINGS.replace("item_id", "sku"))
    assert read(tmp_path / "items", itemColumn="sku")[1] == [(10, "B10"), (11, "B11")]


def test_another_partition_is_another_table(read, lake, tmp_path):
    write(tmp_path / "items/year=2023/a.csv", "item_id\n10\n")
    read(tmp_path / "items")
    (tmp_path / "items/year=2023").rename(tmp_path / "items/year=2024")
    assert read(tmp_path / "items")[1][0] == (10, 2024)


def test_tables_of_other_formats_are_refused_by_the_name_of_the_option(read, tmp_path):
    write(tmp_path / "items/_delta_log/0.json", "{}")
    write(tmp_path / "items/a.csv", "item_id\n10\n")
    with pytest.raises(ConfigError, match=r"data.items = '.*items' is a Delta table"):
        read(tmp_path / "items")


def test_a_file_that_is_not_whole_yet_is_missing(read, lake, tmp_path):
    path = write(tmp_path / "items.csv", "")
    with pytest.raises(InputMissing, match=r"data.items = '.*items.csv' is an empty file"):
        read(path)
    assert not lake.exists("tables")


def test_a_file_that_changes_while_it_is_read_is_missing(read, lake, tmp_path, monkeypatch):
    path = write(tmp_path / "items.csv", "item_id;brand\n10;x\n")

    def grow(*args, **kwargs):
        time.sleep(0.01)
        path.write_text(path.read_text() + "11;y\n")
        return {}

    monkeypatch.setattr("recspark.data.ingest._build", grow)
    with pytest.raises(InputMissing, match="is still being written: items.csv has changed"):
        read(path)
    assert not lake.exists("tables")
