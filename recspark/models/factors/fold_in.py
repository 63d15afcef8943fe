"""Fold new ratings into a fitted model: solve rows of one side while the other side is fixed.

The kernel that trained solves them.

    solved      users in the new ratings, and items that training has not seen, each from all its ratings,
                earlier and new
    fixed       everything else; `refresh_items` also solves the items in the new ratings that training has
                seen
    order       users from the items that have factors; then, if items are solved, a few times items, users
    positions   ids keep theirs, new ids follow in ascending order

So users come last, as in training: if the ratings and items of a user are those of the fit, the user gets its
trained row back (ALS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from recspark.algorithms.contract import State
from recspark.algorithms.ratings import CSR, SIDES, other
from recspark.data.index import SIDES as COLUMNS
from recspark.errors import DataRejected, RecsparkError
from recspark.ids import kind_of
from recspark.kernels.arrays.csr import csr_from_coo
from recspark.models.factors.row_solvers import RowSolver, row_solver
from recspark.models.factors.tables import FactorTables
from recspark.models.folder import ModelTable

#: new ratings: ids of the model's types, one row per pair; weight only for models that were fitted with
#: weights
BATCH = "user_id bigint or string, item_id bigint or string, rating float, weight float"

Rows = Mapping[str, np.ndarray]


def fold_in(
    model: FactorTables,
    batch: pa.Table,
    history: Sequence[pa.Table] = (),
    refresh_items: bool = False,
    sweeps: int = 3,
    threads: int = 1,
    epochs: int = 20,
    rate: float | None = None,
) -> tuple[FactorTables, dict[str, int]]:
    """The model with the ratings of `batch` (columns `BATCH`) added, and counts of what was done.

    `model` is not changed.

    Parameters
    ----------
    model
        The fitted model, which is not changed.
    batch
        The new ratings.
    history
        Earlier ratings, in the order in which the model saw them: the training ratings, then each earlier
        batch. All ratings of the rows that are solved again are needed (users in `batch`, its items that are
        added or refreshed); other ratings may be there. A repeated pair replaces the earlier rating.
    refresh_items
        Also solve items that training has seen, from all their ratings. Users that are not in `batch` keep
        their factors, which were solved with the old items.
    sweeps
        Number of times that solving items and solving users alternate.
    threads
        Number of threads of the kernels.
    epochs, rate
        Epochs and learning rate of gradient descent, if it trained the model. If `rate` is None, it is the
        rate of the first epoch of training.

    Returns
    -------
    FactorTables, dict
        The new model, and the counts: ``ratings`` (new ones with an effect), ``new_users, new_items``,
        ``updated_users, updated_items`` (known ids that were solved again).

    Raises
    ------
    DataRejected
        If an id is missing or not of the model's type, or a rating or weight is not finite.
    RecsparkError
        If the model's kind can't be updated, or the model was not made from `history`.
    """
    solver = row_solver(model.facts, epochs, rate)
    batch = _checked(solver, model, batch)
    tables = {side: _extended(solver, side, table, batch) for side, table in model.tables.items()}
    new = _entries(tables, batch)
    known = reduce(_replaced, (_entries(tables, _checked(solver, model, rows)) for rows in history), new[:0])
    entries = _replaced(known, new)
    trained = model.facts.trained or {side: len(table) for side, table in model.tables.items()}
    rows = {side: np.unique(new[side].to_numpy()) for side in SIDES}
    if not refresh_items:
        rows["items"] = rows["items"][rows["items"] >= trained["items"]]
    for side in SIDES:
        _check_history(side, rows[side], known, tables[side])
    # `tables` are copies of the model's: from here on they change in place
    states = _alternate_inplace(solver, tables, rows, entries, len(model.tables["items"]), sweeps, threads)
    for side, table in tables.items():
        table.counts[:] += _counts(entries, side, table) - _counts(known, side, table)
        csr = _csr(solver, tables, entries, side, rows[side])
        _fill_inplace(solver, side, table, rows[side], csr, states[side], len(tables[other(side)]))
    return FactorTables(tables, msgspec.structs.replace(model.facts, trained=trained)), _report(
        model, rows, len(new)
    )


def _checked(solver: RowSolver, model: FactorTables, rows: pa.Table) -> pa.Table:
    """Ids in the model's types, the value to fit and its weight, without rows that have no effect."""
    if missing := {*COLUMNS.values(), "rating"} - set(rows.column_names):
        raise DataRejected(
            f"the ratings have no column {', '.join(sorted(missing))}: they have "
            f"{', '.join(rows.column_names)}"
        )
    ids = {
        column: _checked_ids(rows, column, side, model.tables[side].ids.type)
        for side, column in COLUMNS.items()
    }
    given = _finite(rows, "weight") if "weight" in rows.column_names else None
    if solver.given_weights and given is None:
        raise DataRejected("the new ratings have no column weight, but the model was fitted with weights")
    values, weights = solver.targets(_finite(rows, "rating"), given if solver.given_weights else None)
    if np.any(weights < 0):
        raise DataRejected(
            "weight is too small in new ratings: it must be at least 0, as the confidence of implicit "
            "feedback at least 1"
        )
    table = pa.table({**ids, "value": values, "weight": weights})
    return table if np.all(weights) else table.filter(pa.array(weights != 0))


def _checked_ids(rows: pa.Table, column: str, side: str, wanted: pa.DataType) -> pa.Array:
    ids = rows[column].combine_chunks()
    if ids.null_count:
        raise DataRejected(f"{column} is null in {ids.null_count} new ratings: every rating needs an id")
    if kind_of(ids.type) is None or kind_of(ids.type) != kind_of(wanted):
        raise DataRejected(
            f"{column} is {ids.type} in the new ratings, but the model's ids of {side} are {wanted}"
        )
    try:
        return ids.cast(wanted)
    except pa.ArrowInvalid as error:
        raise DataRejected(
            f"{column} of the new ratings does not fit the model's ids of {side}, which are {wanted}: {error}"
        ) from None


