"""From the JVM to Python: a function on the Arrow batches of every partition of a DataFrame.

Spark's ``mapInArrow`` writes rows to Python one by one through its general machinery for Python functions: 10
M rows of three numbers take 2 to 4 s on two cores. Its own converter to Arrow, which ``DataFrame.toArrow``
uses, takes a third of that, or less. Its messages, one per batch, go to Python as they are:

    on_partitions     as an RDD of messages; results are values, at once
    in_one_process    the same with the messages of all partitions: few come to this process, many are
                      shuffled as they are to one task
    map_partitions    as a column of messages, which ``mapInArrow`` only copies; the result is a DataFrame,
                      lazy, for 0.1 s more

On Spark Connect, which has no RDD, they are ``mapInArrow`` on the rows. A `RecsparkError` of a function that
ran elsewhere is raised here, unchanged, and the task is not tried again.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import pyarrow as pa
from py4j.java_gateway import JavaObject
from pyspark import RDD
from pyspark.serializers import NoOpSerializer
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from recspark.engine.spark.jvm import SPARK_ERRORS
from recspark.engine.spark.memory import require_worker_memory, within_memory
from recspark.errors import RecsparkError

Batches = Iterator[pa.RecordBatch]
Result = TypeVar("Result")

#: data of at most this many bytes, as Spark estimates them, comes to this process instead of a Python task
#: behind a shuffle
SMALL = 1 << 24


def on_partitions(df: DataFrame, function: Callable[[Batches], Result]) -> list[Result]:
    """Call a module-level `function` on every partition's batches, at once.

    Returns its results, pickled on the way, in the order of the partitions.
    """
    require_worker_memory(df.sparkSession)
    if _is_remote(df):
        rows = df.mapInArrow(partial(_pickled, function), "result binary").collect()
        return _raised([pickle.loads(row.result) for row in rows])
    return _called(df, _messages(df).toJavaRDD(), function)


def in_one_process(df: DataFrame, function: Callable[[Batches], Result]) -> Result:
    """The result of a module-level `function` on the batches of all partitions, in any order, at once."""
    require_worker_memory(df.sparkSession)
    if _is_remote(df):
        [result] = on_partitions(df.repartition(1), function)
    elif _bytes(df) <= SMALL:
        result = function(iter(df.toArrow().to_batches()))
    else:
        [result] = _called(df, _messages(df).toJavaRDD().coalesce(1, True), function)
    return result


def map_partitions(df: DataFrame, function: Callable[[Batches], Batches], schema: StructType) -> DataFrame:
    """``df.mapInArrow(function, schema)``, fast for many small rows.

    Rows keep their partition and order. The result is lazy, except for shuffles that `df` needs: an adaptive
    plan runs them to see how to go on.
    """
    require_worker_memory(df.sparkSession)
    if _is_remote(df):
        return df.mapInArrow(function, schema)
    spark = df.sparkSession
    binary = spark._jvm.org.apache.spark.sql.Encoders.BINARY()
    messages = DataFrame(spark._jsparkSession.createDataset(_messages(df), binary).toDF(), spark)
    return messages.mapInArrow(partial(_on_column, function, _schema(df)), schema)


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a RecsparkError in place of an error that `raise_error` gave to a column of ours.

    See `recspark.engine.encode.id_column`.
    """
    try:
        yield
    except SPARK_ERRORS as error:
        found = re.search(r"\[USER_RAISED_EXCEPTION\] (column .*?)(?: SQLSTATE|$)", str(error), re.MULTILINE)
        if found is None:
            raise
        raise RecsparkError(found[1]) from None


def _called(df: DataFrame, messages: JavaObject, function: Callable[[Batches], Result]) -> list[Result]:
    rdd = RDD(messages, df.sparkSession.sparkContext, NoOpSerializer())
    return _raised(rdd.mapPartitions(partial(_on_messages, function, _schema(df))).collect())


def _raised(results: Iterable[Result | RecsparkError]) -> list[Result]:
    values: list[Result] = []
    for result in results:
        if isinstance(result, RecsparkError):
            raise result
        values.append(result)
    return values


def _caught(function: Callable[[Batches], Result], batches: Batches) -> Result | RecsparkError:
    """Worker: the result, or a user error as a value.

    If it were raised, Spark would try the task again, and show a traceback.
    """
    try:
        return within_memory(function, batches)
    except RecsparkError as error:
        return error


def _is_remote(df: DataFrame) -> bool:
    return not hasattr(df, "_jdf")


def _messages(df: DataFrame) -> JavaObject:
    """A Scala RDD of the Arrow batches of `df` as bytes, its partitions those of `df`."""
    return df._jdf.toArrowBatchRdd(df._jdf.queryExecution().executedPlan())


def _bytes(df: DataFrame) -> int:
    """Spark's estimate: exact for data that it holds in memory, too high for a join."""
    return int(df._jdf.queryExecution().optimizedPlan().stats().sizeInBytes())


def _schema(df: DataFrame) -> pa.Schema:
    """The schema, which the messages leave out."""
    large = df.sparkSession.conf.get("spark.sql.execution.arrow.useLargeVarTypes") == "true"
    return to_arrow_schema(df.schema, prefers_large_types=large)


def _read(messages: Iterable[bytes | pa.Buffer], schema: pa.Schema) -> Batches:
    return (pa.ipc.read_record_batch(pa.py_buffer(message), schema) for message in messages)


def _on_messages(
    function: Callable[[Batches], Result], schema: pa.Schema, messages: Iterator[bytes]
) -> Iterator[Result | RecsparkError]:
    yield _caught(function, _read(messages, schema))


def _on_column(function: Callable[[Batches], Batches], schema: pa.Schema, batches: Batches) -> Batches:
    return function(_read((value.as_buffer() for batch in batches for value in batch.column(0)), schema))


def _pickled(function: Callable[[Batches], object], batches: Batches) -> Batches:
    yield pa.RecordBatch.from_pydict({"result": [pickle.dumps(_caught(function, batches))]})
