"""From ids to positions and back: whole numbers, strings and dates, never one taken for another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.config import shown
from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.kernels.arrays.lookup import look_up, position_table
from recspark.lake.folder import Folder

#: kinds of ids; a model has one kind per side
WHOLE, TEXT, DATES = "whole numbers", "strings", "dates"

#: float64 can hold every whole number up to this one
EXACT = 2**53

NOT_WHOLE = "ids hold a number that is not whole: an id is a whole number, a string or a date"


def kind_of(type_: pa.DataType) -> str | None:
    """The kind of ids of an Arrow type; None if it can't hold ids."""
    if pa.types.is_integer(type_):
        return WHOLE
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return TEXT
    return DATES if pa.types.is_date32(type_) else None


class IdIndex:
    """The distinct ids of one side; the position of an id is its place among them.

    >>> index = IdIndex(pa.array([30, 10, 20]))
    >>> index.positions(pa.array([10, None, 99, 30])).tolist()
    [1, -1, -1, 0]
    """

    def __init__(self, ids: pa.Array | pa.ChunkedArray) -> None:
        self.ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        self.kind = kind_of(self.ids.type)

    def __len__(self) -> int:
        return len(self.ids)

    def positions(
        self, ids: pa.Array | pa.ChunkedArray | np.ndarray, unknown: int = -1, null: int = -1
    ) -> np.ndarray:
        """int32 positions of `ids`: `unknown` for an id that is not here, `null` for a missing one.

        Raises
        ------
        RecsparkError
            If `ids` are of another kind, or numbers that are not whole.
        """
        ids = as_ids(ids)
        if pa.types.is_null(ids.type):
            return np.full(len(ids), null, np.int32)
        if kind_of(ids.type) != self.kind:
            raise RecsparkError(
                f"ids that are {kind_of(ids.type) or ids.type} can't be looked up among ids that are "
                f"{self.kind}"
            )
        if self.kind == TEXT:
            encoded = ids.dictionary_encode()
            found = np.append(self._places(_texts(encoded.dictionary), unknown), np.int32(null))
            return found[encoded.indices.fill_null(-1).to_numpy()]
        if not ids.null_count:
            return self._places(_numbers(ids), unknown)
        found = self._places(_numbers(ids.fill_null(pa.scalar(0, pa.int32()).cast(ids.type))), unknown)
        found[pc.is_null(ids).to_numpy(zero_copy_only=False)] = null
        return found

    def _places(self, keys: np.ndarray, unknown: int) -> np.ndarray:
        if self._table:
            return look_up(keys, *self._table, unknown)
        found = self._hashed.get_indexer(pd.Index(keys)).astype(np.int32)
        if unknown != -1:
            found[found < 0] = unknown
        return found

    @cached_property
    def _keys(self) -> np.ndarray:
        return _texts(self.ids) if self.kind == TEXT else _numbers(self.ids)

    @cached_property
    def _table(self) -> tuple[int, np.ndarray] | None:
        return None if self.kind == TEXT else position_table(self._keys)

    @cached_property
    def _hashed(self) -> pd.Index:
        return pd.Index(self._keys)


def indexed(index: str, side: str) -> ds.Dataset:
    """The table ``id, position, count`` of a side of a saved index.

    Raise ConfigError if the folder or URI `index` has no such table.
    """
    folder = Folder(index)
    if not folder.exists(side):
        raise ConfigError(f"{index} has no table {side}: it must be an index as `recspark index` writes it")
    return ds.dataset(folder.at(side), filesystem=folder.fs, format="parquet")


def indexed_ids(index: str, side: str, start: int = 0, stop: int | None = None) -> pa.ChunkedArray:
    """The ids of a side of a saved index, from position `start` up to `stop`, in the order of positions.

    Raise DataRejected if the index does not have each of these positions once, or an id twice; ConfigError
    as `indexed`.
    """
    table, place = indexed(index, side), pc.field("position")
    stop = table.count_rows() if stop is None else stop
    chosen = table.to_table(["id", "position"], (place >= start) & (place < stop)).sort_by("position")
    if not np.array_equal(chosen["position"].to_numpy(), np.arange(start, stop)):
        raise DataRejected(
            f"{index}/{side} does not have each of the positions {start} to {stop - 1} once: index the "
            "tables again"
        )
    if len(pc.unique(chosen["id"])) < len(chosen):
        raise DataRejected(f"{index}/{side} has an id twice: index the tables again")
    return chosen["id"]


def check_kinds(index: str, id_kinds: Mapping[str, str]) -> None:
    """Raise DataRejected if the ids of a saved index are not of the kinds of the ratings' ids."""
    for side, kind in id_kinds.items():
        found = kind_of(indexed(index, side).schema.field("id").type)
        if found != kind:
            raise DataRejected(
                f"the ids of {side} in the index {index} are {found}, but those of the ratings are {kind}"
            )


def as_ids(ids: pa.Array | pa.ChunkedArray | np.ndarray | Iterable[object]) -> pa.Array:
    """Ids as one Arrow array.

    A missing number of pandas (NaN) becomes null, 2.0 becomes 2, and an id that no model can know becomes
    null.

    Raises
    ------
    RecsparkError
        If numbers are not whole, or values are of several kinds.
    """
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    elif not isinstance(ids, pa.Array):
        ids = _listed(ids)
    if pa.types.is_uint64(ids.type):
        return pc.if_else(pc.less(ids, pa.scalar(2**63, pa.uint64())), ids, None)
    if pa.types.is_decimal(ids.type):
        return _whole_decimals(ids)
    return _whole(ids) if pa.types.is_floating(ids.type) else ids


def _listed(ids: np.ndarray | Iterable[object]) -> pa.Array:
    # a string is one id, not the list of its letters
    if not isinstance(ids, str):
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
            return pa.array(ids if isinstance(ids, np.ndarray) else list(ids), from_pandas=True)
    raise RecsparkError(
        f"{shown(ids)} is not a list of ids: ids are whole numbers, strings or dates, of one kind"
    )


def _whole(numbers: pa.Array) -> pa.Array:
    numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    if not pc.all(pc.equal(numbers, pc.trunc(numbers)), min_count=0).as_py():
        raise RecsparkError(NOT_WHOLE)
    if not pc.all(pc.less_equal(pc.abs(numbers), EXACT), min_count=0).as_py():
        raise RecsparkError(
            "ids hold a float above 2^53, which can stand for several whole numbers: give ids as integers or "
            "strings"
        )
    return numbers.cast(pa.int64())


def _whole_decimals(numbers: pa.Array) -> pa.Array:
    try:
        whole = numbers.cast(pa.decimal256(76, 0))
    except pa.ArrowInvalid:
        raise RecsparkError(NOT_WHOLE) from None
    low, high = (pa.scalar(Decimal(edge), pa.decimal256(76, 0)) for edge in (-(2**63), 2**63 - 1))
    return pc.if_else(pc.and_(pc.greater_equal(whole, low), pc.less_equal(whole, high)), whole, None).cast(
        pa.int64()
    )


def _numbers(ids: pa.Array) -> np.ndarray:
    """int64 of whole numbers without nulls; of dates the days since 1970-01-01."""
    if pa.types.is_date32(ids.type):
        ids = ids.cast(pa.int32())
    return ids.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _texts(ids: pa.Array) -> np.ndarray:
    return ids.to_numpy(zero_copy_only=False).astype(object, copy=False)
