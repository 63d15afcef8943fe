"""Archives, embeddings and conf files that are odd or damaged."""

from __future__ import annotations

import bz2
import gzip
import random
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recspark.config import read_conf
from recspark.data.sources.archive import open_source
from recspark.lake.lake import Lake
from recspark.models.starts.embeddings import read_embeddings
from recspark.pipeline.conf.sections import validated
from tests.fuzz.attempts import LIMITS, Outcome, fresh, judged
from tests.fuzz.mutations import BINARY, ODD, TEXT
from tests.fuzz.sources import Sample


def archive(sample: Sample, rng: random.Random, scratch: Path) -> Outcome:
    """A zip or compressed file whose bytes are damaged: its members are refused, or those that were
    packed.
    """
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
        assert all(content in allowed or damage == "text" for content in contents), (
            f"{kind}: other content than was packed"
        )
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
        assert len(ranks) == 1 and all(
            np.isfinite(table["features"].combine_chunks().flatten()).all() for table in tables
        )
        return sum(map(len, tables)), 0

    try:
        return judged(f"{kind}, {damage}", read)
    finally:
        shutil.rmtree(folder)


def written(folder: Path, kind: str, rng: random.Random) -> tuple[Path, Path]:
    """Embeddings of five users and four items, one array in two odd; the path, and the file that is to be
    damaged.
    """
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

        save_file(
            {name: array for name, array in arrays.items() if array.dtype.kind in "fiub"},
            folder / "emb.safetensors",
        )
        return folder / "emb.safetensors", folder / "emb.safetensors"
    for side in ("users", "items"):
        columns = {"features": in_arrow(arrays[f"{side}_emb"]), "id": in_arrow(arrays[f"{side}_id"])}
        length = min(map(len, columns.values()))
        pq.write_table(
            pa.table({name: column[:length] for name, column in columns.items()}), folder / f"{side}.parquet"
        )
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
    keys = (
        "model.rank",
        "model.name",
        "split.name",
        "split.fold",
        "data.source",
        "paths.lake",
        "quality.maxBadFraction",
        "data.separator",
    )
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
        for name in (sections.split.name, sections.model.product):
            assert "/" not in name and ".." not in name.split("/") and name.isprintable()
        return len(vars(sections)), 0

    try:
        return judged(damage + (" + --set" if overrides else ""), read)
    finally:
        path.unlink()
