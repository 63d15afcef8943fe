"""Types of ids: by the first values that there are, wherever these are."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.plans import found

HEADER = "user_id,item_id,rating\n"
TEXT, NUMBERS = HEADER + "u0,7,3\n", HEADER + "1,7,3\n"


def types(tmp_path, files, **options):
    """The types of user and item ids of a folder of files with these texts, or tables."""
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        if isinstance(content, str):
            (tmp_path / "in" / name).write_text(content)
        else:
            pq.write_table(content, tmp_path / "in" / name)
    return found(tmp_path, tmp_path / "in", **options)[1]


@pytest.mark.parametrize(
    "first", [HEADER, HEADER + "\n\n", HEADER + ",7,3\nNULL,8,3\n", NUMBERS.replace("1,", " ,")]
)
def test_a_file_without_ids_decides_nothing(tmp_path, first):
    assert types(tmp_path, {"a.csv": first, "b.csv": first, "c.csv": TEXT, "d.csv": NUMBERS}) == (
        "string",
        "bigint",
    )


def test_a_first_part_without_ids_decides_nothing(tmp_path):
    assert types(tmp_path, {"a.csv": HEADER + ",7,3\n" * (1 << 18) + "u0,7,3\n"}) == ("string", "bigint")


def test_the_first_file_with_ids_decides(tmp_path):
    assert types(tmp_path, {"a.csv": NUMBERS, "b.csv": TEXT}) == ("bigint", "bigint")
    assert types(tmp_path / "in", {"a.csv": HEADER, "b.csv": HEADER}) == ("bigint", "bigint")


@pytest.mark.parametrize(
    "empty",
    [{"user_id": pa.array([], pa.int64())}, {"user_id": pa.nulls(2)}, {"user_id": pa.nulls(2, pa.int64())}],
)
def test_a_parquet_file_without_ids_decides_nothing(tmp_path, empty):
    n_rows = len(empty["user_id"])
    first = pa.table(
        empty | {"item_id": pa.array([7] * n_rows, pa.int64()), "rating": pa.array([3.0] * n_rows)}
    )
    second = pa.table({"user_id": ["u0"], "item_id": [7], "rating": [3.0]})
    assert types(tmp_path, {"a.parquet": first, "b.parquet": second}) == ("string", "bigint")
