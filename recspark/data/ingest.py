"""Ingest: files of ratings in, tidy tables with a manifest and a quarantine out, whole or not at all.

Files are cut into chunks; workers read a chunk, judge its rows and write a Parquet file of the rows that are kept and
one of those that are not. Duplicates need all chunks of a table: they are looked for afterwards by the hashes of keys,
and only the chunks that hold some are loaded again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.fs as pafs
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from recspark.data import schemas
from recspark.data.archive import Source, open_source
from recspark.data.binding import bind
from recspark.data.download import download
from recspark.data.duplicates import FOUND, DuplicateFinder
from recspark.data.folder import locate
from recspark.data.generic import GENERIC, DataOptions, generic_files, id_types, with_id_types, with_timestamp
from recspark.data.lake import Lake, Publication, fingerprint
from recspark.data.layout import Chunk, Layout, arrow_schema, plan
from recspark.data.leftovers import copies, report_left_out
from recspark.data.load import REPORT, Loader, write_part
from recspark.data.movielens import EDITIONS, NoDataFile, find_edition
from recspark.data.partitions import partition_values
from recspark.data.quality import QualityOptions, Rules, key_of, require_quality
from recspark.data.tables import Table, count_and_digest, count_rows, distinct_ids, with_links
from recspark.errors import ConfigError, DataRejected, InputMissing

__all__ = ["DataOptions", "QualityOptions", "ingest"]

log = logging.getLogger(__name__)

#: part of the fingerprint: to be raised where a change of the code changes the tables
_VERSION = 2
#: the tables that every lake has
_TABLES = {"ratings": schemas.RATINGS, "users": schemas.USERS, "items": schemas.ITEMS, "tags": schemas.TAGS}
#: where there is what must not be published: parts that are joined first, hashes of keys
_PARTS = ".parts"
_SUMS = ("read", "kept", "quarantined")
#: options that say where the input is, not what becomes of it; the edition is named apart
_PLACES = ("source", "baseUrl", "cacheFolder", "dataset")


def ingest(spark: SparkSession, lake: Lake, data: DataOptions, quality: QualityOptions) -> dict[str, Any]:
    """Publish ``tables`` of `lake` from ``data.source``, or leave them alone where they come from the same input.

    Returns
    -------
    dict
        ``ratings, users, items, tags`` (rows of each table), ``read, quarantined, reasons`` (over all files),
        ``unchanged, source, dataset, digest``.

    Raises
    ------
    InputMissing
        Where there is no such source, it is a folder without a file of the format, or it changes while it is read.
    ConfigError
        Where the source is of no known format, or lacks a column.
    DataRejected
        Where an archive is unsafe, or the bad share of a table is above ``quality.maxBadFraction``; nothing is published.
    """
    if data.source is None and data.dataset is None:
        raise ConfigError("data.source is not set: it must be a zip, a folder, a CSV or Parquet file, or set data.dataset to download one")
    origin = data.source or download(data.dataset, data.cacheFolder, data.baseUrl)
    with lake.writing("tables"), open_source(spark, lake, origin, quality) as source:
        dataset, layouts = _formats(data, source)
        digest = source.digest(layouts)
        options = {key: value for key, value in data.as_dict().items() if key not in _PLACES}
        in_paths = [layout.partition for _, layout in sorted(layouts.items())]
        mark = fingerprint("tables", _VERSION, digest, in_paths, dataset, options, quality.maxBadFraction)
        if unchanged := lake.is_current("tables", mark):
            log.info("the tables are up to date with %s (%s)", origin, dataset)
        else:
            with lake.publish("tables", mark) as publication:
                work = _plan(data, dataset, source, layouts)
                facts = {"source": origin, "dataset": dataset, "digest": digest, "options": options, "files": sorted(layouts)}
                publication.manifest.update(facts, tables=_build(spark, publication, work, quality))
                source.listing.require_unchanged()
    return _summary(lake.require("tables", "ingest"), unchanged)


@dataclass(frozen=True)
class _Work:
    """What there is to load: chunks of files on `fs`, the rules for their rows, the schemas of the tables that files give
    (`loaded`) and of all tables."""

    fs: pafs.FileSystem
    chunks: list[Chunk]
    rules: Rules
    loaded: dict[str, str]
    schemas: dict[str, str]


def _formats(data: DataOptions, source: Source) -> tuple[str, dict[str, Layout]]:
    """The edition or format of `source`, and the layout of every member that is read; the others are named in the log."""
    twins: dict[str, str] = {}
    dataset, layouts = _known_files(data, source)
    if dataset in GENERIC:
        twins = copies(source, layouts)
        layouts = {
            member: replace(layout, partition=partition_values(f"{source.name}/{member}"))
            for member, layout in layouts.items()
            if member not in twins
        }
    report_left_out(source, dataset, layouts, twins)
    return dataset, layouts


def _known_files(data: DataOptions, source: Source) -> tuple[str, dict[str, Layout]]:
    """The edition or format of `source`, and the layout of each of its files."""
    try:
        if data.dataset not in GENERIC and (edition := find_edition(source.members, source.name, data.dataset)):
            return edition
        return generic_files(data, source.members)
    except NoDataFile as error:
        if source.listing.is_folder:  # which files may still come to; an archive is whole
            raise InputMissing(str(error)) from None
        raise


def _plan(data: DataOptions, dataset: str, source: Source, layouts: Mapping[str, Layout]) -> _Work:
    """Unpack `source` where it is packed, give each layout the fields of its file, and cut the files into chunks."""
    fs, paths = source.files(layouts)
    generic = dataset in GENERIC
    if generic:
        layouts = {member: with_timestamp(data, layout, fs, member, paths[member]) for member, layout in layouts.items()}
    layouts = {member: bind(fs, paths[member], member, layout) for member, layout in layouts.items()}
    ids = id_types(data, layouts, fs, paths) if generic else ("bigint", "bigint")
    layouts = {member: replace(layout, schema=with_id_types(layout.schema, *ids)) for member, layout in layouts.items()}
    chunks = _cut(fs, paths, layouts)
    rules = data.rules(Rules() if generic else EDITIONS[dataset].rules)
    loaded = {layout.table: layout.schema for layout in layouts.values()}
    tables = {name: with_id_types(ddl, *ids) for name, ddl in _TABLES.items()}
    return _Work(fs, chunks, rules, loaded, tables | loaded | {"quarantine": schemas.QUARANTINE})


def _cut(fs: pafs.FileSystem, paths: Mapping[str, str], layouts: Mapping[str, Layout]) -> list[Chunk]:
    chunks = [chunk for member, layout in layouts.items() for chunk in plan(fs, member, paths[member], layout)]
    of_table = Counter(chunk.layout.table for chunk in chunks)
    return [replace(chunk, whole=of_table[chunk.layout.table] == 1) for chunk in chunks]


def _build(spark: SparkSession, publication: Publication, work: _Work, quality: QualityOptions) -> dict[str, Any]:
    """Write every table of `publication`; returns what the manifest says of each."""
    parts = {"items", "links"} if "links" in work.loaded else set()
    tables = {name: (publication.path(f"{_PARTS}/{name}" if name in parts else name), ddl) for name, ddl in work.schemas.items()}
    counts = _load(spark, work, tables, publication.path(_PARTS))
    require_quality(counts, quality)
    _fill(tables, {"tags", "quarantine", *work.loaded})
    _derive(spark, publication, tables, work.loaded)
    publication.lake.delete(f"{publication.product}/{_PARTS}")
    for name in parts:
        counts[name]["digest"] = None
    published = {name: (publication.path(name), ddl) for name, ddl in work.schemas.items() if name != "links"}
    facts = {name: _facts(table, counts.get(name)) for name, table in published.items()}
    if facts["quarantine"]["rows"] != sum(count["quarantined"] for count in counts.values()):
        raise RuntimeError("the quarantine table does not hold every row that was quarantined")
    return facts | ({"links": {key: counts["links"][key] for key in (*_SUMS, "reasons")}} if "links" in counts else {})


def _load(spark: SparkSession, work: _Work, tables: Mapping[str, Table], scratch: str) -> dict[str, dict[str, Any]]:
    """Write the tables that files give, without duplicates, and the quarantine; returns counts by table.

    Tasks have a few chunks or buckets each, so that they stay even; a bucket has the rows of at most some 8 chunks.
    """
    fs, keys = locate(f"{scratch}/keys")
    folders = {name: locate(path)[1] for name, (path, _) in tables.items()}
    n_chunks = len(work.chunks)
    n_tasks = max(1, min(n_chunks, 4 * spark.sparkContext.defaultParallelism))
    n_buckets = max(n_tasks, n_chunks // 8)
    loader = Loader(work.chunks, work.rules, work.fs, fs, folders, keys, n_buckets)
    nothing = F.lit(None).cast("array<bigint>")
    reports = _run(loader, spark.range(0, n_chunks, 1, n_tasks).select(F.col("id").alias("chunk"), nothing.alias("drop")))
    if shared := _chunks_by_table(work.chunks):
        finder = DuplicateFinder(shared, folders, keys, n_buckets, fs)
        found = spark.range(0, n_buckets, 1, n_tasks).mapInArrow(finder, FOUND)
        again = found.groupBy("chunk").agg(F.flatten(F.collect_list("drop")).alias("drop")).repartition(n_tasks)
        reports |= _run(loader, again)
    return _tally(work, reports)


def _chunks_by_table(chunks: Iterable[Chunk]) -> dict[str, list[int]]:
    """The numbers of the chunks of each table that has a key and more chunks than one."""
    shared: dict[str, list[int]] = {}
    for number, chunk in enumerate(chunks):
        if not chunk.whole and key_of(chunk.layout.table):
            shared.setdefault(chunk.layout.table, []).append(number)
    return shared


def _run(loader: Loader, work: DataFrame) -> dict[int, Row]:
    """Load the chunks of `work` (chunk, drop); the report of each. DataRejected where one can't be read."""
    reports = {row.chunk: row for row in work.mapInArrow(loader, REPORT).collect()}
    if damaged := [report.damage for _, report in sorted(reports.items()) if report.damage]:
        raise DataRejected(damaged[0])
    return reports


