"""Fitting: levels and moments from the training rows, one Spark job per side.

And the way back, from levels to columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.features.frames import Tables, first_day, rating_rows
from recspark.features.groups import NAMED, Group
from recspark.features.kinds import has_whole_levels, typed
from recspark.features.layout import SIDES, Block, Layout, Level

#: more levels than this are a mistake, such as a column that is an id of the row
MAX_LEVELS = 1 << 22

#: the groups that count ids: two vocabularies that several groups share
_IDS = {"users": NAMED["user"], "items": NAMED["item"]}
#: the columns of levels
_SCHEMA = pa.schema([("group", pa.int32()), ("level", pa.string()), ("column", pa.int32())])


class Moments(TypedDict):
    """Of a real group; None where no row has a value."""

    mean: float | None
    stdev: float | None


#: what training rows say of a group: its moments, or its levels in ascending order
Statistic = Moments | tuple[Level, ...]


def fit_layout(groups: Iterable[Group], tables: Tables) -> Layout:
    """Lay out `groups`: their levels in ascending order, and their moments.

    All come from training rows, by at most four small jobs.

    Raises
    ------
    ConfigError
        If a table lacks a column, a column is of a type that has no levels, an option does not fit that type,
        no training row has a value, or there are more than MAX_LEVELS levels.
    """
    groups = list(groups)
    for group in groups:
        tables.require(group)
    timed = any("timestamp" in group.needs for group in groups)
    day = first_day(tables.train) if timed else None
    frames = {side: _training_frame(side, tables, groups, day) for side in SIDES}
    groups = [typed(group, frames[group.side]) for group in groups]
    found = _collect(groups, frames)
    return Layout.of((_block(group, found[_source(group).name]) for group in groups), day)


def _training_frame(side: str, tables: Tables, groups: list[Group], day: int | None) -> DataFrame:
    if side != "context":
        return tables.trained(side)
    return rating_rows(tables.train, tables.train, [group for group in groups if group.side == side], day)


def _source(group: Group) -> Group:
    """The group whose levels a group has, since ids are counted once."""
    return group if group.vocabulary is None else _IDS[group.vocabulary]


def _collect(groups: list[Group], frames: dict[str, DataFrame]) -> dict[str, Statistic]:
    """The results of :func:`_statistic` by the name of the group; sets are ascending tuples."""
    sources = {source.name: source for source in map(_source, groups)}
    found: dict[str, Statistic] = {}
    for side, frame in frames.items():
        here = [group for group in sources.values() if group.side == side]
        if here:
            table = frame.agg(
                *(_statistic(group).alias(str(number)) for number, group in enumerate(here))
            ).toArrow()
            found |= {
                group.name: _tidy(group, frame, table.column(number)) for number, group in enumerate(here)
            }
    return found


def _statistic(group: Group) -> Column:
    value = F.expr(group.expression)
    if group.kind == "real":
        value = number(group)
        return F.struct(F.avg(value).alias("mean"), F.stddev_pop(value).alias("stdev"))
    if group.kind == "level":
        return F.collect_set(value.cast("string"))
    members = value if group.kind == "set" else F.map_keys(value)
    return F.array_distinct(F.flatten(F.collect_set(members.cast("array<string>"))))


def number(group: Group) -> Column:
    """The value of a real group; null if it is missing or not finite."""
    value = F.expr(group.expression).cast("double")
    return F.when(F.abs(value) < F.lit(float("inf")), value)


def _tidy(group: Group, frame: DataFrame, column: pa.ChunkedArray) -> Statistic:
    if group.kind == "real":
        return column[0].as_py()
    levels = column.combine_chunks().flatten().drop_null()
    if has_whole_levels(group, frame):
        levels = levels.cast(pa.int64())
    return tuple(levels.sort().to_pylist())


def _block(group: Group, found: Statistic) -> Block:
    if isinstance(found, tuple):
        if len(found) > MAX_LEVELS:
            raise ConfigError(
                f"group {group.name!r} has {len(found)} levels: at most {MAX_LEVELS} are allowed"
            )
        if found:
            return Block(group, 0, found)
    elif found["mean"] is not None:
        return Block(group, 0, mean=found["mean"], stdev=found["stdev"] or 1.0)
    raise ConfigError(f"group {group.name!r} has no value in any training row: leave it out")


def columns_of(spark: SparkSession, blocks: Iterable[Block]) -> DataFrame:
    """The columns of levels: ``group int`` (place in `blocks`), ``level string`` and ``column int``.

    Columns count within the side.

    The one column of a real group has the level ``""``.
    """
    tables = [_columns(number, block) for number, block in enumerate(blocks)]
    return spark.createDataFrame(pa.concat_tables(tables))


def _columns(number: int, block: Block) -> pa.Table:
    levels: tuple[Level, ...] = ("",) if block.is_real else block.levels
    columns = range(block.offset, block.offset + len(levels))
    return pa.table([[number] * len(levels), list(map(str, levels)), list(columns)], schema=_SCHEMA)
