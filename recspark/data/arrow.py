"""Arrays as columns of Arrow, tables as files of Parquet."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq


def as_arrow(array: np.ndarray) -> pa.Array:
    """One value, or one list of values, per row."""
    if array.ndim == 1:
        return pa.array(array)
    offsets = np.arange(len(array) + 1, dtype=np.int32) * np.int32(array.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(array.reshape(-1)))


def write_part(fs: pafs.FileSystem, path: str, table: pa.Table) -> None:
    """Write one Parquet file whole: a task that runs twice, or dies, leaves no half file under that name."""
    folder, _, name = path.rpartition("/")
    fs.create_dir(folder, recursive=True)
    hidden = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
    pq.write_table(table, hidden, filesystem=fs)
    fs.move(hidden, path)
