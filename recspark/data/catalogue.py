"""The items of a lake as people know them: title, year and genres, whatever columns the table of items
has.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

#: what an item is described by, and the type of each
DESCRIPTION = {"title": "string", "year": "int", "genres": "array<string>"}


def described(items: DataFrame) -> DataFrame:
    """``item_id, title, year, genres`` of `items`; null where a table of one's own has no such column or
    value.
    """
    return items.select(
        "item_id", *(_as(items, name, type_).alias(name) for name, type_ in DESCRIPTION.items())
    )


def _as(items: DataFrame, name: str, type_: str) -> Column:
    """Column `name` as that type; one genre becomes a list of one."""
    if name not in items.columns:
        return F.lit(None).cast(type_)
    found = items.schema[name].dataType
    if type_.startswith("array") and not isinstance(found, ArrayType):
        return F.when(F.col(name).isNotNull(), F.array(F.col(name).cast("string")))
    return F.col(name).try_cast(type_)
