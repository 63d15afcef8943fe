"""The files of a fitted model, by folder and stamp: a model object answers with its own numbers, or says that
its files are gone.

A fit without ``workDir`` leaves its files in a folder of the Spark session, which Spark deletes when it
stops. They go earlier with the model object, but not before the DataFrames that it gave out
(`recspark.engine.spark.leases`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from recspark.engine.spark.leases import Lease
from recspark.errors import RecsparkError
from recspark.models.folder import Facts, read_facts, stamp_of


@dataclass(frozen=True)
class ModelFiles:
    """A model's folder (path or URI) and the stamp in its facts, which no other model has.

    It is small enough to travel with every task.
    """

    folder: str
    stamp: str
    lease: Lease | None = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, folder: str, lease: Lease | None = None) -> tuple[ModelFiles, Facts]:
        """The files in `folder`, and the facts that lie there. Raise RecsparkError if there is no model."""
        facts = read_facts(folder)
        return cls(folder, facts.stamp, lease), facts

    @property
    def key(self) -> ModelFiles:
        """The same without the lease, as the key of a cache."""
        return replace(self, lease=None)

    @contextmanager
    def verified(self) -> Iterator[None]:
        """Raise RecsparkError if the body may have read files of another model."""
        self.verify()
        try:
            yield
        finally:
            self.verify()

    def verify(self) -> None:
        """Raise RecsparkError if the folder does not hold this model any more."""
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
