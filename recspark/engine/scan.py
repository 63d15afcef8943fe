"""Parquet files that workers read by themselves: a function on their Arrow batches, a task for an equal share of the rows.

Spark's own scan makes rows of the columns, and Arrow of the rows, before Python sees them (`make bench-topn` times both
ways). Here it takes what is on storage as it is: for anything that needs a plan, `recspark.engine.crossing` is the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession

from recspark.data.folder import locate
from recspark.engine.session import parallelism
from recspark.errors import RecsparkError

Batches = Iterator[pa.RecordBatch]

#: rows of a batch at most
BATCH_ROWS = 1 << 20


@dataclass(frozen=True)
class Piece:
    """A row group of a file under the folder or URI `place`."""

    place: str
    path: str
    row_group: int
    rows: int


def files_schema(place: str) -> pa.Schema:
    """The columns of the Parquet files under a path or URI; RecsparkError where there are none."""
    return _files(place).schema


def map_files(
    spark: SparkSession, places: Sequence[str], columns: Mapping[str, str], function: Callable[[Batches], Batches], schema: str
) -> DataFrame:
    """`function` on the rows of all Parquet files under `places`, with the columns ``{name: name in the files}``; rows with a null are
    left out.

    Lazy, but for the footers of the files, which are read at once.
    """
    pieces = [
        Piece(place, fragment.path, group.id, group.num_rows)
        for place in places
        for fragment in _files(place).get_fragments()
        for group in fragment.row_groups
    ]
    shares = _shares(pieces, parallelism(spark))
    return spark.range(0, len(shares), 1, len(shares)).mapInArrow(partial(_on_shares, shares, dict(columns), function), schema)


def _files(place: str) -> ds.Dataset:
    fs, path = locate(place)
    try:
        return ds.dataset(path, filesystem=fs, format="parquet")
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise RecsparkError(f"{place} can't be read as Parquet: {error}") from None


def _shares(pieces: Sequence[Piece], count: int) -> list[list[Piece]]:
    """`pieces` dealt to at most `count` shares of nearly equal rows: the largest first, each to the share with the fewest.

    >>> shares = _shares([Piece("", name, 0, rows) for name, rows in (("a", 5), ("b", 3), ("c", 2))], 2)
    >>> [[piece.path for piece in share] for share in shares]
    [['a'], ['b', 'c']]
    """
    shares: list[list[Piece]] = [[] for _ in range(max(1, min(count, len(pieces))))]
    held = [0] * len(shares)
    for piece in sorted(pieces, key=lambda piece: (-piece.rows, piece.path, piece.row_group)):
        fewest = held.index(min(held))
        shares[fewest].append(piece)
        held[fewest] += piece.rows
    return shares


def _on_shares(shares: list[list[Piece]], columns: dict[str, str], function: Callable[[Batches], Batches], numbers: Batches) -> Batches:
    """Worker: `function` on the rows of the shares with these numbers."""
    mine = [piece for batch in numbers for number in batch.column(0).to_pylist() for piece in shares[number]]
    return function(batch for piece in mine for batch in _read(piece, columns))


def _read(piece: Piece, columns: dict[str, str]) -> Batches:
    fs, _ = locate(piece.place)
    fragment = ds.ParquetFileFormat().make_fragment(piece.path, fs, row_groups=[piece.row_group])
    for batch in fragment.to_batches(columns=list(columns.values()), batch_size=BATCH_ROWS, use_threads=False):
        whole = batch.drop_null() if any(column.null_count for column in batch.columns) else batch
        yield pa.RecordBatch.from_arrays(whole.columns, names=list(columns))
