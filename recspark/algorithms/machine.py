"""Rows of a factorization machine as arrays, for fits in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from scipy.special import expit, ndtr

from recspark.errors import RecsparkError
from recspark.features.layout import Layout
from recspark.ids import IdIndex
from recspark.kernels import anova
from recspark.kernels.anova import Joined, Parameters, Sparse

#: names of the entity sides in the engine and in a model, by their names in a layout
TABLES = {"user": "users", "item": "items"}
#: links from a score to a prediction
LINKS = {"identity": lambda score: score, "probit": ndtr, "logistic": expit}

#: called with the metrics of every iteration; returns whether the fit is to end
Report = Callable[[dict[str, float]], bool]


class RowFit(Protocol):
    """A solver with its hyper-parameters: `SGDFit`, `GibbsFit`."""

    @property
    def link(self) -> str:
        """The link from a score to a label: a key of `LINKS`."""

    def run(
        self,
        joined: Joined,
        labels: np.ndarray,
        weights: np.ndarray,
        roles: np.ndarray,
        reg: np.ndarray,
        report: Report,
    ) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        """Fit the parameters.

        Parameters
        ----------
        joined
            The rows, as entities of users and items and their contexts.
        labels, weights
            float64 (rows,).
        roles
            int8 (rows,): position in `recspark.algorithms.ratings.ROLES`. Training rows, 0, are learned from;
            the others are watched.
        reg
            float64 (columns,): the penalty of each column.
        report
            Called with the metrics of every iteration; if it is true, the fit ends.

        Returns
        -------
        dict, list of dict
            Parameters by sample, all float64: ``w0 (S,), w (S, columns), v (S, order - 1, columns, rank),
            alpha (S,)``, and the metrics of each iteration.
        """


def fit_in_order(
    fit: RowFit,
    joined: Joined,
    labels: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    reg: np.ndarray,
    report: Report,
):
    """Call `fit.run` on the rows in an order of their own, which does not depend on that of the data.

    Parameters
    ----------
    fit
        The solver.
    joined, labels, weights, roles, reg, report
        The arguments of `RowFit.run`.

    Returns
    -------
    dict, list of dict
        The result of `RowFit.run`.

    Raises
    ------
    RecsparkError
        If no row trains, a label or weight of a row is not finite, a weight is negative, or a label is
        neither 0 nor 1 although the link is not identity.
    """
    if not (roles == 0).any():
        raise RecsparkError("there is nothing to train on: the data has no rows")
    numbers = (joined.user.values, joined.item.values, joined.context.values, labels, weights)
    if not (all(np.isfinite(each).all() for each in numbers) and weights.min() >= 0):
        raise RecsparkError(
            "a label, a weight or an entry of a vector is null or not finite, or a weight is negative; "
            "filter these rows"
        )
    if fit.link != "identity" and (other := labels[(labels != 0) & (labels != 1)]).size:
        raise RecsparkError(f"the column of labels has {other[0]:g}: FMClassifier takes 0 and 1")
    order = _order(joined, labels, weights, roles, len(reg))
    return fit.run(some_rows(joined, order), labels[order], weights[order], roles[order], reg, report)


def _order(
    joined: Joined, labels: np.ndarray, weights: np.ndarray, roles: np.ndarray, columns: int
) -> np.ndarray:
    """Rows by role, user, item and first column of their context, so that neighbours share cached data.

    Equal rows are ordered by their contents, as a random number.
    """
    draw = np.random.default_rng(0)
    context = csr_matrix(
        (joined.context.values, joined.context.columns, joined.context.indptr), (len(labels), columns)
    )
    held = context @ draw.random(columns) + draw.random() * labels + draw.random() * weights
    first = np.append(joined.context.columns, 0)[joined.context.indptr[:-1]]
    # numbers of 16 bits are sorted by counting; a key that is the same everywhere sorts nothing, but
    # costs as much as any
    keys = [
        key.astype(np.min_scalar_type(key.max()))
        for key in (first, joined.items, joined.users, roles)
        if (key != key[0]).any()
    ]
    order = np.argsort(held)
    for key in keys:
        order = order[np.argsort(key[order], kind="stable")]
    return order


def matrix(joined: Joined, columns: int) -> csr_matrix:
    """All rows as one sparse matrix (rows, columns)."""
    parts = zip(
        (joined.user, joined.item, joined.context), (joined.users, joined.items, slice(None)), strict=True
    )
    sides = [
        csr_matrix((side.values, side.columns, side.indptr), (len(side.indptr) - 1, columns))[rows]
        for side, rows in parts
    ]
    # the columns of the sides differ, so a sum puts them side by side
    whole = sides[2] if not sides[0].nnz and not sides[1].nnz else sides[0] + sides[1] + sides[2]
    return csr_matrix(whole)


def scores(joined: Joined, parameters: Parameters) -> np.ndarray:
    """Scores of all rows, float64."""
    out = np.empty(len(joined.users))
    anova.scores(0, len(out), joined, parameters, out)
    return out


def some_rows(joined: Joined, chosen: np.ndarray) -> Joined:
    """The rows `chosen`, in that order."""
    shape = len(joined.users), int(joined.context.columns.max(initial=0)) + 1
    context = csr_matrix((joined.context.values, joined.context.columns, joined.context.indptr), shape)[
        chosen
    ]
    part = anova.Sparse(context.indptr.astype(np.int64), context.indices.astype(np.int32), context.data)
    return joined._replace(users=joined.users[chosen], items=joined.items[chosen], context=part)


def parameters_of(found: dict[str, np.ndarray], sample: int) -> Parameters:
    """The parameters of one sample of `RowFit.run`."""
    return Parameters(
        np.array([float(found["w0"][sample])]), np.asarray(found["w"][sample]), np.asarray(found["v"][sample])
    )


def join(
    sides: dict[str, tuple[IdIndex, Sparse]],
    layout: Layout,
    users: pa.ChunkedArray,
    items: pa.ChunkedArray,
    columns: pa.Array,
    values: pa.Array,
) -> Joined:
    """Join rows of ids and of the entries of their contexts.

    Parameters
    ----------
    sides
        By ``user`` and ``item``: the ids, and their rows (ids + 1, columns), the last one for unknown ids.
    layout
        The columns of a row of all sides.
    users, items
        Arrow columns of ids, one per row; null is an unknown id.
    columns, values
        Arrow lists (int, float), one per row: the columns of the context, counted from 0, and their values.
    """
    (user_ids, user_rows), (item_ids, item_rows) = sides.values()
    at_user = user_ids.positions(users, unknown=len(user_ids), null=len(user_ids))
    at_item = item_ids.positions(items, unknown=len(item_ids), null=len(item_ids))
    indptr = np.concatenate([[0], np.cumsum(columns.value_lengths().to_numpy())]).astype(np.int64)
    context = Sparse(
        indptr,
        (columns.flatten().to_numpy() + layout.starts["context"]).astype(np.int32),
        values.flatten().to_numpy().astype(np.float64),
    )
    return anova.joined(at_user, at_item, user_rows, item_rows, context)
