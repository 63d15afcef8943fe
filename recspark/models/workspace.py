"""Where a fit keeps its files: a folder that the user names, which survives the process, or a temporary one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache

from pyspark.sql import SparkSession

from recspark.engine.memory import require_worker_memory
from recspark.engine.session import is_remote, master_of
from recspark.errors import ConfigError


def work_folder(spark: SparkSession, chosen: str | None) -> str:
    """The folder for a fit: `chosen`, or on a one-machine master a new one that is removed when the process ends.

    Raises
    ------
    ConfigError
        On a cluster, or over Spark Connect, without `chosen`: its workers would not see each other's files, or this process theirs.
    """
    require_worker_memory(spark)
    if chosen:
        return chosen
    if is_remote(spark):
        raise ConfigError("workDir is not set, and Spark Connect's workers need a folder or URI which they and this process can reach")
    if not master_of(spark).startswith("local"):
        raise ConfigError(
            f"workDir is not set, and master {master_of(spark)} has workers that need a folder or URI which all of them can reach"
        )
    return tempfile.mkdtemp(dir=_temporary())


@cache
def _temporary() -> str:
    # kept to the end of the process, not of the model: DataFrames that transform gave out still read from it
    folder = tempfile.mkdtemp(prefix="recspark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
