"""One try: a damaged source is read as ingest reads it, but without Spark, and what came of it is checked.

Whatever the damage, a source is either refused in one sentence (exit code 2 or 3), or every row that it has is in a table or in
quarantine, with its line, its text and a reason; rows that the damage did not touch are in the table.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import random
import shutil
import time
import uuid
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recspark.cli.context import validated
from recspark.config import read_conf
from recspark.data import ingest as stage
from recspark.data.archive import open_source
from recspark.data.duplicates import DuplicateFinder
from recspark.data.generic import DataOptions
from recspark.data.lake import Lake
from recspark.data.load import Loader
from recspark.data.quality import REASONS, QualityOptions, key_of
from recspark.errors import ConfigError, DataRejected
from recspark.models.embeddings import read_embeddings
from tests.fuzz.mutations import BINARY, ODD, TEXT
from tests.fuzz.sources import Sample

LOCAL = pafs.LocalFileSystem()
LIMITS = QualityOptions(maxBadFraction=1.0, maxExpandedBytes=256 << 20)
#: a message longer than this is no sentence
SENTENCE = 1200
#: no damage may make a small file take so long, in seconds
PATIENCE = 20


@dataclass(frozen=True)
class Outcome:
    """What came of a try: "kept", "quarantined" (some rows), "rejected" (exit code 3) or "refused" (exit code 2)."""

    kind: str
    damage: str
    detail: str = ""
    rows: int = 0
    seconds: float = 0.0


def judged(damage: str, read: Callable[[], tuple[int, int]]) -> Outcome:
    """The outcome of `read`, which returns how many rows were kept and quarantined; an unforeseen exception is passed on."""
    started = time.perf_counter()
    try:
        kept, bad = read()
    except (ConfigError, DataRejected) as error:
        message = str(error)
        assert 10 < len(message) < SENTENCE and "\0" not in message and "Traceback" not in message, message[:3000]
        outcome = Outcome("refused" if error.exit_code == 2 else "rejected", damage, message)
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


def check_rows(folder: Path, files: Mapping[str, bytes], sample: Sample, damaged: str, chunk_bytes: int) -> tuple[int, int]:
    """Load the source in `folder`; rows of every file in = rows kept + rows in quarantine, and no good row is among the latter."""
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
        assert row["reason"] in REASONS and row["text"] == line_of(files[row["file"]], row["line"], layouts[row["file"]].encoding)
    assert len({(row["file"], row["line"]) for row in quarantine}) == len(quarantine)
    if damaged in layouts:
        check_untouched(sample.files[damaged], files[damaged], layouts[damaged], sample.separators[damaged], tables)
    return sum(report["kept"] for report in reports), len(quarantine)


def load(folder: Path, options: Mapping[str, object], chunk_bytes: int):
    """What the driver and the workers of an ingest do; gives the plan, the reports of the chunks and a reader of tables."""
    data = DataOptions(source=str(folder / "in"), **options)
    cut = mock.patch.object(stage, "plan", functools.partial(stage.plan, chunk_bytes=chunk_bytes))
    with cut, open_source(None, Lake(str(folder / "lake")), data.source, LIMITS) as source:
        dataset, layouts = stage._formats(data, source)
        work = stage._plan(data, dataset, source, layouts)
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
    return body.removeprefix(b"\xef\xbb\xbf").split(b"\n")[number - 1].removesuffix(b"\r").decode(encoding, "replace")


def check_untouched(before: bytes, after: bytes, layout, separator: bytes, tables: Callable[[str], list[dict]]) -> None:
    """The key of every line that the damage has left as it was is in the table."""
    key, same_first = (
        key_of(layout.table),
        before.partition(b"\n")[0] == after.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].rstrip(b"\r"),
    )
    if not key or (layout.rename and not same_first):
        return
    untouched = set(rows_of(before, layout.header)) & set(rows_of(after, layout.header))
    places = [layout.names.index(name) for name in key]
    wanted = {tuple(line.split(separator)[place].decode() for place in places) for line in untouched}
    found = {tuple(str(row[name]) for name in key) for row in tables(layout.table)}
    assert wanted <= found, f"lost: {sorted(wanted - found)[:3]}"


def parquet_file(rng: random.Random, scratch: Path) -> Outcome:
    """A Parquet file of odd columns and values, or one that is damaged."""
    folder = fresh(scratch)
    (folder / "in").mkdir()
    name = rng.choice(list(COLUMNS))
    columns = {
        "user_id": pa.array(range(50)),
        "item_id": pa.array(range(50)),
        "rating": pa.array([3.0] * 50),
        "timestamp": pa.array(range(50)),
    }
    columns[rng.choice(list(columns))] = COLUMNS[name](rng)
    table, path = pa.table(columns), folder / "in" / "events.parquet"
    pq.write_table(
        table, path, row_group_size=rng.choice((50, 17)), compression=rng.choice(("snappy", "none")), write_page_checksum=rng.random() < 0.8
    )
    damage = rng.choice(list(BINARY)) if rng.random() < 0.5 else "nothing"
    checked = pq.ParquetFile(path).metadata.num_rows
    path.write_bytes(BINARY[damage](rng, path.read_bytes()))

    def read() -> tuple[int, int]:
        work, reports, tables = load(folder, {}, 1)
        n_read, bad = (sum(report[key] for report in reports) for key in ("read", "quarantined"))
        assert damage != "nothing" or n_read == checked
        assert len(tables("quarantine")) == bad and sum(chunk.length for chunk in work.chunks) == n_read
        return n_read - bad, bad

    try:
        return judged(f"{name}, {damage}", read)
    finally:
        shutil.rmtree(folder)


def _values(type_: pa.DataType, *choices):
    return lambda rng: pa.array([rng.choice(choices) for _ in range(50)], type_)


#: columns that a Parquet file may have where ids, ratings and moments should be
COLUMNS: dict[str, Callable[[random.Random], pa.Array]] = {
    "int64": _values(pa.int64(), 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, None),
    "uint64": _values(pa.uint64(), 0, 1, 2**63, 2**64 - 1, None),
    "int8": _values(pa.int8(), 0, 1, -1, 127, None),
    "float64": _values(pa.float64(), 1.0, float("nan"), float("inf"), -float("inf"), 1e300, 2.0**63, -(2.0**63), 0.5, -0.0, None),
    "float32": _values(pa.float32(), 1.0, float("nan"), float("inf"), 16777217.0, None),
    "float16": lambda rng: pa.array(np.array([rng.choice((1.0, np.nan, np.inf, 0.5)) for _ in range(50)], np.float16)),
    "decimal": _values(pa.decimal128(20, 2), 1, 2, 10**17, None),
    "bool": _values(pa.bool_(), True, False, None),
    "string": lambda rng: pa.array([rng.choice((*ODD, "1", "2", None)) for _ in range(50)], pa.string()),
    "large string": lambda rng: pa.array([rng.choice((*ODD, "1", None)) for _ in range(50)], pa.large_string()),
    "bytes": _values(pa.binary(), b"1", b"\xff\xfe", b"", b"a\0b", b"\xed\xa0\x80", None),
    "text that is none": lambda rng: pa.array([rng.choice((b"1", b"\xff", b"\xc3")) for _ in range(50)], pa.binary()).view(pa.string()),
    "categories": lambda rng: pa.array([rng.choice(("1", "2", "", "x", None)) for _ in range(50)]).dictionary_encode(),
    "nothing at all": lambda rng: pa.nulls(50),
    "list": _values(pa.list_(pa.int64()), [1], [], None),
    "struct": _values(pa.struct([("a", pa.int64())]), {"a": 1}, None),
    "map": _values(pa.map_(pa.string(), pa.int64()), [("a", 1)], None),
    "time": _values(pa.time64("us"), 1, 2),
    "duration": _values(pa.duration("s"), 1, 2),
    "date": _values(pa.date32(), 0, 1, -1, 20_000, None),
    "moment": lambda rng: pa.array(
        [rng.choice((0, 1, -1, 2**52, None)) for _ in range(50)], pa.timestamp(rng.choice(("s", "ms", "us", "ns")))
    ),
    "moment of a zone": _values(pa.timestamp("us", "Asia/Tokyo"), 0, 10**15, None),
}


def archive(sample: Sample, rng: random.Random, scratch: Path) -> Outcome:
    """A zip or compressed file whose bytes are damaged: its members are refused, or those that were packed."""
    folder = fresh(scratch)
    kind = rng.choice(("zip", "zip", "stored zip", "bz2 zip", "lzma zip", "gz", "bz2"))
    path, originals = packed(folder, kind, sample.files)
    damage = rng.choice(list(BINARY))
    path.write_bytes(BINARY[damage](rng, path.read_bytes()))

    def read() -> tuple[int, int]:
        with open_source(None, Lake(str(folder / "lake")), str(path), LIMITS) as source:
            _, files = source.files(source.members)
            contents = [Path(file).read_bytes() for file in files.values()]
        allowed = originals | {content + content for content in originals if damage == "twice"}
        assert all(content in allowed or damage == "text" for content in contents), f"{kind}: other content than was packed"
        assert not list((folder / "lake").rglob("*.csv"))
        return len(contents), 0

    try:
        return judged(f"{kind}, {damage}", read)
    finally:
        shutil.rmtree(folder)


def packed(folder: Path, kind: str, files: Mapping[str, bytes]) -> tuple[Path, set[bytes]]:
    if not kind.endswith("zip"):
        path, content = folder / f"events.csv.{kind}", files["ratings.csv"]
        path.write_bytes({"gz": gzip.compress, "bz2": bz2.compress}[kind](content))
        return path, {content}
    methods = {"stored zip": zipfile.ZIP_STORED, "bz2 zip": zipfile.ZIP_BZIP2, "lzma zip": zipfile.ZIP_LZMA}
    path = folder / "in.zip"
    with zipfile.ZipFile(path, "w", methods.get(kind, zipfile.ZIP_DEFLATED)) as target:
        for name, content in files.items():
            target.writestr(f"ml-latest/{name}", content)
    return path, {*files.values(), b""}


def embeddings(rng: random.Random, scratch: Path) -> Outcome:
    """A file of embeddings with odd arrays, or whose bytes are damaged."""
    folder = fresh(scratch)
    kind = rng.choice(("npz", "npz", "parquet", *(["safetensors"] if find_spec("safetensors") else [])))
    path, damaged = written(folder, kind, rng)
    damage = rng.choice(list(BINARY))
    damaged.write_bytes(BINARY[damage](rng, damaged.read_bytes()))

    def read() -> tuple[int, int]:
        tables = read_embeddings(str(path))
        ranks = {len(row) for table in tables for row in table["features"].to_pylist()}
        assert len(ranks) == 1 and all(np.isfinite(table["features"].combine_chunks().flatten()).all() for table in tables)
        return sum(map(len, tables)), 0

    try:
        return judged(f"{kind}, {damage}", read)
    finally:
        shutil.rmtree(folder)


def written(folder: Path, kind: str, rng: random.Random) -> tuple[Path, Path]:
    """Embeddings of five users and four items, one array in two odd; the path, and the file that is to be damaged."""
    arrays = {
        "users_emb": np.ones((5, 3), np.float32),
        "items_emb": np.ones((4, 3), np.float32),
        "users_id": np.arange(5),
        "items_id": np.arange(4),
    }
    if rng.random() < 0.5:
        arrays[rng.choice(list(arrays))] = rng.choice(ARRAYS)
    if kind == "npz":
        np.savez(folder / "emb.npz", **arrays)
        return folder / "emb.npz", folder / "emb.npz"
    if kind == "safetensors":
        from safetensors.numpy import save_file

        save_file({name: array for name, array in arrays.items() if array.dtype.kind in "fiub"}, folder / "emb.safetensors")
        return folder / "emb.safetensors", folder / "emb.safetensors"
    for side in ("users", "items"):
        columns = {"features": in_arrow(arrays[f"{side}_emb"]), "id": in_arrow(arrays[f"{side}_id"])}
        length = min(map(len, columns.values()))
        pq.write_table(pa.table({name: column[:length] for name, column in columns.items()}), folder / f"{side}.parquet")
    return folder, folder / "users.parquet"


def in_arrow(array: np.ndarray) -> pa.Array:
    """`array` as a column, of its rows as lists; nulls where Arrow has no such type."""
    try:
        return pa.array(list(array) if array.ndim else [array.item()])
    except (pa.ArrowException, OverflowError):
        return pa.nulls(len(array))


ARRAYS = (
    *(np.full((5, 3), value, np.float32) for value in (np.nan, np.inf, -np.inf)),
    *(np.zeros(shape, np.float64) for shape in ((), (0,), (5,), (0, 3), (5, 0), (5, 3, 1), (6, 3), (5, 4))),
    *(np.full((5, 3), value) for value in (1e300, 1 + 2j, True)),
    np.array(["a", "b", "", "d", "e"]),
    np.array([b"\xff", b"a", b"b", b"c", b"d"]),
    np.array([1, 1, 2, 3, 4]),
    np.array([2**64 - 1, 0, 1, 2, 3], np.uint64),
    np.array(["2020-01-01"] * 5, "M8[s]"),
    np.zeros(5, [("a", "i4"), ("b", "f4")]),
)


def conf(files: list[bytes], rng: random.Random, scratch: Path) -> Outcome:
    """A damaged conf file, or an odd ``--set``."""
    path = scratch / f"{uuid.uuid4().hex[:8]}.toml"
    damage = rng.choice(list(TEXT))
    path.write_bytes(TEXT[damage](rng, rng.choice(files), b"="))
    keys = ("model.rank", "model.name", "split.name", "split.fold", "data.source", "paths.lake", "quality.maxBadFraction", "data.separator")
    values = (
        *ODD,
        "[" * 3000,
        "{a=" * 500,
        "2020-01-01",
        "1\nx=2",
        "../../x",
        "a/b",
        "[1, 2]",
        "{a = 1}",
        "'''",
        "\\u0000",
        '"\\u0000"',
        "\udcff",
    )
    overrides = [f"{rng.choice(keys)}={rng.choice(values)}" for _ in range(rng.randint(0, 2))]

    def read() -> tuple[int, int]:
        sections = validated(read_conf(str(path), overrides))
        for name in (sections["split"].name, sections["model"].product):
            assert "/" not in name and ".." not in name.split("/") and name.isprintable()
        return len(sections), 0

    try:
        return judged(damage + (" + --set" if overrides else ""), read)
    finally:
        path.unlink()
