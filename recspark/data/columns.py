"""Names of columns: how a name finds its column in the user's data.

New columns are added without touching those that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.errors import IllegalArgumentException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType, StructType

from recspark.errors import RecsparkError


class ColumnError(RecsparkError, IllegalArgumentException):
    """A column is missing, of the wrong type, or already there.

    Spark's own estimators raise IllegalArgumentException for these.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(message)
        PySparkException.__init__(self, message=str(self.args[0]))


def quoted(name: str) -> str:
    """`name` in the form that Spark's parser takes for one column, for any text.

    >>> quoted("a.b`c")
    '`a.b``c`'
    """
    return "`" + name.replace("`", "``") + "`"


def find_name(names: Sequence[str], name: str, case_sensitive: bool = False) -> str | None:
    """The one of `names` that `name` stands for.

    It is the same name, or without `case_sensitive` the only one that differs only by case.

    >>> find_name(["USER", "item"], "user"), find_name(["USER", "User"], "user")
    ('USER', None)
    """
    if name in names or case_sensitive:
        return name if name in names else None
    found = [each for each in names if each.lower() == name.lower()]
    return found[0] if len(found) == 1 else None


def is_case_sensitive(spark: SparkSession) -> bool:
    """Whether `spark` tells ``user`` from ``USER``."""
    return spark.conf.get("spark.sql.caseSensitive") == "true"


def resolve(schema: StructType, name: str) -> str:
    """The name of the column that `name` stands for, as Spark resolves names.

    Raise ColumnError if there is none.
    """
    found = find_name(schema.names, name, is_case_sensitive(SparkSession.active()))
    if found is None:
        raise ColumnError(f"column {name!r} is not in the data: its columns are {', '.join(schema.names)}")
    return found


def column(df: DataFrame, name: str) -> Column:
    """Column `name` of `df`. Raise ColumnError if there is none."""
    return F.col(quoted(resolve(df.schema, name)))


def number(df: DataFrame, name: str, what: str) -> Column:
    """Column `name` of `df`, which holds `what`. Raise ColumnError if its type is not a number."""
    found = resolve(df.schema, name)
    kind = df.schema[found].dataType
    if not isinstance(kind, NumericType):
        raise ColumnError(
            f"column {name!r} has type {kind.simpleString()}: {what} must be a number, so cast it"
        )
    return F.col(quoted(found))


def check_new(df: DataFrame, names: Iterable[str | None]) -> None:
    """Raise ColumnError if one of `names` is already a column of `df`, or occurs twice.

    Empty names stand for no column.
    """
    fold = (lambda name: name) if is_case_sensitive(df.sparkSession) else str.lower
    taken = {fold(name) for name in df.columns}
    for name in filter(None, names):
        if fold(name) in taken:
            raise ColumnError(
                f"column {name!r} already exists: rename or drop it, or give the output another name"
            )
        taken.add(fold(name))


def unused_name(df: DataFrame, stem: str) -> str:
    """`stem`, with as many leading underscores as needed for a new column of `df`."""
    taken = {name.lower() for name in df.columns}
    name = f"_{stem}"
    while name.lower() in taken:
        name = f"_{name}"
    return name


def with_new(df: DataFrame, held: dict[str, Column], added: Sequence[tuple[str | None, Column]]) -> DataFrame:
    """`df` with the columns `added`, except those without a name.

    They may read the columns `held`, which are dropped at the end.
    """
    columns = {name: value for name, value in added if name}
    frame = df.withColumns(held) if held else df
    frame = frame.withColumns(columns) if columns else frame
    return frame.drop(*held) if held else frame
