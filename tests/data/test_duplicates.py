"""Duplicates across chunks: the same answer as over the whole table, for any cut, any number of buckets, and
any hash.
"""

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.data.duplicates import DuplicateFinder, part_path, read_keys, row_hashes, write_keys
from recspark.data.quality import key_of, repeated_rows

LOCAL = pafs.LocalFileSystem()
ROW = st.tuples(st.integers(0, 3), st.sampled_from(["a", "b"]), st.none() | st.integers(0, 2))


def table_of(rows):
    columns = [list(column) for column in zip(*rows, strict=False)] or [[], [], []]
    return pa.table(
        columns,
        schema=pa.schema([("user_id", pa.int64()), ("item_id", pa.string()), ("timestamp", pa.int64())]),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    chunks=st.lists(st.lists(ROW, max_size=6), min_size=1, max_size=5),
    n_buckets=st.integers(1, 9),
    collide=st.booleans(),
)
def test_chunks_give_what_the_whole_table_gives(tmp_path_factory, chunks, n_buckets, collide):
    folder = str(tmp_path_factory.mktemp("parts"))
    numbers = [3 * i for i in range(len(chunks))]
    for number, rows in zip(numbers, chunks, strict=False):
        table = table_of(rows)
        pq.write_table(table, part_path(folder, number))
        hashes = row_hashes(table.select(key_of("ratings")))
        write_keys(LOCAL, f"{folder}/{number}", np.zeros_like(hashes) if collide else hashes, n_buckets)
    finder = DuplicateFinder({"ratings": numbers}, {"ratings": folder}, folder, n_buckets, LOCAL)
    found = {
        (number, row)
        for bucket in range(n_buckets)
        for number, rows in finder.find("ratings", bucket)
        for row in rows
    }
    places = [
        (number, row) for number, rows in zip(numbers, chunks, strict=False) for row in range(len(rows))
    ]
    whole = table_of([row for rows in chunks for row in rows])
    assert found == {places[row] for row in repeated_rows(whole, key_of("ratings")).tolist()}


@pytest.mark.parametrize("n_buckets", [1, 7, 1000])
def test_buckets_hold_every_hash_once_with_its_position(tmp_path, n_buckets):
    hashes = np.random.default_rng(3).integers(0, 2**64, 500, np.uint64)
    write_keys(LOCAL, str(tmp_path / "keys"), hashes, n_buckets)
    parts = [read_keys(LOCAL, str(tmp_path / "keys"), bucket, n_buckets) for bucket in range(n_buckets)]
    positions = np.concatenate([rows for _, rows in parts])
    assert sorted(positions.tolist()) == list(range(500))
    assert np.array_equal(np.concatenate([part for part, _ in parts]), hashes[positions])


def test_equal_rows_have_equal_hashes_and_others_do_not():
    rows = [
        (1, "a", None),
        (1, "b", None),
        (2, "a", None),
        (None, "a", None),
        (1, None, None),
        (1, "", None),
        (1, "a", 0),
        (0, "a", 1),
    ]
    hashes = row_hashes(table_of(rows))
    assert len(set(hashes.tolist())) == len(rows)
    # a null elsewhere in the column must not change the hash of a row
    assert row_hashes(table_of(rows[:1])).tolist() == hashes[:1].tolist()
