"""Rows into a table of a catalog: they replace all its rows, or those of the same users.

In Delta and Iceberg this is one transaction: readers see the rows before or those after, and after a failure
those before. Other formats have none: readers may see no rows, or some, until all are written.
"""

from __future__ import annotations

import uuid

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.data.lakehouse.names import explained, quoted
from recspark.data.lakehouse.versions import find_version, format_of
from recspark.errors import ConfigError

#: formats whose writes are transactions
_TRANSACTIONAL = ("delta", "iceberg")
#: column of the merge that marks users whose old rows go
_OLD = "_recspark_old"


def write_table(rows: DataFrame, option: str, name: str, key: str | None = None) -> str | None:
    """Replace the rows of the table `name`, or with `key` those whose key is one of `rows`.

    A table that is not there is made, in the format that its catalog has by default.

    Parameters
    ----------
    rows
        The new rows, with the columns of the table in any order.
    option
        The option that names the table, for messages.
    name
        The name of the table for Spark, such as ``lake.db.lists``.
    key
        A column, such as ``user_id``; None: all rows of the table are replaced.

    Returns
    -------
    str or None
        The new version of the table; None if its format has none.

    Raises
    ------
    ConfigError
        If `key` is given and the format has no transactions, or Spark lacks the classes of the format.
    RecsparkError
        If Spark can't write, such as for a table of other columns.
    """
    spark, setting = rows.sparkSession, f"{option} = {name!r}"
    with explained(setting):
        if not spark.catalog.tableExists(name):
            rows.writeTo(name).create()
        elif (kind := format_of(spark, name)) in _TRANSACTIONAL:
            if key is None:
                rows.writeTo(name).overwrite(F.lit(True))
            else:
                _merge(rows, name, key)
        elif key is None:
            rows.select(*map(quoted, spark.table(name).columns)).write.insertInto(name, overwrite=True)
        else:
            raise ConfigError(
                f"{setting} can't be merged into: it is {kind or 'a view'}, and only Delta and "
                "Iceberg replace the rows of some users in one transaction"
            )
        version = find_version(spark, name, setting, None)
    return version.state if version else None


def _merge(rows: DataFrame, name: str, key: str) -> None:
    """Replace the rows whose `key` is one of `rows`.

    The merge has one row per key that matches all old rows of the key, which are deleted, and the new rows,
    which match none and are inserted.
    """
    spark, view, key = rows.sparkSession, f"recspark_{uuid.uuid4().hex}", quoted(key)
    columns = [quoted(column) for column in rows.columns]
    keys = rows.select(key).distinct().withColumn(_OLD, F.lit(True))
    both = rows.withColumn(_OLD, F.lit(False)).unionByName(keys, allowMissingColumns=True)
    both.createOrReplaceTempView(view)
    try:
        spark.sql(
            f"MERGE INTO {name} AS old USING {view} AS new ON old.{key} = new.{key} AND new.{_OLD} "
            f"WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND NOT new.{_OLD} THEN "
            f"INSERT ({', '.join(columns)}) VALUES ({', '.join(f'new.{column}' for column in columns)})"
        )
    finally:
        spark.catalog.dropTempView(view)
