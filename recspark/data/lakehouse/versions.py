"""Versions of a table: which one is read, and how to tell it from others.

Delta numbers the versions of a table, Iceberg's are snapshots with random numbers. A table of another format
has none: the hash of its rows stands for it.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.config import Check
from recspark.data.lakehouse.names import quoted
from recspark.errors import ConfigError, InputMissing
from recspark.lake.fingerprints import fingerprint

#: types that Spark's hash functions don't take, anywhere in a column
_NOT_HASHED = ("map<", "variant")


def _moment(text: str) -> datetime.datetime | None:
    """The time that `text` is in ISO 8601, UTC without a zone; None if it is none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


AS_OF = Check(
    lambda text: (text.isascii() and text.isdigit()) or _moment(text) is not None,
    "the number of a version (Delta) or of a snapshot (Iceberg), or a time in ISO 8601",
)


class Version(NamedTuple):
    """One version of a table.

    state : a text that no other rows have, such as ``delta:3:`` and the id of the table
    number : the number to read it by; None for a table without any version yet, which is empty
    """

    state: str
    number: int | None


def find_version(spark: SparkSession, name: str, setting: str, as_of: str | None) -> Version | None:
    """The version of the table `name` to read: the last one, or that of the number or time `as_of`.

    None if the format has no versions.

    Raises
    ------
    ConfigError
        If the format has no versions and `as_of` is given, or there is none of that number.
    InputMissing
        If the table was not there yet at that time.
    """
    kind = format_of(spark, name)
    if kind == "delta":
        return _delta(spark, name, as_of)
    if kind == "iceberg":
        return _iceberg(spark, name, as_of)
    if as_of is not None:
        raise ConfigError(
            f"data.asOf = {as_of!r} is not allowed: {setting} is {kind or 'a view'}, which has no "
            "versions; Delta and Iceberg have"
        )
    return None


def format_of(spark: SparkSession, name: str) -> str | None:
    """The format of a table, such as ``delta``; None for a view."""
    if name.lower().startswith("delta.`"):
        return "delta"
    rows = spark.sql(f"DESCRIBE TABLE EXTENDED {name}").where("col_name = 'Provider'").collect()
    return rows[0].data_type.lower() if rows else None


def at_version(spark: SparkSession, name: str, version: Version | None) -> DataFrame:
    """The rows of a table in one version, whatever is written to it meanwhile."""
    if version is None or version.number is None:
        return spark.table(name)
    return spark.sql(f"SELECT * FROM {name} VERSION AS OF {version.number}")


def hash_of(rows: DataFrame) -> str:
    """A text with the number of rows and a hash of them, which does not depend on their order."""
    columns = [
        F.to_json(F.struct(quoted(column))) if any(kind in type_ for kind in _NOT_HASHED) else quoted(column)
        for column, type_ in rows.dtypes
    ]
    # as decimals: a sum of longs would overflow
    found = rows.select(F.xxhash64(*columns).cast("decimal(20,0)").alias("hash")).agg(
        F.count("*"), F.sum("hash")
    )
    [(count, total)] = found.collect()
    return f"rows:{count}:{fingerprint(rows.dtypes, str(total))[:16]}"


def _delta(spark: SparkSession, name: str, as_of: str | None) -> Version:
    history = spark.sql(f"DESCRIBE HISTORY {name}").select("version", "timestamp")
    number = _chosen(history.toDF("number", "timestamp"), name, as_of)
    [(table,)] = spark.sql(f"DESCRIBE DETAIL {name}").select("id").collect()
    return Version(f"delta:{number}:{table}", number)


def _iceberg(spark: SparkSession, name: str, as_of: str | None) -> Version:
    history = spark.table(f"{name}.history").where("is_current_ancestor")
    history = history.select("snapshot_id", "made_current_at").toDF("number", "timestamp")
    if as_of is None and history.isEmpty():
        return Version("iceberg:empty", None)
    if as_of is not None and as_of.isdigit():
        # a snapshot may be of another branch, or from before a rollback
        history = (
            spark.table(f"{name}.snapshots").select("snapshot_id", "committed_at").toDF(*history.columns)
        )
    number = _chosen(history, name, as_of)
    return Version(f"iceberg:{number}", number)


def _chosen(history: DataFrame, name: str, as_of: str | None) -> int:
    """The number of the last version in `history` (number, timestamp), or of the one that `as_of` means."""
    numbered = as_of is not None and as_of.isdigit()
    if as_of is None:
        found = history
    elif numbered:
        found = history.where(F.col("number") == int(as_of))
    else:
        found = history.where(F.col("timestamp") <= F.lit(_moment(as_of)))
    last = found.orderBy(F.desc("timestamp"), F.desc("number")).first()
    if last is not None:
        return last.number
    known = [str(row.number) for row in history.orderBy("timestamp", "number").collect()]
    if numbered:
        few = known if len(known) <= 6 else [*known[:2], "...", *known[-3:]]
        raise ConfigError(f"data.asOf = {as_of!r} is not allowed: {name} has the versions {', '.join(few)}")
    raise InputMissing(f"data.asOf = {as_of!r}: {name} had no version yet at that time")
