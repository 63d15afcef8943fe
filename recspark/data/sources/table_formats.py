"""Folders that are tables of Delta, Iceberg or Hudi.

Their files alone don't say which rows are still in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow.fs as pafs

from recspark.errors import ConfigError

#: the subfolder that marks a folder as a table, with the format
_LOGS = {"_delta_log": "a Delta", ".hoodie": "a Hudi"}
_ICEBERG = (".metadata.json", ".metadata.json.gz")
#: the names under which Spark reads tables: Delta's may be that of a folder
_DELTA_NAME, _OTHER_NAME = "delta.`{}`", "CATALOG.SCHEMA.TABLE"


def check_no_table(setting: str, names: Iterable[str], place: str = "FOLDER") -> None:
    """Raise ConfigError, which begins with `setting`, if the paths `names` belong to a table.

    They are paths of files and folders, at any depth below `place`.
    """
    for name in names:
        if marker := _marker(name):
            found, above = marker
            root = "/".join([place.rstrip("/"), *above])
            table = _DELTA_NAME.format(root) if found == "_delta_log" else _OTHER_NAME
            raise ConfigError(
                f"{setting} is {_LOGS.get(found, 'an Iceberg')} table (it has {found}), whose files also "
                f'hold rows that were deleted or overwritten: read it as "table:{table}", see docs/data.md'
            )


def _marker(name: str) -> tuple[str, list[str]] | None:
    """The part of the path `name` that marks a table, and the folders above it; None if it has none."""
    parts = name.split("/")
    for number, part in enumerate(parts):
        if part in _LOGS:
            return part, parts[:number]
    if parts[-2:-1] == ["metadata"] and parts[-1].endswith(_ICEBERG):
        return "metadata", parts[:-2]
    return None


def check_outside_tables(setting: str, fs: pafs.FileSystem, path: str) -> None:
    """Raise ConfigError if `path` is a file or a partition of a table."""
    for folder in _around(path):
        try:
            beside = fs.get_file_info([f"{folder}/{name}" for name in _LOGS])
            beside += fs.get_file_info(pafs.FileSelector(f"{folder}/metadata", allow_not_found=True))
        except OSError:  # the folder may not be listed
            continue
        place = folder if isinstance(fs, pafs.LocalFileSystem) else f"{fs.type_name}://{folder}"
        there = (info.path for info in beside if info.type != pafs.FileType.NotFound)
        check_no_table(setting, (found.removeprefix(f"{folder}/") for found in there), place)


def _around(path: str) -> Iterator[str]:
    """The folder of a file or partition, and the folders above it.

    They go up as long as they are partitions or hold the data of a table.
    """
    folder, _, name = path.rpartition("/")
    while folder:
        yield folder
        folder, _, name = folder.rpartition("/")
        if "=" not in name and name != "data":
            return
