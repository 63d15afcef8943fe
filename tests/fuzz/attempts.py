"""One try: a damaged source is read as ingest reads it, but without Spark, and what came of it is checked.

Whatever the damage, a source is either refused in one sentence (exit code 2, 3 or 5), or every row that it
has is in a table or in quarantine, with its line, its text and a reason; rows that the damage did not touch
are in the table.
"""

from __future__ import annotations

import functools
import random
import shutil
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recspark.data import ingest as stage
from recspark.data import work as planned
from recspark.data.duplicates import DuplicateFinder
from recspark.data.formats.generic import DataOptions
from recspark.data.load import Loader
from recspark.data.quality import REASONS, QualityOptions, key_of
from recspark.data.sources.archive import open_source
from recspark.errors import ConfigError, DataRejected, InputMissing
from recspark.lake.lake import Lake
from tests.fuzz.mutations import TEXT
from tests.fuzz.sources import Sample

LOCAL = pafs.LocalFileSystem()
LIMITS = QualityOptions(maxBadFraction=1.0, maxExpandedBytes=256 << 20)
#: a message longer than this is no sentence
SENTENCE = 1200
#: no damage may make a small file take so long, in seconds
PATIENCE = 20


@dataclass(frozen=True)
class Outcome:
    """What came of a try: "kept", "quarantined" (some rows), "rejected" (exit code 3) or "refused" (2; of an
    empty source 5).
    """

    kind: str
    damage: str
    detail: str = ""
    rows: int = 0
    seconds: float = 0.0


def judged(damage: str, read: Callable[[], tuple[int, int]]) -> Outcome:
    """The outcome of `read`, which returns how many rows were kept and quarantined; an unforeseen exception
    is passed on.
    """
    started = time.perf_counter()
    try:
        kept, bad = read()
    except (ConfigError, DataRejected, InputMissing) as error:
        message = str(error)
        assert 10 < len(message) < SENTENCE and "\0" not in message and "Traceback" not in message, message[
            :3000
        ]
        outcome = Outcome("rejected" if isinstance(error, DataRejected) else "refused", damage, message)
    else:
        outcome = Outcome("quarantined" if bad else "kept", damage, rows=kept + bad)
    seconds = time.perf_counter() - started
    assert seconds < PATIENCE, f"{damage} took {seconds:.0f} s"
    return Outcome(outcome.kind, damage, outcome.detail, outcome.rows, seconds)


def fresh(scratch: Path) -> Path:
    folder = scratch / uuid.uuid4().hex[:8]
    folder.mkdir(parents=True)
    return folder


def text_file(sample: Sample, rng: random.Random, scratch: Path) -> Outcome:
    """One file of `sample` is damaged once or twice."""
    member = rng.choice(sorted(sample.separators))
    names = [rng.choice(list(TEXT)) for _ in range(rng.choice((1, 1, 1, 2)))]
    body = sample.files[member]
    for name in names:
        body = TEXT[name](rng, body, sample.separators[member])
    files = sample.files | {member: body}
    folder = write(fresh(scratch), files)
    chunk_bytes = rng.choice((1 << 24, 1 << 24, 700))
    try:
        return judged(" + ".join(names), lambda: check_rows(folder, files, sample, member, chunk_bytes))
    finally:
        shutil.rmtree(folder)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    (folder / "in").mkdir()
    for name, content in files.items():
        (folder / "in" / name).write_bytes(content)
    return folder


def check_rows(
    folder: Path, files: Mapping[str, bytes], sample: Sample, damaged: str, chunk_bytes: int
) -> tuple[int, int]:
    """Load the source in `folder`; rows of every file in = rows kept + rows in quarantine, and no good row is
    among the latter.
    """
    work, reports, tables = load(folder, sample.options, chunk_bytes)
    read = Counter()
    for chunk, report in zip(work.chunks, reports, strict=True):
        read[chunk.member] += report["read"]
        assert report["read"] == report["kept"] + report["quarantined"]
    layouts = {chunk.member: chunk.layout for chunk in work.chunks}
    for member in read:
        assert read[member] == len(rows_of(files[member], layouts[member].header)), member
    quarantine = tables("quarantine")
    assert len(quarantine) == sum(report["quarantined"] for report in reports)
    for row in quarantine:
        assert row["reason"] in REASONS and row["text"] == line_of(
            files[row["file"]], row["line"], layouts[row["file"]].encoding
        )
    assert len({(row["file"], row["line"]) for row in quarantine}) == len(quarantine)
    if damaged in layouts:
        check_untouched(
            sample.files[damaged], files[damaged], layouts[damaged], sample.separators[damaged], tables
        )
    return sum(report["kept"] for report in reports), len(quarantine)


