"""From a DataFrame to files: rows as small integers and floats, each part with a dictionary of its ids.

The DataFrame crosses from the JVM to Python once, here; everything later reads these files. So an input that
is not deterministic (SPARK-28927) still gives both sides of a fit the same rows, and a task that runs twice
does no harm: a fit uses only the parts that successful tasks named.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Required, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
from numba import njit
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    FractionalType,
    NumericType,
    StringType,
    StructType,
)

from recspark.data.columns import ColumnError, quoted, resolve
from recspark.engine.spark.crossing import on_partitions
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.ids import DATES, EXACT, TEXT, WHOLE
from recspark.kernels.arrays.frozen import frozen
from recspark.kernels.arrays.random import mix

#: number of rows that a worker holds before it writes a part: 4 M rows are about 100 MB
PART_ROWS = 4_000_000

#: a difference of moments below this share of them is rounding
ROUNDING = 1e-10

#: the DataFrame that `encode` takes
COLUMNS = "user long or string, item long or string, value float, weight float (nullable), role byte"


@dataclass(frozen=True)
class Parts:
    """Encoded rows: the names of their entries in a store, and sums over all rows."""

    root: str
    names: tuple[str, ...]
    rows: int
    weight: float
    total: float
    low: float
    high: float
    digest: str
    weighted: bool
    #: whether there are rows that do not train
    watched: bool
    #: sum of the training values, unweighted
    values: float
    #: weighted sum of the squares of the training values
    squares: float
    #: the kind of ids (`recspark.ids`), by side
    id_kinds: dict[str, str]
    #: the number of entries of all parts' dictionaries, by side: at least the number of ids
    entries: dict[str, int]

    @property
    def mean(self) -> float:
        """The weighted mean of the training values."""
        return self.total / self.weight

    def spread_around(self, center: float) -> float:
        """The root of the weighted mean squared difference of the training values from `center`."""
        square = self.squares / self.weight
        found = square - 2 * center * self.mean + center**2
        # a difference that rounding alone may leave is 0
        return found**0.5 if found > ROUNDING * square else 0.0

    @property
    def deviation(self) -> float:
        """The weighted standard deviation of the training values, rounded to float32; 1 if all are equal."""
        return float(np.float32(self.spread_around(self.mean))) or 1.0


def id_column(schema: StructType, name: str) -> F.Column:
    """Column `name` of data with this schema as an id; settings of Spark don't change it.

    Strings, whole numbers and dates stay; other numbers become long, NaN becomes null. These values end the
    job that reads them: a number that is not whole, a number that a long can't hold, a float that stands for
    several whole numbers. Raise RecsparkError for other types.
    """
    id_kind(schema, name)
    found = resolve(schema, name)
    type_, column = schema[found].dataType, F.col(quoted(found))
    if not isinstance(type_, (FractionalType, DecimalType)):
        return column
    # null if a long can't hold it, even with ANSI off, where a cast would wrap around
    whole = column.try_cast("long")
    fits = whole == column
    if isinstance(type_, FloatType | DoubleType):
        fits &= F.abs(whole) <= (1 << 24 if isinstance(type_, FloatType) else EXACT)
    too_large = f"too large for a 64-bit integer, or to be exact as {type_.simpleString()}"
    reason = F.when(whole.isNull() | (whole == column), too_large).otherwise("not a whole number")
    message = F.concat(
        F.lit(f"column {name} holds an id that is "), reason, F.lit(": "), column.cast("string")
    )
    missing = column.isNull() | (
        F.isnan(column) if isinstance(type_, FloatType | DoubleType) else F.lit(False)
    )
    return F.when(fits, whole).when(~missing, F.raise_error(message).cast("long"))


def id_kind(schema: StructType, name: str) -> str:
    """The kind of the ids in column `name` (`recspark.ids`).

    Raise RecsparkError if there is no such column, or it can't hold ids.
    """
    type_ = schema[resolve(schema, name)].dataType
    kinds = {StringType: TEXT, NumericType: WHOLE, DateType: DATES}
    found = next((kind for base, kind in kinds.items() if isinstance(type_, base)), None)
    if found is None:
        raise ColumnError(
            f"column {name!r} has type {type_.simpleString()}: an id must be a whole number, a string or a "
            "date"
        )
    return found


def require_kind(what: str, schema: StructType, name: str, kind: str) -> None:
    """Raise RecsparkError if the ids in column `name` of `what` are not of the training rows' kind."""
    if (found := id_kind(schema, name)) != kind:
        raise ColumnError(
            f"{what}: column {name!r} holds {found}, but the ids of the training rows are {kind}"
        )


