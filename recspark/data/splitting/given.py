"""Splits that the data give: the rows of each part as ingest wrote them, and pairs in several parts."""

from __future__ import annotations

import logging
from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.data.quality import IDS
from recspark.data.schemas import PART, PARTS
from recspark.data.splitting.parts import OWN_SPLIT
from recspark.data.splitting.rules import in_validation
from recspark.errors import ConfigError, DataRejected
from recspark.lake.lake import Lake
from recspark.lake.manifests import TablesManifest
from recspark.redaction import redacted

if TYPE_CHECKING:
    from recspark.data.splitting.splits import SplitOptions

log = logging.getLogger(__name__)

#: the bit that stands for each part in a set of parts
_BIT = {part: 1 << place for place, part in enumerate(PARTS)}
#: rows of the later part whose pair is in the earlier one, too: their name and both parts
_OVERLAPS = {
    f"{later}_in_{earlier}": (later, earlier)
    for later, earlier in (("test", "train"), ("test", "validation"), ("validation", "train"))
}


class Given(NamedTuple):
    """The rows of a given split with the column PART, and the counts of pairs in several parts.

    n_rows : the number of rows
    overlap : by name, such as ``test_in_train``; ``dropped`` are the rows that were left out for it
    """

    rows: DataFrame
    n_rows: int
    overlap: dict[str, int]


def given_rows(spark: SparkSession, lake: Lake, options: SplitOptions) -> Given:
    """The rows of the split that `options` name, each in one part.

    Raises
    ------
    ConfigError
        If the tables have no such split, or it has validation rows and options draw others.
    DataRejected
        If a pair is in several parts, and ``split.overlap`` is ``refuse``.
    """
    parts = _tables(spark, lake, options)
    rows = reduce(
        DataFrame.unionByName, (table.withColumn(PART, F.lit(part)) for part, table in parts.items())
    )
    is_drawn = options.validationFraction > 0
    if is_drawn and "validation" in parts and not parts["validation"].isEmpty():
        raise ConfigError(
            f"split.validationFraction = {options.validationFraction:g} is not allowed: the data have "
            "validation rows of their own; leave it out"
        )
    n_rows = sum(table.count() for table in parts.values())
    pairs, overlap = _overlap(rows)
    if overlap["dropped"]:
        found = ", ".join(
            f"{overlap[name]} {later} rows are in {earlier}, too"
            for name, (later, earlier) in _OVERLAPS.items()
            if overlap[name]
        )
        if options.overlap == "refuse":
            raise DataRejected(
                f"splits/{options.name}: {found}, such as {_example(pairs)}: a model would be measured on "
                "rows that it has learned. Mend the data, or set split.overlap to dropTrain (test stays as "
                "it is, such rows leave the earlier parts) or dropTest (train stays as it is)"
            )
        log.warning(
            "splits/%s: %s: %d rows left out, split.overlap = %r",
            options.name,
            found,
            overlap["dropped"],
            options.overlap,
        )
        rows = _without_overlap(rows, pairs, options)
    if is_drawn:
        drawn = (F.col(PART) == "train") & in_validation(options)
        rows = rows.withColumn(PART, F.when(drawn, "validation").otherwise(F.col(PART)))
    return Given(rows, n_rows - overlap["dropped"], overlap)


def _tables(spark: SparkSession, lake: Lake, options: SplitOptions) -> dict[str, DataFrame]:
    """The tables of the split, by part."""
    folder = f"tables/{OWN_SPLIT}" if options.own_parts else f"tables/given/{options.fold}"
    if options.own_parts:
        found = lake.require("tables", TablesManifest, "ingest").parts
        if found != redacted(options.own_parts.as_dict()):
            with_parts = f"with {found}" if found else "without a split of their own"
            raise ConfigError(
                f"{options.own_parts.in_words()} is not the split of the tables, which were read "
                f"{with_parts}: run `recspark ingest` with this conf first"
            )
    elif not lake.exists(folder):
        raise ConfigError(
            f"split.fold = {options.fold!r} is not allowed: the data set gives no such split, "
            f"{lake.path(folder)} is missing"
        )
    places = {part: f"{folder}/{part}" for part in PARTS}
    return {
        part: spark.read.parquet(lake.path(place)) for part, place in places.items() if lake.exists(place)
    }


def _overlap(rows: DataFrame) -> tuple[DataFrame, dict[str, int]]:
    """The pairs that are in several parts, with the set of these as bits, and how many there are of each."""
    bit = F.coalesce(*(F.when(F.col(PART) == part, F.lit(bit)) for part, bit in _BIT.items()))
    pairs = rows.groupBy(*IDS).agg(F.bit_or(bit).alias("parts")).where(F.bit_count("parts") > 1)
    counts = Counter({row.parts: row["count"] for row in pairs.groupBy("parts").count().collect()})
    overlap = {
        name: sum(n for parts, n in counts.items() if parts & _BIT[later] and parts & _BIT[earlier])
        for name, (later, earlier) in _OVERLAPS.items()
    }
    return pairs, overlap | {"dropped": sum((parts.bit_count() - 1) * n for parts, n in counts.items())}


def _example(pairs: DataFrame) -> str:
    user, item = pairs.orderBy(*IDS).select(*IDS).first()
    return f"user {user!r}, item {item!r}"


def _without_overlap(rows: DataFrame, pairs: DataFrame, options: SplitOptions) -> DataFrame:
    """`rows` with each pair in one part: the latest if train gives way, else the earliest."""
    order = PARTS if options.overlap == "dropTest" else PARTS[::-1]
    kept = F.coalesce(*(F.when(F.col("parts").bitwiseAND(_BIT[part]) > 0, part) for part in order))
    joined = rows.join(pairs.select(*IDS, kept.alias("kept")), [*IDS], "left")
    return joined.where(F.col("kept").isNull() | (F.col("kept") == F.col(PART))).select(rows.columns)