def load(folder: Path, options: Mapping[str, object], chunk_bytes: int):
    """What the driver and the workers of an ingest do; gives the plan, the reports of the chunks and a reader
    of tables.
    """
    data = DataOptions(source=str(folder / "in"), **options)
    cut = mock.patch.object(planned, "plan", functools.partial(planned.plan, chunk_bytes=chunk_bytes))
    with cut, open_source(None, Lake(str(folder / "lake")), data.source, LIMITS) as source:
        sources = {planned.MAIN: source}
        dataset, layouts = planned.formats(data, sources)
        work = planned.plan_work(None, data, dataset, sources, layouts)
        folders = {table: str(folder / "out" / table) for table in (*work.loaded, "quarantine")}
        loader = Loader(work.chunks, work.rules, work.fs, LOCAL, folders, str(folder / "keys"), 1)
        reports = [reported(loader, number, []) for number in range(len(work.chunks))]
        for number, drop in repeated(work, folders, str(folder / "keys")).items():
            reports[number] = reported(loader, number, drop)
    return work, reports, functools.partial(table_rows, folders)


def reported(loader: Loader, number: int, drop: list[int]) -> dict:
    batch = pa.RecordBatch.from_pylist(
        [{"chunk": number, "drop": drop}], pa.schema([("chunk", pa.int64()), ("drop", pa.list_(pa.int64()))])
    )
    [report] = [row for out in loader([batch]) for row in out.to_pylist()]
    if report["damage"]:
        raise DataRejected(report["damage"])
    return report


def repeated(work, folders: Mapping[str, str], keys: str) -> dict[int, list[int]]:
    shared, drops = stage._chunks_by_table(work.chunks), defaultdict(list)
    finder = DuplicateFinder(shared, folders, keys, 1, LOCAL)
    for table in shared:
        for number, rows in finder.find(table, 0):
            drops[number] += rows
    return drops


def table_rows(folders: Mapping[str, str], table: str) -> list[dict]:
    files = sorted(Path(folders[table]).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def rows_of(body: bytes, header: bool) -> list[bytes]:
    """The lines that are rows: all but a header and empty ones."""
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")[header:]
    return [line for line in (line.removesuffix(b"\r") for line in lines) if line]


def line_of(body: bytes, number: int, encoding: str) -> str:
    return (
        body.removeprefix(b"\xef\xbb\xbf")
        .split(b"\n")[number - 1]
        .removesuffix(b"\r")
        .decode(encoding, "replace")
    )


def decodes(line: bytes, encoding: str) -> bool:
    """Damage with letters of UTF-8 may decide the encoding of a file: then lines of another one are in
    quarantine.
    """
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def check_untouched(
    before: bytes, after: bytes, layout, separator: bytes, tables: Callable[[str], list[dict]]
) -> None:
    """The key of every line that the damage has left as it was is in the table."""
    key, same_first = (
        key_of(layout.table),
        before.partition(b"\n")[0] == after.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].rstrip(b"\r"),
    )
    if not key or (layout.rename and not same_first):
        return
    same = set(rows_of(before, layout.header)) & set(rows_of(after, layout.header))
    untouched = {line for line in same if decodes(line, layout.encoding)}
    places = [layout.names.index(name) for name in key]
    wanted = {tuple(line.split(separator)[place].decode() for place in places) for line in untouched}
    found = {tuple(str(row[name]) for name in key) for row in tables(layout.table)}
    assert wanted <= found, f"lost: {sorted(wanted - found)[:3]}"
