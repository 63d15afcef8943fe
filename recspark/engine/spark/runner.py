"""Where the steps of a fit run: as Spark tasks, or one after the other inside a single task.

Both have one method, ``map(function, items)``: call a module-level function on every item, give back the
results in the order of the items. A fit is written once against it; with one block the fit itself is one
item.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from recspark.engine.spark.memory import require_worker_memory, within_memory
from recspark.errors import RecsparkError
from recspark.kernels.threads import affordable

_RESULT = "item long, result binary"


class TaskRunner:
    """Runs inside the current process, `threads` items at a time: the kernels release the GIL."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """``[function(item) for item in items]``, side by side."""
        threads = affordable(self.threads)
        if threads == 1 or len(items) == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, items))


class SparkRunner:
    """Runs one Spark task an item; a task that is lost runs again, as Spark's ``task.maxFailures`` allows.

    A RecsparkError of the function would be the same at every try: it comes back as a result, and is raised
    here.
    """

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """``[function(item) for item in items]``, side by side."""
        require_worker_memory(self.spark)
        numbers = self.spark.range(0, len(items), 1, len(items))
        rows = numbers.mapInArrow(_Task(function, list(items)), _RESULT).collect()
        results = [pickle.loads(row.result) for row in sorted(rows, key=lambda row: row.item)]
        for error in results:
            if isinstance(error, RecsparkError):
                raise error
        return results


class _Task:
    """Worker: call the function on the item whose number arrives."""

    def __init__(self, function: Callable[[Any], Any], items: list[Any]) -> None:
        self.function, self.items = function, items

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield pa.RecordBatch.from_pydict(
                    {"item": [number], "result": [pickle.dumps(self._result(number))]}
                )

    def _result(self, number: int) -> Any:
        try:
            return within_memory(self.function, self.items[number])
        except RecsparkError as error:
            return error
