"""Rows of a factorization machine as arrays: what fits in one process learn from, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

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

#: told of every iteration; whether the fit is to end
Report = Callable[[dict[str, float]], bool]


class RowFit(Protocol):
    """A solver with its hyper-parameters: `SGDFit`, `GibbsFit`."""

    @property
    def link(self) -> str:
        """From a score to a label: identity, logit or probit."""

    def run(
        self,
        joined: Joined,
        labels: np.ndarray,
        weights: np.ndarray,
        roles: np.ndarray,
        reg: np.ndarray,
        report: Report,
    ) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        """See `SGDFit.run`."""


def fit_in_order(
    fit: RowFit,
    joined: Joined,
    labels: np.ndarray,
    weights: np.ndarray,
    roles: np.ndarray,
    reg: np.ndarray,
    report: Report,
):
    """`fit.run` on rows in an order of their own: not that of the data.

    Raises
    ------
    RecsparkError
        Where no row trains, or a label or weight of one is not finite, or a weight negative, or a label is
        none of two where it must be.
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
    """Rows by role, user, item and first column of their context, so that what lies together is used
    together; of these by what they hold, as a random number tells."""
    draw = np.random.default_rng(0)
    context = csr_matrix(
        (joined.context.values, joined.context.columns, joined.context.indptr), (len(labels), columns)
    )
    held = context @ draw.random(columns) + draw.random() * labels + draw.random() * weights
    first = np.append(joined.context.columns, 0)[joined.context.indptr[:-1]]
    # numbers of 16 bits are sorted by counting, and a key that is the same everywhere sorts nothing, but
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
    """All rows written out."""
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
    """The rows `chosen`, in this order."""
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
    users: Any,
    items: Any,
    columns: pa.Array,
    values: pa.Array,
) -> Joined:
    """Rows of ids (Arrow columns) and of the entries of their contexts (lists, counted from 0) as
    `Joined`.
    """
    places = []
    for column, (ids, _) in zip((users, items), sides.values(), strict=True):
        places.append(ids.positions(column, unknown=len(ids), null=len(ids)))
    indptr = np.concatenate([[0], np.cumsum(columns.value_lengths().to_numpy())]).astype(np.int64)
    context = Sparse(
        indptr,
        (columns.flatten().to_numpy() + layout.starts["context"]).astype(np.int32),
        values.flatten().to_numpy().astype(np.float64),
    )
    return anova.joined(*places, *(rows for _, rows in sides.values()), context)  # type: ignore[arg-type]