def encode(df: DataFrame, store: Store, weighted: bool, watched: bool) -> Parts:
    """Write the rows of `df` (see `COLUMNS`) as parts into `store`: one Spark job without a shuffle.

    Row order does not matter. Unused columns (weights unless `weighted`, roles unless `watched`) stay in the
    JVM: the crossing to Python costs more than all that follows.

    Raises
    ------
    RecsparkError
        If an id is null, a value is null or not finite, a weight is negative, or no row trains.
    """
    rows = df.select(
        "user", "item", "value", *(["weight"] if weighted else []), *(["role"] if watched else [])
    )
    described = list(chain.from_iterable(on_partitions(rows, partial(_encode_partition, store.root))))
    bad = sum(part["bad"] for part in described)
    if bad:
        raise RecsparkError(
            f"{bad} rows cannot be trained on: an id or a rating is null, or a rating or weight is not "
            "finite, or a weight is negative; "
            "filter them, or let `recspark ingest` put them into quarantine"
        )
    parts = sorted(described, key=lambda part: part["name"])
    # exact for any order of the parts: the mean is a part of the name of the fit's folder
    weight = math.fsum(part["weight"] for part in parts)
    if weight <= 0:
        raise RecsparkError("there is nothing to train on: no row has a weight above 0")
    digest = f"{sum(int(part['digest']) for part in parts) % 2**64:016x}"
    kinds = {side: id_kind(df.schema, column) for side, column in (("users", "user"), ("items", "item"))}
    return Parts(
        store.root,
        tuple(part["name"] for part in parts),
        digest=digest,
        weighted=weighted,
        watched=watched,
        id_kinds=kinds,
        entries={side: sum(part["entries"][side] for part in parts) for side in kinds},
        weight=weight,
        total=math.fsum(part["total"] for part in parts),
        values=math.fsum(part["values"] for part in parts),
        squares=math.fsum(part["squares"] for part in parts),
        rows=sum(part["rows"] for part in parts),
        low=min(part["low"] for part in parts),
        high=max(part["high"] for part in parts),
    )


class _Part(TypedDict, total=False):
    """What a task says of a part that it wrote; of one with bad rows, which it did not write, `bad` alone."""

    bad: Required[int]
    name: str
    rows: int
    weight: float
    total: float
    values: float
    squares: float
    low: float
    high: float
    digest: str
    entries: dict[str, int]


def _encode_partition(root: str, batches: Iterator[pa.RecordBatch]) -> list[_Part]:
    """Worker: write the rows of one partition in parts of about `PART_ROWS` rows.

    Returns the descriptions of the parts.
    """
    store, size = Store(root), 0
    described: list[_Part] = []
    held: list[pa.RecordBatch] = []
    task = TaskContext.get()
    # parts sort by partition and by order within it, so that a fit on the same input reads them in the same
    # order
    prefix = f"part-{task.partitionId() if task else 0:06d}"
    for batch in batches:
        held.append(batch)
        size += batch.num_rows
        if size >= PART_ROWS:
            described.append(_write_part(store, f"{prefix}-{len(described):04d}", held))
            held, size = [], 0
    if size:
        described.append(_write_part(store, f"{prefix}-{len(described):04d}", held))
    return described


def _write_part(store: Store, prefix: str, batches: Sequence[pa.RecordBatch]) -> _Part:
    table = pa.Table.from_batches(batches)
    value = _floats(table["value"])
    weight = _floats(table["weight"]) if "weight" in table.column_names else np.empty(0, np.float32)
    bad = ~np.isfinite(value) | table["user"].is_null().to_numpy() | table["item"].is_null().to_numpy()
    if len(weight):
        bad |= ~np.isfinite(weight) | (weight < 0)
    if bad.any():
        return {"bad": int(bad.sum())}
    name = f"{prefix}-{uuid.uuid4().hex}"
    role = (
        table["role"].to_numpy().astype(np.int8)
        if "role" in table.column_names
        else np.zeros(len(value), np.int8)
    )
    train = role == 0 if role.any() else slice(None)
    codes, hashes, entries = {}, {}, {}
    for side, column in (("users", "user"), ("items", "item")):
        codes[column], ids = _dictionary(table[column])
        count = np.bincount(codes[column][train], minlength=len(ids))
        store.save_table(f"{name}/{side}", pa.table({"id": ids, "count": count}))
        entries[side] = len(ids)
        hashes[column] = pd.util.hash_array(ids.to_numpy(zero_copy_only=False), categorize=False)
    store.save(f"{name}/rows", user=codes["user"], item=codes["item"], value=value, weight=weight, role=role)
    trained = value[train]
    total = float(trained.sum(dtype=np.float64))
    bits = (frozen(column.view(np.uint32)) for column in (value, weight))
    digest = _digest(codes["user"], codes["item"], *bits, role, hashes["user"], hashes["item"])
    return {
        "name": name,
        "bad": 0,
        "rows": len(trained),
        "weight": float(weight[train].sum(dtype=np.float64)) if len(weight) else float(len(trained)),
        "total": float(weight[train].astype(np.float64) @ trained) if len(weight) else total,
        "values": total,
        "squares": float(
            np.sum(np.square(trained, dtype=np.float64) * (weight[train] if len(weight) else 1.0))
        ),
        "low": float(trained.min(initial=np.inf)),
        "high": float(trained.max(initial=-np.inf)),
        "digest": str(digest),
        "entries": entries,
    }


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """float32 of an Arrow column, nulls as NaN."""
    return np.ascontiguousarray(column.cast(pa.float32()).to_numpy(), np.float32)


def _dictionary(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Positions of the values in their dictionary (int32), and the dictionary."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], column.type).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32), encoded.dictionary


@njit(cache=True, nogil=True)
def _digest(user, item, value_bits, weight_bits, role, user_hash, item_hash):
    """A uint64 sum over rows of a hash of each row: the same for any order and partitioning."""
    total = np.uint64(0)
    for r in range(len(user)):
        weight = weight_bits[r] if len(weight_bits) > 0 else np.uint32(0)
        row = mix(user_hash[user[r]]) + np.uint64(3) * mix(item_hash[item[r]] + np.uint64(1))
        total += mix(
            row + mix((np.uint64(value_bits[r]) << np.uint64(32)) | np.uint64(weight)) + np.uint64(role[r])
        )
    return total
