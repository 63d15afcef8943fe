"""Ingest: files of ratings in, tidy tables with a manifest and a quarantine out, whole or not at all.

Files are cut into chunks. Workers read a chunk, judge its rows and write one Parquet file of the kept rows
and one of the others. Duplicates need all chunks of a table: they are searched afterwards by the hashes of
keys, and only chunks with duplicates are loaded again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import TypedDict

import msgspec
import pyarrow.fs as pafs
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from recspark.data.arrow import write_part
from recspark.data.duplicates import FOUND, DuplicateFinder
from recspark.data.formats.generic import DataOptions
from recspark.data.formats.layout import Chunk, arrow_schema, tasks_for
from recspark.data.formats.own_tables import OWN
from recspark.data.lakehouse.names import is_table
from recspark.data.lakehouse.publish import write_table
from recspark.data.lakehouse.source import open_table
from recspark.data.load import REPORT, Loader
from recspark.data.quality import Count, QualityOptions, require_quality
from recspark.data.sources.archive import Copy, Source, open_source
from recspark.data.sources.download import download
from recspark.data.sources.names import setting
from recspark.data.splitting.parts import OWN_SPLIT, OwnParts
from recspark.data.tables import (
    Table,
    add_ids,
    count_and_digest,
    count_rows,
    distinct_ids,
    loaded_ratings,
    with_links,
    write_parts,
)
from recspark.data.work import MAIN, Work, digest_of, formats, plan_work, table_columns
from recspark.errors import ConfigError, DataRejected
from recspark.lake.fingerprints import fingerprint
from recspark.lake.folder import locate
from recspark.lake.lake import Lake, Publication
from recspark.lake.manifests import LINKS, TableFacts, TablesManifest

__all__ = ["DataOptions", "QualityOptions", "ingest"]

log = logging.getLogger(__name__)

#: part of the fingerprint: raise it when a change of the code changes the tables
_VERSION = 2
#: folder of files that are not published: parts that are joined first, hashes of keys
_PARTS = ".parts"
#: the tables that `DataOptions.tables` writes
_TO_CATALOG = ("ratings", "users", "items", "tags", "quarantine")
#: options for places, which don't change the tables; the edition is recorded separately
_PLACES = ("source", "asOf", "users", "items", "tables", "baseUrl", "cacheFolder", "dataset")


class IngestSummary(TypedDict):
    """The outcome of an ingest.

    ratings, users, items, tags
        Rows of each table.
    read, merged, quarantined, reasons
        Rows of all files: read; merged into others; in quarantine, in all and by reason.
    unchanged
        Whether nothing had to be done.
    source, dataset, digest
        The path or URI, its edition or format, and a hash of its files or the version of a table.
    versions
        The versions of the tables of catalogs that were read, by option.
    """

    ratings: int
    users: int
    items: int
    tags: int
    read: int
    merged: int
    quarantined: int
    reasons: dict[str, int]
    unchanged: bool
    source: str
    dataset: str
    digest: str
    versions: dict[str, str]


def ingest(
    spark: SparkSession,
    lake: Lake,
    data: DataOptions,
    quality: QualityOptions,
    ids: Mapping[str, str] | None = None,
    copy: Copy | None = None,
    parts: OwnParts | None = None,
) -> IngestSummary:
    """Publish ``tables`` of `lake` from ``data.source``, unless they come from the same input.

    With a split of one's own its rows are also published by part, as ``given/own/{train,validation,test}``.

    Parameters
    ----------
    spark : SparkSession
    lake : Lake
    data : DataOptions
    quality : QualityOptions
    ids : mapping, optional
        The types of ``user_id`` and ``item_id``, ``bigint`` or ``string``; by default the files decide.
    copy : callable, optional
        Copies a source that only Spark's Hadoop client can read (`recspark.engine.spark.hadoop.hadoop_copy`).
    parts : OwnParts, optional
        The parts of a split of one's own: files in ``data.source`` or, without such a source, places of their
        own.

    Returns
    -------
    IngestSummary

    Raises
    ------
    InputMissing
        If there is no such source, it is a folder without a file of the format, or it changes while it is
        read.
    ConfigError
        If the source is of no known format, or lacks a column.
    DataRejected
        If an archive is unsafe, or the bad share of a table is above ``quality.maxBadFraction``; nothing is
        published.
    """
    rated = _rated_places(data, parts)
    option, place = next(iter(rated.items()))
    if data.asOf is not None and not (option == MAIN and is_table(place)):
        raise ConfigError(
            f"data.asOf = {data.asOf!r} is not allowed with {setting(option, place)}: only tables have "
            "versions, and it is that of data.source"
        )
    places = rated | {table: place for table in OWN if (place := getattr(data, table))}
    written = [f"table:{data.tables}.{name}".lower() for name in _TO_CATALOG]
    if taken := [place for place in places.values() if place.lower() in written]:
        raise ConfigError(
            f"data.tables = {data.tables!r} is not allowed: it would replace {taken[0]}, which is read"
        )
    column = parts.column if parts else None
    open_one = partial(_open, spark, copy, lake, data, quality, column)
    with lake.writing("tables"), ExitStack() as stack:
        sources = {option: stack.enter_context(open_one(option, place)) for option, place in places.items()}
        dataset, layouts = formats(data, sources, parts)
        digest = digest_of(sources, layouts)
        options = {key: value for key, value in data.as_dict().items() if key not in _PLACES}
        target = [data.tables] if data.tables else []
        in_order = [layout for found in layouts.values() for _, layout in sorted(found.items())]
        in_paths = [layout.partition for layout in in_order]
        by_part = [[column, [layout.part for layout in in_order]]] if parts else []
        limit = quality.maxBadFraction
        mark = fingerprint(
            "tables", _VERSION, digest, in_paths, dataset, options, limit, ids, *target, *by_part
        )
        if unchanged := lake.is_current("tables", mark):
            log.info("the tables are up to date with %s (%s)", ", ".join(rated.values()), dataset)
        else:
            with lake.publish("tables", mark) as publication:
                work = plan_work(spark, data, dataset, sources, layouts, ids, parts)
                files = sorted(member for found in layouts.values() for member in found)
                publication.manifest = TablesManifest(
                    source=", ".join(rated.values()),
                    users=data.users or None,
                    items=data.items or None,
                    parts=parts.as_dict() if parts else {},
                    fingerprint=mark,
                    dataset=dataset,
                    digest=digest,
                    options=options,
                    files=tuple(files),
                    versions={
                        option: source.state for option, source in sources.items() if source.state is not None
                    },
                    tables=_build(spark, publication, work, quality),
                )
                for source in sources.values():
                    source.listing.require_unchanged()
                if data.tables:
                    _write_tables(spark, publication, data.tables)
    return _summary(lake.require("tables", TablesManifest, "ingest"), unchanged)


def _rated_places(data: DataOptions, parts: OwnParts | None) -> dict[str, str]:
    """The places of the ratings, by the options that name them: one, or one for each part of a split."""
    if data.source:
        return {MAIN: data.source}
    if parts and parts.places:
        return dict(parts.places)
    if data.dataset is None:
        raise ConfigError(
            "data.source is not set: it must be a zip, a folder, a CSV or Parquet file, or set data.dataset "
            "to download one"
        )
    return {MAIN: download(data.dataset, data.cacheFolder, data.baseUrl)}


def _open(
    spark: SparkSession,
    copy: Copy | None,
    lake: Lake,
    data: DataOptions,
    quality: QualityOptions,
    part_column: str | None,
    option: str,
    place: str,
) -> AbstractContextManager[Source]:
    """The table or the files that `option` names."""
    if not is_table(place):
        return open_source(copy, lake, place, quality, option)
    as_of = data.asOf if option == MAIN else None
    return open_table(spark, lake, place, table_columns(data, option, part_column), option, as_of)


def _build(
    spark: SparkSession, publication: Publication, work: Work, quality: QualityOptions
) -> dict[str, TableFacts]:
    """Write every table of `publication`; return the facts of each."""
    parts = {"items", LINKS} if LINKS in work.loaded else set()
    parts |= {"ratings"} if work.merged or work.parts else set()
    written = work.schemas | work.loaded
    tables = {
        name: (publication.path(f"{_PARTS}/{name}" if name in parts else name), ddl)
        for name, ddl in written.items()
    }
    published = {name: (publication.path(name), ddl) for name, ddl in work.schemas.items() if name != LINKS}
    counts = _load(spark, work, tables, publication.path(_PARTS))
    require_quality(counts, quality)
    _fill(tables, {"tags", "quarantine", *work.loaded})
    _derive(spark, publication, tables, work, counts)
    publication.lake.delete(f"{publication.product}/{_PARTS}")
    for name in {*parts, *work.own}:
        counts[name].digest = None
    facts = {name: _facts(table, counts.get(name)) for name, table in published.items()}
    if facts["quarantine"].rows != sum(count.quarantined for count in counts.values()):
        raise RuntimeError("the quarantine table does not hold every row that was quarantined")
    return facts | ({LINKS: _counted(counts[LINKS])} if LINKS in counts else {})


def _write_tables(spark: SparkSession, publication: Publication, schema: str) -> None:
    """Write the published tables into a schema of a catalog, each in a transaction if its format has them."""
    for name in _TO_CATALOG:
        write_table(spark.read.parquet(publication.path(name)), "data.tables", f"{schema}.{name}")


def _load(spark: SparkSession, work: Work, tables: Mapping[str, Table], scratch: str) -> dict[str, Count]:
    """Write the tables that files give, without duplicates, and the quarantine; returns counts by table.

    Tasks have a few chunks or buckets each, so that they stay even; a bucket has the rows of at most about 8
    chunks.
    """
    fs, keys = locate(f"{scratch}/keys")
    folders = {name: locate(path)[1] for name, (path, _) in tables.items()}
    n_chunks = len(work.chunks)
    n_tasks = tasks_for(n_chunks)
    n_buckets = max(n_tasks, n_chunks // 8)
    loader = Loader(work.chunks, work.rules, work.fs, fs, folders, keys, n_buckets)
    nothing = F.lit(None).cast("array<bigint>")
    reports = _run(
        loader, spark.range(0, n_chunks, 1, n_tasks).select(F.col("id").alias("chunk"), nothing.alias("drop"))
    )
    if shared := _chunks_by_table(work.chunks):
        keep = {chunk.layout.table: chunk.layout.duplicates for chunk in work.chunks}
        finder = DuplicateFinder(shared, folders, keys, n_buckets, fs, keep)
        found = spark.range(0, n_buckets, 1, n_tasks).mapInArrow(finder, FOUND)
        again = (
            found.groupBy("chunk").agg(F.flatten(F.collect_list("drop")).alias("drop")).repartition(n_tasks)
        )
        reports |= _run(loader, again)
    return _tally(work, reports)


def _chunks_by_table(chunks: Iterable[Chunk]) -> dict[str, list[int]]:
    """The numbers of the chunks of each table that has several chunks and unique keys."""
    shared: dict[str, list[int]] = {}
    for number, chunk in enumerate(chunks):
        if not chunk.whole and chunk.layout.key():
            shared.setdefault(chunk.layout.table, []).append(number)
    return shared


def _run(loader: Loader, work: DataFrame) -> dict[int, Row]:
    """Load the chunks of `work` (chunk, drop), and return the report of each.

    Raise DataRejected if one can't be read.
    """
    reports = {row.chunk: row for row in work.mapInArrow(loader, REPORT).collect()}
    if damaged := [report.damage for _, report in sorted(reports.items()) if report.damage]:
        raise DataRejected(damaged[0])
    return reports


def _tally(work: Work, reports: Mapping[int, Row]) -> dict[str, Count]:
    """The reports of chunks, summed by table."""
    counts = {table: Count() for table in work.loaded}
    for number, chunk in enumerate(work.chunks):
        report, count = reports[number], counts[chunk.layout.table]
        count.read += report.read
        count.kept += report.kept
        count.quarantined += report.quarantined
        count.digest = (count.digest or 0) + int(report.digest, 16)
        count.reasons.update(report.reasons)
        count.first = count.first or report.first
        count.advice = count.advice or report.advice
    for table, count in counts.items():
        found = table, count.read, count.kept, count.quarantined
        log.info("%s: %d rows read, %d kept, %d quarantined", *found)
    return counts


def _fill(tables: Mapping[str, Table], names: Iterable[str]) -> None:
    """Write an empty Parquet file for each table that has none yet: an empty table is a table too."""
    for path, ddl in (tables[name] for name in names):
        fs, folder = locate(path)
        if fs.get_file_info(folder).type == pafs.FileType.NotFound:
            write_part(fs, f"{folder}/part-empty.parquet", arrow_schema(ddl).empty_table())


def _derive(
    spark: SparkSession,
    publication: Publication,
    tables: Mapping[str, Table],
    work: Work,
    counts: Mapping[str, Count],
) -> None:
    """Write the tables that no file gives, and note in `counts` the rows removed or added.

    These are items joined with links, merged pairs, parts of a split of one's own, and ids that occur in
    ratings but in no list, or not in a list of one's own.
    """
    if LINKS in work.loaded:
        with_links(spark, tables["items"], tables[LINKS]).write.parquet(publication.path("items"))
    if work.merged or work.parts:
        path = publication.path("ratings")
        rows = loaded_ratings(spark, tables["ratings"], work.merged)
        if work.parts:
            places = {part: publication.path(f"{OWN_SPLIT}/{part}") for part in work.parts}
            rows = write_parts(rows, places)
        rows.write.parquet(path)
        gone = count_rows(*tables["ratings"]) - count_rows(path, work.schemas["ratings"])
        counts["ratings"].merged = gone
        counts["ratings"].kept -= gone
    named = [tables[name] for name in ("ratings", "tags") if name in work.loaded]
    for name, column in (("users", "user_id"), ("items", "item_id")):
        if name in work.own:
            counts[name].added = add_ids(spark, tables[name], named, column)
        elif name not in work.loaded:
            distinct_ids(spark, named, column, tables[name][1]).write.parquet(publication.path(name))


def _facts(table: Table, count: Count | None) -> TableFacts:
    """The facts of a table as it is on disk; `count` has the counts of its rows if files gave it."""
    rows, digest = (count_rows(*table), count.digest) if count and count.digest else count_and_digest(*table)
    if count and count.kept != rows - (count.added or 0):
        raise RuntimeError(f"{table[0]} has {rows} rows, but {count.kept} were kept")
    facts = _counted(count) if count else TableFacts()
    return msgspec.structs.replace(facts, rows=rows, digest=f"{digest % (1 << 64):016x}", schema=table[1])


def _counted(count: Count) -> TableFacts:
    """The counts of the rows of files, and of what became of them."""
    return TableFacts(
        read=count.read,
        kept=count.kept,
        quarantined=count.quarantined,
        merged=count.merged,
        added=count.added,
        reasons=dict(count.reasons),
    )


def _summary(manifest: TablesManifest, unchanged: bool) -> IngestSummary:
    tables = manifest.tables
    reasons: Counter[str] = Counter()
    for table in tables.values():
        reasons.update(table.reasons or {})
    n_rows = {
        name: tables[name].published()[0] for name in ("ratings", "users", "items", "tags", "quarantine")
    }
    return {
        "ratings": n_rows["ratings"],
        "users": n_rows["users"],
        "items": n_rows["items"],
        "tags": n_rows["tags"],
        "read": sum(table.read or 0 for table in tables.values()),
        "merged": sum(table.merged or 0 for table in tables.values()),
        "quarantined": n_rows["quarantine"],
        "reasons": dict(reasons),
        "unchanged": unchanged,
        "source": manifest.source,
        "dataset": manifest.dataset,
        "digest": manifest.digest,
        "versions": manifest.versions,
    }
