"""The work of an ingest, planned on the driver.

It is the files of every source, with their fields and types, cut into chunks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow.fs as pafs
from pyspark.sql import SparkSession

from recspark.data import schemas
from recspark.data.formats.binding import bind
from recspark.data.formats.generic import (
    GENERIC,
    MERGED,
    TABLE,
    DataOptions,
    generic_files,
    id_types,
    rating_layout,
    with_timestamp,
)
from recspark.data.formats.layout import Chunk, Layout, is_empty, plan
from recspark.data.formats.movielens import EDITIONS, NoDataFile, find_edition
from recspark.data.formats.own_parts import part_files, with_column, with_part
from recspark.data.formats.own_tables import OWN, bind_own, own_files, own_layout, text_types
from recspark.data.lakehouse.source import Columns
from recspark.data.quality import IDS, Rules, judged
from recspark.data.schemas import with_types
from recspark.data.sources.archive import Source
from recspark.data.sources.leftovers import copies, report_empty, report_left_out
from recspark.data.sources.partitions import partition_values
from recspark.data.splitting.parts import OWN_SPLIT, OwnParts
from recspark.errors import ConfigError, InputMissing
from recspark.lake.fingerprints import fingerprint

#: the source of the ratings among all sources, which are named after their options
MAIN = "source"
#: the tables that every lake has
TABLES = {"ratings": schemas.RATINGS, "users": schemas.USERS, "items": schemas.ITEMS, "tags": schemas.TAGS}


@dataclass(frozen=True)
class Work:
    """The chunks to load, and the rules and schemas for them.

    fs : the file system of the files of each source, by the option that names it
    chunks : parts of files
    rules : the rules for rows
    loaded : the schema of each table that files give, as workers write it
    schemas : the schema of every table, as it is published
    own : the tables of one's own among those that files give
    merged : how repeated pairs of ratings become one row; None if they don't
    parts : the parts that ratings are of, if the split is one's own
    """

    fs: dict[str, pafs.FileSystem]
    chunks: list[Chunk]
    rules: Rules
    loaded: dict[str, str]
    schemas: dict[str, str]
    own: tuple[str, ...]
    merged: str | None
    parts: tuple[str, ...] = ()


class _Files(NamedTuple):
    """Files of the source that `option` names, on `fs`: the path and the layout of each by its name."""

    option: str
    fs: pafs.FileSystem
    paths: Mapping[str, str]
    layouts: Mapping[str, Layout]

    def each(self, change: Callable[[str, Layout], Layout]) -> _Files:
        """The same files with the layouts that `change` makes from theirs."""
        return self._replace(
            layouts={member: change(member, layout) for member, layout in self.layouts.items()}
        )

    def chunks(self) -> list[Chunk]:
        return [
            replace(chunk, source=self.option)
            for member, layout in self.layouts.items()
            for chunk in plan(self.fs, member, self.paths[member], layout)
        ]


def formats(
    data: DataOptions, sources: Mapping[str, Source], parts: OwnParts | None = None
) -> tuple[str, dict[str, dict[str, Layout]]]:
    """The edition or format of the ratings, and for every source the layouts of the members to read.

    A table of one's own takes the place of the edition's. The log names files that are not read. `parts` are
    those of a split of one's own.
    """
    found = {option: _layouts(data, option, source, parts) for option, source in sources.items()}
    dataset = ", ".join(sorted({dataset for option, (dataset, _) in found.items() if option not in OWN}))
    replaced = {*(option for option in OWN if option in found), *(["links"] if "items" in found else [])}
    return dataset, {
        option: {
            member: layout
            for member, layout in layouts.items()
            if option in OWN or layout.table not in replaced
        }
        for option, (_, layouts) in found.items()
    }


def _layouts(
    data: DataOptions, option: str, source: Source, parts: OwnParts | None
) -> tuple[str, dict[str, Layout]]:
    """The edition or format of the source that `option` names, and the layouts of the members to read."""
    if source.state is not None:
        return TABLE, _table_layouts(data, option, source, parts)
    with _waiting(source):
        if option in OWN:
            dataset, layouts = own_files(data, option, source.members)
        elif parts:
            dataset, layouts = part_files(data, parts, source.members, option)
        elif data.dataset in GENERIC or not (
            edition := find_edition(source.members, source.name, data.dataset)
        ):
            dataset, layouts = generic_files(data, source.members)
        else:
            report_left_out(source, *edition, {})
            return edition
    return dataset, _without_copies(source, dataset, layouts)


def table_columns(data: DataOptions, option: str, part_column: str | None = None) -> Columns:
    """The columns to read of a table of a catalog, which `option` names."""
    if option in OWN:
        column = getattr(data, OWN[option])
        return Columns((column,), {column: f"data.{OWN[option]}"}, None)
    named = ("userColumn", "itemColumn", "ratingColumn", "timestampColumn")
    needed = {getattr(data, key): f"data.{key}" for key in named if getattr(data, key)}
    needed |= {part_column: "split.partColumn"} if part_column else {}
    return Columns((data.userColumn, data.itemColumn), needed, () if data.timestampColumn else ("timestamp",))


def _table_layouts(
    data: DataOptions, option: str, source: Source, parts: OwnParts | None
) -> dict[str, Layout]:
    """The layout of a table of a catalog, by its name.

    Raise ConfigError if it is said to be of a format of files.
    """
    if option not in OWN and data.dataset in (*EDITIONS, "adjacency"):
        raise ConfigError(
            f"data.dataset = {data.dataset!r} is not allowed with {source.listing.setting}: a table has "
            "columns; name them (data.userColumn ...), and its scale (data.ratingMin ...)"
        )
    layout = rating_layout(data, parquet=True)
    if option in OWN:
        layout = own_layout(data, option, layout)
    elif parts:
        layout = with_column(layout, parts.column) if parts.column else with_part(layout, option)
    [name] = source.members
    return {name: replace(layout, catalog_table=name)}


@contextmanager
def _waiting(source: Source) -> Iterator[None]:
    """Raise InputMissing if a folder has no file of the body's formats: it may still come.

    An archive is whole.
    """
    try:
        yield
    except NoDataFile as error:
        if source.listing.is_folder:
            raise InputMissing(str(error)) from None
        raise


def _without_copies(source: Source, dataset: str, layouts: Mapping[str, Layout]) -> dict[str, Layout]:
    """Leave copies of other files out, and add the columns that are in paths."""
    # a part of a split may have the bytes of another one, which the split then refuses
    twins = {copy: of for members in _by_part(layouts) for copy, of in copies(source, members).items()}
    kept = {
        member: replace(layout, partition=partition_values(f"{source.name}/{member}"))
        for member, layout in layouts.items()
        if member not in twins
    }
    report_left_out(source, dataset, kept, twins)
    return kept


def _by_part(layouts: Mapping[str, Layout]) -> list[dict[str, Layout]]:
    """The layouts of the files of each part of a split; of all files if there are no parts."""
    found: dict[str | None, dict[str, Layout]] = {}
    for member, layout in layouts.items():
        found.setdefault(layout.part, {})[member] = layout
    return list(found.values())


def digest_of(sources: Mapping[str, Source], layouts: Mapping[str, Mapping[str, Layout]]) -> str:
    """The digest of all files that are read."""
    digests = {option: source.digest(layouts[option]) for option, source in sources.items()}
    return next(iter(digests.values())) if len(digests) == 1 else f"sha256:{fingerprint(digests)}"


def plan_work(
    spark: SparkSession,
    data: DataOptions,
    dataset: str,
    sources: Mapping[str, Source],
    layouts: Mapping[str, Mapping[str, Layout]],
    ids: Mapping[str, str] | None = None,
    parts: OwnParts | None = None,
) -> Work:
    """Unpack archives, give each layout the fields and types of its file, and cut the files into chunks.

    Parameters
    ----------
    spark
        The session of the job.
    data
        The options of ``[data]``.
    dataset
        The name of the edition, or of a generic format.
    sources
        The inputs, by the option of ``[data]`` that names them.
    layouts
        The layouts of the files of each input, by option and by name in the source.
    ids
        The types of ids, by column, if they are known.
    parts
        The parts of a split of one's own.

    Raises
    ------
    DataRejected, InputMissing, ConfigError
        As :func:`recspark.data.ingest.ingest`.
    """
    generic = dataset not in EDITIONS
    files = [
        _bound(data, generic, _opened(option, source, layouts[option])) for option, source in sources.items()
    ]
    ids = ids or (_agreed_ids(data, files) if generic else dict.fromkeys(IDS, "bigint"))
    files = [_typed(spark, found, ids) for found in files]
    loaded = {layout.table: layout.schema for found in files for layout in found.layouts.values()}
    tables = {name: with_types(table, ids) for name, table in TABLES.items()}
    given = {f"{OWN_SPLIT}/{part}": tables["ratings"] for part in parts.names} if parts else {}
    return Work(
        fs={found.option: found.fs for found in files},
        chunks=_cut(files),
        rules=data.rules(Rules() if generic else EDITIONS[dataset].rules),
        loaded=loaded,
        schemas=tables | loaded | given | {"ratings": tables["ratings"], "quarantine": schemas.QUARANTINE},
        own=tuple(option for option in sources if option in OWN),
        merged=data.duplicate_rule if generic and data.duplicate_rule in MERGED else None,
        parts=parts.names if parts else (),
    )


def _opened(option: str, source: Source, layouts: Mapping[str, Layout]) -> _Files:
    """The files of one source, without empty text files.

    Raise InputMissing if no other is left: it may still be written. An empty file of an edition stays: the
    edition is damaged.
    """
    fs, paths = source.files(layouts)
    files = _Files(option, fs, paths, {file: layouts[source.member_of(file)] for file in paths})
    texts = [member for member, layout in files.layouts.items() if layout.notation and not layout.parquet]
    empty = [member for member in texts if is_empty(files.fs, files.paths[member], layouts[member])]
    if not empty:
        return files
    if len(empty) == len(files.layouts):
        others = f", as are the other {len(empty) - 1}" if len(empty) > 1 else ""
        raise InputMissing(
            f"{source.listing.setting} has nothing to read: {empty[0]} is an empty file{others}"
        )
    report_empty(source, empty)
    return files._replace(
        layouts={member: layout for member, layout in files.layouts.items() if member not in empty}
    )


def _bound(data: DataOptions, generic: bool, files: _Files) -> _Files:
    """`files` of one source with the fields that they have."""
    option, fs, paths, layouts = files
    if option in OWN:
        return files._replace(layouts=bind_own(fs, paths, layouts))
    if generic:
        files = files.each(lambda member, layout: with_timestamp(data, layout, fs, member, paths[member]))
    return files.each(lambda member, layout: bind(fs, paths[member], member, layout))


def _agreed_ids(data: DataOptions, files: Iterable[_Files]) -> dict[str, str]:
    """The types of ids, one for all tables: text if the first file of any table, or part, has text."""
    agreed = dict.fromkeys(IDS, "bigint")
    for _, fs, paths, layouts in files:
        for of_part in _by_part(layouts):
            found = id_types(data, of_part, fs, paths)
            agreed |= {name: type_ for name, type_ in found.items() if type_ == "string"}
    return agreed


def _typed(spark: SparkSession, files: _Files, ids: Mapping[str, str]) -> _Files:
    """`files` with the types of ids; columns of one's own in text files get types from their values."""

    def with_ids(_: str, layout: Layout) -> Layout:
        known = judged(layout.table)
        return replace(
            layout,
            schema=with_types(layout.schema, {name: type_ for name, type_ in ids.items() if name in known}),
        )

    files = files.each(with_ids)
    if not any(layout.own and not layout.parquet for layout in files.layouts.values()):
        return files
    types = text_types(spark, files.fs, files.chunks())
    return files.each(lambda _, layout: replace(layout, schema=with_types(layout.schema, types)))


def _cut(files: Iterable[_Files]) -> list[Chunk]:
    chunks = [chunk for found in files for chunk in found.chunks()]
    of_table = Counter(chunk.layout.table for chunk in chunks)
    return [replace(chunk, whole=of_table[chunk.layout.table] == 1) for chunk in chunks]
