"""Names of tables in Spark's catalogs, and what is wrong where Spark finds no table of a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.errors import PySparkException

from recspark.config import Check, brief
from recspark.errors import ConfigError, InputMissing, RecsparkError

#: the beginning of an option's value that names a table instead of a path
_PREFIX = "table:"
_PART = r"(?:`(?:[^`]|``)+`|\w+)"

TABLE_NAME = Check(
    lambda name: re.fullmatch(rf"{_PART}(\.{_PART})*", name) is not None,
    "the name of a table, such as catalog.schema.table; a part that is not a word is in backticks",
)

#: what Spark says, as a condition or in words, where a table is not there
_MISSING = re.compile(
    r"TABLE_OR_VIEW_NOT_FOUND|SCHEMA_NOT_FOUND|DELTA_TABLE_NOT_FOUND|DELTA_MISSING_DELTA_TABLE|"
    r"DELTA_PATH_DOES_NOT_EXIST|PATH_NOT_FOUND|NoSuchTableException|is not a Delta table"
)
#: and where Spark was started without the classes of a format or a catalog
_NO_CLASS = re.compile(
    r"CATALOG_NOT_FOUND|CATALOG_PLUGIN|REQUIRES_SINGLE_PART_NAMESPACE|UNSUPPORTED_DATASOURCE_FOR_DIRECT_QUERY|"
    r"DATA_SOURCE_NOT_FOUND|ClassNotFoundException|NoClassDefFoundError|DELTA_CONFIGURE_SPARK_SESSION"
)


def is_table(place: str) -> bool:
    """Whether `place`, the value of an option, names a table of a catalog.

    >>> is_table("table:lake.db.ratings"), is_table("table/ratings.csv")
    (True, False)
    """
    return place.startswith(_PREFIX)


def table_name(setting: str, place: str) -> str:
    """The name in `place`, for Spark.

    Raise ConfigError, which begins with `setting`, if it can't be the name of a table.
    """
    name = place.removeprefix(_PREFIX).strip()
    if not TABLE_NAME.holds(name):
        raise ConfigError(f"{setting} is not allowed: after {_PREFIX} it must be {TABLE_NAME.allowed}")
    return name


def quoted(column: str) -> str:
    """The name of a column as Spark's expressions take it, with any characters."""
    return "`" + column.replace("`", "``") + "`"


@contextmanager
def explained(setting: str) -> Iterator[None]:
    """Raise one sentence, which begins with `setting`, for an error of Spark about a table."""
    try:
        yield
    except Exception as error:
        # an error of the JVM that has no class in Python
        thrown = getattr(error, "java_exception", None)
        if thrown is None and not isinstance(error, PySparkException):
            raise
        condition = error.getCondition() if isinstance(error, PySparkException) else None
        text = str(thrown or error)
        reason = brief(text.strip().partition("\n")[0], 300)
        if _NO_CLASS.search(condition or text):
            raise ConfigError(
                f"{setting} needs a catalog or a format that this Spark does not have: add its package "
                f"(spark.jars.packages) and its catalog's settings, see docs/data.md ({reason})"
            ) from None
        if _MISSING.search(condition or text):
            raise InputMissing(
                f"{setting} does not exist in Spark's catalogs, or Spark lacks its format's package and its "
                f"catalog's settings, see docs/data.md ({reason})"
            ) from None
        raise RecsparkError(f"{setting}: {reason}") from None
