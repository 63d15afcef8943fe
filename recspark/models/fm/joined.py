"""Factorization machines of feature groups in one process.

Each row joins the sparse rows of a user, an item and its own context. This form is for all that entities
(`recspark.models.fm.entities`) can't do: stochastic gradients, orders above 2, contexts with more than one
entry or with numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csc_matrix, csr_matrix, hstack, vstack

from recspark.algorithms.machine import TABLES, Report, RowFit, fit_in_order, join, parameters_of
from recspark.algorithms.ratings import ROLES
from recspark.data.arrow import as_arrow
from recspark.data.columns import ColumnError, find_name, is_case_sensitive, number, quoted
from recspark.engine.fit import STOP
from recspark.engine.relations import require_ids, write_ids
from recspark.engine.spark.crossing import in_one_process
from recspark.engine.storage import Store
from recspark.errors import ConfigError, RecsparkError
from recspark.features.feature_set import FeatureSet
from recspark.features.groups import IDS
from recspark.features.layout import Layout
from recspark.ids import IdIndex
from recspark.kernels.anova import Joined, Sparse
from recspark.models.folder import SampleFacts

#: labels and weights beside the columns that features read
LABEL, WEIGHT = "recspark_label", "recspark_weight"


@dataclass(frozen=True)
class JoinedPlan:
    """The inputs of the fit: the folder of the model, the layout, the fit, the penalties, and a saved index.

    `group_reg` has penalties of groups; those of the others are `reg`. With `as_entities` the model is
    written as vectors of entities, which can make lists; else as the parameters themselves.
    """

    folder: str
    layout: Layout
    fit: RowFit
    reg: float
    group_reg: dict[str, float]
    as_entities: bool
    index: str | None = None

    @property
    def binary(self) -> bool:
        """Whether labels are 0 and 1."""
        return self.fit.link != "identity"

    def penalties(self) -> np.ndarray:
        """The penalty of each column of a row of all sides."""
        reg = np.full(self.layout.size, self.reg)
        for block in self.layout:
            first = self.layout.starts[block.group.side] + block.offset
            reg[first : first + block.size] = self.group_reg.get(block.name, self.reg)
        return reg


def has_entities(layout: Layout) -> bool:
    """Whether each context group has at most one level per row, so that rows join entities only."""
    return not any(block.is_real or block.group.is_history_set for block in layout.side("context"))


def check_group_names(group_reg: Mapping[str, object], layout: Layout) -> None:
    """Raise ConfigError for a penalty that is not a number >= 0, or whose group does not exist."""
    names = [block.name for block in layout]
    for name, value in group_reg.items():
        if name not in names:
            raise ConfigError(
                f"groupRegParam names {name!r}, which is not a group of this model: its groups are "
                f"{', '.join(names)}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ConfigError(f"groupRegParam.{name} = {value!r} is not allowed: it must be a number >= 0")


class JoinedFit(TypedDict):
    """The outcome of a fit: its history, the rows that trained and the range of their labels, the samples,
    and which sides some rows lack.
    """

    history: list[dict[str, float]]
    rows: int
    range: tuple[float, float]
    samples: tuple[SampleFacts, ...]
    absent: dict[str, bool]


def fit_joined(
    features: FeatureSet,
    train: DataFrame,
    watched: Mapping[str, DataFrame],
    label: str,
    weight: str | None,
    plan: JoinedPlan,
) -> JoinedFit:
    """Fit in one process, and leave the tables of the model in ``plan.folder``.

    Parameters
    ----------
    features
        The feature set that was fitted on the training rows.
    train
        The training rows: user_id, item_id, the label, the weight, and what the context groups need.
    watched
        Rows with the same columns that don't train, by role (a name of `recspark.engine.encode.ROLES`).
    label, weight
        Names of the columns of labels and of weights, cast to double; `weight` is None without weights.
    plan
        Folder, layout, solver and penalties.

    Returns
    -------
    dict
        History, number of rows, range of labels, samples, and the sides that some training rows lack.

    Raises
    ------
    RecsparkError
        If no row trains, or a label, a weight or an entry is not allowed.
    """
    store = Store(plan.folder)
    for side in IDS:
        blocks = [(block.name, block.offset, block.size) for block in features.layout.side(side)]
        write_ids(features.side(side), store, TABLES[side], blocks, plan.index)
    rows = _rows(features, train, label, weight, 0)
    for role, df in watched.items():
        rows = rows.unionAll(_rows(features, df, label, weight, ROLES.index(role)))
    found = in_one_process(rows, partial(_fit_rows, plan))
    store.delete("features")
    return found


def _rows(features: FeatureSet, dataset: DataFrame, label: str, weight: str | None, role: int) -> DataFrame:
    weights = number(dataset, weight, "a weight") if weight else F.lit(1.0)
    rows = needed(
        dataset,
        features.layout,
        {LABEL: number(dataset, label, "a label").cast("double"), WEIGHT: weights.cast("double")},
    )
    values = {"label": F.col(LABEL), "weight": F.col(WEIGHT), "role": F.lit(role).cast("byte")}
    return features.context_rows(rows).select(
        *IDS.values(),
        "_context.columns",
        "_context.values",
        *(value.alias(key) for key, value in values.items()),
    )


def needed(dataset: DataFrame, layout: Layout, more: Mapping[str, Column]) -> DataFrame:
    """The columns of `dataset` that the context needs, and `more`.

    Other columns are dropped, so that none is taken for a column that a group makes.
    """
    names = dict.fromkeys(
        [*IDS.values(), *(name for block in layout.side("context") for name in block.group.needs)]
    )
    case_sensitive = is_case_sensitive(dataset.sparkSession)
    found = {name: find_name(dataset.columns, name, case_sensitive) for name in names}
    if missing := sorted(name for name, column in found.items() if column is None):
        raise ColumnError(
            f"the rows lack column {missing[0]!r}, which the features need; they have "
            f"{', '.join(dataset.columns)}"
        )
    columns = [F.col(quoted(column)).alias(name) for name, column in found.items() if column]
    return dataset.select(*columns, *(value.alias(name) for name, value in more.items()))


def _fit_rows(plan: JoinedPlan, batches: Iterator[pa.RecordBatch]) -> JoinedFit:
    table, store = all_rows(batches), Store(plan.folder)
    sides = {side: load_side(store, plan.layout, side) for side in IDS}
    ids, contexts = (
        [table[key] for key in IDS.values()],
        [table[name].combine_chunks() for name in ("columns", "values")],
    )
    joined = join(sides, plan.layout, *ids, *contexts)
    labels, weights, roles = (table[name].to_numpy() for name in ("label", "weight", "role"))
    require_ids(sum(int((column.is_null().to_numpy() & (roles == 0)).sum()) for column in ids))
    found, history = fit_in_order(
        plan.fit, joined, labels, weights, roles, plan.penalties(), reporter(plan.folder)
    )
    if plan.as_entities:
        _write_entities(plan, sides, joined, found, roles == 0)
    else:
        store.save("parameters", **found)
        for side, (_, rows) in sides.items():
            store.save(f"sides/{TABLES[side]}", **rows._asdict())
    trained = labels[roles == 0]
    cuts = (0.0,) if plan.binary else ()
    samples = tuple(
        SampleFacts(float(w0), float(alpha), cuts)
        for w0, alpha in zip(found["w0"], found["alpha"], strict=True)
    )
    return {
        "history": history,
        "rows": len(trained),
        "range": (float(trained.min()), float(trained.max())),
        "samples": samples,
        "absent": _absent(plan.layout, joined, roles == 0),
    }


def load_side(store: Store, layout: Layout, side: str) -> tuple[IdIndex, Sparse]:
    """The ids of a side, and their rows with columns of a row of all sides.

    The last row is for an id that is not known.
    """
    ids = IdIndex(store.load_table(f"ids/{TABLES[side]}")["id"])
    pieces = []
    for block in layout.side(side):
        part = store.load(f"features/{TABLES[side]}/{block.name}")
        pieces.append(csc_matrix((part["values"], part["entities"], part["indptr"]), (len(ids), block.size)))
    known = csr_matrix(hstack(pieces)) if pieces else csr_matrix((len(ids), 0))
    columns, values = layout.unseen(side)
    unseen = csr_matrix((values, (np.zeros(len(columns), int), columns)), (1, known.shape[1]))
    rows = csr_matrix(vstack([known, unseen]))
    rows.sort_indices()
    return ids, Sparse(
        rows.indptr.astype(np.int64),
        (rows.indices + layout.starts[side]).astype(np.int32),
        rows.data.astype(np.float64),
    )


def _absent(layout: Layout, joined: Joined, trains: np.ndarray) -> dict[str, bool]:
    """Whether some training rows have none of a side, for each side of a model of entities."""
    entries = csr_matrix(
        (np.ones_like(joined.context.values), joined.context.columns, joined.context.indptr),
        (len(joined.users), layout.size),
    )[trains]
    absent = dict.fromkeys(TABLES.values(), False)
    for block in layout.side("context"):
        first = layout.starts["context"] + block.offset
        absent[block.column] = bool(entries[:, first : first + block.size].sum() < trains.sum())
    return absent


def _write_entities(
    plan: JoinedPlan,
    sides: dict[str, tuple[IdIndex, Sparse]],
    joined: Joined,
    found: dict[str, np.ndarray],
    trains: np.ndarray,
) -> None:
    """Write tables of what each entity adds: the sum of its features' factors, and its bias.

    The bias includes the pairs of features inside the entity. ``sum_{j < l} <v_j, v_l> x_j x_l`` over all
    features of a row is that sum inside each side, plus the products of the sums of two sides.
    """
    layout, parameters = plan.layout, parameters_of(found, 0)
    w, v = parameters.w, parameters.v[0]
    for side, places in zip(IDS, (joined.users, joined.items), strict=True):
        ids, rows = sides[side]
        x = csr_matrix((rows.values, rows.columns, rows.indptr), (len(ids) + 1, layout.size))[:-1]
        vectors = x @ v
        inside = 0.5 * (np.square(vectors).sum(axis=1) - x.power(2) @ np.square(v).sum(axis=1))
        counts = np.bincount(places[trains], minlength=len(ids) + 1)[:-1]
        _write_table(plan.folder, TABLES[side], ids.ids, counts, vectors, x @ w + inside)
    for block in layout.side("context"):
        first = layout.starts["context"] + block.offset
        span = slice(first, first + block.size)
        _write_table(
            plan.folder,
            block.column,
            pa.array(np.arange(block.size)),
            np.zeros(block.size, np.int64),
            v[span],
            w[span],
        )


def _write_table(
    folder: str, name: str, ids: pa.Array, counts: np.ndarray, vectors: np.ndarray, bias: np.ndarray
) -> None:
    store = Store(folder)
    columns = {
        "count": counts,
        "features": np.ascontiguousarray(vectors, np.float32),
        "bias": bias.astype(np.float32),
        "deviation": bias.astype(np.float32),
        "biases": bias.astype(np.float32)[:, None],
    }
    table = pa.table(
        {"id": ids} | {key: as_arrow(np.ascontiguousarray(column)) for key, column in columns.items()}
    )
    store.fs.create_dir(store.at(name), recursive=True)
    pq.write_table(table, store.at(f"{name}/part-00000.parquet"), filesystem=store.fs)


def all_rows(batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """The rows of all batches, each column in one piece. Raise RecsparkError if there are none."""
    held = list(batches)
    if not held:
        raise RecsparkError("there is nothing to train on: the data has no rows")
    return pa.Table.from_batches(held).combine_chunks()


def reporter(root: str) -> Report:
    """A report that tells the process which waits for the fit, by files in the folder `root`."""
    store = Store(root)

    def report(row: dict[str, float]) -> bool:
        store.write_json(f"iterations/{row['iteration']:05d}.json", row)
        return store.exists(STOP)

    return report
