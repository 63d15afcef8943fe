"""The items of a lake as people know them: title, year and genres.

The table of items may have any columns.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

#: the columns that describe an item, and their types
DESCRIPTION = {"title": "string", "year": "int", "genres": "array<string>"}


def described(items: DataFrame) -> DataFrame:
    """``item_id, title, year, genres`` of `items`; null for a column or value that the table lacks."""
    return items.select(
        "item_id", *(_as(items, name, type_).alias(name) for name, type_ in DESCRIPTION.items())
    )


def titles_of(items: DataFrame, chosen: set) -> dict:
    """Item id -> title (year), for those of the ids `chosen` that are in the table `items`."""
    table = described(items).filter(F.col("item_id").isin([*chosen]))
    years = F.when(F.col("year").isNotNull(), F.format_string(" (%d)", "year")).otherwise("")
    return dict(table.select("item_id", F.concat("title", years)).collect())


def _as(items: DataFrame, name: str, type_: str) -> Column:
    """Column `name` as that type; one genre becomes a list with one entry."""
    if name not in items.columns:
        return F.lit(None).cast(type_)
    found = items.schema[name].dataType
    if type_.startswith("array") and not isinstance(found, ArrayType):
        return F.when(F.col(name).isNotNull(), F.array(F.col(name).cast("string")))
    return F.col(name).try_cast(type_)
