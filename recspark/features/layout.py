"""The fitted layout: the columns of each group, their meaning, and the standardisation of numbers.

It is small and readable, and saved with a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TypedDict

import msgspec

from recspark.errors import RecsparkError
from recspark.features.groups import Group
from recspark.lake.folder import Folder

SIDES = ("user", "item", "context")
FILE = "layout.json"

#: the name of the bucket for values that training has not seen
UNKNOWN = "(unknown)"

Level = int | str


@dataclass(frozen=True)
class Block:
    """The columns of one group: ``offset .. offset + size`` of its side.

    Attributes
    ----------
    group : Group
    offset : int
        First column, within the side.
    levels : tuple of int or str
        Ascending; the level of column ``offset + i`` is ``levels[i]``. Empty for a real group, whose one
        column holds ``(x - mean) / stdev``; the moments are those of the training rows (of a side: of the
        entities in them, each counted once).
    """

    group: Group
    offset: int
    levels: tuple[Level, ...] = ()
    mean: float = 0.0
    stdev: float = 1.0

    @property
    def name(self) -> str:
        """The name of its group."""
        return self.group.name

    @property
    def column(self) -> str:
        """The group's name as a DataFrame column that needs no quotes."""
        return re.sub(r"\W", "_", self.name)

    @property
    def is_real(self) -> bool:
        """Whether its one column holds numbers instead of levels."""
        return self.group.kind == "real"

    @property
    def size(self) -> int:
        """The number of its columns."""
        return 1 if self.is_real else len(self.levels) + (self.group.unknown == "own")

    @property
    def own(self) -> int | None:
        """The column of the bucket for unknown values, within the side; None if they are ignored."""
        return self.offset + len(self.levels) if self.group.unknown == "own" else None

    @property
    def names(self) -> list[str]:
        """The meaning of each column."""
        if self.is_real:
            return [self.name]
        return [str(level) for level in self.levels] + ([UNKNOWN] if self.own is not None else [])


class LayoutFacts(TypedDict):
    """A layout as JSON: a group's fields beside its place and moments; levels by vocabulary."""

    first_day: int | None
    groups: list[dict[str, object]]
    levels: dict[str, list[Level]]


@dataclass(frozen=True)
class _Place:
    """What a layout says of a block beside its group and levels."""

    offset: int
    mean: float
    stdev: float


@dataclass(frozen=True)
class Layout:
    """All blocks in the order of their declaration.

    ``first_day`` is the first day with a training row, in days since 1970-01-01 UTC.
    """

    blocks: tuple[Block, ...]
    first_day: int | None = None

    @classmethod
    def of(cls, fitted: Iterable[Block], first_day: int | None = None) -> Layout:
        """Lay blocks side by side: each gets the offset of its place."""
        used = dict.fromkeys(SIDES, 0)
        blocks = []
        for block in fitted:
            blocks.append(replace(block, offset=used[block.group.side]))
            used[block.group.side] += block.size
        return cls(tuple(blocks), first_day)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def side(self, side: str) -> tuple[Block, ...]:
        """The blocks of a side, in the order of their columns."""
        return tuple(block for block in self.blocks if block.group.side == side)

    @cached_property
    def widths(self) -> dict[str, int]:
        """Number of columns of each side."""
        return {side: sum(block.size for block in self.side(side)) for side in SIDES}

    @cached_property
    def starts(self) -> dict[str, int]:
        """First column of each side in a row of all sides: user, item, context."""
        return dict(zip(SIDES, accumulate(self.widths.values(), initial=0), strict=False))

    @property
    def size(self) -> int:
        """Number of columns of a row of all sides."""
        return sum(self.widths.values())

    def unseen(self, side: str) -> tuple[list[int], list[float]]:
        """Columns and values of an id that no table has: the buckets for unknown values."""
        columns = [block.own for block in self.side(side) if block.own is not None]
        return columns, [1.0] * len(columns)

    def as_dict(self) -> LayoutFacts:
        """For JSON: the groups first, then the levels, each vocabulary once."""
        blocks = [
            {
                **asdict(block.group),
                "offset": block.offset,
                "size": block.size,
                "mean": block.mean,
                "stdev": block.stdev,
            }
            for block in self.blocks
        ]
        levels = {_vocabulary(block.group): list(block.levels) for block in self.blocks if not block.is_real}
        return {"first_day": self.first_day, "groups": blocks, "levels": levels}

    @classmethod
    def from_dict(cls, content: LayoutFacts) -> Layout:
        """The inverse of :meth:`as_dict`."""
        levels = {name: tuple(values) for name, values in content["levels"].items()}
        return cls(tuple(_block(entry, levels) for entry in content["groups"]), content["first_day"])

    def save(self, folder: str) -> None:
        """Write ``layout.json`` into `folder`, a path or URI."""
        Folder(folder).write_json(FILE, self.as_dict())

    @classmethod
    def load(cls, folder: str) -> Layout:
        """Read the output of :meth:`save`. Raise RecsparkError if there is none."""
        content = Folder(folder).read_json(FILE)
        if content is None:
            raise RecsparkError(f"{folder} holds no features: {FILE} is missing")
        return cls.from_dict(content)


def _vocabulary(group: Group) -> str:
    """The name under which a group's levels are kept: groups of ids share one list."""
    return group.vocabulary or group.name


def _block(entry: dict[str, object], levels: dict[str, tuple[Level, ...]]) -> Block:
    # a layout of an older version lacks newer facts, which then have their defaults
    group, place = msgspec.convert(entry, Group), msgspec.convert(entry, _Place)
    return Block(group, place.offset, levels.get(_vocabulary(group), ()), place.mean, place.stdev)
