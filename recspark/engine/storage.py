"""Arrays and tables as files that workers map into memory: the steps of a fit exchange them.

An entry is a folder of ``.npy`` files (one per array). It is written under another name and renamed, so it is
there whole or not at all, and writing it twice (a task that Spark runs again) leaves the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from recspark.lake.fingerprints import fingerprint
from recspark.lake.folder import Folder

#: a local copy of a remote entry is deleted after this many seconds without a reader
KEEP_SECONDS = 900.0


class Store(Folder):
    """The work folder of one fit."""

    def save(self, name: str, **arrays: np.ndarray) -> None:
        """Write `arrays` as the entry `name`."""
        with tempfile.TemporaryDirectory(dir=self._scratch(name)) as scratch:
            staged = Path(scratch) / "entry"
            staged.mkdir()
            for key, array in arrays.items():
                np.save(staged / f"{key}.npy", array)
            self._publish(staged, name)

    def load(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of entry `name`, mapped copy-on-write: pages are read when they are touched."""
        return {file.stem: _map(file) for file in sorted(self._local(name).glob("*.npy"))}

    def save_table(self, name: str, table: pa.Table) -> None:
        """Write an Arrow table as the entry `name`."""
        with tempfile.TemporaryDirectory(dir=self._scratch(name)) as scratch:
            staged = Path(scratch) / "entry"
            staged.mkdir()
            with (
                pa.OSFile(str(staged / "table.arrow"), "wb") as sink,
                pa.ipc.new_file(sink, table.schema) as writer,
            ):
                writer.write_table(table)
            self._publish(staged, name)

    def load_table(self, name: str) -> pa.Table:
        """The Arrow table of entry `name`, mapped."""
        with pa.memory_map(str(self._local(name) / "table.arrow")) as source:
            return pa.ipc.open_file(source).read_all()

    def flush(self, share: float | None = None) -> None:
        """Write all entries that are held in memory. This store holds none; see `HeldStore.flush`."""

    def _scratch(self, name: str) -> Path | None:
        """The folder in which an entry is prepared: beside its target, so that a rename can publish it.

        None, which is a temporary folder, if the store is remote.
        """
        if not self.is_local:
            return None
        parent = Path(self.at(name)).parent
        parent.mkdir(parents=True, exist_ok=True)
        return parent

    def _publish(self, staged: Path, name: str) -> None:
        if not self.is_local:
            self.fs.create_dir(self.at(name), recursive=True)
            pafs.copy_files(
                str(staged),
                self.at(name),
                source_filesystem=pafs.LocalFileSystem(),
                destination_filesystem=self.fs,
            )
            return
        target = Path(self.at(name))
        try:
            staged.rename(target)
        except OSError:
            # the entry of an earlier attempt: steps are deterministic, so either copy will do; the new one is
            # known to be whole
            shutil.rmtree(target, ignore_errors=True)
            staged.rename(target)

    def _local(self, name: str) -> Path:
        """A local folder with the entry: the entry itself, or this machine's copy of a remote one."""
        if self.is_local:
            return Path(self.at(name))
        # an entry that was written again gets a new copy: its files have other times or sizes
        files = sorted(
            (info.base_name, info.size, info.mtime_ns)
            for info in self.fs.get_file_info(pafs.FileSelector(self.at(name)))
        )
        copy = (
            cache_folder() / self.root.replace("://", "/").lstrip("/") / f"{name}-{fingerprint(files)[:12]}"
        )
        with suppress(FileNotFoundError):
            os.utime(copy)
            return copy
        part = copy.with_name(f"{copy.name}.{uuid.uuid4().hex[:8]}.part")
        part.mkdir(parents=True, exist_ok=True)
        pafs.copy_files(
            self.at(name), str(part), source_filesystem=self.fs, destination_filesystem=pafs.LocalFileSystem()
        )
        try:
            part.rename(copy)
        except OSError:
            shutil.rmtree(part)
        _forget(copy.parent)
        return copy


def cache_folder() -> Path:
    """The folder in which this machine keeps copies of remote entries.

    It is Spark's own folder of the application, which Spark removes, else a temporary one.
    """
    places = (os.environ.get(name) for name in ("SPARK_EXECUTOR_DIRS", "LOCAL_DIRS", "SPARK_LOCAL_DIRS"))
    first = next((place for place in places if place), tempfile.gettempdir())
    return Path(re.split("[:,]", first)[0]) / f"recspark-{os.getuid()}"


def _forget(folder: Path) -> None:
    """Remove copies beside a new one that nobody has read lately: states of old iterations.

    Mapped files live on.
    """
    for copy in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - copy.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(copy, ignore_errors=True)


class HeldStore(Store):
    """A store of one process that keeps states in memory and writes them now and then.

    Steps may last only a few milliseconds. It holds the entries under the names `held` and all JSON files.
    The files on disk are those of one moment, the last `flush`: entries first, then JSON files, those under
    the names `commits` last and the newest of them first, then deletions. So a process that dies in the
    middle leaves a gap between the commits of the previous flush and those of this one. Loaded arrays must
    not be changed: they are the held ones. Arrays of other entries stay mapped once loaded, as every new map
    costs a page fault for each of its pages.
    """

    def __init__(self, root: str, held: tuple[str, ...], commits: tuple[str, ...]) -> None:
        super().__init__(root)
        self._held, self._commits = held, commits
        self._entries: dict[str, dict[str, np.ndarray]] = {}
        self._mapped: dict[str, dict[str, np.ndarray]] = {}
        self._documents: dict[str, object] = {}
        self._unwritten: set[str] = set()
        self._deleted: list[str] = []
        # when the last flush ended, and how long it took (at first a guess)
        self._written, self._took = time.perf_counter(), 0.01

    def save(self, name: str, **arrays: np.ndarray) -> None:
        """See `Store.save`; held in memory until it is written."""
        if name.startswith(self._held):
            self._entries[name] = arrays
            self._unwritten.add(name)
        else:
            super().save(name, **arrays)

    def load(self, name: str) -> dict[str, np.ndarray]:
        """See `Store.load`."""
        if name in self._entries:
            return self._entries[name]
        if name not in self._mapped:
            self._mapped[name] = super().load(name)
        return self._mapped[name]

    def write_json(self, name: str, content: object) -> None:
        """See `Folder.write_json`; held in memory until it is written."""
        self._documents[name] = content

    def read_json(self, name: str) -> Any:
        """See `Folder.read_json`."""
        return self._documents[name] if name in self._documents else super().read_json(name)

    def delete(self, name: str) -> None:
        """See `Folder.delete`."""
        for known in (self._entries, self._mapped):
            known.pop(name, None)
        if name in self._unwritten:
            self._unwritten.remove(name)
        else:
            self._deleted.append(name)

    def flush(self, share: float | None = None) -> None:
        """Write all that was saved since the last flush.

        With a `share`, write only if writing takes no more than this share of all time.
        """
        started = time.perf_counter()
        if share is not None and self._took > share * (started - self._written):
            return
        for name in sorted(self._unwritten):
            super().save(name, **self._entries[name])
        newest_first = reversed(self._documents.items())
        for name, content in sorted(newest_first, key=lambda named: named[0].startswith(self._commits)):
            super().write_json(name, content)
        for name in self._deleted:
            super().delete(name)
        self._unwritten, self._documents, self._deleted = set(), {}, []
        self._written = time.perf_counter()
        self._took = self._written - started


def _map(file: Path) -> np.ndarray:
    array = np.load(file, mmap_mode="c")
    return np.asarray(array) if array.size else np.load(file)