def _tally(work: _Work, reports: Mapping[int, Row]) -> dict[str, dict[str, Any]]:
    """The reports of chunks, summed by table."""
    counts: dict[str, dict[str, Any]] = {table: {"reasons": Counter(), "first": None, "advice": None} for table in work.loaded}
    for count in counts.values():
        count.update(dict.fromkeys((*_SUMS, "digest"), 0))
    for number, chunk in enumerate(work.chunks):
        report, count = reports[number], counts[chunk.layout.table]
        for key in _SUMS:
            count[key] += report[key]
        count["digest"] += int(report.digest, 16)
        count["reasons"].update(report.reasons)
        for key in ("first", "advice"):
            count[key] = count[key] or report[key]
    for table, count in counts.items():
        log.info("%s: %d rows read, %d kept, %d quarantined", table, *(count[key] for key in _SUMS))
    return counts


def _fill(tables: Mapping[str, Table], names: Iterable[str]) -> None:
    """Write an empty Parquet file for each of the tables that has none yet: an empty table is a table too."""
    for path, ddl in (tables[name] for name in names):
        fs, folder = locate(path)
        if fs.get_file_info(folder).type == pafs.FileType.NotFound:
            write_part(fs, f"{folder}/part-empty.parquet", arrow_schema(ddl).empty_table())


