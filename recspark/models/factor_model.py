"""The model that every factorization gives: tables of factors in a folder, predictions by a scorer on the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow.fs as pafs
from pyspark.ml import Model
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from recspark.config import one_of
from recspark.data.folder import Folder
from recspark.engine.blocks import SIDES
from recspark.engine.encode import id_column
from recspark.engine.memory import require_worker_memory
from recspark.errors import RecsparkError
from recspark.models.params import Configurable, Hyperparameter
from recspark.models.recommend import Recommendations
from recspark.models.saving import Saved, saved_class
from recspark.models.scorer import COLD_START, BlendScorer, Scorer, StoredScorer


class RatingColumns(Configurable):
    """The columns that estimators read and models write."""

    userCol = Hyperparameter(str, "user", "column of user ids: whole numbers or strings")
    itemCol = Hyperparameter(str, "item", "column of item ids: whole numbers or strings")
    ratingCol = Hyperparameter(str, "rating", "column of ratings")
    predictionCol = Hyperparameter(str, "prediction", "column that transform adds (float)")
    coldStartStrategy = Hyperparameter(
        str,
        "mean",
        "prediction for an id that training has not seen: 'mean' the overall mean and the known side's bias, 'nan' NaN, 'drop' no row",
        one_of(*COLD_START),
    )


@dataclass(frozen=True)
class Summary:
    """How a fit went: one row an iteration, the iteration that the model is from, and times in seconds."""

    history: list[dict[str, float]]
    best_iteration: int
    resumed_at: int
    prepare_seconds: float
    fit_seconds: float

    @property
    def curve(self) -> pd.DataFrame:
        """The history as a table: iteration, train_rmse, validation_rmse ..., objective, seconds, ratings_per_second."""
        return pd.DataFrame(self.history)


class FactorModel(Recommendations, Model, RatingColumns, Saved):
    """Factors and biases of users and items.

    The tables ``users`` and ``items`` (id, count, features, bias) lie as Parquet in `folder`; workers read them once.
    A model that was just fitted lies in the fit's work folder: `save` it to keep it beyond the process.
    """

    def __init__(self, folder: str | None = None, **values: Any) -> None:
        super().__init__(**values)
        self.folder = folder
        self.summary: Summary | None = None

    @property
    def userFactors(self) -> DataFrame:
        """DataFrame (id, features array<float>) of users."""
        return self._table("users").select("id", "features")

    @property
    def itemFactors(self) -> DataFrame:
        """DataFrame (id, features array<float>) of items."""
        return self._table("items").select("id", "features")

    @property
    def userBiases(self) -> DataFrame:
        """DataFrame (id, bias, count) of users; count is the number of ratings that trained."""
        return self._table("users").select("id", "bias", "count")

    @property
    def itemBiases(self) -> DataFrame:
        """DataFrame (id, bias, count) of items."""
        return self._table("items").select("id", "bias", "count")

    @property
    def rank(self) -> int:
        """The number of factors."""
        return self._facts["rank"]

    @property
    def is_biased(self) -> bool:
        """Whether a bias of every user and item is part of the score."""
        return self._facts["biased"]

    @property
    def scorer(self) -> StoredScorer | None:
        """Predictions from arrays, without Spark: a process that uses it needs memory for all factors."""
        return StoredScorer(self.folder, self._facts["stamp"])

    @property
    def served_by(self) -> type[Scorer | BlendScorer] | None:
        """What answers pairs of ids from a saved model's folder where there is no Spark; None where nothing does."""
        return Scorer if self.scorer else None

    @property
    def _facts(self) -> dict[str, Any]:
        return Folder(self.folder).read_json("scorer.json")

    def _table(self, side: str) -> DataFrame:
        return SparkSession.active().read.parquet(f"{self.folder}/{side}")

    def _transform(self, dataset: DataFrame) -> DataFrame:
        require_worker_memory(dataset.sparkSession)
        user, item = (self._checked_id(dataset.schema, name) for name in (self.getUserCol(), self.getItemCol()))
        # pandas has one value for missing and not a number: what comes back as null is NaN
        prediction = F.coalesce(self._predictor()(user, item), F.lit(float("nan")).cast("float"))
        predicted = dataset.withColumn(self.getPredictionCol(), prediction)
        return predicted if self.getColdStartStrategy() != "drop" else predicted.filter(~F.isnan(self.getPredictionCol()))

    def _checked_id(self, schema: StructType, name: str) -> F.Column:
        column = id_column(schema, name)
        side = "users" if name == self.getUserCol() else "items"
        text, trained_text = isinstance(schema[name].dataType, StringType), self._facts["text_ids"][side]
        if text != trained_text:
            kinds = ("strings", "whole numbers") if text else ("whole numbers", "strings")
            raise RecsparkError(f"column {name!r} holds {kinds[0]}, but the model was trained on ids that are {kinds[1]}")
        return column

    def _predictor(self) -> Any:
        scorer, cold = self.scorer, self.getColdStartStrategy()

        @F.pandas_udf("float")
        def predict(user: pd.Series, item: pd.Series) -> pd.Series:
            return pd.Series(scorer.predict(user.to_numpy(), item.to_numpy(), cold))

        return predict

    #: what a saved model is made of: tables and single files
    tables: tuple[str, ...] = SIDES
    files: tuple[str, ...] = ("scorer.json",)

    def write_parts(self, path: str) -> None:
        """The tables and files, as they are."""
        source, target = Folder(self.folder), Folder(path)
        for file in self.files:
            target.write_json(file, source.read_json(file))
        for table in self.tables:
            target.fs.create_dir(target.at(table), recursive=True)
            pafs.copy_files(source.at(table), target.at(table), source_filesystem=source.fs, destination_filesystem=target.fs)

    @classmethod
    def read_parts(cls, path: str) -> Any:
        """See `Saved.read_parts`."""
        return cls(folder=Folder(path).root)


def load_model(path: str) -> FactorModel:
    """The model in a folder, of the class that was saved there."""
    return saved_class(path).load(path)
