"""Where input comes from: a folder, a file, a zip or a compressed file, local or remote; nothing unsafe is unpacked."""

from __future__ import annotations

import hashlib
import lzma
import struct
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs
from pyspark.sql import SparkSession

from recspark.config import brief
from recspark.data.folder import locate
from recspark.data.lake import Lake
from recspark.data.quality import QualityOptions
from recspark.data.safety import check_expansion, check_links, check_members, is_data
from recspark.errors import ConfigError, DataRejected, InputMissing, RecsparkError

_BLOCK = 1 << 20
#: seconds within which a file that is being written changes, and without a change after which nobody writes it any more
_STIR_S, _CALM_S = 0.1, 60
#: compressed files that hold one file, by the end of their name
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
#: what Arrow raises for a place that only Hadoop's file systems know, or may read
_NOT_ARROW = (RecsparkError, pa.ArrowInvalid, NotImplementedError, OSError)
#: what the layers of a damaged archive raise; OSError, which a full disk raises too, only where nothing but the archive is touched
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    pa.ArrowException,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Source:
    """Input files by member name, in place: a folder (its files, by their path inside it) or one file."""

    #: whether files may be added to it
    is_folder = False

    def __init__(self, name: str, fs: pafs.FileSystem, paths: dict[str, str]) -> None:
        self.name = name
        self.fs = fs
        self._paths = paths
        self._state = self._look()

    def check(self) -> None:
        """Raise DataRejected where it is unsafe, as far as can be seen before its files are read."""

    def require_unchanged(self) -> None:
        """Raise InputMissing where a file has changed since the source was opened: somebody is still writing it."""
        now = self._look()
        if changed := [member for member, state in self._state.items() if now.get(member) != state]:
            raise InputMissing(f"{self.name} is still being written: {changed[0]} has changed while it was read; nothing was published")

    def require_calm(self) -> None:
        """`require_unchanged` after a moment, in which a file that has changed a short while ago may change again."""
        if any(time.time_ns() - changed < _CALM_S * 1e9 for _, changed in self._state.values()):
            time.sleep(_STIR_S)
        self.require_unchanged()

    def _look(self) -> dict[str, tuple[int, int]]:
        """The size, and the moment of the last change in nanoseconds since 1970, of each file."""
        found = self.fs.get_file_info(list(self._paths.values()))
        return {member: (info.size or 0, info.mtime_ns or 0) for member, info in zip(self._paths, found, strict=True)}

    @property
    def members(self) -> list[str]:
        """The names of all files that may be input, sorted."""
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


class FolderSource(Source):
    """The files in a folder."""

    is_folder = True


class Packed(Source):
    """One file on `fs` that must be unpacked into `scratch` before workers can read parts of its content."""

    kind = ""

    def __init__(self, name: str, fs: pafs.FileSystem, path: str, scratch: str, limits: QualityOptions) -> None:
        super().__init__(name, fs, {PurePosixPath(path).name: path})
        self.path = path
        self.limits = limits
        self.size = fs.get_file_info(path).size or 0
        self._expanded = 0
        self._scratch_fs, self._scratch = locate(scratch)

    def digest(self, members: Iterable[str]) -> str:
        """SHA-256 of the packed file."""
        return f"sha256:{_digest(self.fs, self.path)[1]}"

    def _write(self, stream: IO[bytes], member: str) -> str:
        target = f"{self._scratch}/unpacked/{member}"
        self._scratch_fs.create_dir(target.rpartition("/")[0], recursive=True)
        with self._scratch_fs.open_output_stream(target) as out:
            while block := self._read(stream):
                self._expanded += len(block)
                check_expansion(self.name, self.size, self._expanded, self.limits)
                out.write(block)
        return target

    def _read(self, stream: IO[bytes]) -> bytes:
        with self._reading():
            return stream.read(_BLOCK)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """DataRejected for whatever fails in the body, which reads the packed file and does nothing else."""
        try:
            yield
        except _DAMAGE as error:
            raise DataRejected(f"{self.name} is not a readable {self.kind}: {brief(error)}") from None


class Compressed(Packed):
    """A gzip, bzip2 or Zstandard file: its one member has the name without the ending."""

    kind = "compressed file"

    @property
    def members(self) -> list[str]:
        """The one name."""
        return [PurePosixPath(self.path).stem]

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        """Unpack the file; where workers read it. DataRejected where it is damaged or expands too far."""
        codec = _CODECS[PurePosixPath(self.path).suffix.lower()]
        (member,) = self.members
        with self._reading():
            stream = self.fs.open_input_stream(self.path, compression=codec)
        with stream:
            return self._scratch_fs, {member: self._write(stream, member)}


