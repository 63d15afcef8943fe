"""The files of a fitted model: which model they are of, and how long temporary ones stay.

    ModelFiles     folder and stamp: a model object answers with its own numbers, or says that its files are
                   gone
    Lease          holds temporary files as long as a Python object, or a plan of Spark, needs them

A fit without ``workDir`` leaves its files in a folder of the Spark session, which Spark deletes when it
stops. They go earlier with the model object, but not before the DataFrames that it gave out: these are lazy,
and read the files when an action runs. Python does not see which plans are left, so a broadcast variable
travels with each plan: once the JVM has collected it, no plan can read the files.
"""

from __future__ import annotations

import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from recspark.errors import RecsparkError
from recspark.models.folder import read_facts, stamp_of

#: seconds between looks at plans that may be gone: the first, which is later than py4j lets go of what Python
#: has collected; the longest
FIRST_LOOK, LONGEST_PAUSE = 1.2, 10.0
#: seconds between collections of the JVM that are asked for
COLLECTION_PAUSE = 5.0


@dataclass(frozen=True)
class ModelFiles:
    """A model's folder (path or URI) and the stamp in its facts, which no other model has. Small enough to go
    with every task.
    """

    folder: str
    stamp: str
    lease: Lease | None = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, folder: str, lease: Lease | None = None) -> tuple[ModelFiles, Any]:
        """The files in `folder`, and the facts that lie there. Raise RecsparkError where there is no
        model.
        """
        facts = read_facts(folder)
        return cls(folder, facts.stamp, lease), facts

    @property
    def key(self) -> ModelFiles:
        """The same without the lease: what a cache may keep."""
        return replace(self, lease=None)

    @contextmanager
    def verified(self) -> Iterator[None]:
        """Raise RecsparkError where what the body reads is not all of this model."""
        self.verify()
        try:
            yield
        finally:
            self.verify()

    def verify(self) -> None:
        """Raise RecsparkError where the folder does not hold this model any more."""
        stamp = stamp_of(self.folder)
        if stamp is None:
            raise RecsparkError(
                f"the files of this model are gone: {self.folder} was deleted; a model that is not saved "
                "lives as long as its Spark session"
            )
        if stamp != self.stamp:
            raise RecsparkError(
                f"{self.folder} was overwritten by another model after this one was loaded: load it again"
            )


class Lease:
    """A temporary folder. It is deleted when the lease is collected and no plan of Spark that it was pickled
    with is left.
    """

    def __init__(self, folder: str) -> None:
        self._mark: Any = None
        self._plans: list[Any] = []
        weakref.finalize(self, _end, folder, self._plans).atexit = False

    def hold(self, part: Any) -> None:
        """Keep the folder also as long as the JVM has `part`, an object of a plan that reads it."""
        from pyspark import SparkContext

        self._plans.append(SparkContext._jvm.java.lang.ref.WeakReference(part))
        _start_sweeping()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with a function of a plan as a mark; on the worker nothing is left of it."""
        from pyspark import SparkContext

        if self._mark is None:
            self._mark = SparkContext._active_spark_context.broadcast("")
            self.hold(self._mark._jbroadcast)
        return _arrived, (self._mark,)


def _arrived(mark: Any) -> None:
    return None


#: folders without a lease, and weak references to parts of their plans. A finalizer may put: `SimpleQueue` is
#: reentrant
_ENDED: SimpleQueue[tuple[str, list[Any]]] = SimpleQueue()
_sweeping = threading.Lock()


def _end(folder: str, plans: list[Any]) -> None:
    if plans:
        _ENDED.put((folder, plans))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _start_sweeping() -> None:
    if _sweeping.acquire(blocking=False):
        threading.Thread(target=_sweep, name="recspark-files", daemon=True).start()


def _sweep() -> None:
    """Delete the folders whose plans the JVM has collected, for ever."""
    waiting: list[tuple[str, list[Any]]] = []
    pause, collected = FIRST_LOOK, -COLLECTION_PAUSE
    while True:
        try:
            waiting.append(_ENDED.get(timeout=pause if waiting else None))
            pause = FIRST_LOOK
        except Empty:
            # collections soon after a model went; from then on the JVM's own have to do
            if pause < 5 * FIRST_LOOK and time.monotonic() - collected >= COLLECTION_PAUSE:
                _collect()
                collected = time.monotonic()
            waiting = [(folder, plans) for folder, plans in waiting if not _deleted(folder, plans)]
            pause = min(2 * pause, LONGEST_PAUSE)


def _deleted(folder: str, plans: list[Any]) -> bool:
    # where the JVM is gone, so is every plan
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
