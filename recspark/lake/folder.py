"""A folder on any storage that ``pyarrow.fs`` knows.

It is a local path, or a URI of ``file://``, ``s3://``, ``gs://`` or ``hdfs://``.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from recspark.config import brief, is_text, shown
from recspark.errors import ConfigError, RecsparkError
from recspark.redaction import redact

#: allowed roots, for error messages
PLACES = "a local path, or a URI of file, s3 (s3a), gs, hdfs (viewfs) or abfs (abfss)"

#: storage that has only files: a folder can be copied there, not renamed
OBJECT_STORES = ("s3", "gcs")


def is_uri(place: str) -> bool:
    """Whether `place` is a URI instead of a path on this machine."""
    return "://" in place or place.startswith("file:")


def locate(place: str) -> tuple[pafs.FileSystem, str]:
    """The file system and the path on it of a local path or a URI. Raise ConfigError if it is neither."""
    if not place or not is_text(place):
        raise ConfigError(f"{shown(place)} is not allowed: it must be a path or a URI")
    if not is_uri(place):
        return pafs.LocalFileSystem(), _absolute(place)
    if "?" in place:
        options = "options of a storage are environment variables, such as AWS_ENDPOINT_URL"
        raise ConfigError(f"{shown(redact(place))} is not allowed: {options}")
    if local := re.fullmatch(r"file:(?://(?:localhost)?)?(/.*)", place):
        # as in Spark's file system: nothing is decoded, a %20 stays
        return pafs.LocalFileSystem(), local[1].rstrip("/") or "/"
    try:
        fs, path = pafs.FileSystem.from_uri(arrow_uri(place))
    except (pa.ArrowInvalid, NotImplementedError, ValueError) as error:
        raise ConfigError(
            f"{shown(redact(place))} is not allowed: it must be {PLACES} ({redact(str(error))})"
        ) from None
    except OSError as error:
        raise RecsparkError(f"{shown(redact(place))} can't be reached: {redact(str(error))}") from None
    return fs, path.rstrip("/")


def check_no_pattern(key: str, place: str) -> None:
    """Raise ConfigError if Spark would take the path or URI `place` for a pattern of names.

    It would read other folders.
    """
    if patterns := set(place) & set("*?[]{}\\"):
        found = " ".join(sorted(patterns))
        raise ConfigError(
            f"{key} = {shown(place)} is not allowed: Spark takes {found} for a pattern of names"
        )


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:  # ~ of an unknown user
        raise ConfigError(f"{shown(path)} is not allowed: {error}") from None


def arrow_uri(uri: str) -> str:
    """`uri` in the form of ``pyarrow.fs``: Hadoop's clients of S3 are called s3a and s3n.

    >>> arrow_uri("s3a://bucket/lake"), arrow_uri("file:///srv/lake")
    ('s3://bucket/lake', 'file:///srv/lake')
    """
    return re.sub(r"^s3[an]://", "s3://", uri)


class Folder:
    """Small files and sub-folders under one root; names are relative to it and separated by ``/``."""

    def __init__(self, root: str) -> None:
        self.fs, self._base = locate(root)
        self.root = root.rstrip("/") if is_uri(root) else self._base

    def path(self, name: str) -> str:
        """The full path or URI of `name`, for Spark."""
        return f"{self.root}/{name}"

    @property
    def is_local(self) -> bool:
        """Whether it is on a file system of this machine."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @property
    def renames(self) -> bool:
        """Whether a folder can be renamed at once and whole."""
        return self.fs.type_name not in OBJECT_STORES

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._base.rpartition("/")[2]

    @property
    def parent(self) -> Folder:
        """The folder that it is in."""
        return Folder(self.root.rpartition("/")[0] or "/")

    @property
    def is_there(self) -> bool:
        """Whether the folder exists; on an object store, whether there is a file in it."""
        return self.fs.get_file_info(self._base).type != pafs.FileType.NotFound

    @property
    def is_prepared(self) -> bool:
        """Whether the folder exists and is empty."""
        is_folder = self.fs.get_file_info(self._base).type == pafs.FileType.Directory
        return is_folder and not self.fs.get_file_info(pafs.FileSelector(self._base))

    def at(self, name: str) -> str:
        """The path of `name` in the form of this folder's file system."""
        return f"{self._base}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of that name."""
        return self.fs.get_file_info(self.at(name)).type != pafs.FileType.NotFound

    def delete(self, name: str) -> None:
        """Remove a file or a folder with all its contents, if it exists."""
        kind = self.fs.get_file_info(self.at(name)).type
        if kind == pafs.FileType.Directory:
            self.fs.delete_dir(self.at(name))
        elif kind == pafs.FileType.File:
            self.fs.delete_file(self.at(name))

    def move(self, name: str, target: str) -> None:
        """Rename a folder to `target`, which must not exist; file by file if the storage can't rename."""
        self.fs.create_dir(self.at(target).rpartition("/")[0], recursive=True)
        if self.renames:
            self.fs.move(self.at(name), self.at(target))
        else:
            self.copy(name, target)
            self.delete(name)

    def replace(self, name: str, target: str) -> None:
        """Rename a folder to `target`, in place of an existing one: by two renames if the storage can."""
        old = f"{name}-old"
        if self.exists(target) and self.renames:
            self.fs.move(self.at(target), self.at(old))
        else:
            self.delete(target)
        self.move(name, target)
        self.delete(old)

    def copy(self, name: str, target: str) -> None:
        """Copy all files of a folder into the folder `target`."""
        pafs.copy_files(
            self.at(name), self.at(target), source_filesystem=self.fs, destination_filesystem=self.fs
        )

    def copy_to(self, name: str, target: Folder) -> None:
        """Copy a file, or a folder with all its contents, to `target` under the same name."""
        source, place = self.at(name), target.at(name)
        is_folder = self.fs.get_file_info(source).type == pafs.FileType.Directory
        target.fs.create_dir(place if is_folder else place.rpartition("/")[0], recursive=True)
        pafs.copy_files(source, place, source_filesystem=self.fs, destination_filesystem=target.fs)

    def names(self, name: str) -> list[str]:
        """The sorted names of the files and folders directly inside `name`; none if it is missing."""
        try:
            found = self.fs.get_file_info(pafs.FileSelector(self.at(name), allow_not_found=True))
        except (
            FileNotFoundError
        ):  # it was made while Arrow looked, which thinks then that it should have been able to list it
            return []
        return sorted(info.base_name for info in found)

    def read_json(self, name: str) -> Any:
        """The content of a JSON file, or None if there is none. Raise RecsparkError if it is damaged."""
        try:
            with self.fs.open_input_stream(self.at(name)) as stream:
                return json.loads(stream.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError) as error:
            raise RecsparkError(
                f"{self.path(name)} is damaged, it is not valid JSON: {brief(error)}"
            ) from None

    def write_json(self, name: str, content: object) -> None:
        """Write a small JSON file whole: under another name first, then renamed."""
        self.write_bytes(name, json.dumps(content, indent=2, sort_keys=True, default=str).encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a small file whole, as `write_json` does."""
        target = self.at(name)
        self.fs.create_dir(target.rpartition("/")[0], recursive=True)
        part = f"{target}.{uuid.uuid4().hex[:8]}.part"
        with self.fs.open_output_stream(part) as stream:
            stream.write(content)
        self.fs.move(part, target)
