"""Metrics of predicted labels 0 and 1, from one aggregation over the test rows.

They are AUC, log-loss, accuracy and Brier score. Spark counts the rows of each score, rounded to `DECIMALS`;
the size of that table depends on the decimals, not on the number of test rows. Definitions: docs/metrics.md.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import RecsparkError

#: scores that differ by less are a tie
DECIMALS = 6
#: probabilities are kept at least this far from 0 and 1: the logarithm of 0 has no mean
MARGIN = 1e-15


def label_metrics(predictions: DataFrame) -> dict[str, float]:
    """Metrics of all rows that have a prediction.

    Parameters
    ----------
    predictions : DataFrame
        ``rating``, which is 0 or 1; ``prediction``; and ``probability``, a vector with the probabilities of 0
        and 1, if a classifier has made them. Without it, `prediction` is the probability of 1. Row order
        doesn't matter.

    Returns
    -------
    dict
        ``roc_auc, log_loss, brier, accuracy, positive_share, predicted_rows, unpredicted_rows``. If a score
        is not a probability (outside 0 to 1), ``log_loss`` and ``brier`` are NaN.

    Raises
    ------
    RecsparkError
        If there is no row, no row has a prediction, or a label is neither 0 nor 1.
    """
    counts = score_counts(predictions)
    found = counts[counts["score"].notna()]
    unpredicted = counts["rows"].sum() - found["rows"].sum()
    if found.empty:
        raise RecsparkError(
            f"there is nothing to evaluate: not one of {unpredicted:g} test rows has a finite prediction"
        )
    rows = found["rows"].sum()
    metrics = {"roc_auc": roc_auc(found["ones"].to_numpy(), (found["rows"] - found["ones"]).to_numpy())}
    metrics |= {name: found[name].sum() / rows for name in ("log_loss", "brier", "accuracy")}
    if not found["score"].between(0, 1).all():
        metrics |= {"log_loss": math.nan, "brier": math.nan}
    metrics |= {
        "positive_share": found["ones"].sum() / rows,
        "predicted_rows": rows,
        "unpredicted_rows": unpredicted,
    }
    return {name: float(value) for name, value in metrics.items()}


def score_counts(predictions: DataFrame) -> pd.DataFrame:
    """One row per score, ascending: ``score, rows, ones``, and sums ``log_loss, brier, accuracy``.

    The score of unpredicted rows is null.
    """
    label, score = F.col("rating").cast("double"), _score(predictions)
    decided = (F.col("prediction").cast("double") >= 0.5).alias("decided")
    p = F.greatest(F.lit(MARGIN), F.least(F.lit(1 - MARGIN), F.col("score")))
    rows = predictions.select(
        label.alias("label"), F.when(F.abs(score) < math.inf, score).alias("score"), decided
    )
    counts = rows.groupBy(F.round("score", DECIMALS).alias("score")).agg(
        F.count("*").alias("rows"),
        F.sum("label").alias("ones"),
        F.sum(F.when(F.col("label") == 1, -F.log(p)).otherwise(-F.log1p(-p))).alias("log_loss"),
        F.sum((F.col("score") - F.col("label")) ** 2).alias("brier"),
        F.count_if(F.col("decided") == (F.col("label") == 1)).alias("accuracy"),
        F.count_if(F.col("label").isNull() | ~F.col("label").isin(0.0, 1.0)).alias("strange"),
    )
    counts = counts.toPandas().sort_values("score").reset_index(drop=True)
    if counts.empty:
        raise RecsparkError("there is nothing to evaluate: the test set holds no rows")
    if counts["strange"].any():
        raise RecsparkError(f"{counts['strange'].sum()} test rows have a label that is neither 0 nor 1")
    return counts.drop(columns="strange")


def _score(predictions: DataFrame) -> Column:
    """The score that ranks rows: a classifier's probability of 1, else the prediction."""
    if "probability" in predictions.columns:
        return vector_to_array("probability")[1]
    return F.col("prediction").cast("double")


def roc_auc(ones: np.ndarray, zeros: np.ndarray) -> float:
    """The share of pairs (a 1, a 0) in which the 1 has the higher score; ties count one half.

    The arguments are the counts of both at each score, ascending. NaN without a 1 or without a 0.

    >>> roc_auc(np.array([0, 1, 2]), np.array([2, 1, 0]))
    0.9444444444444444
    """
    pairs = float(ones.sum()) * float(zeros.sum())
    below = np.cumsum(zeros) - zeros
    return float(np.sum(ones * (below + zeros / 2)) / pairs) if pairs else math.nan
