"""Tables of Delta, Iceberg and Hudi are refused: their files alone would bring deleted rows back."""

import shutil

import pytest

from recspark.data.quality import QualityOptions
from recspark.data.sources.archive import open_source
from recspark.errors import ConfigError
from recspark.lake.lake import Lake

TABLES = {
    "a Delta": ["date=2024-05-01/part-0.parquet", "_delta_log/00000000000000000000.json"],
    "a Hudi": ["date=2024-05-01/a_0.parquet", ".hoodie/hoodie.properties"],
    "an Iceberg": ["data/date=2024-05-01/a.parquet", "metadata/v1.metadata.json", "metadata/snap-1.avro"],
}


@pytest.fixture(params=TABLES)
def table(request, tmp_path):
    """The kind of a table and its folder, which has the name given."""
    for name in TABLES[request.param]:
        path = tmp_path / "in/given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return request.param, tmp_path / "in/given"


def refused(tmp_path, source, option="source"):
    with (
        pytest.raises(ConfigError) as raised,
        open_source(None, Lake(str(tmp_path / "lake")), str(source), QualityOptions(), option),
    ):
        pass
    return str(raised.value)


def test_a_table_is_refused_wherever_it_is(table, tmp_path):
    kind, folder = table
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in")
    part = next(path for path in folder.rglob("*.parquet"))
    for option in ("users", "items"):
        assert f"data.{option} = " in refused(
            tmp_path, tmp_path / "packed.zip", option
        ) and f"data.{option} = " in refused(tmp_path, folder, option)
    for source in (
        folder,
        f"file://{folder}",
        folder.parent,
        tmp_path / "packed.zip",
        part,
        part.parent,
        f"file://{part.parent}/",
    ):
        message = refused(tmp_path, source)
        assert f"data.source = {str(source)!r} is {kind} table (it has " in message, source
        assert 'rows that were deleted or overwritten: read it as "table:' in message
        if kind == "a Delta" and source != tmp_path / "packed.zip":
            assert f"table:delta.`{folder}`" in message.replace("file://", "")


@pytest.mark.parametrize(
    "names", [["metadata/notes.json", "a.csv"], ["x_delta_log/a.csv"], ["data/a.csv", "metadata.json"]]
)
def test_other_folders_are_no_tables(tmp_path, names):
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with open_source(None, Lake(str(tmp_path / "lake")), str(tmp_path / "in"), QualityOptions()) as source:
        assert source.members == sorted(names)
