"""The control of every ranking: the most rated items first, the same list for every user."""

from __future__ import annotations

from recspark.algorithms.counts import CountSolver
from recspark.engine.encode import Parts
from recspark.errors import ConfigError
from recspark.models.factors.factorization import Factorization
from recspark.models.factors.model import FactorModel
from recspark.models.unread import Unread


class PopularityModel(FactorModel):
    """The number of ratings of each item."""

    @property
    def rank(self) -> int:
        """0: there are no factors."""
        return 0


class Popularity(Factorization):
    """Scores an item by the number of its ratings, for any values.

    A ranking must beat it to be worth anything. ``transform`` adds that number; an item that training has not
    seen has 0. Watched rows are not counted.
    """

    model_class = PopularityModel

    unread: tuple[Unread, ...] = (
        Unread("tol patience seed", lambda *_: True, "ratings are counted, in no iteration"),
    )
    #: Params that ask for something that counts can't do
    _useless = (
        "weightCol",
        "initialModel",
        "initialIndex",
        "initialScale",
        "sideVectors",
        "sideTables",
        "clip",
    )

    @property
    def can_watch(self) -> bool:
        """False: there is no iteration, and scores are not ratings."""
        return False

    def getMaxIter(self) -> int:
        """0: ratings are counted before the first iteration."""
        return 0

    def _check(self) -> None:
        for name in self._useless:
            if self.isDefined(name) and self.getOrDefault(name):
                raise ConfigError(
                    f"{name} = {self.getOrDefault(name)!r} is not allowed with Popularity: it counts ratings"
                )

    def _rank(self) -> int:
        return 0

    def _solver(self, parts: Parts) -> CountSolver:
        return CountSolver()

    def _can(self) -> tuple[str, ...]:
        return ("explain", "lists", "serve")
