"""Runners of the steps of a fit: as Spark tasks, or one after the other inside a single task.

Both have a store and one method, ``map(function, items)``: it calls a module-level function with the store
and each item, and returns the results in the order of the items. A fit is written once, against a runner;
with one block the fit itself is one item.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import SparkSession

from recspark.algorithms import devices
from recspark.engine.spark.jvm import is_local
from recspark.engine.spark.memory import require_worker_memory, within_memory
from recspark.engine.spark.session import master_of
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.kernels.threads import affordable

_RESULT = "item long, result binary"

Item = TypeVar("Item")
Result = TypeVar("Result")


class TaskRunner:
    """Runs items inside the current process, `threads` at a time: the kernels release the GIL."""

    def __init__(self, store: Store, threads: int) -> None:
        self.store, self.threads = store, threads

    def map(self, function: Callable[[Store, Item], Result], items: Sequence[Item]) -> list[Result]:
        """``[function(store, item) for item in items]``, side by side."""
        threads = affordable(self.threads)
        on_item = partial(function, self.store)
        if threads == 1 or len(items) == 1:
            return list(map(on_item, items))
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(on_item, items))


class SparkRunner:
    """Runs one Spark task per item; a lost task runs again, as Spark's ``task.maxFailures`` allows.

    Each task opens the store of the folder `root` for itself. A RecsparkError of the function would be the
    same at every try: it comes back as a result, and is raised here.

    `whole` says that one task is the whole fit: on a local master, which hands out no cards, it may have any.
    """

    def __init__(self, spark: SparkSession, root: str, whole: bool = False) -> None:
        self.spark, self.store = spark, Store(root)
        self._any_card = whole and is_local(master_of(spark))

    def map(self, function: Callable[[Store, Item], Result], items: Sequence[Item]) -> list[Result]:
        """``[function(store, item) for item in items]``, side by side."""
        require_worker_memory(self.spark)
        numbers = self.spark.range(0, len(items), 1, len(items))
        task = _Task(function, self.store.root, list(items), self._any_card)
        rows = numbers.mapInArrow(task, _RESULT).collect()
        results = [pickle.loads(row.result) for row in sorted(rows, key=lambda row: row.item)]
        for error in results:
            if isinstance(error, RecsparkError):
                raise error
        return results


Runner = TaskRunner | SparkRunner


class _Task(Generic[Item, Result]):
    """Worker: call the function with the store and the item whose number arrives.

    The task has the cards that Spark gave it, or any card of the machine if it may.
    """

    def __init__(
        self, function: Callable[[Store, Item], Result], root: str, items: list[Item], any_card: bool
    ) -> None:
        self.function, self.root, self.items, self.any_card = function, root, items, any_card

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        given = context.resources().get("gpu") if context else None
        devices.grant(given.addresses if given else None if self.any_card else [])
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield pa.RecordBatch.from_pydict(
                    {"item": [number], "result": [pickle.dumps(self._result(number))]}
                )

    def _result(self, number: int) -> Result | RecsparkError:
        try:
            return within_memory(partial(self.function, Store(self.root)), self.items[number])
        except RecsparkError as error:
            return error
