"""Lists for users, lists for items, and similar ids: exact, on Spark, in the memory of one block.

    ids (seen, asked for) -> `Question.scatter`: pairs of positions by block -> shuffle
                          -> `Question.lists`: one task per block

Scattered pairs take 1 to 4 bytes per seen row, and a few per user, in few large values: the shuffle moves no
single rows. All of it is lazy and in Spark's hands, so a lost task runs again.
`recspark.models.factors.lists` says how blocks are cut and what a worker holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, from_arrow_type
from pyspark.sql.types import ArrayType, DataType, FloatType, StructField, StructType

from recspark.algorithms.ratings import other
from recspark.config import Option, at_least
from recspark.data.columns import ColumnError
from recspark.engine.scan import map_files, parquet_files
from recspark.engine.spark.crossing import map_partitions, user_errors
from recspark.engine.spark.session import check_workers, parallelism, task_cpus
from recspark.errors import ConfigError
from recspark.ids import as_ids
from recspark.lake.folder import Folder
from recspark.models.factors.lists import PAIRS, Question
from recspark.models.params import plain

#: most lists that a task makes. Blocks are equal in work, so there is one per core, or a multiple of that if
#: lists are many: a task costs 0.05 s
BLOCK_LISTS = 50_000

#: pairs of users and items that are known
Seen: TypeAlias = DataFrame | str | Sequence[str]

_LENGTH = Option(int, None, "length of a list", at_least(1))


class Recommendations:
    """The lists of a factor model.

    The recommend methods have the names and results of ``pyspark.ml.recommendation.ALSModel``. All are exact.
    Of equal scores the lower id comes first. If there are fewer candidates, a list is shorter. No pair in
    `seen` is recommended: a DataFrame with the model's user and item columns, or the path or URI of Parquet
    files with them, or several paths, which workers read without Spark's rows. If it is not given, nothing is
    left out, as in MLlib. `candidates` and `blocked` (DataFrames with a column of ids, which the driver
    collects) say which ids may be on a list and which may not. Row order and partitioning of all inputs don't
    matter.
    """

    if TYPE_CHECKING:  # the Params, tables and scorer of the model that it is mixed into

        def __getattr__(self, name: str) -> Any: ...

    def recommendForAllUsers(
        self,
        numItems: int,
        *,
        seen: Seen | None = None,
        candidates: DataFrame | None = None,
        blocked: DataFrame | None = None,
    ) -> DataFrame:
        """The best `numItems` items of every user.

        The result has columns ``userCol, recommendations array<struct<itemCol, rating float>>``.

        Parameters
        ----------
        numItems
            The length of a list, at least 1.
        seen, candidates, blocked
            See `recommendForUserSubset`.
        """
        return self._recommended("users", numItems, None, seen, candidates, blocked)

    def recommendForAllItems(
        self,
        numUsers: int,
        *,
        seen: Seen | None = None,
        candidates: DataFrame | None = None,
        blocked: DataFrame | None = None,
    ) -> DataFrame:
        """The best `numUsers` users of every item.

        The result has columns ``itemCol, recommendations array<struct<userCol, rating float>>``.

        Parameters
        ----------
        numUsers
            The length of a list, at least 1.
        seen, candidates, blocked
            See `recommendForItemSubset`.
        """
        return self._recommended("items", numUsers, None, seen, candidates, blocked)

    def recommendForUserSubset(
        self,
        dataset: DataFrame,
        numItems: int,
        *,
        seen: Seen | None = None,
        candidates: DataFrame | None = None,
        blocked: DataFrame | None = None,
        fallback: bool = False,
    ) -> DataFrame:
        """The best `numItems` items of each distinct user in `dataset`.

        Parameters
        ----------
        dataset : DataFrame
            The users, in the column userCol; repeated ids and nulls don't matter.
        numItems : int
            The length of a list, at least 1.
        seen : DataFrame, str or sequence of str, optional
            Pairs that are not recommended: a DataFrame with userCol and itemCol, or paths or URIs of Parquet
            files.
        candidates, blocked : DataFrame, optional
            Items, in the column itemCol, that may be on a list (default: all) and that may not (default:
            none).
        fallback : bool
            Also make lists for users that the model does not know, which are left out otherwise, as in MLlib.
            They get the items with the largest biases, and the ratings that are predicted for cold users.

        Returns
        -------
        DataFrame
            ``userCol, recommendations array<struct<itemCol, rating float>>``, and with `fallback` a last
            column ``cold boolean``, true for cold users.
        """
        known = self._recommended("users", numItems, dataset, seen, candidates, blocked)
        if not fallback:
            return known
        cold = self._fallback(numItems, dataset, seen, candidates, blocked)
        return known.withColumn("cold", F.lit(False)).unionAll(cold.withColumn("cold", F.lit(True)))

    def recommendForItemSubset(
        self,
        dataset: DataFrame,
        numUsers: int,
        *,
        seen: Seen | None = None,
        candidates: DataFrame | None = None,
        blocked: DataFrame | None = None,
    ) -> DataFrame:
        """The best `numUsers` users of each distinct item in `dataset`.

        Parameters
        ----------
        dataset : DataFrame
            The items, in the column itemCol; repeated ids and nulls don't matter. Items that the model does
            not know are left out.
        numUsers : int
            The length of a list, at least 1.
        seen : DataFrame, str or sequence of str, optional
            Pairs that are not recommended: a DataFrame with userCol and itemCol, or paths or URIs of Parquet
            files.
        candidates, blocked : DataFrame, optional
            Users, in the column userCol, that may be on a list (default: all) and that may not (default:
            none).

        Returns
        -------
        DataFrame
            ``itemCol, recommendations array<struct<userCol, rating float>>``.
        """
        return self._recommended("items", numUsers, dataset, seen, candidates, blocked)

    def similarItems(self, items: DataFrame | Sequence[object] | None, numItems: int) -> DataFrame:
        """The `numItems` items most similar to each of `items`, by the cosine of their factors.

        `items` is a DataFrame with itemCol, ids, or None for all. The result has columns ``itemCol, similar
        array<struct<itemCol, similarity float>>``, similarity ``<y_i, y_j> / (|y_i| |y_j|)``, without the
        item itself. Factors that are all 0 have no direction: such an item is not similar to any other.
        """
        return self._similar("items", items, numItems)

    def similarUsers(self, users: DataFrame | Sequence[object] | None, numUsers: int) -> DataFrame:
        """The `numUsers` users most similar to each of `users`; see `similarItems`."""
        return self._similar("users", users, numUsers)

    def _recommended(self, side, n, subset, seen, candidates, blocked) -> DataFrame:
        question = self._question(side, other(side), n, subset is not None, candidates, blocked)
        asked = [] if subset is None else [_scattered(question, self._asked(question, subset))]
        return _answer(question, asked if seen is None else [*asked, self._scattered_seen(question, seen)])

    def _similar(self, side: str, ids: DataFrame | Sequence[object] | None, n: int) -> DataFrame:
        question = self._question(side, side, n, ids is not None)
        if ids is not None and not isinstance(ids, DataFrame):
            ids = SparkSession.active().createDataFrame(pa.table({self._id_column(side): as_ids(plain(ids))}))
        return _answer(question, [] if ids is None else [_scattered(question, self._asked(question, ids))])

    def _fallback(self, n, dataset, seen, candidates, blocked) -> DataFrame:
        """Lists of the users in `dataset` that the model does not know: by joins, as they are few."""
        question = self._question("users", "items", n, True, candidates, blocked)
        asked, known = self._asked(question, dataset), self._table("users").select(F.col("id").alias("dst"))
        cold = asked.select("dst").dropna().distinct().join(known, "dst", "left_anti")
        if seen is not None and not isinstance(seen, DataFrame):
            seen = SparkSession.active().read.parquet(*_places(seen))
        pairs = asked if seen is None else self._seen(question, seen)
        rows = cold.join(pairs, "dst", "left").groupBy("dst").agg(F.collect_set("src").alias("seen"))
        owner = StructField(self.getUserCol(), rows.schema["dst"].dataType, False)
        return rows.mapInArrow(question.fallback, StructType([owner, question.schema[1]]))

    def _question(
        self,
        side: str,
        ranked: str,
        n: int,
        subset: bool,
        candidates: DataFrame | None = None,
        blocked: DataFrame | None = None,
    ) -> Question:
        length = _LENGTH.parse("the length of a list", plain(n))
        if length is None:
            raise ConfigError(f"the length of a list is not set: it must be {_LENGTH.allowed}")
        spark = SparkSession.active()
        check_workers(spark)
        name, value = ("recommendations", "rating") if side != ranked else ("similar", "similarity")
        self._check_list_names(self._id_column(side), {name, "cold"})
        self._check_list_names(self._id_column(ranked), {value})
        entry = StructType(
            [StructField(self._id_column(ranked), self._id_type(ranked)), StructField(value, FloatType())]
        )
        schema = StructType(
            [
                StructField(self._id_column(side), self._id_type(side), False),
                StructField(name, ArrayType(entry)),
            ]
        )
        cores = parallelism(spark)
        blocks = cores * max(1, -(-self._stored(side).count_rows() // (cores * BLOCK_LISTS)))
        threads = task_cpus(spark)
        allowed, barred = (self._collected(ranked, ids) for ids in (candidates, blocked))
        return Question(self.scorer, side, ranked, length, subset, allowed, barred, blocks, threads, schema)

    def _asked(self, question: Question, dataset: DataFrame) -> DataFrame:
        """Rows (dst, null) of the ids in `dataset`."""
        dst = self._checked_id(dataset.schema, self._id_column(question.side)).alias("dst")
        return dataset.select(dst, F.lit(None).cast(self._id_type(question.ranked)).alias("src"))

    def _seen(self, question: Question, pairs: DataFrame) -> DataFrame:
        """Rows (dst, src) of the seen pairs, without rows that have a null."""
        sides = {"dst": question.side, "src": question.ranked}
        schema = pairs.schema
        return pairs.select(
            *(self._checked_id(schema, self._id_column(side)).alias(name) for name, side in sides.items())
        ).dropna()

    def _scattered_seen(self, question: Question, seen: Seen) -> DataFrame:
        if isinstance(seen, DataFrame):
            return _scattered(question, self._seen(question, seen))
        columns = {"dst": self._id_column(question.side), "src": self._id_column(question.ranked)}
        files = [parquet_files(place) for place in _places(seen)]
        for each in files:
            for column in columns.values():
                self._checked_id(from_arrow_schema(each.schema), column)
        return map_files(SparkSession.active(), files, columns, question.scatter, PAIRS)

    def _collected(self, side: str, ids: DataFrame | None) -> np.ndarray | None:
        if ids is None:
            return None
        column = self._checked_id(ids.schema, self._id_column(side)).alias("id")
        with user_errors():
            return ids.select(column).dropna().distinct().toArrow()["id"].to_numpy()

    @staticmethod
    def _check_list_names(id_column: str, own: set[str]) -> None:
        if id_column.lower() in own:
            raise ColumnError(
                f"column {id_column!r} already exists: it is the name of a column of lists, so give the ids "
                "another name"
            )

    def _id_column(self, side: str) -> str:
        return self.getUserCol() if side == "users" else self.getItemCol()

    def _id_type(self, side: str) -> DataType:
        return from_arrow_type(self._stored(side).schema.field("id").type)

    def _stored(self, side: str) -> ds.Dataset:
        """The model's table by its footers: a Spark job would take longer than many lists do."""
        self.files.verify()
        folder = Folder(self.folder)
        return ds.dataset(folder.at(side), filesystem=folder.fs, format="parquet")


def _places(seen: str | Sequence[str]) -> list[str]:
    return [seen] if isinstance(seen, str) else list(seen)


def _scattered(question: Question, rows: DataFrame) -> DataFrame:
    """Turn rows (dst, src) into `PAIRS`."""
    return map_partitions(rows, question.scatter, PAIRS)


def _answer(question: Question, pairs: list[DataFrame]) -> DataFrame:
    """The lists, from `PAIRS` in any order: one shuffle of the scattered pairs, or none without pairs."""
    blocks, partitions = question.blocks, 1 if pairs else question.blocks
    numbers = SparkSession.active().range(0, blocks, 1, partitions)
    # every block gets a row, so that each one is handled; it is in the last task, which is the shortest
    every = numbers.selectExpr("int(id) AS block", "X'' AS pairs")
    scattered = reduce(DataFrame.unionAll, [*pairs, every])
    placed = scattered.repartitionById(blocks, "block") if pairs else scattered
    return placed.mapInArrow(question.lists, question.schema)
