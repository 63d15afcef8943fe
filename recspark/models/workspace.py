"""The folder of a fit: one that the user names, which stays, or a temporary one of the Spark session."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from recspark.engine.spark.leases import Lease
from recspark.engine.spark.session import check_workers, is_remote, master_of
from recspark.errors import ConfigError


@dataclass(frozen=True)
class Workspace:
    """The folder of a fit, and the lease of a temporary one."""

    folder: str
    lease: Lease | None = None


def workspace(spark: SparkSession, chosen: str | None) -> Workspace:
    """The folder for a fit: `chosen`, or on a one-machine master a new one.

    Spark deletes the new one when it stops.

    Raises
    ------
    ConfigError
        On a cluster, or over Spark Connect, without `chosen`: workers would not see each other's files, or
        this process would not see theirs.
    """
    check_workers(spark)
    if chosen:
        return Workspace(chosen)
    if is_remote(spark):
        raise ConfigError(
            "workDir is not set, and Spark Connect's workers need a folder or URI which they and this "
            "process can reach"
        )
    if not master_of(spark).startswith("local"):
        raise ConfigError(
            f"workDir is not set, and master {master_of(spark)} has workers that need a folder or URI which "
            "all of them can reach"
        )
    folder = tempfile.mkdtemp(prefix="recspark-", dir=SparkFiles.getRootDirectory())
    return Workspace(folder, Lease(folder))
