"""A table of Spark's catalogs as a source: the rows of one version become Parquet files that workers read.

The version is known without reading the table, so one that was read before is not copied again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow.fs as pafs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.data.lakehouse.names import explained, quoted, table_name
from recspark.data.lakehouse.versions import Version, at_version, find_version, hash_of
from recspark.data.quality import QualityOptions
from recspark.data.sources.archive import Source
from recspark.data.sources.listing import Listing
from recspark.data.sources.names import setting
from recspark.errors import ConfigError, InputMissing
from recspark.lake.folder import locate
from recspark.lake.lake import Lake

#: most rows of a file of the copy: the work of one task
_FILE_ROWS = 1_000_000
#: types that Spark can't sort by, anywhere in a column
_NOT_SORTED = ("map<", "variant")


class Columns(NamedTuple):
    """The columns of a table to read.

    key : those that identify a row
    needed : those that must be there, with the keys of the options that name them
    others : those that are read if they are there; None: all
    """

    key: tuple[str, ...]
    needed: Mapping[str, str]
    others: tuple[str, ...] | None = ()


class CatalogTable(Source):
    """One version of a table, as a source whose only member is the name of the table.

    `version` is None for a format without versions: then the hash of `rows` stands for it.
    """

    def __init__(
        self,
        listing: Listing,
        scratch: str,
        name: str,
        rows: DataFrame,
        key: tuple[str, ...],
        version: Version | None,
    ) -> None:
        super().__init__(listing, scratch, QualityOptions())
        self._table, self._rows, self._key, self._version = name, rows, key, version
        self.state: str = version.state if version else hash_of(rows)

    @property
    def members(self) -> list[str]:
        """The name of the table."""
        return [self._table]

    def digest(self, members: Iterable[str]) -> str:
        """The version of the table, as text."""
        return self.state

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        """Copy the rows to Parquet files; returns their file system and paths.

        Rows of one key are copied by one task, in an order that depends on their values alone: so does which
        of them stays. Raise InputMissing if the rows changed meanwhile.
        """
        folder = f"{self._scratch}/{self.listing.option}"
        sortable = [
            name for name, type_ in self._rows.dtypes if not any(kind in type_ for kind in _NOT_SORTED)
        ]
        order = map(quoted, dict.fromkeys((*self._key, *sortable)))
        rows = self._rows.repartition(*map(quoted, self._key)).sortWithinPartitions(*order)
        with explained(self.listing.setting):
            rows.write.option("maxRecordsPerFile", _FILE_ROWS).parquet(folder)
            copy = self._rows.sparkSession.read.schema(self._rows.schema).parquet(folder)
            if self._version is None and hash_of(copy) != self.state:
                raise InputMissing(
                    f"{self.listing.setting} has changed while it was read; nothing was published"
                )
        fs, path = locate(folder)
        parts = sorted(
            info.path for info in fs.get_file_info(pafs.FileSelector(path)) if info.path.endswith(".parquet")
        )
        # a message about the columns is about the first file: it has the name of the table
        return fs, {
            f"{self._table}/{number:05}" if number else self._table: part for number, part in enumerate(parts)
        }

    def member_of(self, file: str) -> str:
        """The name of the table."""
        return self._table


@contextmanager
def open_table(
    spark: SparkSession,
    lake: Lake,
    place: str,
    columns: Columns,
    option: str = "source",
    as_of: str | None = None,
) -> Iterator[CatalogTable]:
    """The table at `place`, a name after ``table:``, in its last version or that of `as_of`.

    Parameters
    ----------
    spark
        The session whose catalogs have the table.
    lake
        The lake with the staging area, where the copy is until the context ends.
    place
        The value of the option, such as ``table:lake.db.ratings``.
    columns
        The columns to read.
    option
        The option that names the table, for messages.
    as_of
        The number of a version, or a time in ISO 8601.

    Raises
    ------
    InputMissing
        If there is no such table, or there was none yet at that time.
    ConfigError
        If Spark lacks the classes of the format, or the table the version or a column.
    """
    called = setting(option, place)
    name = table_name(called, place)
    with lake.staged("tables") as scratch:
        listing = Listing(place, lake.fs, {}, option=option)
        with explained(called):
            _ = spark.table(name).schema  # a table that is not there is found out here
            version = find_version(spark, name, called, as_of)
            rows = _selected(at_version(spark, name, version), columns, called)
            table = CatalogTable(listing, lake.path(scratch), name, rows, columns.key, version)
        yield table


def _selected(rows: DataFrame, columns: Columns, called: str) -> DataFrame:
    """The columns to read under the names of the options; Spark ignores the case of names."""
    there = {name.lower(): name for name in rows.columns}
    if missing := [name for name in columns.needed if name.lower() not in there]:
        options = ", ".join(columns.needed[name] for name in missing)
        raise ConfigError(
            f"{called} has no column {', '.join(missing)}, it has {', '.join(rows.columns)}: set {options} "
            "to the columns it has"
        )
    others = rows.columns if columns.others is None else columns.others
    names = [
        *columns.needed,
        *(
            name
            for name in others
            if name.lower() in there and name.lower() not in map(str.lower, columns.needed)
        ),
    ]
    return rows.select(*(F.col(quoted(there[name.lower()])).alias(name) for name in names))
