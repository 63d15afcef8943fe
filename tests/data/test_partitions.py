"""Columns in the path of a file: Hive partitions."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.data.sources.names import is_data
from recspark.data.sources.partitions import partition_values
from recspark.errors import ConfigError
from tests.data.plans import found

MAY = 1_714_521_600


def write(path, rows, **columns):
    """A CSV or Parquet file of some columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table.slice(0, rows), path)
    else:
        table.slice(0, rows).to_pandas().to_csv(path, index=False)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("a/b.csv", {}),
        ("date=2024-05-01/b.csv", {"date": "2024-05-01"}),
        ("x/y=1/z=a%2Fb%3Dc/w=S%C3%A3o/b=c.csv", {"y": "1", "z": "a/b=c", "w": "São"}),
        ("a=__HIVE_DEFAULT_PARTITION__/b=/c=a=b/d.csv", {"a": None, "b": None, "c": "a=b"}),
        ("na%20me=1/=2/d.csv", {"na me": "1"}),
    ],
)
def test_the_columns_of_a_path(path, values):
    assert dict(partition_values(path)) == values


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_mapped_column_may_come_from_the_path(tmp_path, ending):
    for day, user in (("2024-05-01", "7"), ("2024-05-02", "008"), ("__HIVE_DEFAULT_PARTITION__", "bob%20x")):
        write(tmp_path / f"in/date={day}/user={user}/part.{ending}", 2, item=[1, 2], stars=[3.5, 4.0])
    mapping = {"userColumn": "user", "itemColumn": "item", "ratingColumn": "stars"}
    rows, ids = found(tmp_path, tmp_path / "in", **mapping, timestampColumn="date", idType="string")
    assert ids == ("string", "string")
    assert [row["timestamp"] for found_rows in rows.values() for row in found_rows] == [
        MAY,
        MAY,
        MAY + 86_400,
        MAY + 86_400,
        None,
        None,
    ]
    rows, ids = found(tmp_path, tmp_path / "in", **mapping)
    assert ids == ("string", "bigint"), "most of the paths have no number as user"
    assert "timestamp" not in rows[f"date=2024-05-01/user=7/part.{ending}"][0]


def test_numbers_in_the_path_are_numbers_and_the_usual_timestamp_is_found(tmp_path):
    write(
        tmp_path / "in/user_id=7/timestamp=2024-05-01 00%3A00%3A00/part.parquet", 1, item_id=["a"], rating=[1]
    )
    rows, ids = found(tmp_path, tmp_path / "in")
    assert ids == ("bigint", "string")
    assert [*rows.values()] == [[{"user_id": 7, "item_id": "a", "rating": 1.0, "timestamp": MAY}]]


def test_a_column_of_the_file_comes_first(tmp_path):
    write(tmp_path / "in/user_id=7/a.csv", 1, user_id=[1], item_id=[2], rating=[3])
    assert found(tmp_path, tmp_path / "in")[0] == {
        "user_id=7/a.csv": [{"user_id": 1, "item_id": 2, "rating": 3.0}]
    }


def test_a_source_that_is_one_partition(tmp_path):
    write(tmp_path / "in/date=2024-05-01/a.csv", 1, user_id=[1], item_id=[2], rating=[3])
    rows, _ = found(tmp_path, tmp_path / "in/date=2024-05-01", timestampColumn="date")
    assert rows == {"a.csv": [{"user_id": 1, "item_id": 2, "rating": 3.0, "timestamp": MAY}]}


def test_a_column_that_neither_has_is_missing(tmp_path):
    write(tmp_path / "in/day=1/a.csv", 1, user_id=[1], item_id=[2], rating=[3])
    with pytest.raises(
        ConfigError, match="day=1/a.csv has no column date, it has user_id, item_id, rating, day: set"
    ):
        found(tmp_path, tmp_path / "in", timestampColumn="date")


def test_a_partition_may_start_with_an_underscore():
    assert (
        is_data("_date=2024/a.csv")
        and not is_data("_tmp/a.csv")
        and not is_data("a/_SUCCESS")
        and not is_data(".x=1/a.csv")
    )
