"""Duplicates across the chunks of a table, found without a shuffle of rows.

Each chunk leaves a file of the 64-bit hashes of its keys, cut into buckets by the hash. One task per bucket
takes its part of every such file, sorts it and looks for equal neighbours. Only rows with a repeated hash are
then compared by their keys, so the answer is exact. A bucket takes about 20 bytes of memory per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pandas.util import hash_array

from recspark.data.quality import judged, key_of, repeated_rows

#: the result of a :class:`DuplicateFinder`: positions of rows to drop in the file of a chunk
FOUND = "chunk int, drop array<bigint>"
_FOUND_ARROW = pa.schema([("chunk", pa.int32()), ("drop", pa.list_(pa.int64()))])
_MIX = np.uint64(0x9E3779B97F4A7C15)


def part_path(folder: str, chunk: int) -> str:
    """The file in `folder` with the rows of a chunk."""
    return f"{folder}/part-{chunk:05d}.parquet"


def row_hashes(table: pa.Table) -> np.ndarray:
    """A 64-bit hash of every row, the same on every machine; uint64, (n_rows,)."""
    hashes = np.full(len(table), table.num_columns, np.uint64)
    for column in map(_hashable, table.columns):
        missing = {pa.string(): "\0", pa.float32(): np.nan, pa.float64(): np.nan}.get(column.type, -1)
        values = column.fill_null(pa.scalar(missing, column.type)).to_numpy()
        hashes = (hashes ^ hash_array(values, categorize=False)) * _MIX
    return hashes


def _hashable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of numbers or text whose values differ if those of `column` do."""
    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return pc.binary_join(column, "\x1f")
    if pa.types.is_nested(kind):
        return pa.chunked_array(
            [pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())]
        )
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64())
    if pa.types.is_date32(kind):
        return column.cast(pa.int32())
    return column.cast(pa.int8()) if pa.types.is_boolean(kind) else column


def write_keys(fs: pafs.FileSystem, path: str, hashes: np.ndarray, n_buckets: int) -> None:
    """Write hashes and their positions by bucket.

    The file has int64 bounds (n_buckets + 1), uint64 hashes and int32 positions.
    """
    bucket = ((hashes >> np.uint64(48)) * np.uint64(n_buckets) >> np.uint64(16)).astype(np.uint16)
    order = np.argsort(bucket, kind="stable").astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=n_buckets))]).astype(np.int64)
    with fs.open_output_stream(path) as stream:
        for array in (bounds, hashes[order], order):
            stream.write(array.tobytes())


def read_keys(fs: pafs.FileSystem, path: str, bucket: int, n_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of one bucket and their positions, which ascend."""
    with fs.open_input_file(path) as file:
        bounds = np.frombuffer(file.read_at(8 * (n_buckets + 1), 0), np.int64)
        start, count = bounds[bucket], bounds[bucket + 1] - bounds[bucket]
        hashes = file.read_at(8 * count, bounds.nbytes + 8 * start)
        positions = file.read_at(4 * count, bounds.nbytes + 8 * bounds[-1] + 4 * start)
    return np.frombuffer(hashes, np.uint64), np.frombuffer(positions, np.int32)


@dataclass(frozen=True)
class DuplicateFinder:
    """Finds rows that another row with the same key replaces, as the function of a ``mapInArrow``.

    It runs over buckets. `chunks` are the numbers of the chunks of each table, in the order of the source;
    `folders` hold the Parquet files of a table and `keys` the files of :func:`write_keys`. The rule is
    :func:`recspark.data.quality.repeated_rows`: `keep` says for a table which row stays, by default the last
    one.
    """

    chunks: Mapping[str, list[int]]
    folders: Mapping[str, str]
    keys: str
    n_buckets: int
    fs: pafs.FileSystem
    keep: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows to drop in each bucket of `batches`."""
        for batch in batches:
            for bucket in batch.column(0).to_pylist():
                found = [drop for table in self.chunks for drop in self.find(table, bucket)]
                yield pa.RecordBatch.from_pylist(
                    [{"chunk": chunk, "drop": rows} for chunk, rows in found], _FOUND_ARROW
                )

    def find(self, table: str, bucket: int) -> list[tuple[int, list[int]]]:
        """The rows to drop among those of one bucket, by chunk."""
        numbers = self.chunks[table]
        keys = [read_keys(self.fs, f"{self.keys}/{number}", bucket, self.n_buckets) for number in numbers]
        hashes = np.sort(np.concatenate([part for part, _ in keys]))
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        if not len(repeated):
            return []
        rows = [positions[np.isin(part, repeated)] for part, positions in keys]
        suspects = pa.concat_tables(
            [
                self._take(table, number, found)
                for number, found in zip(numbers, rows, strict=True)
                if len(found)
            ]
        )
        chunk = np.repeat(numbers, [len(found) for found in rows])
        drop = repeated_rows(suspects, key_of(table, suspects.column_names), self.keep.get(table, "last"))
        row, chunk = np.concatenate(rows)[drop], chunk[drop]
        return [(int(number), row[chunk == number].tolist()) for number in np.unique(chunk)]

    def _take(self, table: str, number: int, rows: np.ndarray) -> pa.Table:
        with self.fs.open_input_file(part_path(self.folders[table], number)) as file:
            parquet = pq.ParquetFile(file)
            columns = [name for name in judged(table) if name in parquet.schema_arrow.names]
            return parquet.read(columns).take(pa.array(rows))
