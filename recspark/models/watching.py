"""The shared part of estimators whose fits are iterations.

They follow data beside the training rows, and may have a judge of the curve. `watch` and the like take
DataFrames, which are not Params: they are saved with the estimator as Parquet, under ``data/NAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Self

from pyspark.sql import DataFrame, SparkSession

from recspark.algorithms.ratings import ROLES
from recspark.errors import ConfigError, RecsparkError
from recspark.lake.folder import Folder
from recspark.models.params import Configurable
from recspark.models.saving import Saved


class Watching(Configurable, Saved):
    """An estimator that can follow data while it fits."""

    _watched: Mapping[str, DataFrame] = MappingProxyType({})
    _judge: Callable[[dict[str, float]], bool] | None = None
    #: the place of a loaded estimator's data, and the paths of its files
    _loaded: tuple[str, frozenset[str]] = ("", frozenset())

    @property
    def ranks_watched(self) -> bool:
        """Whether watched rows are preferences: then their AUC is followed, not their RMSE."""
        return False

    def watch(self, **data: DataFrame) -> Watching:
        """Follow the RMSE on more data at every iteration: ``watch(validation=df, test=df)``.

        Only validation can stop the fit. With preferences (ALS with implicitPrefs, losses that compare items)
        the AUC is followed instead: see `recspark.algorithms.ranks`.
        """
        for role in data:
            if role not in ROLES[1:]:
                raise ConfigError(
                    f"watch({role}=...) is not allowed: it must be one of {', '.join(ROLES[1:])}"
                )
        self._watched = data
        return self

    def stop_when(self, judge: Callable[[dict[str, float]], bool] | None) -> Watching:
        """End the fit soon after an iteration for which `judge` is true.

        `judge` is called in this process with the rows of ``summary.history``, each once and in order, during
        the fit; after it has been true it is not called again. A fit that is faster than the reading of its
        files may have more iterations. None: no judge.
        """
        self._judge = judge
        return self

    def _data(self) -> dict[str, DataFrame]:
        """The DataFrames that the estimator was given, by name."""
        return {f"watch-{role}": df for role, df in self._watched.items()}

    def _take_data(self, data: Mapping[str, DataFrame]) -> None:
        """Take back the DataFrames that `_data` gave."""
        self._watched = {
            name.removeprefix("watch-"): df for name, df in data.items() if name.startswith("watch-")
        }

    def write_parts(self, path: str) -> None:
        """Write the data that the estimator was given.

        Raise ConfigError if there is a judge, which no file can hold.
        """
        if self._judge is not None:
            raise ConfigError(
                "stop_when has a function, which can't be saved: call stop_when(None) first, and again after "
                "loading"
            )
        self._require_data()
        for name, df in self._data().items():
            df.write.parquet(f"{path}/data/{name}")

    def saved_to(self, path: str) -> None:
        """See `Saved.saved_to`. Data that was loaded from `path` is read from the new files."""
        if self._loaded[0] == path:
            self._read_data(path)

    @classmethod
    def read_parts(cls, path: str) -> Self:
        """See `Saved.read_parts`."""
        estimator = cls()
        estimator._read_data(Folder(path).root)
        return estimator

    def _read_data(self, path: str) -> None:
        names = Folder(path).names("data")
        self._take_data({name: SparkSession.active().read.parquet(f"{path}/data/{name}") for name in names})
        self._loaded = path, _files(path)

    def _require_data(self) -> None:
        """Raise RecsparkError if the files that the estimator was loaded from are gone or replaced."""
        path, files = self._loaded
        if files and self._data() and not files <= _files(path):
            raise RecsparkError(
                f"{path}, where data of this estimator lies, was deleted or overwritten after it was loaded: "
                "load it again"
            )

    @classmethod
    def import_parts(cls, path: str) -> Self:
        """See `Saved.import_parts`. An estimator of MLlib has nothing but its Params."""
        return cls()


def _files(path: str) -> frozenset[str]:
    folder = Folder(path)
    return frozenset(
        f"{name}/{file}" for name in folder.names("data") for file in folder.names(f"data/{name}")
    )
