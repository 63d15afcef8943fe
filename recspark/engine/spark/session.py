"""The Spark session of a job: spark-submit's, one on a Connect server, or a quiet one on this machine.

Settings rank, highest first: spark-submit's ``--conf`` and ``spark-defaults.conf``, the job's ``[spark]``
section, then the defaults here. So a job can be moved to a cluster by spark-submit alone.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import is_remote as is_connected

import recspark
from recspark.config import Check, Option, Section, at_least, brief
from recspark.engine.spark import workers
from recspark.engine.spark.jvm import DRIVER_MEMORY, SPARK_ERRORS, connect, is_local, name_nameless_user
from recspark.engine.spark.memory import require_worker_memory
from recspark.engine.spark.remote import remote_session, server_url
from recspark.errors import RecsparkError

LOG = logging.getLogger(__name__)

#: Spark 4.3's direct path of columns into Python: it fails on rows from Parquet that also have a vector
COLUMNAR_INPUT = "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled"

#: partitions of a shuffle
SHUFFLE = "spark.sql.shuffle.partitions"

DEFAULTS = {
    "spark.log.level": "WARN",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # off: it records the origin of columns for error messages, and takes half of the time of building a query
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # the kernels divide the cores among themselves: a BLAS with threads of its own would take each core twice
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    "spark.executorEnv.MKL_NUM_THREADS": "1",
    "spark.executorEnv.VECLIB_MAXIMUM_THREADS": "1",
}

_memory = Check(lambda text: re.fullmatch(r"[1-9]\d*[mg]", text) is not None, "a size like 900m or 4g")
_settings = Check(
    lambda conf: all(
        key.startswith("spark.") and isinstance(value, (str, int, float)) for key, value in conf.items()
    ),
    'of names such as "spark.sql.catalog.lake", each with a string, a number, true or false',
)


class SparkOptions(Section):
    """The place, size and settings of Spark, for jobs that spark-submit did not start."""

    name = "spark"
    master = Option(
        str,
        None,
        "Spark master, such as local[4] or spark://host:7077, or a Spark Connect server such as "
        "sc://host:15002; all cores of this machine if not set",
    )
    driverMemory = Option(
        str, None, "heap of the driver; half of the memory, from 1g to 8g, if not set", _memory
    )
    shufflePartitions = Option(
        int,
        None,
        "partitions of a shuffle; twice the cores of a local master, Spark's own default elsewhere",
        at_least(1),
    )
    conf = Option(
        dict,
        {},
        'other settings, such as {"spark.jars.packages" = "..."}, and those of catalogs',
        _settings,
    )

    def as_conf(self) -> dict[str, str]:
        """The options that are set, under Spark's names; those of their own come before those of `conf`."""
        values = {
            "spark.master": self.master,
            DRIVER_MEMORY: self.driverMemory,
            SHUFFLE: self.shufflePartitions,
        }
        named = {key: value for key, value in values.items() if value is not None}
        return {key: _text(value) for key, value in (self.conf | named).items()}


