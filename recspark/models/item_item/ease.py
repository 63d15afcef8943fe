"""EASE: ridge regression of each item on all others."""

from __future__ import annotations

from functools import partial

import numpy as np

from recspark.algorithms.item_item.gram import BYTES_PER_ENTRY, dense_gram, ease_inplace, most_items
from recspark.config import above, at_least, between
from recspark.engine.index import trained_size
from recspark.engine.spark.memory import free_bytes
from recspark.engine.spark.runner import SparkRunner
from recspark.engine.spark.session import default_threads
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.models.folder import read_rows
from recspark.models.item_item.estimator import ItemItem, ItemItemModel, ratings_of, weighted
from recspark.models.params import Hyperparameter


class EASEModel(ItemItemModel):
    """The weight of every item for every other item."""


class EASE(ItemItem):
    """Ridge regression of each item on all others, in closed form.

    The weights B of items i for items j minimise

        sum_u n_u^-userPower |x_u - x_u B|^2  +  regParam sum_ij n_i^regPower B_ij^2,

    with a diagonal of 0 and n the users of an item, or the items of a user. Scores of item j are divided by
    n_j^itemPower. With powers of 0, the defaults, this is Steck's model.

    It is exact, so one task holds a matrix of all items by all items: 5 bytes per entry, so 2 GB for 20,000
    items (`recspark.algorithms.item_item.gram.ease_inplace`). All cores of the machine work on it.

    Sources
    -------
    Steck 2019, "Embarrassingly shallow autoencoders for sparse data". The powers are ours (docs/topn.md).
    """

    model_class = EASEModel
    dense = True

    regParam = Hyperparameter(
        float, 500.0, "penalty of the weights, in users: larger ones for more ratings", above(0)
    )
    regPower = Hyperparameter(
        float, 0.0, "the penalty of an item with n users counts n^regPower times", between(0, 1)
    )
    userPower = Hyperparameter(float, 0.0, "a user of n items counts n^-userPower times", between(0, 1))
    itemPower = Hyperparameter(
        float, 0.0, "scores of an item with n users are divided by n^itemPower", between(0, 1)
    )
    maxItems = Hyperparameter(
        int,
        None,
        "more items are refused; not set: as many as the free memory of this machine holds",
        at_least(1),
    )

    def _check_items(self, n_items: int) -> None:
        most = self.getMaxItems() or most_items(free_bytes())
        if n_items > most:
            set_by = "maxItems" if self.getMaxItems() else "the memory that is free here"
            needed = BYTES_PER_ENTRY * n_items**2 / 1e9
            raise RecsparkError(
                f"EASE on {n_items} items is refused: {set_by} allows {most} at {needed:.1f} GB for these; "
                "leave items with few ratings out, or use ItemKNN, which takes any number"
            )

    def _solve(self, runner: SparkRunner, folder: str, blocks: range) -> None:
        runner.map(partial(_write_gram, self.getBinary(), self.getUserPower()), blocks)
        powers = self.getRegPower(), self.getItemPower()
        solve = partial(_write_ease, folder, self.getRegParam(), powers, default_threads(runner.spark))
        runner.map(solve, [blocks])


def _write_gram(binary: bool, user_power: float, store: Store, block: int) -> None:
    rows, x = ratings_of(store, "items", block, binary), ratings_of(store, "users", 0, binary)
    store.save(f"gram/{block:05d}", rows=dense_gram(rows, weighted(x, user_power)))


def _write_ease(
    folder: str, penalty: float, powers: tuple[float, float], threads: int, store: Store, blocks: range
) -> None:
    n_items, first = trained_size(store, "items"), 0
    gram = np.empty((n_items, n_items), np.float32)
    for block in blocks:
        rows = store.load(f"gram/{block:05d}")["rows"]
        gram[first : first + len(rows)] = rows
        first += len(rows)
        store.delete(f"gram/{block:05d}")
    counts = read_rows(folder, "items", ["count"])["count"].to_numpy().astype(np.float64)
    reg_power, item_power = powers
    ease_inplace(gram, penalty * counts**reg_power, counts**-item_power, threads)
    Store(folder).save("weights", whole=gram)
