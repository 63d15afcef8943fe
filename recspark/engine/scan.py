"""Parquet files that workers read by themselves, each an equal share of the rows as Arrow batches.

Spark's own scan makes rows of the columns, and Arrow of the rows, before Python sees them (`make bench-topn`
times both ways). Here workers read the columns as they are on storage. For anything that needs a plan, use
`recspark.engine.spark.crossing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from recspark.engine.spark.session import parallelism
from recspark.errors import RecsparkError
from recspark.lake.folder import locate

T = TypeVar("T")
Batches = Iterator[pa.RecordBatch]

#: most rows of a batch
BATCH_ROWS = 1 << 20


def parquet_files(place: str) -> ds.Dataset:
    """The Parquet files under a path or URI. Raise RecsparkError if there are none."""
    fs, path = locate(place)
    try:
        return ds.dataset(path, filesystem=fs, format="parquet")
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise RecsparkError(f"{place} can't be read as Parquet: {error}") from None


def map_files(
    spark: SparkSession,
    files: Sequence[ds.Dataset],
    columns: Mapping[str, str],
    function: Callable[[Batches], Batches],
    schema: StructType,
) -> DataFrame:
    """`function` on the rows of all `files`, as a lazy DataFrame.

    Rows with a null are left out. Only the footers of the files are read at once.

    Parameters
    ----------
    spark
        The session that runs the tasks.
    files
        Data sets of Parquet files, as `parquet_files` gives them.
    columns
        Names in the files, by the names that `function` sees.
    function
        Turns an iterator of record batches into another one, on the worker.
    schema
        The schema of the batches that `function` gives.
    """
    groups = [
        group
        for each in files
        for fragment in each.get_fragments()
        for group in fragment.split_by_row_group()
    ]
    shares = _shares([(group, group.row_groups[0].num_rows) for group in groups], parallelism(spark))
    return spark.range(0, len(shares), 1, len(shares)).mapInArrow(
        partial(_on_shares, shares, dict(columns), function), schema
    )


def _shares(pieces: Sequence[tuple[T, int]], count: int) -> list[list[T]]:
    """Pieces, with their rows, dealt to at most `count` shares of nearly equal rows.

    The largest piece comes first; each goes to the share with the fewest rows.

    >>> _shares([("b", 3), ("a", 5), ("c", 2)], 2)
    [['a'], ['b', 'c']]
    """
    shares: list[list[T]] = [[] for _ in range(max(1, min(count, len(pieces))))]
    held = [0] * len(shares)
    for piece, rows in sorted(pieces, key=lambda piece: -piece[1]):
        fewest = held.index(min(held))
        shares[fewest].append(piece)
        held[fewest] += rows
    return shares


def _on_shares(
    shares: list[list[ds.Fragment]],
    columns: dict[str, str],
    function: Callable[[Batches], Batches],
    numbers: Batches,
) -> Batches:
    """Worker: `function` on the rows of the shares with the given numbers."""
    own = [
        fragment for batch in numbers for number in batch.column(0).to_pylist() for fragment in shares[number]
    ]
    return function(batch for fragment in own for batch in _read(fragment, columns))


def _read(fragment: ds.Fragment, columns: dict[str, str]) -> Batches:
    for batch in fragment.to_batches(
        columns=list(columns.values()), batch_size=BATCH_ROWS, use_threads=False
    ):
        whole = batch.drop_null() if any(column.null_count for column in batch.columns) else batch
        yield pa.RecordBatch.from_arrays(whole.columns, names=list(columns))
