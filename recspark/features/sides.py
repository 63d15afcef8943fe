"""The sparse rows of users and items.

Each (id, group, level) that is known becomes an entry; entries are looked up, then collected by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.features.frames import Tables
from recspark.features.groups import IDS
from recspark.features.layout import Block
from recspark.features.sparse import concatenated, sparse
from recspark.features.vocabulary import columns_of, number

#: one row per entity; columns ascending, within the side
SIDE = "id, columns array<int>, values array<float>"

_ENTRIES = "array<struct<group:int,level:string,value:double>>"


def side_rows(side: str, blocks: Sequence[Block], tables: Tables) -> DataFrame:
    """DataFrame SIDE of every id in a training row or in the side's table.

    Entries are shuffled once; no order matters. Rows without an id are ignored.
    """
    if not blocks:
        ids = tables.entities(side).select(F.col(IDS[side]).alias("id")).dropna().distinct()
        return ids.select("id", sparse([], []).alias("row")).select("id", "row.*")
    entries = reduce(DataFrame.unionByName, [_attributes(side, blocks, tables), *_histories(blocks, tables)])
    members = [_members(place, block).alias(f"_{place}") for place, block in enumerate(blocks)]
    collected = _looked_up(entries.dropna(subset=["id"]), blocks).groupBy("id").agg(*members)
    row = concatenated([_scaled(place, block) for place, block in enumerate(blocks)])
    return collected.select("id", row.alias("row")).select("id", "row.*")


def _attributes(side: str, blocks: Sequence[Block], tables: Tables) -> DataFrame:
    """Entries (id, group, level, value) of the side's table.

    An id of which nothing is known has one entry of nulls.
    """
    lists = [
        F.coalesce(_entries(place, block), F.array().cast(_ENTRIES)) for place, block in enumerate(blocks)
    ]
    entries = tables.entities(side).select(
        F.col(IDS[side]).alias("id"), F.explode_outer(F.concat(*lists)).alias("entry")
    )
    return entries.select("id", "entry.*")


def _entries(place: int, block: Block) -> Column:
    """The entries of one group in one row of a table, as an array; null or empty if there are none."""

    def entry(level: Column, value: Column) -> Column:
        return F.struct(
            F.lit(place).alias("group"),
            level.cast("string").alias("level"),
            value.cast("double").alias("value"),
        )

    group, one = block.group, F.lit(1.0)
    if group.is_history_set:
        return F.lit(None)
    if block.is_real:
        return F.array(entry(F.lit(""), (number(group) - block.mean) / block.stdev))
    value = F.expr(group.expression)
    if group.kind == "level":
        return F.array(entry(value, one))
    if group.kind == "set":
        return F.transform(value, lambda level: entry(level, one))
    return F.transform(F.map_entries(value), lambda pair: entry(pair["key"], pair["value"]))


def _histories(blocks: Sequence[Block], tables: Tables) -> list[DataFrame]:
    """Entries of the sets whose members are training rows."""
    return [
        tables.train.select(
            F.col(block.group.key).alias("id"),
            F.lit(place).alias("group"),
            F.col(block.group.expression).cast("string").alias("level"),
            F.lit(1.0).alias("value"),
        )
        for place, block in enumerate(blocks)
        if block.group.is_history_set
    ]


def _looked_up(entries: DataFrame, blocks: Sequence[Block]) -> DataFrame:
    """Entries (id, group, column, value).

    Levels that training has not seen go to their group's bucket, or have no column.
    """
    own = F.array(*(F.lit(block.own).cast("int") for block in blocks))[F.col("group")]
    joined = entries.join(columns_of(entries.sparkSession, blocks), ["group", "level"], "left")
    unseen = F.col("level").isNotNull() & F.col("column").isNull()
    # the number of members in a bucket has no known meaning: it counts once
    value, column = (
        F.when(unseen, 1.0).otherwise(F.col("value")),
        F.when(unseen, own).otherwise(F.col("column")),
    )
    return joined.select("id", "group", column.alias("column"), value.alias("value"))


def _members(place: int, block: Block) -> Column:
    """The distinct members of a group, ``array<struct<column, value>>``, ascending.

    Without members it is the group's bucket, if it has one.
    """
    # a number that is missing or not finite gives no feature
    counts = (F.col("group") == place) & F.col("column").isNotNull() & (F.abs("value") < float("inf"))
    found = F.sort_array(F.collect_set(F.when(counts, F.struct("column", "value"))))
    if block.own is None:
        return found
    bucket = F.array(F.struct(F.lit(block.own).alias("column"), F.lit(1.0).alias("value")))
    return F.when(F.size(found) > 0, found).otherwise(bucket)


def _scaled(place: int, block: Block) -> Column:
    """The sparse row of one group: each value times ``n^-exponent``, n the number of members."""
    members = F.col(f"_{place}")
    exponent = block.group.exponent
    values = members["value"]
    if exponent:
        factor = F.pow(F.size(members), F.lit(-exponent))
        values = F.transform(values, lambda value: value * factor)
    return sparse(members["column"], values)