def _text(value: object) -> str:
    """A value as Spark reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def session(app_name: str, options: SparkOptions | None = None) -> Iterator[SparkSession]:
    """A session for the length of a job, which is stopped at the end unless it ran before."""
    found_running = is_running()
    spark = build_session(app_name, (options or SparkOptions()).as_conf())
    try:
        require_worker_memory(spark)
        yield spark
    finally:
        if not found_running:
            spark.stop()


def build_session(app_name: str, conf: Mapping[str, str] | None = None) -> SparkSession:
    """The running session, else one with `conf` and `DEFAULTS` under the settings of spark-submit.

    Raises
    ------
    RecsparkError
        If there is no Java, Spark can't start, or a Connect server that is asked for can't be reached.
    """
    if SparkContext._active_spark_context is not None:
        return SparkSession.builder.getOrCreate()
    if is_running():
        return SparkSession.active()
    conf = conf or {}
    if url := server_url(conf):
        return _on_server(url, app_name, conf)
    connect(conf)
    merged = _merge(conf)
    if merged.get("spark.app.name", "") in ("", "pyspark-shell", Path(sys.argv[0]).name):
        merged.setAppName(app_name)
    with warnings.catch_warnings():
        # a Connect server in this process has the settings already, and PySpark tries to set them again
        warnings.filterwarnings("ignore", "Failed to set spark")
        return SparkSession.builder.config(conf=merged).getOrCreate()


def _on_server(url: str, app_name: str, conf: Mapping[str, str]) -> SparkSession:
    """A session on a Connect server.

    Its shuffles are those of a local master if the server runs tasks itself and was not told otherwise.
    """
    for key in ("spark.master", DRIVER_MEMORY):
        if conf.get(key, url) != url:
            LOG.warning("%s = %s is not used: it is the Spark Connect server's", key, conf[key])
    spark = remote_session(url, app_name, DEFAULTS | dict(conf))
    if SHUFFLE not in conf and is_local(master_of(spark)) and spark.conf.get(SHUFFLE) == "200":
        spark.conf.set(SHUFFLE, str(2 * parallelism(spark)))
    return spark


def is_running() -> bool:
    """Whether this process already has a SparkContext or a session of Spark Connect, of any origin."""
    if SparkContext._active_spark_context is not None:
        return True
    return is_connected() and SparkSession.getActiveSession() is not None


def is_remote(spark: SparkSession) -> bool:
    """Whether `spark` is a Spark Connect session.

    It has no SparkContext, and its server and workers may be on other machines.
    """
    return not hasattr(spark, "_jsparkSession")


def master_of(spark: SparkSession) -> str:
    """The Spark master that tasks run on."""
    return spark.conf.get("spark.master", "") if is_remote(spark) else spark.sparkContext.master


def parallelism(spark: SparkSession) -> int:
    """Number of tasks that run side by side: ``sparkContext.defaultParallelism``.

    Spark Connect shows it only as the number of partitions of a range.
    """
    if not is_remote(spark):
        return spark.sparkContext.defaultParallelism
    return spark.range(100_000).select(F.spark_partition_id()).distinct().count()


def is_alive(spark: SparkSession) -> bool:
    """Whether Spark can run another job in this session."""
    try:
        if is_remote(spark):
            spark.conf.get("spark.master", "")
            return True
        return not spark.sparkContext._jsc.sc().isStopped()
    except Exception:  # any error of a lost connection
        return False


def task_cpus(spark: SparkSession) -> int:
    """Cores that Spark sets aside for a task."""
    return int(spark.conf.get("spark.task.cpus", "1"))


def default_threads(spark: SparkSession) -> int:
    """Cores that a task may use alone: all of a local master, ``spark.task.cpus`` on a cluster."""
    return parallelism(spark) if is_local(master_of(spark)) else task_cpus(spark)


#: sessions whose workers can run recspark
_checked: set[str] = set()


def check_workers(spark: SparkSession) -> None:
    """Ask one worker, once per session, whether it has all that recspark needs.

    A warning says if kernels must be compiled first. This also turns off a setting that Spark gets wrong
    (`COLUMNAR_INPUT`).

    Raises
    ------
    RecsparkError
        In one sentence: workers of another Python, without recspark, with another version of it, without a
        package that it needs, or with too little address space.
    """
    session = spark.session_id if is_remote(spark) else spark.sparkContext.applicationId
    if session in _checked:
        return
    spark.conf.set(COLUMNAR_INPUT, "false")
    require_worker_memory(spark)
    if not is_remote(spark):
        name_nameless_user(spark.sparkContext._jvm)
    found = _look(spark)
    if wrong := workers.complaint(found, recspark.__version__, _remedy(spark)):
        raise RecsparkError(wrong)
    if found["cold"]:
        LOG.warning(
            "compiling for the first time after an install: the first call of each kind takes up to half a "
            "minute longer; "
            "`recspark warm` compiles everything at once"
        )
    _checked.add(session)


def _look(spark: SparkSession) -> workers.Found:
    """The result of `workers.look` on one worker."""
    if is_remote(spark):
        return _asked(partial(_look_on_server, spark), "of the Spark Connect server's workers", spark)
    context = spark.sparkContext
    python = context.pythonExec
    if is_local(context.master):  # asked without Spark, which would print a long trace
        version = workers.version_of(python)
        if version != context.pythonVer:
            fault = _other_version(version, context.pythonVer) if version else "does not run"
            raise RecsparkError(f"the Python of Spark's workers, {python}, {fault}: {_remedy(spark)}")
    look = context.parallelize([0], 1).map(workers.look).first
    return _asked(look, f"of Spark's workers, {python},", spark)


def _look_on_server(spark: SparkSession) -> workers.Found:
    [row] = spark.range(0, 1, 1, 1).mapInArrow(workers.look_in_arrow, "found string").collect()
    return json.loads(row.found)


def _asked(look: Callable[[], workers.Found], whose: str, spark: SparkSession) -> workers.Found:
    try:
        return look()
    except SPARK_ERRORS as error:
        raise RecsparkError(f"the Python {whose} {_fault(str(error))}: {_remedy(spark)}") from None


def _other_version(theirs: str, ours: str) -> str:
    return f"is Python {theirs}, and this is {ours}"


def _fault(trace: str) -> str:
    """The fault of the workers' Python, by the trace of a failed task."""
    if versions := re.search(r"in worker has different version: (\S+) than that in driver: (\S+),", trace):
        return _other_version(versions[1], versions[2])
    found = (re.search(pattern, trace) for pattern in (r"Cannot run program .*", r"\w*Error: .*"))
    reason = next((match[0].strip() for match in found if match), trace.partition("\n")[0])
    return f"does not run recspark ({brief(reason)})"


