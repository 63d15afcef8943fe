"""Spark's JVM: that of the spark-submit that started us, else one that we start for this machine.

Ours starts quietly, and its memory fits this machine.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from py4j.clientserver import ClientServer
from py4j.java_gateway import JVMView
from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException, PySparkRuntimeError
from pyspark.find_spark_home import _find_spark_home
from pyspark.java_gateway import launch_gateway

from recspark.engine.spark.java import ensure_java
from recspark.engine.spark.workers import nameless_user, user_has_name
from recspark.errors import RecsparkError

DRIVER_MEMORY = "spark.driver.memory"
#: settings that a JVM takes only when it starts
_AT_START = ("spark.jars", "spark.driver.extra")
GIB = 2**30
LOG4J = Path(__file__).with_name("log4j2.properties")
#: the JVM's own first words, about a module that Spark always adds
INCUBATOR = b"WARNING: Using incubator modules: jdk.incubator.vector"

#: errors of Spark: its own, and those of the JVM that have no class in Python
SPARK_ERRORS = PySparkException, Py4JJavaError


def reason_of(error: Exception) -> str:
    """The condition of one of `SPARK_ERRORS`, such as PATH_NOT_FOUND, or the first line of its text."""
    known = error.getCondition() if isinstance(error, PySparkException) else None
    return known or str(getattr(error, "java_exception", error)).partition("\n")[0]


def connect(conf: Mapping[str, str]) -> None:
    """Connect this process to Spark's JVM, once.

    `conf` (``spark.master``, `DRIVER_MEMORY`, jars) counts if we start it.

    Raises
    ------
    RecsparkError
        If there is no Java, or Spark's JVM does not start.
    """
    if SparkContext._gateway is None and not under_spark_submit():
        SparkContext._ensure_initialized(gateway=_launch(conf))
        name_nameless_user(SparkContext._jvm)
    separate_stderr()


def separate_stderr() -> None:
    """Give stderr back to a driver under spark-submit, which puts both of its streams into its own stdout.

    Call it before anything is logged; it does nothing unless spark-submit started us.
    """
    if under_spark_submit() and not isinstance(sys.stderr, JvmStderr):
        SparkContext._ensure_initialized()
        sys.stderr = JvmStderr()


def name_nameless_user(jvm: JVMView) -> None:
    """Log in to Spark's file systems under a name of ours if the user id has none.

    Without a name they open no file.
    """
    if not user_has_name():
        hadoop = jvm.org.apache.hadoop.security.UserGroupInformation
        hadoop.setLoginUser(hadoop.createRemoteUser(nameless_user()))


def under_spark_submit() -> bool:
    """Whether spark-submit started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def is_local(master: str) -> bool:
    """Whether `master` runs tasks inside the driver (``local-cluster`` does not).

    >>> is_local("local[*]"), is_local("local-cluster[2,1,2048]")
    (True, False)
    """
    return master == "local" or master.startswith("local[")


class JvmStderr(io.TextIOBase):
    """The stderr of Spark's JVM as a text stream."""

    def write(self, text: str) -> int:
        """Print `text` on the JVM's standard error, or on Python's own once the JVM is gone."""
        try:
            SparkContext._jvm.System.err.print(text)
        except Exception:  # the JVM is gone, but the words must not be lost
            if sys.__stderr__ is not None:
                sys.__stderr__.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the JVM's standard error."""
        with suppress(Exception):
            SparkContext._jvm.System.err.flush()


def _launch(conf: Mapping[str, str]) -> ClientServer:
    """Start Spark's JVM with its messages relayed to our stderr, and return its gateway."""
    java_home = ensure_java()
    read_end, write_end = os.pipe()
    threading.Thread(target=_relay, args=(read_end,), name="spark-stderr", daemon=True).start()
    # the shell's progress bar is decided at launch, before any setting of a session
    settings = SparkConf(loadDefaults=False).set("spark.ui.showConsoleProgress", "false")
    settings.setAll([(key, value) for key, value in conf.items() if key.startswith(_AT_START)])
    try:
        with _environment({"JAVA_HOME": java_home} | _launch_variables(conf)):
            return launch_gateway(settings, {"stderr": write_end})
    except PySparkRuntimeError as error:
        raise RecsparkError(
            f"Spark did not start on the Java in {java_home}: its own words are on stderr"
        ) from error
    finally:
        os.close(write_end)


def _relay(read_end: int) -> None:
    """Copy the JVM's stderr to ours as it comes, without its first words when they are `INCUBATOR`."""
    with open(read_end, "rb", buffering=0) as jvm, suppress(OSError):
        chunk = jvm.readline()
        if chunk.startswith(INCUBATOR):
            chunk = jvm.read(65536)
        while chunk:
            os.write(2, chunk)
            chunk = jvm.read(65536)


def _launch_variables(conf: Mapping[str, str]) -> dict[str, str]:
    """The variables that Spark reads if neither ``--conf`` nor ``spark-defaults.conf`` sets a value."""
    given = os.environ
    variables = {
        "MASTER": given.get("MASTER") or conf.get("spark.master", "local[*,4]"),
        "SPARK_DRIVER_MEMORY": given.get("SPARK_DRIVER_MEMORY")
        or conf.get(DRIVER_MEMORY, f"{_half_of_memory()}g"),
        "SPARK_SUBMIT_OPTS": f"-Dlog4j2.configurationFile={LOG4J.as_uri()} "
        f"{given.get('SPARK_SUBMIT_OPTS', '')}",
    }
    if is_local(variables["MASTER"]) and not _configured_elsewhere():
        # nothing leaves this machine, and a host name that does not resolve does no harm
        variables["SPARK_LOCAL_IP"] = given.get("SPARK_LOCAL_IP") or "127.0.0.1"
    return variables


def _configured_elsewhere() -> bool:
    folder = os.environ.get("SPARK_CONF_DIR") or Path(_find_spark_home(), "conf")
    return "PYSPARK_SUBMIT_ARGS" in os.environ or Path(folder, "spark-defaults.conf").exists()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a child process, and put them back."""
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _half_of_memory() -> int:
    """Half of the memory that this machine or container has, in whole GiB from 1 to 8."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # a container without a limit says "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(max(total // 2 // GIB, 1), 8)
