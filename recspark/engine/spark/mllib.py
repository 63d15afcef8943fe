"""MLlib's own classes in Spark's JVM."""

from __future__ import annotations

from py4j.java_gateway import JavaObject
from pyspark.ml.common import _py2java
from pyspark.sql import DataFrame

__all__ = ["JavaObject", "classification_summary"]

_SUMMARY = "org.apache.spark.ml.classification.FMClassificationSummaryImpl"


def classification_summary(predicted: DataFrame, *columns: str) -> JavaObject:
    """MLlib's summary of predictions; `columns` are those of probability, prediction, label and weight."""
    spark = predicted.sparkSession
    return getattr(spark._jvm, _SUMMARY)(_py2java(spark.sparkContext, predicted), *columns)