def _remedy(spark: SparkSession) -> str:
    """The advice for workers that can't run recspark."""
    if is_remote(spark):
        return (
            f"install recspark {recspark.__version__} there, or start the server with PYSPARK_PYTHON set to "
            f"a Python {workers.this_version()} that has it on every host, see docs/operations.md"
        )
    if not is_local(spark.sparkContext.master):
        if spark.sparkContext.pythonExec.startswith("./"):  # of an archive
            return (
                f"send an archive (--archives) with recspark {recspark.__version__} for Python "
                f"{workers.this_version()}, and name its Python in spark.pyspark.python, see docs/install.md"
            )
        return (
            f"install recspark {recspark.__version__} there, or set PYSPARK_PYTHON (spark.pyspark.python) to "
            "a Python that has it on every "
            "host before the session starts, see docs/operations.md"
        )
    if workers.is_this_python(spark.sparkContext.pythonExec):
        return (
            f"install it there, or set PYTHONPATH={Path(recspark.__file__).parents[1]} before the session "
            "starts"
        )
    return f"stop this session, set PYSPARK_PYTHON={sys.executable}, and start another"


def _merge(conf: Mapping[str, str]) -> SparkConf:
    """The settings of the JVM's start, then `conf`, then the defaults; earlier ones win."""
    merged = SparkConf()
    for key, value in conf.items():
        if key != DRIVER_MEMORY:  # too late to change it: the JVM runs
            merged.setIfMissing(key, value)
        if merged.get(key, "its default") != value:
            LOG.warning(
                "%s = %s is not used: Spark was started with %s", key, value, merged.get(key, "its default")
            )
    local = _local_defaults() if is_local(merged.get("spark.master", "")) else {}
    for key, value in (DEFAULTS | local).items():
        merged.setIfMissing(key, value)
    return merged


def _local_defaults() -> dict[str, str]:
    cores = SparkContext._jvm.java.lang.Runtime.getRuntime().availableProcessors()
    return {"spark.ui.enabled": "false", SHUFFLE: str(2 * cores)}
