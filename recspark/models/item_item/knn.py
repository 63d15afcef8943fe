"""ItemKNN: the nearest neighbours of each item."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from recspark.algorithms.item_item.gram import nearest
from recspark.config import at_least, between
from recspark.engine.spark.runner import SparkRunner
from recspark.engine.storage import Store
from recspark.models.item_item.estimator import (
    ItemItem,
    ItemItemModel,
    block_cuts,
    join_rows,
    ratings_of,
    save_csr,
    weighted,
)
from recspark.models.params import Hyperparameter


class ItemKNNModel(ItemItemModel):
    """The nearest neighbours of each item."""


class ItemKNN(ItemItem):
    """The nearest neighbours of each item; `recspark.algorithms.item_item.gram.nearest`.

    A user's score of an item j sums the similarities of its neighbours i that the user has (times their
    ratings unless `binary`). With n the users of an item, or the items of a user, a similarity is

        sum over users u of both: n_u^-userPower  /  (n_j^itemPower n_i^neighbourPower + shrinkage).

    The defaults give the cosine. Users who have everything say little of each item: a `userPower` above 0
    makes them count less. Where lists miss popular items, lower `itemPower`. (Unless `binary`, products of
    ratings are summed, and an item's n is the sum of its squared ratings.)

    Sources
    -------
    Deshpande, Karypis 2004, "Item-based top-N recommendation algorithms". Aiolli 2013, "Efficient top-N
    recommendation for very large scale binary rated datasets", section 3 (powers of items). Shen et al. 2021,
    "How powerful is graph convolution for recommendation?" (users weighted by their degree).
    """

    model_class = ItemKNNModel

    k = Hyperparameter(int, 100, "neighbours of an item", at_least(1))
    shrinkage = Hyperparameter(
        float,
        10.0,
        "added to the denominator of a similarity: items that few users share are less alike",
        at_least(0),
    )
    userPower = Hyperparameter(
        float, 0.0, "a user of n items counts n^-userPower times in a similarity", between(0, 1)
    )
    itemPower = Hyperparameter(
        float, 0.5, "similarities of an item with n users are divided by n^itemPower", between(0, 1)
    )
    neighbourPower = Hyperparameter(
        float, 0.5, "similarities to a neighbour with n users are divided by n^neighbourPower", between(0, 1)
    )

    def _solve(self, runner: SparkRunner, folder: str, blocks: range) -> None:
        how = Similarity(
            self.getK(),
            self.getShrinkage(),
            self.getUserPower(),
            self.getItemPower(),
            self.getNeighbourPower(),
        )
        runner.map(partial(_write_nearest, self.getBinary(), how), blocks)
        runner.map(partial(join_rows, folder), [blocks])


class Similarity(NamedTuple):
    """The Params of `ItemKNN`, by the same names."""

    k: int
    shrinkage: float
    user_power: float
    item_power: float
    neighbour_power: float


def _write_nearest(binary: bool, how: Similarity, store: Store, block: int) -> None:
    rows, x = ratings_of(store, "items", block, binary), ratings_of(store, "users", 0, binary)
    squares = np.asarray(x.power(2).sum(axis=0), np.float64).ravel()
    lengths = squares**how.item_power, squares**how.neighbour_power
    first, x = int(block_cuts(store, "items")[block]), weighted(x, how.user_power)
    save_csr(store, f"rows/{block:05d}", nearest(rows, x, first, lengths, how.k, how.shrinkage))