def _derive(spark: SparkSession, publication: Publication, tables: Mapping[str, Table], loaded: Iterable[str]) -> None:
    """Write the tables that no file gives: items joined with links, and the ids that occur where there is no list of them."""
    if "links" in loaded:
        with_links(spark, tables["items"], tables["links"]).write.parquet(publication.path("items"))
    named = [tables[name] for name in ("ratings", "tags") if name in loaded]
    for name, column in (("users", "user_id"), ("items", "item_id")):
        if name not in loaded:
            distinct_ids(spark, named, column, tables[name][1]).write.parquet(publication.path(name))


def _facts(table: Table, count: Mapping[str, Any] | None) -> dict[str, Any]:
    """Rows, digest and schema of a table as it lies on disk, and where files gave it the counts of their rows."""
    rows, digest = (count_rows(*table), count["digest"]) if count and count["digest"] else count_and_digest(*table)
    counted = {key: count[key] for key in (*_SUMS, "reasons")} if count else {}
    if counted and counted["kept"] != rows:
        raise RuntimeError(f"{table[0]} has {rows} rows, but {counted['kept']} were kept")
    return {"rows": rows, "digest": f"{digest % (1 << 64):016x}", "schema": table[1], **counted}


def _summary(manifest: Mapping[str, Any], unchanged: bool) -> dict[str, Any]:
    tables = manifest["tables"]
    reasons: Counter = Counter()
    for table in tables.values():
        reasons.update(table.get("reasons", {}))
    return {
        **{name: tables[name]["rows"] for name in _TABLES},
        "read": sum(table.get("read", 0) for table in tables.values()),
        "quarantined": tables["quarantine"]["rows"],
        "reasons": dict(reasons),
        "unchanged": unchanged,
        **{key: manifest[key] for key in ("source", "dataset", "digest")},
    }
