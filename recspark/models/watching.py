"""What estimators whose fits are iterations share: data that is followed beside the training rows, and a judge of the curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pyspark.sql import DataFrame

from recspark.engine.encode import ROLES
from recspark.errors import ConfigError
from recspark.models.params import Configurable


class Watching(Configurable):
    """An estimator that can follow data while it fits."""

    _watched: Mapping[str, DataFrame] = MappingProxyType({})
    _judge: Callable[[dict[str, float]], bool] | None = None

    def watch(self, **data: DataFrame) -> Watching:
        """Follow the RMSE on more data at every iteration: ``watch(validation=df, test=df)``; only validation can stop the fit."""
        for role in data:
            if role not in ROLES[1:]:
                raise ConfigError(f"watch({role}=...) is not allowed: it must be one of {', '.join(ROLES[1:])}")
        self._watched = data
        return self

    def stop_when(self, judge: Callable[[dict[str, float]], bool]) -> Watching:
        """End the fit soon after an iteration for which `judge` is true.

        `judge` is called in this process with the rows of ``summary.history``, each once and in order, while the fit goes on; after it has
        been true it is not called again. A fit that is quicker than the look at its files may have more iterations.
        """
        self._judge = judge
        return self
