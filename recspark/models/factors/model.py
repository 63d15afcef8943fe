"""The model of every factorization: factor tables in a folder, predictions by a scorer on the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.ml import Model
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DateType, StringType, StructType

from recspark.config import one_of
from recspark.data.columns import ColumnError, check_new, number, unused_name, with_new
from recspark.engine.encode import id_column, id_kind
from recspark.engine.spark.leases import Lease
from recspark.engine.spark.session import check_workers, parallelism
from recspark.errors import RecsparkError
from recspark.ids import as_ids
from recspark.ids import kind_of as kind_of_ids
from recspark.models.estimator_params import EstimatorParams
from recspark.models.factors.recommend import Recommendations
from recspark.models.folder import FactorFacts
from recspark.models.params import Configurable, Hyperparameter, plain
from recspark.models.saving import FittedModel
from recspark.models.serving.explanation import Explanation, Id
from recspark.models.serving.scorer import COLD_START, StoredScorer


class RatingColumns(Configurable):
    """The columns that estimators read and models write."""

    userCol = Hyperparameter(str, "user", "column of user ids: whole numbers, strings or dates")
    itemCol = Hyperparameter(str, "item", "column of item ids: whole numbers, strings or dates")
    ratingCol = Hyperparameter(str, "rating", "column of ratings")
    predictionCol = Hyperparameter(str, "prediction", "column that transform adds (float)")
    coldStartStrategy = Hyperparameter(
        str,
        "mean",
        "prediction for an id that training has not seen: 'mean' the overall mean and the known side's bias, "
        "'nan' NaN, 'drop' no row",
        one_of(*COLD_START),
        canonical=str.lower,
    )


@dataclass(frozen=True)
class Summary:
    """The history of a fit, one row per iteration, the iteration kept, and times in seconds."""

    history: list[dict[str, float]]
    best_iteration: int
    resumed_at: int
    prepare_seconds: float
    fit_seconds: float

    @property
    def curve(self) -> pd.DataFrame:
        """The history as a table.

        Its columns are iteration, train_rmse, validation_rmse ..., objective, seconds, ratings_per_second.
        """
        return pd.DataFrame(self.history)


#: number of blocks of users per core where rows of a user are brought together: work is then spread evenly
USER_BLOCKS = 4


class FactorModel(Recommendations, FittedModel, Model, RatingColumns, EstimatorParams):
    """Factors and biases of users and items.

    The tables ``users`` and ``items`` (`recspark.models.folder.ModelTable`) lie as Parquet in `folder`; each
    worker reads them once. The files of a new model lie in the fit's work folder: `save` the model to keep
    it.
    """

    #: whether a prediction takes the scores of all items of its user, so that rows of a user belong together
    scores_whole_users = False

    _facts: FactorFacts

    def __init__(self, folder: str | None = None, lease: Lease | None = None, **values: object) -> None:
        super().__init__(folder, lease, **values)
        self.summary: Summary | None = None

    @property
    def userFactors(self) -> DataFrame:
        """DataFrame (id, features array<float>) of users."""
        return self._factors("users")

    @property
    def itemFactors(self) -> DataFrame:
        """DataFrame (id, features array<float>) of items."""
        return self._factors("items")

    @property
    def userBiases(self) -> DataFrame:
        """DataFrame (id, bias, deviation, count) of users (`recspark.models.folder.ModelTable`)."""
        return self._table("users").select("id", "bias", "deviation", "count")

    @property
    def itemBiases(self) -> DataFrame:
        """DataFrame (id, bias, deviation, count) of items."""
        return self._table("items").select("id", "bias", "deviation", "count")

    @property
    def rank(self) -> int:
        """The number of factors."""
        return self._facts.rank

    @property
    def is_biased(self) -> bool:
        """Whether a bias of every user and item is part of the score."""
        return self._facts.biased

    @property
    def scorer(self) -> StoredScorer | None:
        """Predictions from arrays, without Spark; None if the model can't make lists.

        A process that uses it needs memory for all factors.
        """
        return StoredScorer(self.files) if "lists" in self.can else None

    def explain(
        self,
        user: object,
        item: object,
        ratings: DataFrame | Sequence[DataFrame] | None = None,
        weightCol: str | None = None,
    ) -> Explanation:
        """Why `item` has its score for `user`: the parts that add up to it.

        Parts are the mean and the biases, and the product of the factors; of ALS the share of each rating of
        the user in that product, if `ratings` is given; of EASE and ItemKNN the share of each item that the
        user has.

        Parameters
        ----------
        user, item
            Ids that the model knows.
        ratings : DataFrame or sequence of DataFrame, optional
            The rows that trained, with userCol, itemCol and ratingCol; then those of updates, in their order.
            Only ALS reads them, and only those of the user.
        weightCol : str, optional
            The column of weights, if the fit had weights.

        Raises
        ------
        RecsparkError
            If an id is not known or not of the model's kind, the model can't be explained, or `ratings` are
            not those that the model was made from.
        """
        return self.explain_list(user, [item], ratings, weightCol)[0]

    def explain_list(
        self,
        user: object,
        items: Sequence[object],
        ratings: DataFrame | Sequence[DataFrame] | None = None,
        weightCol: str | None = None,
    ) -> list[Explanation]:
        """`explain` for several items of one user, which reads the user's ratings once.

        Parameters
        ----------
        user, items, ratings, weightCol
            See `explain`.
        """
        self._facts.require("explain", type(self).__name__)
        [asked], ranked = self._typed("users", [user]), self._typed("items", items)
        with self.files.verified():
            explainer = self._facts.find_explainer().load(self.folder)
            rated = None
            if ratings is not None and explainer.reads_ratings:
                tables = [ratings] if isinstance(ratings, DataFrame) else ratings
                rated = _latest([self._rated_by(asked, table, weightCol) for table in tables])
            return explainer.explain(asked, ranked, rated)

    def _typed(self, side: str, ids: Sequence[object]) -> list[Id]:
        """`ids` as plain Python. Raise RecsparkError if they are not of the model's kind."""
        found = as_ids([plain(id) for id in ids])
        if found.null_count or kind_of_ids(found.type) != self._id_kinds[side]:
            raise RecsparkError(
                f"{side[:-1]} = {ids[0]!r} is not allowed: the model's ids of {side} are "
                f"{self._id_kinds[side]}"
            )
        return found.to_pylist()

    def _rated_by(self, user: Id, ratings: DataFrame, weight: str | None) -> pa.Table:
        """The rows of a user: item, rating, and weight if there is one."""
        ids = (self._checked_id(ratings.schema, name) for name in (self.getUserCol(), self.getItemCol()))
        rating = number(ratings, self.getRatingCol(), "a rating") if self.getRatingCol() else F.lit(1.0)
        columns = {"user": next(ids), "item": next(ids), "rating": rating}
        columns |= {"weight": number(ratings, weight, "a weight")} if weight else {}
        rows = ratings.select(*(column.alias(name) for name, column in columns.items()))
        return rows.filter(F.col("user") == F.lit(user)).drop("user").toArrow()

    def _facts_in_words(self) -> dict[str, object]:
        return {"rank": self.rank} if self.has_files else {}

    def _factors(self, side: str) -> DataFrame:
        """The table (id, features), in which neither ids nor elements are null.

        Spark's other estimators, such as KMeans, ask for these types.
        """
        table = self._table(side)
        nothing = {StringType: F.lit(""), DateType: F.lit("1970-01-01")}.get(
            type(table.schema["id"].dataType), F.lit(0)
        )
        id = F.coalesce("id", nothing.cast(table.schema["id"].dataType))
        return table.select(id.alias("id"), F.array_compact("features").alias("features"))

    @property
    def _id_kinds(self) -> dict[str, str]:
        """The kind of ids (`recspark.ids`), by side."""
        return self._facts.id_kinds

    def _table(self, side: str) -> DataFrame:
        self.files.verify()
        table = SparkSession.active().read.parquet(f"{self.folder}/{side}")
        if self.files.lease:
            self.files.lease.hold(table)
        return table

    def _transform(self, dataset: DataFrame) -> DataFrame:
        check_workers(dataset.sparkSession)
        self.files.verify()
        check_new(dataset, [self.getPredictionCol()])
        user, item = (
            self._checked_id(dataset.schema, name) for name in (self.getUserCol(), self.getItemCol())
        )
        if self.scores_whole_users and not dataset.isStreaming:
            blocks = USER_BLOCKS * parallelism(dataset.sparkSession)
            dataset = dataset.repartition(blocks, user).sortWithinPartitions(user)
        # never null, as in MLlib
        prediction = F.coalesce(self._predictor()(user, item), F.lit(float("nan")).cast("float"))
        if self.getColdStartStrategy() != "drop":
            return with_new(dataset, {}, [(self.getPredictionCol(), prediction)])
        held = unused_name(dataset, "prediction")
        kept = dataset.withColumn(held, prediction).filter(~F.isnan(held))
        return (
            kept.withColumnRenamed(held, self.getPredictionCol())
            if self.getPredictionCol()
            else kept.drop(held)
        )

    def _checked_id(self, schema: StructType, name: str) -> F.Column:
        column = id_column(schema, name)
        found, trained = (
            id_kind(schema, name),
            self._id_kinds["users" if name == self.getUserCol() else "items"],
        )
        if found != trained:
            raise ColumnError(
                f"column {name!r} holds {found}, but the model was trained on ids that are {trained}"
            )
        return column

    def _predictor(self) -> Callable[..., F.Column]:
        scorer, cold = StoredScorer(self.files), self.getColdStartStrategy()

        # not a pandas UDF: there a column of longs with one null is float64,
        # and neighbours above 2^53 become one id
        @F.arrow_udf("float")
        def predict(user: pa.Array, item: pa.Array) -> pa.Array:
            return pa.array(scorer.predict(user, item, cold))

        return predict


def _latest(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables (item, rating ...), in an order of their own: sums are made in it.

    An item in a later table replaces its rows in earlier ones.
    """
    found = tables[0]
    for later in tables[1:]:
        earlier = found.filter(pc.invert(pc.is_in(found["item"], value_set=later["item"])))
        found = pa.concat_tables([earlier, later], promote_options="permissive")
    return found.sort_by([("item", "ascending"), ("rating", "ascending")])
