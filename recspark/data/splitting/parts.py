"""The parts of a split of one's own: each has files or a table of its own, or a column names the part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recspark.data.schemas import PARTS

#: the key of the option that names the column
COLUMN = "partColumn"
#: the folder of the tables of such a split among those of splits that a data set gives
OWN_SPLIT = "given/own"


@dataclass(frozen=True)
class OwnParts:
    """Where the rows of each part are.

    places
        By part: a name inside ``data.source``, or without such a source a place of its own.
    column
        The column of ``data.source`` with the name of the part, in place of `places`.
    """

    places: Mapping[str, str]
    column: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that may have rows."""
        return tuple(part for part in PARTS if self.column or part in self.places)

    def as_dict(self) -> dict[str, str]:
        """The options of ``[split]`` that say so, by their keys."""
        return {COLUMN: self.column} if self.column else dict(self.places)

    def in_words(self) -> str:
        """These options with their values, for messages."""
        return ", ".join(f"split.{key} = {value!r}" for key, value in self.as_dict().items())
