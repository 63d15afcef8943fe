"""Item-item models: a user's score of an item is a weighted sum over the items that the user has."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import NamedTuple, Self

import numpy as np
import pyarrow.compute as pc
from pyspark.ml import Estimator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix, diags_array, vstack

from recspark.algorithms.item_gram import BYTES_PER_ENTRY, dense_gram, ease_inplace, most_items, nearest
from recspark.algorithms.ratings import SIDES, other
from recspark.config import above, at_least, between
from recspark.data.columns import number
from recspark.engine.blocks import build_block, index_and_scatter, load_block
from recspark.engine.encode import encode, id_column
from recspark.engine.index import rows, trained_size, untrained
from recspark.engine.spark.crossing import user_errors
from recspark.engine.spark.memory import free_bytes
from recspark.engine.spark.runner import SparkRunner
from recspark.engine.spark.session import default_threads, parallelism
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.models.engine_params import Indexed
from recspark.models.estimator_params import FitsModel
from recspark.models.factors.model import FactorModel, RatingColumns, Summary
from recspark.models.folder import ModelTable, read_rows, write_facts
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
            runner.map(partial(_write_side, folder, self.getBinary()), SIDES)
            self._solve(runner, folder, range(blocks))
        finally:
            for place in (staged, store):
                Store(place).delete("")
        facts = ItemItemFacts(
            kind=kind_of(type(self)),
            can=("explain", "lists"),
            dense=self.dense,
            rank=0,
            mean=0.0,
            level=0.0,
            biased=False,
            id_kinds=parts.id_kinds,
        )
        write_facts(folder, facts)
        model = self.model_class(folder=folder, lease=work.lease)
        model.take_params(self)
        model.summary = Summary([], 0, 0, 0.0, time.perf_counter() - started)
        return model

    def _rows(self, dataset: DataFrame) -> DataFrame:
        user, item = (id_column(dataset.schema, name) for name in (self.getUserCol(), self.getItemCol()))
        value = F.lit(1.0) if self.getBinary() else number(dataset, self.getRatingCol(), "a rating")
        columns = {"user": user, "item": item, "value": value.cast("float")}
        return dataset.select(*(column.alias(name) for name, column in columns.items()))

    def _check_items(self, n_items: int) -> None:
        """Raise RecsparkError if there are too many items."""

    def _solve(self, runner: SparkRunner, folder: str, blocks: range) -> None:
        """Compute the weights and leave them in `folder`."""
        raise NotImplementedError


class EASEModel(ItemItemModel):
    """The weight of every item for every other item."""


class EASE(ItemItem):
    """Ridge regression of each item on all others, in closed form.

    The weights B of items i for items j minimise

        sum_u n_u^-userPower |x_u - x_u B|^2  +  regParam sum_ij n_i^regPower B_ij^2,

    with a diagonal of 0 and n the users of an item, or the items of a user. Scores of item j are divided by
    n_j^itemPower. With powers of 0, the defaults, this is Steck's model.

    It is exact, so one task holds a matrix of all items by all items: 5 bytes per entry, so 2 GB for 20,000
    items (`recspark.algorithms.item_gram.ease_inplace`). All cores of the machine work on it.

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


class ItemKNNModel(ItemItemModel):
    """The nearest neighbours of each item."""


class ItemKNN(ItemItem):
    """The nearest neighbours of each item; `recspark.algorithms.item_gram.nearest`.

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
        runner.map(partial(_join_nearest, folder), [blocks])


class Similarity(NamedTuple):
    """The Params of `ItemKNN`, by the same names."""

    k: int
    shrinkage: float
    user_power: float
    item_power: float
    neighbour_power: float


def _write_side(folder: str, binary: bool, store: Store, side: str) -> None:
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
        _save(Store(folder), "history", _ratings(store, "users", 0, binary))


def _trained(store: Store, side: str, start: int, stop: int) -> np.ndarray:
    """The positions from `start` up to `stop` of ids that training rows have."""
    return np.setdiff1d(np.arange(start, stop), untrained(store, side), assume_unique=True)


def _cuts(store: Store, side: str) -> np.ndarray:
    """The bounds of blocks, in places among the ids that training rows have."""
    cuts = store.load(f"cuts/{side}")["cuts"]
    return cuts - np.searchsorted(untrained(store, side), cuts)


def _ratings(store: Store, side: str, block: int, binary: bool) -> csr_matrix:
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


def _save(store: Store, name: str, matrix: csr_matrix) -> None:
    store.save(
        name,
        indptr=matrix.indptr.astype(np.int64),
        indices=matrix.indices.astype(np.int32),
        values=matrix.data.astype(np.float32),
    )


def _write_gram(binary: bool, user_power: float, store: Store, block: int) -> None:
    rows, x = _ratings(store, "items", block, binary), _ratings(store, "users", 0, binary)
    store.save(f"gram/{block:05d}", rows=dense_gram(rows, _weighted(x, user_power)))


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


def _weighted(x: csr_matrix, user_power: float) -> csr_matrix:
    """X, in which a user of n items counts ``n^-user_power`` times."""
    return csr_matrix(diags_array(np.diff(x.indptr) ** -user_power) @ x) if user_power else x


def _write_nearest(binary: bool, how: Similarity, store: Store, block: int) -> None:
    rows, x = _ratings(store, "items", block, binary), _ratings(store, "users", 0, binary)
    squares = np.asarray(x.power(2).sum(axis=0), np.float64).ravel()
    lengths = squares**how.item_power, squares**how.neighbour_power
    first, x = int(_cuts(store, "items")[block]), _weighted(x, how.user_power)
    _save(store, f"nearest/{block:05d}", nearest(rows, x, first, lengths, how.k, how.shrinkage))


def _join_nearest(folder: str, store: Store, blocks: range) -> None:
    cuts = _cuts(store, "items")
    parts = [
        as_csr(store.load(f"nearest/{block:05d}"), (int(cuts[block + 1] - cuts[block]), int(cuts[-1])))
        for block in blocks
    ]
    # row j has the neighbours of item j: scores are sums over these
    _save(Store(folder), "weights", csr_matrix(vstack(parts).T))
