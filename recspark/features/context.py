"""Columns of the rating rows: levels of time and of the past, numbers, and sets of the past.

Sets are as of each row's own moment.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import RecsparkError
from recspark.features.frames import N_PAST, Tables, rating_rows
from recspark.features.groups import IDS
from recspark.features.layout import Block, Layout
from recspark.features.sparse import shifted, sparse
from recspark.features.vocabulary import columns_of, number

_HISTORY = "_history"
_LEVEL = "_level"


def with_context(df: DataFrame, layout: Layout, tables: Tables) -> DataFrame:
    """`df` with the columns of each context group.

    See :meth:`recspark.features.feature_set.FeatureSet.context`.
    """
    blocks = layout.side("context")
    _check_columns(df, blocks)
    frame = rating_rows(df, tables.train, [block.group for block in blocks], layout.first_day)
    for block in blocks:
        if block.is_real:
            frame = _with_number(frame, block)
        elif block.group.is_history_set and (key := block.group.key):
            frame = _with_past_set(frame, block, key, tables.train)
        else:
            frame = _with_level(frame, block)
    return frame.select(
        *(f"`{name}`" for name in df.columns), *(name for block in blocks for name in column_names(block))
    )


def column_names(block: Block) -> tuple[str, ...]:
    """The columns of a context group in a DataFrame: a set has two, its positions and its values."""
    return (
        (f"{block.column}_columns", f"{block.column}_values")
        if block.group.is_history_set
        else (block.column,)
    )


def sparse_part(block: Block, start: int) -> Column:
    """The part of a context group in a row of all sides, whose context starts at column `start`."""
    first = start + block.offset
    if block.group.is_history_set:
        return shifted(sparse(*map(F.col, column_names(block))), first)
    value = F.col(block.column)
    if block.is_real:
        return F.when(value != 0, sparse([F.lit(first)], [value])).otherwise(sparse([], []))
    return F.when(value >= 0, sparse([value + first], [F.lit(1.0)])).otherwise(sparse([], []))


def _check_columns(df: DataFrame, blocks: tuple[Block, ...]) -> None:
    needed = {"user_id", "item_id", *(column for block in blocks for column in block.group.needs)}
    if missing := sorted(needed - set(df.columns)):
        raise RecsparkError(
            f"the rows lack column {missing[0]!r}, which the features need; they have {', '.join(df.columns)}"
        )
    taken = {name.lower() for name in df.columns}
    for name in (name for block in blocks for name in column_names(block)):
        if name.lower() in taken:
            raise RecsparkError(
                f"the rows already have a column {name!r}, the name that a group gives to its own: rename it"
            )
        taken.add(name.lower())


def _with_level(frame: DataFrame, block: Block) -> DataFrame:
    none = -1 if block.own is None else block.own - block.offset
    return _with_position(frame, block, block.column).fillna(none, [block.column])


def _with_position(frame: DataFrame, block: Block, name: str) -> DataFrame:
    """`frame` with the position of the group's level within the group, null for a level without a column."""
    levels = columns_of(frame.sparkSession, [block]).select(
        F.col("level").alias(_LEVEL), (F.col("column") - block.offset).alias(name)
    )
    return (
        frame.withColumn(_LEVEL, F.expr(block.group.expression).cast("string"))
        .join(levels, _LEVEL, "left")
        .drop(_LEVEL)
    )


def _with_number(frame: DataFrame, block: Block) -> DataFrame:
    standardised = (number(block.group) - block.mean) / block.stdev
    return frame.withColumn(block.column, F.coalesce(standardised, F.lit(0.0)).cast("float"))


def _with_past_set(frame: DataFrame, block: Block, key: str, train: DataFrame) -> DataFrame:
    """The members of a key's first n training rows by time, of which n are strictly earlier.

    They are sorted once, and cut at each row.
    """
    own = block.own
    frame = frame.join(_histories(block, key, train), key, "left")
    earlier = F.slice(F.col(f"{_HISTORY}.position"), F.lit(1), F.col(N_PAST[key]).cast("int"))
    members = F.coalesce(
        F.sort_array(F.array_distinct(F.array_compact(earlier))), F.array().cast("array<int>")
    )
    if own is not None:
        members = F.when(F.size(members) > 0, members).otherwise(F.array(F.lit(own - block.offset)))
    columns, values = column_names(block)
    frame = frame.withColumn(columns, members).drop(_HISTORY)
    size = F.size(columns)
    return frame.withColumn(
        values, F.array_repeat(F.pow(size, F.lit(-block.group.exponent)).cast("float"), size)
    )


def _histories(block: Block, key: str, train: DataFrame) -> DataFrame:
    """``_history array<struct<timestamp, position>>`` of each key, by time.

    Null positions are members without a column.
    """
    timed = train.where(F.col("timestamp").isNotNull()).select(*IDS.values(), "timestamp")
    placed = _with_position(timed, block, "position")
    if block.own is not None:
        placed = placed.fillna(block.own - block.offset, ["position"])
    return placed.groupBy(key).agg(
        F.sort_array(F.collect_list(F.struct("timestamp", "position"))).alias(_HISTORY)
    )
