"""Input files: a folder, a file, a zip or a compressed file, local or remote.

Nothing unsafe is unpacked.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.fs as pafs

from recspark.config import brief
from recspark.data.quality import QualityOptions
from recspark.data.sources.listing import NOT_ARROW, Listing, list_source
from recspark.data.sources.names import codec_of, is_data, setting
from recspark.data.sources.safety import check_expansion, check_members
from recspark.data.sources.table_formats import check_no_table
from recspark.data.sources.unpack import BLOCK, Unpacker, reading
from recspark.errors import DataRejected, InputMissing, RecsparkError
from recspark.lake.folder import locate
from recspark.lake.lake import Lake

#: copies a file or folder from one URI to another; raises OSError with the reason
Copy = Callable[[str, str], None]

COMPRESSED, ZIP = "compressed file", "zip archive"


class Source:
    """Input files by member name: a folder (its files, by their path inside it) or one file.

    Compressed files are unpacked into `scratch`.
    """

    #: the version that is read of a table of a catalog; None: these are files
    state: str | None = None

    def __init__(self, listing: Listing, scratch: str, limits: QualityOptions) -> None:
        self.listing, self.name, self.fs, self.limits = listing, listing.name, listing.fs, limits
        self.hidden = listing.hidden
        self._files = listing.files
        self._scratch = scratch

    @property
    def members(self) -> list[str]:
        """The names of all files that may be input, sorted."""
        return sorted(self._files)

    def size(self, member: str) -> int:
        """The size of a file as it is stored, in bytes."""
        return self._files[member].size or 0

    def content(self, member: str) -> Hashable:
        """A value that is equal for files of the same bytes, compressed or not."""
        with self._open(member) as stream, reading(self._called(member), COMPRESSED):
            return _digest(
                stream, lambda size: check_expansion(self.name, self.size(member), size, self.limits)
            )

    def digest(self, members: Iterable[str]) -> str:
        """SHA-256 over name, size and content of `members`, in any order."""
        total = hashlib.sha256()
        for member in sorted(members):
            with self.fs.open_input_stream(self._files[member].path, compression=None) as stream:
                size, digest = _digest(stream)
            total.update(f"{member}\0{size}\0{digest}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        """The file system from which workers read `members`, and the path of each.

        Compressed files are unpacked. The others stay in place, or are copied to the unpacked ones if these
        are on another storage. Raise DataRejected if a file is damaged or they expand too far.
        """
        paths = {member: self._files[member].path for member in members}
        packed = [member for member, path in paths.items() if codec_of(path)]
        if not packed:
            return self.fs, paths
        unpacker = Unpacker(self.name, sum(map(self.size, packed)), self._scratch, self.limits)
        for member in packed:
            self._check_not_empty(member)
            with self._open(member) as stream:
                paths[member] = unpacker.write(stream, member, self._called(member), COMPRESSED)
        if not unpacker.fs.equals(self.fs):
            for member in paths.keys() - set(packed):
                target = unpacker.place(member)
                pafs.copy_files(
                    paths[member], target, source_filesystem=self.fs, destination_filesystem=unpacker.fs
                )
                paths[member] = target
        return unpacker.fs, paths

    def member_of(self, file: str) -> str:
        """The member that `file`, a key of the paths of `files`, has rows of."""
        return file

    def _open(self, member: str) -> pa.NativeFile:
        with reading(self._called(member), COMPRESSED):
            return self.fs.open_input_stream(
                self._files[member].path, compression=codec_of(self._files[member].path)
            )

    def _check_not_empty(self, member: str) -> None:
        if not self.size(member):
            raise DataRejected(f"{self._called(member)} is not a readable {COMPRESSED}: it is empty")

    def _called(self, member: str) -> str:
        return self.name if len(self._files) == 1 else f"{self.name}: {member}"


class Zip(Source):
    """A zip archive, refused as a whole if any of its members is unsafe."""

    def __init__(self, listing: Listing, scratch: str, limits: QualityOptions) -> None:
        [self._archive] = listing.files.values()
        name = listing.name
        with listing.fs.open_input_file(self._archive.path) as file, _zip(name, file) as archive:
            members = archive.infolist()
        check_members(name, members)
        check_expansion(name, self._archive.size or 0, sum(info.file_size for info in members), limits)
        check_no_table(listing.setting, [info.filename for info in members])
        files = {info.filename: info for info in members if not info.is_dir()}
        self._infos = {member: info for member, info in files.items() if is_data(member)}
        inside = Listing(
            name,
            listing.fs,
            dict.fromkeys(self._infos, self._archive),
            files.keys() - self._infos,
            option=listing.option,
        )
        super().__init__(inside, scratch, limits)

    def size(self, member: str) -> int:
        """The size of an unpacked member, in bytes."""
        return self._infos[member].file_size

    def content(self, member: str) -> Hashable:
        """A value that is equal for members of the same bytes."""
        return self._infos[member].file_size, self._infos[member].CRC

    def digest(self, members: Iterable[str]) -> str:
        """SHA-256 of the archive."""
        with self.fs.open_input_stream(self._archive.path, compression=None) as stream:
            return f"sha256:{_digest(stream)[1]}"

    def files(self, members: Iterable[str]) -> tuple[pafs.FileSystem, dict[str, str]]:
        """Unpack `members`; returns the file system and the path of each for workers.

        Raise DataRejected if one is damaged or they expand too far.
        """
        unpacker = Unpacker(self.name, self._archive.size or 0, self._scratch, self.limits)
        paths = {}
        with self.fs.open_input_file(self._archive.path) as file, _zip(self.name, file) as archive:
            for member in members:
                with reading(self.name, ZIP):
                    stream = archive.open(member)
                with stream:
                    if codec := codec_of(member):
                        self._check_not_empty(member)
                        stream = pa.CompressedInputStream(stream, codec)
                    paths[member] = unpacker.write(
                        stream, member, self._called(member), COMPRESSED if codec else ZIP
                    )
        return unpacker.fs, paths


@contextmanager
def _zip(name: str, file: pa.NativeFile) -> Iterator[zipfile.ZipFile]:
    with reading(name, ZIP):
        archive = zipfile.ZipFile(file)
    with archive:
        yield archive


@contextmanager
def open_source(
    copy: Copy | None, lake: Lake, source: str, limits: QualityOptions, option: str = "source"
) -> Iterator[Source]:
    """The input at `source`: a local path, or any URI that ``pyarrow.fs`` or Spark's Hadoop client knows.

    A URI that only Hadoop knows or may read (``s3a``, ``abfs``, ``http``...) is first copied. Copies and
    unpacked files lie in a folder of the lake's staging area, where workers can read them, and are gone when
    the context ends.

    Parameters
    ----------
    copy
        The function of Spark's Hadoop client that copies between URIs; None without such a client.
    lake
        The lake with the staging area.
    source
        A path or URI: a file, a folder or a zip archive.
    limits
        The options of ``[quality]``, with the limits of unpacking.
    option
        The option that errors name.

    Raises
    ------
    InputMissing, ConfigError
        See `recspark.data.sources.listing.list_source`; InputMissing, too, if the body rejects files that
        somebody still writes.
    DataRejected
        If the source is an unsafe or damaged archive, expands beyond the limits, or is a folder with links
        that lead out of it.
    """
    with lake.staged("tables") as scratch:
        place = _readable(copy, source, lake.path(scratch), option)
        listing = list_source(source, place, option)
        try:
            yield (Zip if place.lower().endswith(".zip") else Source)(listing, lake.path(scratch), limits)
        except DataRejected:
            listing.require_calm()
            raise


def _readable(copy: Copy | None, source: str, scratch: str, option: str) -> str:
    """`source`, or a copy of it if Arrow can't read it."""
    try:
        fs, path = locate(source)
        fs.get_file_info(path)
    except NOT_ARROW as error:
        target = f"{scratch}/copied/{source.rstrip('/').rpartition('/')[2]}"
        _fetch(copy, source, target, f"{setting(option, source)} can't be read", error)
        return target
    return source


def _fetch(copy: Copy | None, source: str, target: str, failed: str, unread: Exception) -> None:
    if copy is None:
        raise RecsparkError(
            f"{failed}: over Spark Connect only what Arrow can read is a source ({brief(unread)}); "
            "copy it to the lake's storage first"
        )
    try:
        copy(source, target)
    except FileNotFoundError as error:
        raise InputMissing(f"{failed}: {error}") from None
    except OSError as error:
        raise RecsparkError(f"{failed}: {error}") from None


def _digest(stream: pa.NativeFile, check: Callable[[int], None] = lambda size: None) -> tuple[int, str]:
    """The size and SHA-256 of a stream; `check` may stop the reading at any size."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(BLOCK):
        digest.update(block)
        size += len(block)
        check(size)
    return size, digest.hexdigest()