def _finite(rows: pa.Table, column: str) -> np.ndarray:
    values = rows[column].cast(pa.float32()).to_numpy()
    if bad := int(np.sum(~np.isfinite(values))):
        raise DataRejected(
            f"{column} is null or not finite in {bad} of {len(values)} ratings: it must be a number"
        )
    return values


def _extended(solver: RowSolver, side: str, table: ModelTable, batch: pa.Table) -> ModelTable:
    """`table` with the ids of `batch` that it lacks, which start as in training."""
    ids = table.unknown(batch[COLUMNS[side]].combine_chunks())
    state = solver.start(side, len(table), len(ids))
    return table.extended(ids, state["factors"], state["bias"])


def _entries(tables: Mapping[str, ModelTable], rows: pa.Table) -> pd.DataFrame:
    """Positions (int32), value and weight of the rows whose ids are in the tables."""
    columns = {
        side: tables[side].positions(rows[column].combine_chunks()) for side, column in COLUMNS.items()
    }
    entries = pd.DataFrame(columns | {name: rows[name].to_numpy() for name in ("value", "weight")})
    known = (entries["users"] >= 0) & (entries["items"] >= 0)
    return entries if known.all() else entries[known]


def _replaced(earlier: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """Both frames; a pair in `later` replaces the same pair in `earlier`."""
    before, after = (
        entries["users"].to_numpy(np.int64) << 32 | entries["items"].to_numpy(np.int64)
        for entries in (earlier, later)
    )
    return pd.concat([earlier[~np.isin(before, after)], later], ignore_index=True)


def _check_history(side: str, rows: np.ndarray, known: pd.DataFrame, table: ModelTable) -> None:
    """Raise RecsparkError unless `known` has as many ratings of each row as the model has counted.

    Rows are solved again from all their ratings.
    """
    found = _counts(known, side, table)[rows]
    wrong = np.flatnonzero(found != table.counts[rows])
    if len(wrong):
        row = rows[wrong[0]]
        raise RecsparkError(
            f"the earlier ratings of {len(wrong)} {side} are not those that the model was made from: of "
            f"{table.ids[row].as_py()!r} there "
            f"are {found[wrong[0]]}, the model has seen {table.counts[row]}; train it again on the ratings "
            "as they are now"
        )


def _counts(entries: pd.DataFrame, side: str, table: ModelTable) -> np.ndarray:
    return np.bincount(entries[side], minlength=len(table))


def _alternate_inplace(
    solver: RowSolver,
    tables: Mapping[str, ModelTable],
    rows: Rows,
    entries: pd.DataFrame,
    n_known: int,
    sweeps: int,
    threads: int,
) -> dict[str, State]:
    """Solve `rows` and return factors and biases of both sides, whole.

    Items from `n_known` on have no factors to begin with.
    """
    states = {side: _state(table) for side, table in tables.items()}
    if not len(rows["items"]):
        _solve_inplace(
            solver,
            states,
            "users",
            rows["users"],
            _csr(solver, tables, entries, "users", rows["users"]),
            threads,
        )
        return states
    usable = entries[entries["items"] < n_known]
    ready = np.intersect1d(rows["users"], usable["users"])
    _solve_inplace(solver, states, "users", ready, _csr(solver, tables, usable, "users", ready), threads)
    blocks = {side: _csr(solver, tables, entries, side, rows[side]) for side in SIDES}
    for _ in range(sweeps):
        for side in reversed(SIDES):
            _solve_inplace(solver, states, side, rows[side], blocks[side], threads)
    return states


def _state(table: ModelTable) -> State:
    """The arrays that a score is made of, not copied."""
    return {"factors": table.features, "bias": table.bias}


def _solve_inplace(
    solver: RowSolver, states: dict[str, State], side: str, rows: np.ndarray, csr: CSR, threads: int
) -> None:
    """Solve `rows` of `side`, whose entries are `csr`, with the other side fixed."""
    own = states[side]
    solved = solver.solve(
        side, csr, states[other(side)], {key: array[rows] for key, array in own.items()}, threads
    )
    for key in own:
        own[key][rows] = solved[key]


def _csr(
    solver: RowSolver, tables: Mapping[str, ModelTable], entries: pd.DataFrame, side: str, rows: np.ndarray
) -> CSR:
    """The entries of `rows` (ascending positions of `side`), one CSR row per position."""
    place = np.full(len(tables[side]), -1, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    local = place[entries[side]]
    chosen = entries[local >= 0]
    weights = chosen["weight"].to_numpy(np.float32) if solver.weighted else np.empty(0, np.float32)
    columns = (chosen[other(side)].to_numpy(np.int32), chosen["value"].to_numpy(np.float32), weights)
    return CSR(*csr_from_coo(local[local >= 0], *columns, len(rows), len(tables[other(side)])))


def _fill_inplace(
    solver: RowSolver, side: str, table: ModelTable, rows: np.ndarray, csr: CSR, state: State, n_other: int
) -> None:
    """Write the columns of the solved rows into `table`."""
    columns = solver.export(side, csr, {key: array[rows] for key, array in state.items()}, n_other)
    for array, name in ((table.features, "features"), (table.bias, "bias"), (table.deviation, "deviation")):
        array[rows] = columns[name]


def _report(model: FactorTables, rows: Rows, ratings: int) -> dict[str, int]:
    report = {"ratings": ratings}
    for side in SIDES:
        new = int(np.sum(rows[side] >= len(model.tables[side])))
        report |= {f"new_{side}": new, f"updated_{side}": len(rows[side]) - new}
    return report
