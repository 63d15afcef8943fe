"""Where input comes from: a folder, a file, a zip or a compressed file, local or remote; nothing unsafe is unpacked."""

from __future__ import annotations

import hashlib
import stat
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs
from pyspark.sql import SparkSession

from recspark.data.lake import Lake
from recspark.errors import ConfigError, DataRejected, RecsparkError

_BLOCK = 1 << 20
#: compressed files that hold one file, by the end of their name
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


class Source:
    """Input files by member name, in place: a folder (its files, by their path inside it) or one file."""

    def __init__(self, name: str, fs: pafs.FileSystem, paths: dict[str, str]) -> None:
        self.name = name
        self.fs = fs
        self._paths = paths

    @property
    def members(self) -> list[str]:
        return sorted(self._paths)

    def digest(self, members: Iterable[str]) -> str:
        """SHA-256 over name, size and content of `members`, whatever their order."""
        total = hashlib.sha256()
        for member in sorted(members):
            size, digest = _digest(self.fs, self._paths[member])
            total.update(f"{member}\0{size}\0{digest}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        """Where workers read `members`: the file system, and the path of each."""
        return self.fs, {member: self._paths[member] for member in members}


class Packed(Source):
    """One file on `fs` that must be unpacked into `scratch` before workers can read parts of its content."""

    def __init__(self, name: str, fs: pafs.FileSystem, path: str, scratch: str, limit: int) -> None:
        super().__init__(name, fs, {PurePosixPath(path).name: path})
        self.path = path
        self.limit = limit
        self._scratch_fs, self._scratch = locate(scratch)

    def digest(self, members: Iterable[str]) -> str:
        """SHA-256 of the packed file."""
        return f"sha256:{_digest(self.fs, self.path)[1]}"

    def _write(self, stream: BinaryIO, member: str, limit: int) -> str:
        target = f"{self._scratch}/unpacked/{member}"
        self._scratch_fs.create_dir(target.rpartition("/")[0], recursive=True)
        with self._scratch_fs.open_output_stream(target) as out:
            while block := stream.read(_BLOCK):
                limit -= len(block)
                if limit < 0:
                    raise DataRejected(f"{self.name}: {member} expands to more than its limit of bytes (quality.maxExpandedBytes)")
                out.write(block)
        return target


class Compressed(Packed):
    """A gzip, bzip2 or Zstandard file: its one member has the name without the ending."""

    @property
    def members(self) -> list[str]:
        return [PurePosixPath(self.path).stem]

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        codec = _CODECS[PurePosixPath(self.path).suffix]
        (member,) = self.members
        try:
            with self.fs.open_input_stream(self.path, compression=codec) as stream:
                return self._scratch_fs, {member: self._write(stream, member, self.limit)}
        except (pa.ArrowException, OSError) as error:
            raise DataRejected(f"{self.name} is not a readable {codec} file: {error}") from None


class Zip(Packed):
    """A zip archive, refused as a whole where any of its members is unsafe."""

    def __init__(self, name: str, fs: pafs.FileSystem, path: str, scratch: str, limit: int) -> None:
        super().__init__(name, fs, path, scratch, limit)
        with self._open() as archive:
            check_members(name, archive.infolist(), limit)
            self._sizes = {info.filename: info.file_size for info in archive.infolist() if _is_data(info.filename)}

    @property
    def members(self) -> list[str]:
        return sorted(self._sizes)

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        paths = {}
        with self._open() as archive:
            for member in members:
                with archive.open(member) as stream:
                    paths[member] = self._write(stream, member, self._sizes[member])
        return self._scratch_fs, paths

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with self.fs.open_input_file(self.path) as file, zipfile.ZipFile(file) as archive:
                yield archive
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise DataRejected(f"{self.name} is not a readable zip archive: {error}") from None


def check_members(source: str, members: Iterable[zipfile.ZipInfo], limit: int) -> None:
    """Raise DataRejected for a member that could be written outside its folder, or that is not a plain file or folder,
    for a name that comes twice, and for a total expanded size above `limit` bytes."""
    seen, expanded = set(), 0
    for info in members:
        expanded += info.file_size
        if problem := _problem(info) or ("comes twice" if info.filename in seen else None):
            raise DataRejected(f"{source}: member {info.filename!r} {problem}; the archive is refused")
        seen.add(info.filename)
    if expanded > limit:
        raise DataRejected(f"{source} expands to {expanded} bytes, more than quality.maxExpandedBytes = {limit} allows")


def _problem(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename.replace("\\", "/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or name[1:2] == ":" or "\0" in name:
        return "has an absolute path or an impossible name"
    if ".." in name.split("/"):
        return "leads out of its folder by '..'"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if info.flag_bits & 1:
        return "is encrypted"
    return None


@contextmanager
def open_source(spark: SparkSession, lake: Lake, source: str, limit: int) -> Iterator[Source]:
    """The input at `source`: a local path or any URI that ``pyarrow.fs`` or else Spark's Hadoop file systems know.

    A URI that only Hadoop knows or may read (``s3a``, ``abfs``, ``http``...) is first copied. Copies and what is unpacked lie in a
    folder of the lake's staging area, where workers can read them, and are gone when the context ends.

    Raises
    ------
    ConfigError
        Where there is nothing at `source`.
    DataRejected
        Where the source is an unsafe or damaged archive, or expands to more than `limit` bytes.
    """
    scratch_name = f".staging/ingest-{uuid.uuid4().hex[:12]}"
    try:
        yield _open(spark, source, lake.path(scratch_name), limit)
    finally:
        lake.delete(scratch_name)


def locate(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system and the path on it of a local path or a URI."""
    return pafs.FileSystem.from_uri(uri if "://" in uri or uri.startswith("file:") else str(Path(uri).expanduser().absolute()))


def _open(spark: SparkSession, source: str, scratch: str, limit: int) -> Source:
    try:
        fs, path = locate(source)
        info = fs.get_file_info(path)
    except (pa.ArrowInvalid, NotImplementedError, OSError):
        fs, path = locate(_copy(spark, source, scratch))
        info = fs.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        raise ConfigError(f"data.source = {source!r} does not exist: it must be a zip, a folder, a CSV or Parquet file, or a URI of one")
    if info.type == pafs.FileType.Directory:
        return Source(source, fs, _listing(fs, path))
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".zip":
        return Zip(source, fs, path, scratch, limit)
    if suffix in _CODECS:
        return Compressed(source, fs, path, scratch, limit)
    return Source(source, fs, {PurePosixPath(path).name: path})


def _listing(fs: pafs.FileSystem, folder: str) -> dict[str, str]:
    """The files under `folder` by their path inside it."""
    files = (info.path for info in fs.get_file_info(pafs.FileSelector(folder, recursive=True)) if info.is_file)
    paths = {path.removeprefix(folder.rstrip("/") + "/"): path for path in files}
    return {name: path for name, path in paths.items() if _is_data(name)}


def _is_data(name: str) -> bool:
    """Whether a file is input: not a folder, and as in Spark no part of its name has a leading "." or "_"."""
    return not any(part[:1] in (".", "_", "") for part in name.split("/"))


def _copy(spark: SparkSession, uri: str, scratch: str) -> str:
    hadoop: Any = spark.sparkContext._jvm.org.apache.hadoop.fs
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    try:
        origin = hadoop.Path(uri)
        target = hadoop.Path(f"{scratch}/copied/{origin.getName()}")
        hadoop.FileUtil.copy(origin.getFileSystem(conf), origin, target.getFileSystem(conf), target, False, conf)
    except Exception as error:
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise RecsparkError(f"data.source = {uri!r} can't be read: {reason}") from None
    return f"{scratch}/copied/{origin.getName()}"


def _digest(fs: pafs.FileSystem, path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with fs.open_input_stream(path, compression=None) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
