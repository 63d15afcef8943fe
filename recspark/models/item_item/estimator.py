"""Item-item models: a user's score of an item is a weighted sum over the items that the user has."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import Self

import numpy as np
import pyarrow.compute as pc
from msgspec.structs import asdict
from pyspark.ml import Estimator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix, diags_array, vstack

from recspark.algorithms.ratings import SIDES, other
from recspark.config import at_least
from recspark.data.columns import number
from recspark.engine.blocks import build_block, index_and_scatter, load_block
from recspark.engine.encode import encode, id_column
from recspark.engine.index import rows, trained_size, untrained
from recspark.engine.spark.crossing import user_errors
from recspark.engine.spark.runner import SparkRunner
from recspark.engine.spark.session import parallelism
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.models.engine_params import Indexed
from recspark.models.estimator_params import FitsModel
from recspark.models.factors.model import FactorModel, RatingColumns, Summary
from recspark.models.folder import FactorFacts, ModelTable, write_facts
from recspark.models.params import Hyperparameter
from recspark.models.registry import kind_of
from recspark.models.saving import Saved
from recspark.models.serving.item_item import ItemItemFacts, as_csr
from recspark.models.workspace import workspace


class ItemItemModel(FactorModel):
    """Weights of items for items, and the history of each user.

    It recommends items to users and finds similar items. A score is a sum of weights, not a rating.
    `similarItems` ranks by the weights themselves.
    """

    scores_whole_users = True

    def recommendForAllItems(self, *_: object, **__: object) -> DataFrame:
        """Raise RecsparkError: the model ranks items only."""
        raise RecsparkError(
            f"{type(self).__name__} ranks items, not users: use recommendForAllUsers or "
            "recommendForUserSubset"
        )

    recommendForItemSubset = recommendForAllItems
    similarUsers = recommendForAllItems


class ItemItem(Estimator, Indexed, RatingColumns, FitsModel, Saved):
    """Base of `EASE` and `ItemKNN`: reads rows, cuts them into blocks of items, and writes the model."""

    dense = False

    binary = Hyperparameter(bool, True, "every row counts 1, whatever its rating; false: its rating")
    itemBlocks = Hyperparameter(
        int, None, "blocks of the Gram matrix, one task each; not set: one per core", at_least(1)
    )
    workDir = Hyperparameter(str, None, "folder or URI that all workers reach, for blocks and the model")

    #: there is no iteration to watch
    can_watch = False
    ranks_watched = False

    def write_parts(self, path: str) -> None:
        """Write nothing: there is nothing but Params."""

    @classmethod
    def read_parts(cls, path: str) -> Self:
        """See `Saved.read_parts`."""
        return cls()

    def _fit(self, dataset: DataFrame) -> ItemItemModel:
        started = time.perf_counter()
        spark = dataset.sparkSession
        work = workspace(spark, self.getWorkDir())
        name = uuid.uuid4().hex
        folder, staged, store = (f"{work.folder}/{what}-{name}" for what in ("model", "encoded", "blocks"))
        runner, blocks = SparkRunner(spark, store), self.getItemBlocks() or parallelism(spark)
        try:
            with user_errors():
                parts = encode(self._rows(dataset), Store(staged), False, False)
            sizes = index_and_scatter(runner, parts, {"users": 1, "items": blocks}, self.getIndex())
            self._check_items(sizes["items"])
            jobs = [("users", 0), *(("items", block) for block in range(blocks))]
            runner.map(partial(build_block, parts), jobs)
            runner.map(partial(write_side, folder, self.getBinary()), SIDES)
            self._solve(runner, folder, range(blocks))
        finally:
            for place in (staged, store):
                Store(place).delete("")
        facts = FactorFacts(
            kind=kind_of(type(self)),
            can=("explain", "lists"),
            rank=0,
            mean=0.0,
            level=0.0,
            biased=False,
            id_kinds=parts.id_kinds,
        )
        write_facts(folder, self._facts(facts))
        model = self.model_class(folder=folder, lease=work.lease)
        model.take_params(self)
        model.summary = Summary([], 0, 0, 0.0, time.perf_counter() - started)
        return model

    def _rows(self, dataset: DataFrame) -> DataFrame:
        user, item = (id_column(dataset.schema, name) for name in (self.getUserCol(), self.getItemCol()))
        value = F.lit(1.0) if self.getBinary() else number(dataset, self.getRatingCol(), "a rating")
        columns = {"user": user, "item": item, "value": value.cast("float")}
        return dataset.select(*(column.alias(name) for name, column in columns.items()))

    def _facts(self, common: FactorFacts) -> FactorFacts:
        """`common`, the facts of all item-item models, with those of this kind."""
        return ItemItemFacts(dense=self.dense, **asdict(common))

    def _check_items(self, n_items: int) -> None:
        """Raise RecsparkError if there are too many items."""

    def _solve(self, runner: SparkRunner, folder: str, blocks: range) -> None:
        """Compute the weights and leave them in `folder`."""
        raise NotImplementedError


def write_side(folder: str, binary: bool, store: Store, side: str) -> None:
    """Worker: write the table of a side, and with the users their histories."""
    index = rows(store, side, 0, int(store.load(f"cuts/{side}")["cuts"][-1]))
    index = index.filter(pc.greater(index["count"], 0))
    counts, nothing = index["count"].to_numpy(), np.zeros(len(index), np.float32)
    # cold users get the items that most users have
    share = nothing if side == "users" else (counts / trained_size(store, "users")).astype(np.float32)
    ModelTable(
        index["id"].combine_chunks(), counts, np.empty((len(index), 0), np.float32), nothing, share
    ).write(folder, side)
    if side == "users":
        save_csr(Store(folder), "history", ratings_of(store, "users", 0, binary))


def _trained(store: Store, side: str, start: int, stop: int) -> np.ndarray:
    """The positions from `start` up to `stop` of ids that training rows have."""
    return np.setdiff1d(np.arange(start, stop), untrained(store, side), assume_unique=True)


def block_cuts(store: Store, side: str) -> np.ndarray:
    """The bounds of blocks, in places among the ids that training rows have."""
    cuts = store.load(f"cuts/{side}")["cuts"]
    return cuts - np.searchsorted(untrained(store, side), cuts)


def ratings_of(store: Store, side: str, block: int, binary: bool) -> csr_matrix:
    """A block's rows of ratings; columns are places among the ids of the other side that training rows have.

    A repeated pair counts once if `binary`, else with the sum of its ratings.
    """
    loaded = load_block(store, side, block)
    n_other = int(store.load(f"cuts/{other(side)}")["cuts"][-1])
    csr = loaded.train
    indices = loaded.needed[csr.indices] if len(loaded.needed) else csr.indices
    found = csr_matrix(
        (np.array(csr.values), np.array(indices), np.array(csr.indptr)), (len(csr.indptr) - 1, n_other)
    )
    found.sum_duplicates()
    if binary:
        found.data[:] = 1
    start, stop = (int(cut) for cut in store.load(f"cuts/{side}")["cuts"][block : block + 2])
    trained = _trained(store, side, start, stop) - start, _trained(store, other(side), 0, n_other)
    return found if (len(trained[0]), len(trained[1])) == found.shape else found[trained[0]][:, trained[1]]


def save_csr(store: Store, name: str, matrix: csr_matrix) -> None:
    """Write a matrix by that name; `as_csr` reads it."""
    store.save(
        name,
        indptr=matrix.indptr.astype(np.int64),
        indices=matrix.indices.astype(np.int32),
        values=matrix.data.astype(np.float32),
    )


def weighted(x: csr_matrix, user_power: float) -> csr_matrix:
    """X, in which a user of n items counts ``n^-user_power`` times."""
    return csr_matrix(diags_array(np.diff(x.indptr) ** -user_power) @ x) if user_power else x


def join_rows(folder: str, store: Store, blocks: range) -> None:
    """Worker: put the rows of all blocks together: row j has the weights of others for item j."""
    cuts = block_cuts(store, "items")
    parts = [
        as_csr(store.load(f"rows/{block:05d}"), (int(cuts[block + 1] - cuts[block]), int(cuts[-1])))
        for block in blocks
    ]
    # scores are products with columns
    save_csr(Store(folder), "weights", csr_matrix(vstack(parts).T))
