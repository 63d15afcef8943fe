"""The control of every ranking: the most rated items first, the same list for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recspark.engine.blocks import Block
from recspark.engine.encode import Parts
from recspark.engine.plan import Given, State
from recspark.errors import ConfigError
from recspark.models.factor_model import FactorModel
from recspark.models.factorization import Factorization
from recspark.models.unread import Unread


@dataclass(frozen=True)
class CountSolver:
    """A factorization of no factors whose fit is its start: an item's bias is the number of its ratings, a user's is 0."""

    rank: int = 0
    mean: float = 0.0
    level: float = 0.0
    biased: bool = True

    sweep = "simultaneous"
    row_arrays = ("factors", "bias")

    def start(self, side: str, first: int, block: Block, given: Given | None = None, added: Given | None = None) -> State:
        """The numbers of ratings, float32: exact up to 2^24."""
        counts = np.diff(block.train.indptr)
        bias = counts if side == "items" else np.zeros(len(counts))
        return {"factors": np.empty((len(counts), 0), np.float32), "bias": bias.astype(np.float32)}

    def export(self, side: str, block: Block, state: State, n_other: int) -> State:
        """Columns features (empty) and bias."""
        return {"features": state["factors"], "bias": np.array(state["bias"])}


class PopularityModel(FactorModel):
    """How often each item was rated."""

    @property
    def rank(self) -> int:
        """0: there are no factors."""
        return 0


class Popularity(Factorization):
    """Scores an item by the number of its ratings, whatever they are: what a ranking must beat to be worth anything.

    ``transform`` adds that number; an item that training has not seen has 0. Rows that are watched are not counted.
    """

    model_class = PopularityModel

    unread: tuple[Unread, ...] = (Unread("tol patience seed", lambda *_: True, "ratings are counted, in no iteration"),)
    #: Params that ask for something which counts can't do
    _useless = ("weightCol", "initialModel", "initialIndex", "initialScale", "sideVectors", "sideTables", "clip")

    @property
    def can_watch(self) -> bool:
        """False: no iteration, no score that is a rating."""
        return False

    def getMaxIter(self) -> int:
        """0: ratings are counted before the first iteration."""
        return 0

    def _check(self) -> None:
        for name in self._useless:
            if self.isDefined(name) and self.getOrDefault(name):
                raise ConfigError(f"{name} = {self.getOrDefault(name)!r} is not allowed with Popularity: it counts ratings")

    def _rank(self) -> int:
        return 0

    def _solver(self, parts: Parts) -> CountSolver:
        return CountSolver()

    def _facts(self, solver: CountSolver) -> dict[str, Any]:
        return super()._facts(solver) | {"solver": {"kind": "counts"}}
