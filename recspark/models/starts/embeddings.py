"""Factors from elsewhere, as the tables that a fit starts from.

They are those of a saved model, or embeddings that another program trained.

    folder          Parquet tables users and items, folders or .parquet files: features, optionally id and
                    bias; a saved model is one
    .npz            arrays users_emb (n_users, rank) and items_emb (n_items, rank), optionally users_id,
                    items_id, users_bias, items_bias
    .safetensors    the same names
    .pt, .pth       the same names, as tensors anywhere in nested dictionaries: ``model.users_emb.weight`` is
                    users_emb

Row p belongs to the id that stands beside it. Without ids it belongs to position p of an index
(`recspark.data.index`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recspark.algorithms.ratings import SIDES
from recspark.data.arrow import as_arrow, write_part
from recspark.errors import DataRejected
from recspark.ids import indexed_ids
from recspark.lake.folder import Folder
from recspark.models.starts.embedding_files import Arrays, read_arrays

#: a table of factors, whose ids are `bigint` or `string`
EMBEDDINGS = "id bigint, features array<float>, bias float"


def read_embeddings(
    path: str, index: str | None = None, rank: int | None = None
) -> tuple[pa.Table, pa.Table]:
    """The factors of users and of items in `path`, as two tables with the columns `EMBEDDINGS`.

    Missing biases are 0.

    Parameters
    ----------
    path
        File, folder or URI in one of the formats above.
    index
        Folder or URI with the tables users and items of an index, such as ``index`` of a lake. Rows without
        ids get its ids by position; ids that are not in it are refused.
    rank
        The required number of factors; any if not given.

    Raises
    ------
    ConfigError
        If there is nothing at `path`, or it is of another format.
    DataRejected
        If a key is missing or occurs twice, a shape is wrong, ids are unknown or occur twice, a number is
        not finite, or a pickle holds more than tensors. The message names file, key, value and what is
        allowed.
    """
    arrays = read_arrays(path, SIDES)
    tables = {side: vectors(path, arrays, side, index) for side in SIDES}
    check_ranks(path, tables, rank)
    return tables["users"], tables["items"]


def write_start(folder: str, users: pa.Table, items: pa.Table) -> None:
    """Write two tables of :func:`read_embeddings` to `folder` (path or URI).

    The Param ``initialModel`` takes that folder.
    """
    target = Folder(folder)
    for side, table in zip(SIDES, (users, items), strict=True):
        target.delete(side)
        write_part(target.fs, target.at(f"{side}/part-00000.parquet"), table)


def vectors(path: str, arrays: Arrays, name: str, index: str | None = None) -> pa.Table:
    """The vectors ``NAME_emb`` in the arrays of `path`, as a table with the columns `EMBEDDINGS`.

    ``NAME_id`` and ``NAME_bias`` are used if they are there.
    """
    key = _find(path, arrays, f"{name}_emb")
    if key is None:
        found = ", ".join(arrays) or "nothing"
        raise DataRejected(
            f"{path} has no {name}_emb: it must be a matrix with a row for each of the {name}; there is "
            f"{found}"
        )
    features = _numbers(path, key, arrays[key])
    if features.ndim != 2 or not features.size:
        raise DataRejected(
            f"{path}: {key} has shape {features.shape}, it must be {name} x factors, at least 1 x 1"
        )
    bias_key = _find(path, arrays, f"{name}_bias")
    bias = _numbers(path, bias_key, arrays[bias_key]) if bias_key else np.zeros(len(features), np.float32)
    if bias.size != len(features):
        wanted = f"a number for each of the {len(features)} rows of {key}"
        raise DataRejected(f"{path}: {bias_key} has shape {bias.shape}, it must be {wanted}")
    ids = _ids(path, arrays, name, len(features), index)
    return pa.table({"id": ids, "features": as_arrow(features), "bias": bias.reshape(-1)})


def check_ranks(path: str, tables: Mapping[str, pa.Table], rank: int | None) -> None:
    """Raise DataRejected if vectors of `path` differ in length, or are not of `rank`.

    `tables` has them by name.
    """
    ranks = {f"{name}_emb": len(table["features"][0]) for name, table in tables.items()}
    if len(set(ranks.values())) > 1 or (rank is not None and rank not in ranks.values()):
        found = ", ".join(f"{key} has {value} factors" for key, value in ranks.items())
        raise DataRejected(
            f"{path}: {found}; all must have {'the same number' if rank is None else f'rank = {rank}'}"
        )


def plain_key(key: str) -> str:
    """`key` without the parts that a state_dict puts around it.

    >>> plain_key("model.users_emb.weight")
    'users_emb'
    """
    return key.removesuffix(".weight").rpartition(".")[2]


def _find(path: str, arrays: Arrays, name: str) -> str | None:
    """The key that is `name` without the parts that a state_dict puts around it."""
    found = [key for key in arrays if plain_key(key) == name]
    if len(found) > 1:
        raise DataRejected(f"{path} has {' and '.join(found)}: only one of them may be called {name}")
    return found[0] if found else None


def _numbers(path: str, key: str, value: object) -> np.ndarray:
    """`value` as float32. Raise DataRejected unless all of it is finite."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise DataRejected(f"{path}: {key} holds {array.dtype}, it must hold numbers")
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array, np.float32)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise DataRejected(
            f"{path}: {key} has {len(bad)} values that are not finite as float32, the first is "
            f"{array[place]} at {place}"
        )
    return numbers


