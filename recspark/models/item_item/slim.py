"""SLIM: a sparse linear model of each item on others."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from recspark.algorithms.item_item.gram import nearest
from recspark.config import above, at_least, between
from recspark.engine.spark.runner import SparkRunner
from recspark.engine.storage import Store
from recspark.kernels.item_item.slim import descend
from recspark.models.item_item.estimator import (
    ItemItem,
    ItemItemModel,
    block_cuts,
    join_rows,
    ratings_of,
    save_csr,
)
from recspark.models.params import Hyperparameter


class SLIMModel(ItemItemModel):
    """Sparse weights of items for items."""


class SLIM(ItemItem):
    """A sparse linear model of each item on the `k` items that it shares most users with.

    The weights w >= 0 of the others for item j minimise

        |x_j - sum_i w_i x_i|^2 / 2  +  regParam (elasticNetParam |w|_1  +  (1 - elasticNetParam) |w|^2 / 2),

    by coordinate descent (`recspark.kernels.item_item.slim.descend`). It is `EASE` with weights that are not
    negative and mostly 0: no matrix of all items by all items is held, so it takes any number of items, and
    blocks of them are tasks of their own.

    Sources
    -------
    Ning, Karypis 2011, "SLIM: sparse linear methods for top-N recommender systems"; with few candidates it is
    called fsSLIM there.
    """

    model_class = SLIMModel

    k = Hyperparameter(int, 200, "candidates of an item: those that share most users with it", at_least(1))
    regParam = Hyperparameter(float, 50.0, "penalty of the weights; more ratings need a larger one", above(0))
    elasticNetParam = Hyperparameter(
        float, 0.02, "share of the absolute values in the penalty: more of it, fewer weights", between(0, 1)
    )
    maxIter = Hyperparameter(int, 50, "most sweeps over the weights of an item", at_least(1))
    tol = Hyperparameter(float, 1e-4, "a sweep that changes no weight by more is the last", at_least(0))

    def _solve(self, runner: SparkRunner, folder: str, blocks: range) -> None:
        share, penalty = self.getElasticNetParam(), self.getRegParam()
        how = Descent(self.getK(), penalty * share, penalty * (1 - share), self.getMaxIter(), self.getTol())
        runner.map(partial(_write_weights, self.getBinary(), how), blocks)
        runner.map(partial(join_rows, folder), [blocks])


class Descent(NamedTuple):
    """The Params of `SLIM` as its kernel takes them."""

    k: int
    l1: float
    l2: float
    max_iter: int
    tol: float


def _write_weights(binary: bool, how: Descent, store: Store, block: int) -> None:
    rows, x = ratings_of(store, "items", block, binary), ratings_of(store, "users", 0, binary)
    first, ones = int(block_cuts(store, "items")[block]), np.ones(x.shape[1])
    candidates = nearest(rows, x, first, (ones, ones), how.k, 0.0)
    items = csr_matrix(x.T.astype(np.float32))
    targets = np.arange(first, first + rows.shape[0])
    csr = tuple((part.indptr, part.indices, part.data) for part in (items, candidates))
    weights = descend(csr[0], targets, csr[1], (how.l1, how.l2), how.max_iter, how.tol, x.shape[0])
    found = csr_matrix((weights, candidates.indices, candidates.indptr), candidates.shape)
    found.eliminate_zeros()
    save_csr(store, f"rows/{block:05d}", found)
