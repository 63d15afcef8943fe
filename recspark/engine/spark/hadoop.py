"""Storage as Spark sees it: the file systems of its Hadoop client, or of a Connect server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from py4j.java_gateway import JVMView
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from recspark.config import brief
from recspark.engine.spark.session import check_workers, is_remote
from recspark.errors import ConfigError
from recspark.lake.folder import Folder

if TYPE_CHECKING:
    from recspark.data.sources.archive import Copy


def hadoop_copy(spark: SparkSession) -> Copy | None:
    """The copy function of Spark's Hadoop client; None over Spark Connect, which does not show its client."""
    return None if is_remote(spark) else partial(_copy, spark)


def _copy(spark: SparkSession, source: str, target: str) -> None:
    hadoop = spark.sparkContext._jvm.org.apache.hadoop.fs
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    try:
        origin, place = hadoop.Path(source), hadoop.Path(target)
        hadoop.FileUtil.copy(
            origin.getFileSystem(conf), origin, place.getFileSystem(conf), place, False, conf
        )
    except Py4JError as error:
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise (FileNotFoundError if "FileNotFoundException" in reason else OSError)(reason) from None


def require_storage(spark: SparkSession, place: str) -> None:
    """Raise ConfigError if Spark can't use the path or URI `place`, before a job starts.

    Over Spark Connect its server and workers must see the same files there as this process.
    """
    if is_remote(spark):
        check_workers(spark)
        _require_shared(spark, Folder(place))
    else:
        _require_client(spark, place)


def _require_client(spark: SparkSession, place: str) -> None:
    scheme = place.partition("://")[0] if "://" in place else "file"
    jvm, conf = spark.sparkContext._jvm, spark.sparkContext._jsc.hadoopConfiguration()
    try:
        jvm.org.apache.hadoop.fs.FileSystem.getFileSystemClass(scheme, conf)
    except Py4JJavaError as error:
        reason = str(error.java_exception).splitlines()[0]
        raise ConfigError(f"Spark can't use {scheme}:// ({reason}){_storage_hint(scheme, jvm)}") from None


def _storage_hint(scheme: str, jvm: JVMView) -> str:
    if scheme not in ("s3", "s3a", "s3n"):
        return ": its client must be on Spark's class path, see docs/operations.md"
    package = f"org.apache.hadoop:hadoop-aws:{jvm.org.apache.hadoop.util.VersionInfo.getVersion()}"
    return f": write s3a://, and start it with spark-submit --packages {package}"


def _require_shared(spark: SparkSession, folder: Folder) -> None:
    """Write a file that Spark and the Python of its workers must find."""
    mark = f".staging/connect-{uuid.uuid4().hex[:12]}"
    folder.write_bytes(mark, mark.encode())
    try:
        rows = spark.read.text(folder.path(mark)).mapInArrow(_Reader(folder.root, mark), "same boolean")
        found = [row.same for row in rows.collect()]
        reason = "it does not see the files of this process there"
    except (PySparkException, OSError) as error:
        found, reason = [], brief(str(error).splitlines()[0])
    finally:
        folder.delete(mark)
    if found != [True]:
        raise ConfigError(
            f"the Spark Connect server can't use {folder.root} ({reason}): it must be storage that this "
            "process, the server and its workers all see under this name"
        )


class _Reader:
    """Worker: whether the file `name` of the folder `root` is what Spark has read from it."""

    def __init__(self, root: str, name: str) -> None:
        self.root, self.name = root, name

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"same": [batch.column(0).to_pylist() == [self._content()]]})

    def _content(self) -> str | None:
        folder = Folder(self.root)
        try:
            with folder.fs.open_input_stream(folder.at(self.name)) as stream:
                return stream.read().decode()
        except OSError:
            return None
