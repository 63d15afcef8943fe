"""Files of a split of one's own: which files of a source are of which part, and their layouts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from recspark.data.formats.generic import DataOptions, generic_files
from recspark.data.formats.layout import Layout
from recspark.data.formats.movielens import EDITIONS, NoDataFile
from recspark.data.schemas import PART, columns, ddl
from recspark.data.sources.names import plain_name, setting
from recspark.data.splitting.parts import OwnParts
from recspark.errors import ConfigError


def part_files(
    data: DataOptions, parts: OwnParts, members: Iterable[str], option: str
) -> tuple[str, dict[str, Layout]]:
    """The format, and the members to read with layouts that know their part.

    `members` are those of the source that `option` names: ``data.source`` with all parts, or a part of its
    own.

    Raises
    ------
    NoDataFile
        If there is no such file, or none of the format.
    ConfigError
        If a file is of two parts, or the data set is an edition of MovieLens.
    """
    if data.dataset in EDITIONS:
        raise ConfigError(
            f"data.dataset = {data.dataset!r} is not allowed with {parts.in_words()}: files of a split of "
            "one's own are csv, parquet or adjacency, with data.userColumn, data.itemColumn ... for the "
            "columns they have"
        )
    members = list(members)
    if parts.column:
        dataset, layouts = generic_files(data, members)
        return dataset, {member: with_column(layout, parts.column) for member, layout in layouts.items()}
    inside = {option: members} if option in parts.places else _by_part(data, parts, members)
    found = {
        part: generic_files(data, names, setting(part, parts.places[part]), data.dataset)
        for part, names in inside.items()
    }
    formats = ", ".join(sorted({dataset for dataset, _ in found.values()}))
    layouts = {}
    for part, (_, of_part) in found.items():
        for member, layout in of_part.items():
            if member in layouts:
                raise ConfigError(
                    f"{setting(part, parts.places[part])} and split.{layouts[member].part} both have "
                    f"{member}: a file is of one part"
                )
            layouts[member] = with_part(layout, part)
    return formats, layouts


def with_part(layout: Layout, part: str) -> Layout:
    """The layout of a file whose rows are all of `part`."""
    return replace(layout, part=part, schema=_with_part(layout.schema))


def with_column(layout: Layout, column: str) -> Layout:
    """The layout of a file whose `column` names the part of each row."""
    if layout.lists:
        raise ConfigError(
            f"split.partColumn = {column!r} is not allowed with data.dataset = 'adjacency': a list of items "
            "has no columns; set split.train and split.test to files"
        )
    return replace(layout, rename=(*layout.rename, (column, PART)), schema=_with_part(layout.schema))


def _with_part(schema: str) -> str:
    return ddl(columns(schema) | {PART: "string"})


def _by_part(data: DataOptions, parts: OwnParts, members: list[str]) -> dict[str, list[str]]:
    found = {part: _inside(members, place) for part, place in parts.places.items()}
    for part in (part for part, names in found.items() if not names):
        raise NoDataFile(
            f"{setting(part, parts.places[part])} is not in data.source = {data.source!r}, or in several of "
            f"its folders (it has {', '.join(members[:5]) or 'no file'}): name a file or a folder in it, or "
            "leave data.source out and set all parts to places of their own"
        )
    return found


def _inside(members: list[str], place: str) -> list[str]:
    """The file called `place`, or the files of that folder; the source may have them in one folder more.

    >>> _inside(["x/train.txt", "x/test.txt", "y/a.csv"], "train.txt"), _inside(["y/a.csv"], "y/")
    (['x/train.txt'], ['y/a.csv'])
    """
    name = place.strip("/").removeprefix("./")
    found = [
        member for member in members if f"{member}/".startswith(f"{name}/") or plain_name(member) == name
    ]
    if found:
        return found
    above = {member.partition(f"/{name}/")[0] for member in members if f"/{name}/" in f"/{member}/"}
    deeper = [member for member in members if f"/{name}/" in f"/{member}/"]
    return deeper if len(above) == 1 or len(deeper) == 1 else []
