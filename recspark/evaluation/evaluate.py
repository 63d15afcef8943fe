"""The evaluation stage: rating metrics and slices of predictions, ranking metrics of their model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from recspark.config import Check, Option, Section, at_least
from recspark.data.lakehouse.names import TABLE_NAME
from recspark.engine.spark.session import parallelism
from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.catalogue import catalogue_metrics
from recspark.evaluation.labels import label_metrics
from recspark.evaluation.ranking import Scorer, per_user_ranking, ranking_metrics
from recspark.evaluation.ratings import histogram, rating_cube, rating_metrics, slice_table
from recspark.lake.fingerprints import fingerprint as digest
from recspark.lake.lake import Lake

#: number of blocks of users per core of the cluster: enough that hashing them spreads the work evenly
BLOCKS_PER_CORE = 4


def _whole_and_distinct(ks: list) -> bool:
    return bool(ks) and all(type(k) is int and k >= 1 for k in ks) and len(set(ks)) == len(ks)


class EvaluationOptions(Section):
    """The options of an evaluation; docs/metrics.md defines every metric."""

    name = "evaluation"
    ks = Option(
        list,
        [10],
        "lengths of the recommendation lists that ranking metrics are computed at",
        Check(_whole_and_distinct, "not empty, of different whole numbers from 1, such as [5, 10]"),
    )
    relevantThreshold = Option(
        float, None, "lowest rating of a relevant test item; not set: every test item is relevant"
    )
    ratings = Option(
        bool,
        True,
        "whether predictions are ratings, so that RMSE, slices and histogram (of labels: log-loss) mean "
        "something",
    )
    ranking = Option(bool, True, "whether ranking metrics are computed where the model can score all items")
    catalogue = Option(
        bool,
        False,
        "whether coverage, Gini, novelty, popularity bias and diversity of the lists are computed beside "
        "ranking metrics",
    )
    sampledNegatives = Option(
        int,
        None,
        "also rank each relevant item among this many sampled items that are not, as some papers do "
        "(sampled_ndcg_at_10 ...); not set: left out",
        at_least(1),
    )
    binsPerUnit = Option(
        int, 20, "histogram bins per rating unit; lower it for long rating scales", at_least(1)
    )

    table = Option(
        str,
        None,
        "table of a catalog, such as catalog.schema.predictions, whose rows the predictions replace",
        TABLE_NAME,
    )

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        if not (self.ratings or self.ranking):
            raise ConfigError(
                "evaluation.ranking = False is not allowed with evaluation.ratings = False: nothing is left "
                "to measure"
            )


@dataclass(frozen=True)
class EvaluationResult:
    """The results of an evaluation.

    metrics
        Flat, by name: ``rmse, mae, r2, bias`` (of labels ``roc_auc, log_loss`` ...), counts of rows and
        users, ``ndcg_at_10`` ... ; NaN if undefined.
    slices
        One row per slice and level (:data:`~recspark.evaluation.ratings.SLICES`); None if predictions are not
        ratings.
    histogram
        Distributions of ratings and predictions (:data:`~recspark.evaluation.ratings.HISTOGRAM`); None as
        slices.
    per_user
        Ranking metrics of every test user, cached; None without a ranking.
    """

    metrics: dict[str, float]
    slices: pd.DataFrame | None = None
    histogram: pd.DataFrame | None = None
    per_user: DataFrame | None = None


def evaluate(
    spark: SparkSession,
    predictions: DataFrame,
    train: DataFrame,
    options: EvaluationOptions,
    scorer: Scorer | None = None,
    seen: DataFrame | None = None,
    labels: bool = False,
) -> EvaluationResult:
    """Evaluate the predictions for a test set, and the rankings of `scorer` if one is given.

    Parameters
    ----------
    spark : SparkSession
    predictions : DataFrame
        The test set: user_id, item_id, rating and the model's prediction (null or NaN: counted as
        unpredicted). Read once, and once more for the ranking (without its predictions).
    train : DataFrame
        user_id, item_id of the training rows.
    options : EvaluationOptions
    scorer : Scorer, optional
        The model, in a form that scores all items for a block of users.
    seen : DataFrame, optional
        user_id, item_id of the rows left out of rankings; by default the training rows.
    labels : bool
        Ratings are labels 0 and 1: :func:`~recspark.evaluation.labels.label_metrics` replace rating metrics
        and slices.

    Raises
    ------
    RecsparkError
        If a column is missing, the test set is empty, a rating is missing or no row has a prediction.
    """
    _require("predictions", predictions, "user_id", "item_id", "rating", "prediction")
    _require("train", train, "user_id", "item_id")
    metrics, slices, distributions, per_user = {}, None, None, None
    if options.ratings and labels:
        metrics = label_metrics(predictions)
    elif options.ratings:
        cube = rating_cube(predictions, train, options.binsPerUnit)
        metrics, slices, distributions = (
            rating_metrics(cube),
            slice_table(cube),
            histogram(cube, options.binsPerUnit),
        )
    if scorer is not None and options.ranking:
        seen = train if seen is None else seen
        _require("seen", seen, "user_id", "item_id")
        blocks = BLOCKS_PER_CORE * parallelism(spark)
        how = (options.ks, options.relevantThreshold, blocks, options.catalogue, options.sampledNegatives)
        per_user = per_user_ranking(predictions, seen, scorer, *how).cache()
        metrics |= ranking_metrics(per_user)
        if options.catalogue:
            metrics |= catalogue_metrics(
                per_user.where("list is not null").select("user_id", "list"), train, options.ks
            )
    return EvaluationResult(metrics, slices, distributions, per_user)


def _require(name: str, rows: DataFrame, *columns: str) -> None:
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise RecsparkError(f"{name} has no column {', '.join(missing)}: it has {', '.join(rows.columns)}")


def write(lake: Lake, name: str, result: EvaluationResult, fingerprint: str | None = None) -> None:
    """Write ``metrics/NAME/{slices,histogram,per_user}.parquet`` as one product, then ``metrics/NAME.json``.

    Undefined metrics (NaN) are null in the JSON. `fingerprint` is that of the inputs; by default it is made
    from the metrics.
    """
    with lake.publish(f"metrics/{name}", fingerprint or digest(result.metrics)) as product:
        for table, rows in (("slices", result.slices), ("histogram", result.histogram)):
            if rows is not None:
                pq.write_table(
                    pa.Table.from_pandas(rows, preserve_index=False),
                    lake.at(f"{product.product}/{table}.parquet"),
                    filesystem=lake.fs,
                )
        if result.per_user is not None:
            result.per_user.write.parquet(product.path("per_user.parquet"))
    lake.write_json(f"metrics/{name}.json", _without_nan(result.metrics))


def _without_nan(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}
