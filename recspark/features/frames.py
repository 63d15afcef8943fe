"""The tables that groups are expressions over: entities, or rating rows with facts about their past."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import IntegralType

from recspark.errors import ConfigError, RecsparkError
from recspark.features.groups import IDS, Group

#: columns that are added to rating rows, by the key of the history: number of its strictly earlier training
#: rows
N_PAST = {"user_id": "_n_user", "item_id": "_n_item"}
#: the ids in the history of a key
MEMBER = {"user_id": "item_id", "item_id": "user_id"}

_EARLIER = "_earlier"


@dataclass(frozen=True)
class Tables:
    """The training rows (user_id, item_id, timestamp), and the tables that describe users and items."""

    train: DataFrame
    users: DataFrame | None = None
    items: DataFrame | None = None

    def attributes(self, side: str) -> DataFrame | None:
        """The table that describes a side; for the context it is the training rows themselves."""
        return {"user": self.users, "item": self.items, "context": self.train}[side]

    def require(self, group: Group) -> None:
        """Raise ConfigError if the table of the group's side lacks a column that it needs."""
        table = self.attributes(group.side)
        known = [] if table is None else table.columns
        for column in group.needs:
            if column not in known:
                has = ", ".join(known) or "nothing: there is no such table"
                raise ConfigError(
                    f"group {group.name!r} needs column {column!r}, but the table of the {group.side} side "
                    f"has {has}"
                )

    def entities(self, side: str) -> DataFrame:
        """The rows of the side's table, and one row of nulls for each id of a training row.

        Such an id may also have a row in the table.
        """
        key, table = IDS[side], self.attributes(side)
        trained = self.train.select(key).distinct()
        return trained if table is None else table.unionByName(trained, allowMissingColumns=True)

    def trained(self, side: str) -> DataFrame:
        """Each id of a side that has a training row, once, with the columns of the side's table."""
        key, table = IDS[side], self.attributes(side)
        ids = self.train.select(key).distinct()
        return ids if table is None else ids.join(table, key, "left")


def require_seconds(df: DataFrame) -> None:
    """Raise RecsparkError if the column timestamp is not a whole number."""
    type_ = df.schema["timestamp"].dataType
    if not isinstance(type_, IntegralType):
        raise RecsparkError(
            f"column timestamp is {type_.simpleString()}: it must be seconds since 1970-01-01 UTC, a whole "
            "number"
        )


def first_day(train: DataFrame) -> int:
    """The day of the first training row, in days since 1970-01-01 UTC.

    Raise RecsparkError if no row has a time.
    """
    require_seconds(train)
    day = train.agg(F.floor(F.min("timestamp") / 86400)).first()[0]
    if day is None:
        raise RecsparkError(
            "no training row has a timestamp: leave out the groups of time and those of scope past"
        )
    return int(day)


def rating_rows(df: DataFrame, train: DataFrame, groups: list[Group], day: int | None) -> DataFrame:
    """Rating rows with the columns that context groups are expressions over.

    Adds ``_first_day``; if a group of scope past asks for it also ``_n_user`` and ``_last_item``, or
    ``_n_item``. Each history shuffles the rows and the training rows once, by its key. Row order does not
    matter.
    """
    if any("timestamp" in group.needs for group in groups):
        require_seconds(df)
    rows = df.withColumn("_first_day", F.lit(day).cast("bigint"))
    for key in sorted({group.key for group in groups if group.key and group.scope == "past"}):
        rows = _with_past(rows, train, key)
    return rows


def _with_past(rows: DataFrame, train: DataFrame, key: str) -> DataFrame:
    """Add the number of earlier training rows of the same `key`, and for users the last item.

    Earlier rows have a smaller timestamp; of equal last rows the largest item id counts. A row without a time
    has no past, and is in no past.
    """
    known = train.where(F.col("timestamp").isNotNull()).select(
        key, MEMBER[key], "timestamp", F.lit(True).alias(_EARLIER)
    )
    both = rows.withColumn(_EARLIER, F.lit(False)).unionByName(known, allowMissingColumns=True)
    before = Window.partitionBy(key).orderBy("timestamp").rangeBetween(Window.unboundedPreceding, -1)
    timed = F.col("timestamp").isNotNull()
    count = F.when(timed, F.count_if(F.col(_EARLIER)).over(before)).otherwise(0)
    both = both.withColumn(N_PAST[key], count)
    if key == "user_id":
        newest = F.max(F.when(F.col(_EARLIER), F.struct("timestamp", "item_id"))).over(before)
        both = both.withColumn("_last_item", F.when(timed, newest["item_id"]))
    return both.where(~F.col(_EARLIER)).drop(_EARLIER)
