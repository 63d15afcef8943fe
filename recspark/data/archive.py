"""Where input comes from: a folder, a file, a zip or a compressed file, local or remote; nothing unsafe is unpacked."""

from __future__ import annotations

import hashlib
import lzma
import struct
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
from recspark.errors import ConfigError, DataRejected, RecsparkError

_BLOCK = 1 << 20
#: compressed files that hold one file, by the end of their name
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
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

    def __init__(self, name: str, fs: pafs.FileSystem, paths: dict[str, str]) -> None:
        self.name = name
        self.fs = fs
        self._paths = paths

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
        if not self.size:
            raise DataRejected(f"{self.name} is not a readable {self.kind}: it is empty")
        codec = _CODECS[PurePosixPath(self.path).suffix.lower()]
        (member,) = self.members
        with self._reading():
            stream = self.fs.open_input_stream(self.path, compression=codec)
        with stream:
            return self._scratch_fs, {member: self._write(stream, member)}


class Zip(Packed):
    """A zip archive, refused as a whole where any of its members is unsafe."""

    kind = "zip archive"

    def __init__(self, name: str, fs: pafs.FileSystem, path: str, scratch: str, limits: QualityOptions) -> None:
        super().__init__(name, fs, path, scratch, limits)
        with self._open() as archive:
            members = archive.infolist()
        check_members(name, members)
        check_expansion(name, self.size, sum(info.file_size for info in members), limits)
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
def open_source(spark: SparkSession, lake: Lake, source: str, limits: QualityOptions, option: str = "source") -> Iterator[Source]:
    """The input at `source`: a local path or any URI that ``pyarrow.fs`` or else Spark's Hadoop file systems know.

    Errors name the `option` of ``[data]`` that it comes from.

    A URI that only Hadoop knows or may read (``s3a``, ``abfs``, ``http``...) is first copied. Copies and what is unpacked lie in a
    folder of the lake's staging area, where workers can read them, and are gone when the context ends.

    Raises
    ------
    ConfigError
        Where there is nothing at `source`.
    DataRejected
        Where the source is an unsafe or damaged archive, expands beyond the limits of ``[quality]``, or is a folder with links that
        lead out of it.
    """
    with lake.staged("tables") as scratch:
        yield _open(spark, source, lake.path(scratch), limits, f"data.{option} = {source!r}")


def _open(spark: SparkSession, source: str, scratch: str, limits: QualityOptions, setting: str) -> Source:
    try:
        fs, path = locate(source)
        info = fs.get_file_info(path)
    except (RecsparkError, pa.ArrowInvalid, NotImplementedError, OSError):
        fs, path = locate(_copy(spark, source, scratch, setting))
        info = fs.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        raise ConfigError(f"{setting} does not exist: it must be a zip, a folder, a CSV or Parquet file, or a URI of one")
    if info.type == pafs.FileType.Directory:
        return Source(source, fs, _listing(source, fs, path))
    if info.type != pafs.FileType.File:
        raise ConfigError(f"{setting} is neither a file nor a folder")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".zip":
        return Zip(source, fs, path, scratch, limits)
    if suffix in _CODECS:
        return Compressed(source, fs, path, scratch, limits)
    return Source(source, fs, {PurePosixPath(path).name: path})


def _listing(source: str, fs: pafs.FileSystem, folder: str) -> dict[str, str]:
    """The files under `folder` by their path inside it."""
    if isinstance(fs, pafs.LocalFileSystem):
        check_links(source, Path(folder))
    files = (info.path for info in fs.get_file_info(pafs.FileSelector(folder, recursive=True)) if info.is_file)
    paths = {path.removeprefix(folder.rstrip("/") + "/"): path for path in files}
    return {name: path for name, path in paths.items() if is_data(name)}


def _copy(spark: SparkSession, uri: str, scratch: str, setting: str) -> str:
    hadoop: Any = spark.sparkContext._jvm.org.apache.hadoop.fs
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    try:
        origin = hadoop.Path(uri)
        target = hadoop.Path(f"{scratch}/copied/{origin.getName()}")
        hadoop.FileUtil.copy(origin.getFileSystem(conf), origin, target.getFileSystem(conf), target, False, conf)
    except Exception as error:
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise RecsparkError(f"{setting} can't be read: {reason}") from None
    return f"{scratch}/copied/{origin.getName()}"


def _digest(fs: pafs.FileSystem, path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with fs.open_input_stream(path, compression=None) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
