"""The start of a fit in the engine's form: folders with tables users and items.

The tables have ids, factors and biases.

    a saved model                    read in its place
    embeddings from elsewhere        checked, and written to the fit's work folder
                                     (`recspark.models.starts.embeddings`)
    vectors of features of the ids   added up for each id, and written there, too
                                     (`recspark.models.starts.side_vectors`)
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recspark.algorithms.ratings import SIDES
from recspark.data.arrow import as_arrow
from recspark.errors import ConfigError, DataRejected
from recspark.ids import kind_of
from recspark.lake.folder import Folder
from recspark.models.folder import ABILITIES, FactorFacts, has_facts, read_facts
from recspark.models.starts.embeddings import read_embeddings, write_start
from recspark.models.starts.side_vectors import add_up


def initial_tables(
    path: str, work: str, rank: int, index: str | None = None, scale: float | None = None
) -> str:
    """The folder that a fit starts from: a saved model itself, or converted embeddings.

    Embeddings are brought into the form of a saved model in a folder under `work`.

    Parameters
    ----------
    path
        A saved model, or embeddings: a file, folder or URI.
    work
        Folder or URI under which converted embeddings are written.
    rank
        The number of factors that the fit has.
    index
        Index whose positions are the rows of embeddings without ids
        (`recspark.models.starts.embeddings.read_embeddings`).
    scale
        Factors are multiplied by it, so products of users and items by its square; not given: unchanged.

    Raises
    ------
    ConfigError, DataRejected
        As `read_embeddings`; ConfigError if a saved model is of another rank or kind.
    """
    if has_facts(path):
        if scale is None:
            return _of_rank(path, rank)
        index = None
    tables = read_embeddings(path, index, rank)
    return _written(
        work, "initial", {side: _scaled(table, scale) for side, table in zip(SIDES, tables, strict=True)}
    )


def side_tables(path: str, work: str, rank: int, tables: str, id_columns: Mapping[str, str]) -> str:
    """Write the sums of the vectors of each id's features, and return their folder.

    Parameters
    ----------
    path
        File or folder of vectors; see `recspark.models.starts.side_vectors.add_up`.
    work
        Folder or URI under which the new folder is written.
    rank
        The number of factors that the fit has.
    tables
        Folder or URI with the Parquet tables users and items that hold the features.
    id_columns
        The column of ids in each of these tables, by side.

    Returns
    -------
    str
        The folder with tables users and items: ``id, features, bias``.
    """
    return _written(work, "added", add_up(path, rank, tables, id_columns))


def check_ids(what: str, folder: str, id_kinds: Mapping[str, str]) -> None:
    """Raise DataRejected if the ids of a start are not of the kinds of the ratings' ids."""
    place = Folder(folder)
    for side, kind in id_kinds.items():
        found = kind_of(
            ds.dataset(place.at(side), filesystem=place.fs, format="parquet").schema.field("id").type
        )
        if found != kind:
            raise DataRejected(f"{what}: its ids of {side} are {found}, but those of the ratings are {kind}")


def _of_rank(path: str, rank: int) -> str:
    """The full path of the model in `path`. Raise ConfigError if it is not of this rank."""
    facts = read_facts(path)
    if "start" not in facts.can or not isinstance(facts, FactorFacts):
        raise ConfigError(f"{path} (kind {facts.kind}) can't {ABILITIES['start']}")
    if facts.rank != rank:
        raise ConfigError(f"{path} has rank {facts.rank}: rank must be that, not {rank}")
    return Folder(path).root


def _scaled(table: pa.Table, scale: float | None) -> pa.Table:
    if scale is None:
        return table
    factors = pc.list_flatten(table["features"]).to_numpy().reshape(len(table), -1) * np.float32(scale)
    return table.set_column(1, "features", as_arrow(factors))


def _written(work: str, kind: str, tables: Mapping[str, pa.Table]) -> str:
    """A folder of `tables` under `work`, named after a hash of its contents.

    So a fit that is started again finds its own.
    """
    digest = hashlib.sha256()
    for side in SIDES:
        content = pa.BufferOutputStream()
        with pa.ipc.new_stream(content, tables[side].schema) as stream:
            stream.write_table(tables[side])
        digest.update(content.getvalue())
    place, name = Folder(work), f"{kind}-{digest.hexdigest()[:16]}"
    if not place.exists(name):
        # it appears whole or not at all: a fit beside this one may start from the same tables
        staged = f"{name}.{uuid.uuid4().hex[:8]}"
        write_start(place.path(staged), *(tables[side] for side in SIDES))
        place.move(staged, name)
    return place.path(name)