def _ids(path: str, arrays: Arrays, name: str, n_rows: int, index: str | None) -> pa.Array:
    """The id of each row: as given, or by its position in the index."""
    key = _find(path, arrays, f"{name}_id")
    known = indexed_ids(index, name).combine_chunks() if index else None
    if key is None:
        if known is None:
            raise DataRejected(
                f"{path} has no {name}_id: give them, or an index whose positions are the rows of {name}_emb"
            )
        if len(known) != n_rows:
            wanted = f"one for each of the {len(known)} ids of {index}/{name}"
            raise DataRejected(f"{path}: {name}_emb has {n_rows} rows, it must have {wanted}, or {name}_id")
        return known
    ids = checked_ids(f"{path}: {key}", arrays[key], n_rows)
    return ids if known is None else _in_index(f"{path}: {key}", ids, known, f"{index}/{name}")


def checked_ids(what: str, value: object, n_rows: int) -> pa.Array:
    """One distinct id per row: whole numbers or strings (int64, string).

    Raise DataRejected about `what` if they are not.
    """
    try:
        ids = value if isinstance(value, pa.Array) else pa.array(np.asarray(value))
    except (pa.ArrowException, ValueError):
        raise DataRejected(f"{what} has shape {np.asarray(value).shape}, it must be a list of ids") from None
    text = pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)
    if not (text or pa.types.is_integer(ids.type)):
        raise DataRejected(f"{what} holds {ids.type}, it must hold whole numbers or strings")
    if len(ids) != n_rows or ids.null_count:
        raise DataRejected(
            f"{what} has {len(ids) - ids.null_count} ids for {n_rows} rows, it must have one for each"
        )
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        first = twice[0]["values"].as_py()
        raise DataRejected(
            f"{what} has {len(twice)} ids more than once, the first is {first!r}; each may stand once"
        )
    return ids.cast(pa.string() if text else pa.int64())


def _in_index(what: str, ids: pa.Array, known: pa.Array, index: str) -> pa.Array:
    if pa.types.is_integer(ids.type) != pa.types.is_integer(known.type):
        raise DataRejected(f"{what} holds {ids.type}, but the ids of {index} are {known.type}")
    strangers = ids.filter(pc.invert(pc.is_in(ids, value_set=known.cast(ids.type))))
    if len(strangers):
        raise DataRejected(
            f"{what} has {len(strangers)} ids that are not in {index}, the first is {strangers[0].as_py()!r}"
        )
    return ids.cast(known.type)
