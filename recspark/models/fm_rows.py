"""Rows of a factorization machine as arrays: what fits in one task learn from, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import expit, ndtr

from recspark.engine.loop import STOP
from recspark.engine.storage import Store
from recspark.kernels import anova
from recspark.kernels.anova import Joined, Parameters

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
        self, joined: Joined, labels: np.ndarray, weights: np.ndarray, roles: np.ndarray, reg: np.ndarray, report: Report
    ) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        """See `SGDFit.run`."""


def reporter(root: str) -> Report:
    """Tells the process that waits for the fit in the folder `root`, by files."""
    store = Store(root)

    def report(row: dict[str, float]) -> bool:
        store.write_json(f"iterations/{row['iteration']:05d}.json", row)
        return store.exists(STOP)

    return report


def fit_in_order(fit: RowFit, joined: Joined, labels: np.ndarray, weights: np.ndarray, roles: np.ndarray, reg: np.ndarray, report: Report):
    """`fit.run` on rows in an order of their own: not that of the data.

    Raises
    ------
    ValueError
        Where no row trains, or a label or weight of one is not finite, or a weight negative.
    """
    if not (roles == 0).any():
        raise ValueError("there is nothing to train on: the data has no rows")
    entries = (joined.user, joined.item, joined.context)
    if not (
        all(np.isfinite(side.values).all() for side in entries)
        and np.isfinite(labels).all()
        and np.isfinite(weights).all()
        and (weights >= 0).all()
    ):
        raise ValueError("a label, a weight or an entry of a vector is null or not finite, or a weight is negative; filter these rows")
    context = csr_matrix((joined.context.values, joined.context.columns, joined.context.indptr), (len(labels), len(reg)))
    # rows of one first column lie together, so its draw reads memory in order
    first = np.append(joined.context.columns, 0)[joined.context.indptr[:-1]]
    keys = labels, context @ np.random.default_rng(0).random(len(reg)), first, joined.items, joined.users, roles
    # a key that is the same everywhere sorts nothing, and costs as much as any
    order = np.lexsort([key for key in keys if (key != key[0]).any()] or [labels])
    return fit.run(some_rows(joined, order), labels[order], weights[order], roles[order], reg, report)


def matrix(joined: Joined, columns: int) -> csr_matrix:
    """All rows written out."""
    parts = zip((joined.user, joined.item, joined.context), (joined.users, joined.items, slice(None)), strict=True)
    sides = [csr_matrix((side.values, side.columns, side.indptr), (len(side.indptr) - 1, columns))[rows] for side, rows in parts]
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
    context = csr_matrix((joined.context.values, joined.context.columns, joined.context.indptr), shape)[chosen]
    part = anova.Sparse(context.indptr.astype(np.int64), context.indices.astype(np.int32), context.data)
    return joined._replace(users=joined.users[chosen], items=joined.items[chosen], context=part)


def parameters_of(found: dict[str, np.ndarray], sample: int) -> Parameters:
    """The parameters of one sample of `RowFit.run`."""
    return Parameters(np.array([float(found["w0"][sample])]), np.asarray(found["w"][sample]), np.asarray(found["v"][sample]))