class Zip(Packed):
    """A zip archive, refused as a whole where any of its members is unsafe."""

    kind = "zip archive"

    def check(self) -> None:
        """Raise DataRejected for an unsafe member, or for sizes beyond the limits."""
        with self._open() as archive:
            members = archive.infolist()
        check_members(self.name, members)
        check_expansion(self.name, self.size, sum(info.file_size for info in members), self.limits)
        self._data = [info.filename for info in members if is_data(info.filename)]

    @property
    def members(self) -> list[str]:
        """The names of the members that may be input, sorted."""
        return sorted(self._data)

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        """Unpack `members`; where workers read them. DataRejected where one is damaged or they expand too far."""
        paths = {}
        with self._open() as archive:
            for member in members:
                with self._reading():
                    stream = archive.open(member)
                with stream:
                    paths[member] = self._write(stream, member)
        return self._scratch_fs, paths

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with self.fs.open_input_file(self.path) as file:
            with self._reading():
                archive = zipfile.ZipFile(file)
            with archive:
                yield archive


@contextmanager
def open_source(spark: SparkSession, lake: Lake, source: str, limits: QualityOptions) -> Iterator[Source]:
    """The input at `source`: a local path or any URI that ``pyarrow.fs`` or else Spark's Hadoop file systems know.

    A URI that only Hadoop knows or may read (``s3a``, ``abfs``, ``http``...) is first copied. Copies and what is unpacked lie in a
    folder of the lake's staging area, where workers can read them, and are gone when the context ends.

    Raises
    ------
    InputMissing
        Where there is nothing at `source`, it is an empty file, or the body rejects what somebody is still writing.
    ConfigError
        Where it is neither a file nor a folder.
    DataRejected
        Where the source is an unsafe or damaged archive, expands beyond the limits of ``[quality]``, or is a folder with links that
        lead out of it.
    """
    with lake.staged("tables") as scratch:
        opened = _open(spark, source, lake.path(scratch), limits)
        try:
            opened.check()
            yield opened
        except DataRejected:
            opened.require_calm()
            raise


def require_source(source: str) -> None:
    """Raise InputMissing where nothing is at `source`, or an empty file or folder; nothing happens where only Hadoop can tell."""
    try:
        place = _find(source)
    except _NOT_ARROW:
        return
    _require_content(source, *place)


def _open(spark: SparkSession, source: str, scratch: str, limits: QualityOptions) -> Source:
    try:
        fs, path, info = _find(source)
    except _NOT_ARROW:
        fs, path, info = _find(_copy(spark, source, scratch))
    _require_content(source, fs, path, info)
    if info.type == pafs.FileType.Directory:
        return FolderSource(source, fs, _listing(source, fs, path))
    if info.type != pafs.FileType.File:
        raise ConfigError(f"data.source = {source!r} is neither a file nor a folder")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".zip":
        return Zip(source, fs, path, scratch, limits)
    if suffix in _CODECS:
        return Compressed(source, fs, path, scratch, limits)
    return Source(source, fs, {PurePosixPath(path).name: path})


def _find(source: str) -> tuple[pafs.FileSystem, str, pafs.FileInfo]:
    """The file system of `source`, its path there, and what is at that path; one of `_NOT_ARROW` where Arrow can't tell."""
    fs, path = locate(source)
    return fs, path, fs.get_file_info(path)


def _require_content(source: str, fs: pafs.FileSystem, path: str, info: pafs.FileInfo) -> None:
    if info.type == pafs.FileType.NotFound:
        raise InputMissing(f"data.source = {source!r} does not exist: it must be a zip, a folder, a CSV or Parquet file, or a URI of one")
    if info.is_file and not info.size:
        raise InputMissing(f"data.source = {source!r} is an empty file")
    if info.type == pafs.FileType.Directory and not fs.get_file_info(pafs.FileSelector(path)):
        raise InputMissing(f"data.source = {source!r} is an empty folder")


def _listing(source: str, fs: pafs.FileSystem, folder: str) -> dict[str, str]:
    """The files under `folder` by their path inside it."""
    if isinstance(fs, pafs.LocalFileSystem):
        check_links(source, Path(folder))
    files = (info.path for info in fs.get_file_info(pafs.FileSelector(folder, recursive=True)) if info.is_file)
    paths = {path.removeprefix(folder.rstrip("/") + "/"): path for path in files}
    return {name: path for name, path in paths.items() if is_data(name)}


def _copy(spark: SparkSession, uri: str, scratch: str) -> str:
    hadoop: Any = spark.sparkContext._jvm.org.apache.hadoop.fs
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    try:
        origin = hadoop.Path(uri)
        target = hadoop.Path(f"{scratch}/copied/{origin.getName()}")
        hadoop.FileUtil.copy(origin.getFileSystem(conf), origin, target.getFileSystem(conf), target, False, conf)
    except Exception as error:
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        failure = InputMissing if "FileNotFoundException" in reason else RecsparkError
        raise failure(f"data.source = {uri!r} can't be read: {reason}") from None
    return f"{scratch}/copied/{origin.getName()}"


def _digest(fs: pafs.FileSystem, path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with fs.open_input_stream(path, compression=None) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
