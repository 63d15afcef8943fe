"""Vectors of features of users and items (occupation, genres ...), added to the vectors of their ids.

The vector of an id contains the sum over its features.

    levels.npz                               tables/users           added to users
    occupation_emb (21, k), occupation_id    user_id  occupation    7: occupation_emb[artist]
    genres_emb (18, k), genres_id            7        artist
                                             tables/items           added to items
                                             item_id  genres        9: genres_emb[Drama] + genres_emb[War]
                                             9        [Drama, War]
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from scipy.sparse import csr_array

from recspark.algorithms.ratings import SIDES
from recspark.data.arrow import as_arrow
from recspark.errors import ConfigError, DataRejected
from recspark.lake.folder import Folder
from recspark.models.starts.embedding_files import read_arrays
from recspark.models.starts.embeddings import check_ranks, checked_ids, plain_key, vectors

_SUFFIX = "_emb"


def add_up(path: str, rank: int, tables: str, id_columns: Mapping[str, str]) -> dict[str, pa.Table]:
    """For each side the ids that have one of the features, with the sum of its levels' vectors and biases.

    Parameters
    ----------
    path
        File or folder of vectors, in a format of `recspark.models.starts.embeddings`: ``COLUMN_emb`` (levels,
        rank) and ``COLUMN_id``, the levels; optionally ``COLUMN_bias``. A folder has a Parquet table for each
        COLUMN.
    tables
        Folder or URI with the Parquet tables users and items. COLUMN is in one of them: a level, or a list
        of levels. A level without a vector, and a null, add nothing.
    id_columns
        The column of ids in each of these tables.

    Returns
    -------
    dict
        By side a table ``id, features, bias``.

    Raises
    ------
    ConfigError, DataRejected
        As `read_embeddings`, and if a column is in neither table or in both, or holds none of the levels.
    """
    arrays = read_arrays(path)
    names = [key.removesuffix(_SUFFIX) for key in map(plain_key, arrays) if key.endswith(_SUFFIX)]
    if not names:
        found = ", ".join(arrays) or "nothing"
        raise DataRejected(
            f"{path} has no COLUMN{_SUFFIX}: it must have vectors of the levels of a column; there is {found}"
        )
    levels = {name: vectors(path, arrays, name) for name in names}
    check_ranks(path, levels, rank)
    sides = {side: _dataset(tables, side) for side in SIDES}
    homes = {name: _home(path, name, tables, sides) for name in names}
    return {
        side: _sums(
            f"{tables}/{side}",
            dataset,
            id_columns[side],
            {name: levels[name] for name in names if homes[name] == side},
            rank,
        )
        for side, dataset in sides.items()
    }


def _dataset(tables: str, side: str) -> ds.Dataset:
    folder = Folder(tables)
    if not folder.exists(side):
        raise ConfigError(
            f"{tables} has no table {side}: it must be a folder of Parquet tables users and items, such as "
            "tables of a lake"
        )
    return ds.dataset(folder.at(side), filesystem=folder.fs, format="parquet")


def _home(path: str, name: str, tables: str, sides: Mapping[str, ds.Dataset]) -> str:
    """The side whose table has the column `name`."""
    found = [side for side, dataset in sides.items() if name in dataset.schema.names]
    if len(found) != 1:
        columns = "; ".join(
            f"{side} has {', '.join(dataset.schema.names)}" for side, dataset in sides.items()
        )
        home = "both tables have" if found else "no table has"
        raise DataRejected(
            f"{path}: {name}{_SUFFIX} is of a column that {home}, it must be in one of {tables}: {columns}"
        )
    return found[0]


def _sums(
    what: str, dataset: ds.Dataset, id_column: str, levels: Mapping[str, pa.Table], rank: int
) -> pa.Table:
    """The rows of `dataset` that have a level, with the sums of its vectors."""
    if id_column not in dataset.schema.names:
        raise DataRejected(
            f"{what} has no column {id_column}: its columns are {', '.join(dataset.schema.names)}"
        )
    table = dataset.to_table(columns=[id_column, *levels])
    ids = checked_ids(f"{what}: {id_column}", table[id_column].combine_chunks(), len(table))
    sums, touched = np.zeros((len(table), rank + 1), np.float32), np.zeros(len(table), bool)
    for name, vectors_of in levels.items():
        rows, places = _pairs(
            f"{what}: {name}", table[name].combine_chunks(), vectors_of["id"].combine_chunks()
        )
        flat = pc.list_flatten(vectors_of["features"]).to_numpy().reshape(-1, rank)
        whole = np.column_stack([flat, vectors_of["bias"].to_numpy()])
        sums += (
            csr_array((np.ones(len(rows), np.float32), (rows, places)), shape=(len(table), len(whole)))
            @ whole
        )
        touched[rows] = True
    chosen = np.flatnonzero(touched)
    return pa.table(
        {
            "id": ids.take(pa.array(chosen)),
            "features": as_arrow(sums[chosen, :rank]),
            "bias": sums[chosen, rank],
        }
    )


def _pairs(what: str, column: pa.Array, levels: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Places (row, level) of every level in `column`, which holds one level or a list of levels per row."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        rows, values = pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column)
    else:
        rows, values = np.arange(len(column)), column
    try:
        places = pc.fill_null(pc.index_in(values.cast(levels.type), value_set=levels), -1).to_numpy()
    except pa.ArrowException:
        raise DataRejected(
            f"{what} is {column.type}, but the levels that have vectors are {levels.type}"
        ) from None
    found = places >= 0
    if not found.any():
        raise DataRejected(
            f"{what} holds none of the levels that have vectors: "
            f"{', '.join(map(str, levels[:5].to_pylist()))} ..."
        )
    return rows[found], places[found]
