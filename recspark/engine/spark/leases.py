"""Leases: how long the temporary files of a fit stay.

DataFrames are lazy, and read the files when an action runs. Python does not see which plans are left, so a
broadcast variable travels with each plan: once the JVM has collected it, no plan can read the files.
"""

from __future__ import annotations

import shutil
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py4j.java_gateway import JavaObject
    from pyspark import Broadcast
    from pyspark.sql import DataFrame

#: seconds between looks at plans that may be gone: the first pause, after which py4j has released what Python
#: has collected, and the longest
FIRST_LOOK, LONGEST_PAUSE = 1.2, 10.0
#: seconds between requests for a garbage collection of the JVM
COLLECTION_PAUSE = 5.0


class Lease:
    """A temporary folder that is deleted once nothing needs it.

    That is when the lease is collected and no plan of Spark that it was pickled with is left.
    """

    def __init__(self, folder: str) -> None:
        self._mark: Broadcast[str] | None = None
        self._plans: list[JavaObject] = []
        weakref.finalize(self, _end, folder, self._plans).atexit = False

    def hold(self, table: DataFrame) -> None:
        """Keep the folder as long as the JVM has a plan that reads `table`, a Parquet table in it."""
        self._hold(table._jdf.queryExecution().analyzed().collectLeaves().head().relation())

    def _hold(self, part: JavaObject) -> None:
        from pyspark import SparkContext

        self._plans.append(SparkContext._jvm.java.lang.ref.WeakReference(part))
        _start_sweeping()

    def __reduce__(self) -> tuple[Callable[[Broadcast[str]], None], tuple[Broadcast[str]]]:
        """Travel with a function of a plan as a mark; the worker gets None."""
        from pyspark import SparkContext

        if self._mark is None:
            self._mark = SparkContext._active_spark_context.broadcast("")
            self._hold(self._mark._jbroadcast)
        return _arrived, (self._mark,)


def _arrived(mark: Broadcast[str]) -> None:
    return None


#: folders without a lease, and weak references to parts of their plans. Finalizers may call `put`, as
#: `SimpleQueue` is reentrant
_ENDED: SimpleQueue[tuple[str, list[JavaObject]]] = SimpleQueue()
_sweeping = threading.Lock()


def _end(folder: str, plans: list[JavaObject]) -> None:
    if plans:
        _ENDED.put((folder, plans))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _start_sweeping() -> None:
    if _sweeping.acquire(blocking=False):
        threading.Thread(target=_sweep, name="recspark-files", daemon=True).start()


def _sweep() -> None:
    """Delete, in an endless loop, the folders whose plans the JVM has collected."""
    waiting: list[tuple[str, list[JavaObject]]] = []
    pause, collected = FIRST_LOOK, -COLLECTION_PAUSE
    while True:
        try:
            waiting.append(_ENDED.get(timeout=pause if waiting else None))
            pause = FIRST_LOOK
        except Empty:
            # ask for collections soon after a model went; later the JVM's own must do
            if pause < 5 * FIRST_LOOK and time.monotonic() - collected >= COLLECTION_PAUSE:
                _collect()
                collected = time.monotonic()
            waiting = [(folder, plans) for folder, plans in waiting if not _deleted(folder, plans)]
            pause = min(2 * pause, LONGEST_PAUSE)


def _deleted(folder: str, plans: list[JavaObject]) -> bool:
    # if the JVM is gone, so is every plan
    with suppress(*_jvm_gone()):
        if not all(part.refersTo(None) for part in plans):
            return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _collect() -> None:
    from pyspark import SparkContext

    with suppress(*_jvm_gone()):
        SparkContext._jvm.System.gc()


def _jvm_gone() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError

    return Py4JError, OSError, AttributeError
