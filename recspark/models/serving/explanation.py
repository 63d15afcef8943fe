"""Why a model gives a pair its score: parts that add up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, Self, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from recspark.errors import RecsparkError
from recspark.ids import IdIndex, as_ids

Id: TypeAlias = int | str | date


@dataclass(frozen=True)
class Part:
    """One part of a score.

    name
        Its source: ``rating`` for a rating of the user, else ``mean``, ``item bias`` ...
    item, rating
        The rated item and the rating, of a part that comes from a rating.
    shared
        Whether all items have this part for the user, so that it does not say which item comes first.
    """

    name: str
    value: float
    item: Id | None = None
    rating: float | None = None
    shared: bool = False


@dataclass(frozen=True)
class Explanation:
    """The score of an item for a user, as the sum of its parts.

    The `prediction` is what the model makes of the score. It is another number only if the model cuts
    predictions to a range, or has a response, as for ordered levels.
    """

    item: Id
    score: float
    prediction: float
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, item: Id, score: float, prediction: float, parts: Sequence[Part]) -> Self:
        """From parts in any order; those that are 0 are left out.

        Parameters
        ----------
        item
            The id of the item.
        score
            The sum of the parts.
        prediction
            The value that the model predicts, after its response and cut.
        parts
            The parts, in the unit of the score.
        """
        found = [part for part in parts if part.value]
        found.sort(key=lambda part: -abs(part.value))
        return cls(item, score, prediction, tuple(found))

    def largest(self, n: int) -> Explanation:
        """The same with the `n` largest parts, and all others as one part more.

        >>> parts = [Part("mean", 3.0), Part("user bias", 0.25), Part("item bias", 0.5)]
        >>> found = Explanation.of(7, 3.75, 3.75, parts).largest(1)
        >>> [(part.name, part.value) for part in found.parts]
        [('mean', 3.0), ('2 others', 0.75)]
        """
        kept, others = self.parts[:n], self.parts[n:]
        if not others:
            return self
        rest = Part(f"{len(others)} others", sum(part.value for part in others))
        return Explanation(self.item, self.score, self.prediction, (*kept, rest))

    def reasons(self, n: int) -> tuple[Part, ...]:
        """The `n` largest parts that lift this item, and not all items of the user.

        >>> parts = [Part("mean", 3.0, shared=True), Part("item bias", 0.3), Part("factors", -0.1)]
        >>> [part.name for part in Explanation.of(7, 3.2, 3.2, parts).reasons(3)]
        ['item bias']
        """
        return tuple(part for part in self.parts if part.value > 0 and not part.shared)[:n]

    @property
    def table(self) -> pd.DataFrame:
        """The parts as rows: part, item, rating, value."""
        return pd.DataFrame(
            [(part.name, part.item, part.rating, part.value) for part in self.parts],
            columns=["part", "item", "rating", "value"],
        )


class Explainer(Protocol):
    """Explanations from the files of a model, without Spark."""

    @classmethod
    def load(cls, folder: str) -> Self:
        """Open the model in `folder`, a path or a URI."""

    @property
    def reads_ratings(self) -> bool:
        """Whether it tells the ratings of the user apart only if it is given them."""

    def explain(self, user: Id, items: Sequence[Id], rated: pa.Table | None = None) -> list[Explanation]:
        """Explain the scores of `items` for a user.

        `rated` has the ratings of the user that the model was made from: item, rating, and weight if the fit
        had weights. Raise RecsparkError for an id that the model does not know.
        """


def unknown(side: str, id: Id) -> RecsparkError:
    """The error for an id that a model does not know; `side` is users or items."""
    return RecsparkError(
        f"{side[:-1]} {id!r} is not known to the model, so there is no score to explain: it has no training "
        "rating"
    )


def positions_of(side: str, ids: Sequence[Id], index: IdIndex) -> np.ndarray:
    """The positions of `ids`. Raise RecsparkError, as `unknown` makes it, for one that is not there."""
    found = index.positions(as_ids(ids))
    for id, position in zip(ids, found, strict=True):
        if position < 0:
            raise unknown(side, id)
    return found
