"""A folder on any storage that ``pyarrow.fs`` knows: a local path, ``file://``, ``s3://``, ``gs://``, ``hdfs://``."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs


class Folder:
    """Small files and sub-folders under one root; names are relative to it and separated by ``/``."""

    def __init__(self, root: str) -> None:
        if "://" not in root:
            root = str(Path(root).expanduser().absolute())
        self.root = root.rstrip("/")
        self.fs, self._base = pafs.FileSystem.from_uri(self.root)

    def path(self, name: str) -> str:
        """The full path or URI of `name`, for Spark."""
        return f"{self.root}/{name}"

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, pafs.LocalFileSystem)

    def at(self, name: str) -> str:
        """The path of `name` as this folder's file system wants it."""
        return f"{self._base}/{name}"

    def exists(self, name: str) -> bool:
        return self.fs.get_file_info(self.at(name)).type != pafs.FileType.NotFound

    def delete(self, name: str) -> None:
        """Remove a file or a folder with all in it; nothing happens where there is none."""
        kind = self.fs.get_file_info(self.at(name)).type
        if kind == pafs.FileType.Directory:
            self.fs.delete_dir(self.at(name))
        elif kind == pafs.FileType.File:
            self.fs.delete_file(self.at(name))

    def names(self, name: str) -> list[str]:
        """The sorted names of the files and folders directly inside `name`."""
        found = self.fs.get_file_info(pafs.FileSelector(self.at(name), allow_not_found=True))
        return sorted(info.base_name for info in found)

    def read_json(self, name: str) -> Any:
        """The content of a JSON file, or None where there is none."""
        try:
            with self.fs.open_input_stream(self.at(name)) as stream:
                return json.loads(stream.read())
        except FileNotFoundError:
            return None

    def write_json(self, name: str, content: Any) -> None:
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
