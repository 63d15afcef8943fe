"""Parquet files of odd columns and values, and such as are damaged."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.attempts import Outcome, fresh, judged, load
from tests.fuzz.mutations import BINARY, ODD


def parquet_file(rng: random.Random, scratch: Path) -> Outcome:
    """A Parquet file of odd columns and values, or one that is damaged."""
    folder = fresh(scratch)
    (folder / "in").mkdir()
    name = rng.choice(list(COLUMNS))
    columns = {
        "user_id": pa.array(range(50)),
        "item_id": pa.array(range(50)),
        "rating": pa.array([3.0] * 50),
        "timestamp": pa.array(range(50)),
    }
    columns[rng.choice(list(columns))] = COLUMNS[name](rng)
    table, path = pa.table(columns), folder / "in" / "events.parquet"
    pq.write_table(
        table,
        path,
        row_group_size=rng.choice((50, 17)),
        compression=rng.choice(("snappy", "none")),
        write_page_checksum=rng.random() < 0.8,
    )
    damage = rng.choice(list(BINARY)) if rng.random() < 0.5 else "nothing"
    checked = pq.ParquetFile(path).metadata.num_rows
    path.write_bytes(BINARY[damage](rng, path.read_bytes()))

    def read() -> tuple[int, int]:
        work, reports, tables = load(folder, {}, 1)
        n_read, bad = (sum(report[key] for report in reports) for key in ("read", "quarantined"))
        assert damage != "nothing" or n_read == checked
        assert len(tables("quarantine")) == bad and sum(chunk.length for chunk in work.chunks) == n_read
        return n_read - bad, bad

    try:
        return judged(f"{name}, {damage}", read)
    finally:
        shutil.rmtree(folder)


def _values(type_: pa.DataType, *choices):
    return lambda rng: pa.array([rng.choice(choices) for _ in range(50)], type_)


#: columns that a Parquet file may have where ids, ratings and moments should be
COLUMNS: dict[str, Callable[[random.Random], pa.Array]] = {
    "int64": _values(pa.int64(), 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, None),
    "uint64": _values(pa.uint64(), 0, 1, 2**63, 2**64 - 1, None),
    "int8": _values(pa.int8(), 0, 1, -1, 127, None),
    "float64": _values(
        pa.float64(),
        1.0,
        float("nan"),
        float("inf"),
        -float("inf"),
        1e300,
        2.0**63,
        -(2.0**63),
        0.5,
        -0.0,
        None,
    ),
    "float32": _values(pa.float32(), 1.0, float("nan"), float("inf"), 16777217.0, None),
    "float16": lambda rng: pa.array(
        np.array([rng.choice((1.0, np.nan, np.inf, 0.5)) for _ in range(50)], np.float16)
    ),
    "decimal": _values(pa.decimal128(20, 2), 1, 2, 10**17, None),
    "bool": _values(pa.bool_(), True, False, None),
    "string": lambda rng: pa.array([rng.choice((*ODD, "1", "2", None)) for _ in range(50)], pa.string()),
    "large string": lambda rng: pa.array(
        [rng.choice((*ODD, "1", None)) for _ in range(50)], pa.large_string()
    ),
    "bytes": _values(pa.binary(), b"1", b"\xff\xfe", b"", b"a\0b", b"\xed\xa0\x80", None),
    "text that is none": lambda rng: pa.array(
        [rng.choice((b"1", b"\xff", b"\xc3")) for _ in range(50)], pa.binary()
    ).view(pa.string()),
    "categories": lambda rng: pa.array(
        [rng.choice(("1", "2", "", "x", None)) for _ in range(50)]
    ).dictionary_encode(),
    "nothing at all": lambda rng: pa.nulls(50),
    "list": _values(pa.list_(pa.int64()), [1], [], None),
    "struct": _values(pa.struct([("a", pa.int64())]), {"a": 1}, None),
    "map": _values(pa.map_(pa.string(), pa.int64()), [("a", 1)], None),
    "time": _values(pa.time64("us"), 1, 2),
    "duration": _values(pa.duration("s"), 1, 2),
    "date": _values(pa.date32(), 0, 1, -1, 20_000, None),
    "moment": lambda rng: pa.array(
        [rng.choice((0, 1, -1, 2**52, None)) for _ in range(50)],
        pa.timestamp(rng.choice(("s", "ms", "us", "ns"))),
    ),
    "moment of a zone": _values(pa.timestamp("us", "Asia/Tokyo"), 0, 10**15, None),
}
