"""Sparse rows as Spark columns: ``struct<columns array<int>, values array<float>>``."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def sparse(columns: Column | Sequence[Column], values: Column | Sequence[Column]) -> Column:
    """A sparse row of two arrays, or of the elements of two arrays."""
    columns, values = (part if isinstance(part, Column) else F.array(*part) for part in (columns, values))
    return F.struct(columns.cast("array<int>").alias("columns"), values.cast("array<float>").alias("values"))


def concatenated(rows: Sequence[Column]) -> Column:
    """Sparse rows one after the other."""
    return sparse(*(F.concat(*(row[name] for row in rows)) for name in ("columns", "values")))


def shifted(row: Column, by: int) -> Column:
    """A sparse row, its columns moved up."""
    return sparse(F.transform(row["columns"], lambda column: column + by), row["values"])
