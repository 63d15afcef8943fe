"""The files at a source, a folder or one file, and a check that nobody is still writing them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs

from recspark.data.lakehouse.names import is_table
from recspark.data.sources.names import is_data, is_marker, plain_name, setting
from recspark.data.sources.safety import check_links
from recspark.data.sources.table_formats import check_no_table, check_outside_tables
from recspark.errors import ConfigError, InputMissing, RecsparkError
from recspark.lake.folder import locate

#: seconds within which a file that is being written changes, and seconds without a change after which nobody
#: writes it any more
_STIR_S, _CALM_S = 0.1, 60
#: errors of Arrow for a place that only Hadoop's file systems know, or may read
NOT_ARROW = (RecsparkError, pa.ArrowInvalid, NotImplementedError, OSError)


class Listing:
    """The files of a source by member name, as they were when it was opened.

    `name` is the user's name of the source, `hidden` are the names of files that are not input, without
    Spark's own files, `is_folder` says whether files may be added to it, `option` is the option
    that names it.
    """

    def __init__(
        self,
        name: str,
        fs: pafs.FileSystem,
        files: Mapping[str, pafs.FileInfo],
        hidden: Iterable[str] = (),
        is_folder: bool = False,
        option: str = "source",
    ) -> None:
        self.name, self.fs, self.files, self.is_folder, self.option = name, fs, files, is_folder, option
        self.hidden = sorted(member for member in hidden if not is_marker(member))

    @property
    def setting(self) -> str:
        """The option and its value, for error messages."""
        return setting(self.option, self.name)

    def require_unchanged(self) -> None:
        """Raise InputMissing if a file has changed since the source was opened: it is still being written."""
        found = self.fs.get_file_info([info.path for info in self.files.values()])
        states = zip(self.files, self.files.values(), found, strict=True)
        if changed := [member for member, before, now in states if _state(before) != _state(now)]:
            raise InputMissing(
                f"{self.name} is still being written: {changed[0]} has changed while it was read; nothing "
                "was published"
            )

    def require_calm(self) -> None:
        """`require_unchanged` after a moment, in which a recently changed file may change again."""
        if any(time.time_ns() - (info.mtime_ns or 0) < _CALM_S * 1e9 for info in self.files.values()):
            time.sleep(_STIR_S)
        self.require_unchanged()


def _state(info: pafs.FileInfo) -> tuple[int, int]:
    """The size, and the time of the last change in nanoseconds since 1970."""
    return info.size or 0, info.mtime_ns or 0


def require_source(source: str, option: str = "source") -> None:
    """Raise InputMissing if nothing is at `source`, or an empty file or folder.

    A source that only Hadoop can read passes, and so does a table, which only Spark knows.
    """
    if is_table(source):
        return
    try:
        fs, path = locate(source)
        info = fs.get_file_info(path)
    except NOT_ARROW:
        return
    _require_content(setting(option, source), fs, path, info)


def list_source(source: str, place: str, option: str = "source") -> Listing:
    """The files at `place`, a path or URI, of the input that the user calls `source`.

    Errors name its `option`.

    Raises
    ------
    InputMissing
        If there is nothing, or an empty file or folder.
    ConfigError
        If it is neither a file nor a folder, or is a table of Delta, Iceberg or Hudi, or a part of one.
    DataRejected
        If a folder has links that lead out of it.
    """
    fs, path = locate(place)
    info = fs.get_file_info(path)
    called = setting(option, source)
    _require_content(called, fs, path, info)
    if info.type not in (pafs.FileType.Directory, pafs.FileType.File):
        raise ConfigError(f"{called} is neither a file nor a folder")
    check_outside_tables(called, fs, path if info.is_file else f"{path}/.")
    if info.is_file:
        return Listing(source, fs, {plain_name(PurePosixPath(path).name): info}, option=option)
    if isinstance(fs, pafs.LocalFileSystem):
        check_links(source, Path(path))
    found = {
        info.path.removeprefix(path.rstrip("/") + "/"): info
        for info in fs.get_file_info(pafs.FileSelector(path, recursive=True))
    }
    check_no_table(called, found, place)
    files = {name: info for name, info in found.items() if info.is_file}
    data = {name: info for name, info in files.items() if is_data(name)}
    return Listing(source, fs, data, files.keys() - data, is_folder=True, option=option)


def _require_content(called: str, fs: pafs.FileSystem, path: str, info: pafs.FileInfo) -> None:
    if info.type == pafs.FileType.NotFound:
        raise InputMissing(
            f"{called} does not exist: it must be a zip, a folder, a CSV or Parquet file, or a URI of one"
        )
    if info.is_file and not info.size:
        raise InputMissing(f"{called} is an empty file")
    if info.type == pafs.FileType.Directory and not fs.get_file_info(pafs.FileSelector(path)):
        raise InputMissing(f"{called} is an empty folder")
