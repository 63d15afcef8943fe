"""Lists as one CSV file: quotes, names, figures."""

import csv
import doctest

import pandas as pd
import pytest

from recspark.data import naming
from recspark.errors import ConfigError
from recspark.lake.lake import Lake
from recspark.lake.manifests import TablesManifest
from recspark.pipeline.lists.list_files import list_names, writing

COLUMNS = ["user_id", "rank", "item_id", "rating", "cold"]
ROWS = [
    ("ü,1", 1, 'say "x"', 4.1, False),
    ("ü,1", 2, "two\nlines", 3.3333333, False),
    (" 007", 1, "cr\rhere", 1e-7, True),
]


def test_text_comes_back_as_it_was(spark, tmp_path):
    lake = Lake(str(tmp_path))
    lists = spark.createDataFrame(
        ROWS, "user_id string, rank int, item_id string, rating float, cold boolean"
    ).repartition(3)
    with (
        lake.publish("recommendations/als", "x") as publication,
        writing(lists, publication, "csv", COLUMNS) as written,
    ):
        assert sorted(map(tuple, written.drop("rating").collect())) == sorted(
            (*row[:3], row[4]) for row in ROWS
        )
        # Spark warns of a folder that begins so: "All paths were ignored"
        assert {path.split("/")[-2][0] for path in written.inputFiles()}.isdisjoint("._")
    assert sorted(path.name for path in (tmp_path / "recommendations/als").iterdir()) == [
        "lists.csv",
        "manifest.json",
    ]
    with open(tmp_path / "recommendations/als/lists.csv", newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found[0] == COLUMNS
    assert found[1:] == [
        [" 007", "1", "cr\rhere", "1e-7", "true"],
        ["ü,1", "1", 'say "x"', "4.1", "false"],
        ["ü,1", "2", "two\nlines", "3.3333333", "false"],
    ]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_source_s_own_names(spark, tmp_path, form):
    lake = Lake(str(tmp_path))
    options = {"userColumn": "customer", "itemColumn": "sku", "ratingColumn": "stars"}
    facts = {"source": "r.csv", "dataset": "csv", "digest": "", "files": (), "tables": {}}
    with lake.publish("tables", "x") as publication:
        publication.manifest = TablesManifest(fingerprint="x", options=options, **facts)
    names = list_names(lake, COLUMNS)
    lists = spark.createDataFrame(
        ROWS, "user_id string, rank int, item_id string, rating float, cold boolean"
    )
    with (
        lake.publish("recommendations/als", "x") as publication,
        writing(lists, publication, form, names) as written,
    ):
        assert written.columns == COLUMNS and written.count() == 3
    read = pd.read_csv if form == "csv" else pd.read_parquet
    assert list(read(tmp_path / "recommendations/als" / ("lists.csv" if form == "csv" else "lists"))) == names
    assert names == ["customer", "rank", "sku", "stars", "cold"]
    with lake.publish("tables", "x") as publication:
        publication.manifest = TablesManifest(
            fingerprint="x", options=options | {"itemColumn": "Rank"}, **facts
        )
    with pytest.raises(
        ConfigError, match="lists would have the columns customer, rank, Rank, stars, cold, two of one name"
    ):
        list_names(lake, COLUMNS)


def test_examples():
    assert not doctest.testmod(naming).failed and doctest.testmod(naming).attempted == 3
