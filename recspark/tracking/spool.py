"""Records that the store did not accept, kept in the lake until they are sent: nothing is lost.

``tracking-spool/<run id>/000007-metrics.json`` holds ``{"op": "metrics", "args": {...}}``, the arguments of
one operation of :class:`recspark.tracking.store.Store`, numbered in their order. Files and folders of an
operation lie beside it, under ``000007/``. Each record is a small file, because an object store can't append.
"""

from __future__ import annotations

import itertools
import tempfile
import time
import uuid
from collections.abc import Iterator

import pyarrow.fs as pafs

from recspark.lake.lake import Lake

FOLDER = "tracking-spool"


class Spool:
    """The records of all runs of one lake that wait to be sent."""

    def __init__(self, lake: Lake) -> None:
        self.where = lake.path(FOLDER)
        self._lake = lake
        self._root = lake.at(FOLDER)
        self._numbers = itertools.count(1)

    def send(self, run_id: str | None, op: str, args: dict[str, object]) -> str:
        """Keep one record and return the id of its run; for a run that starts here that is its key."""
        run_id = run_id or str(args["key"])
        number = f"{next(self._numbers):06d}"
        if "path" in args:
            args = args | {"path": self._keep(str(args["path"]), run_id, number)}
        self._lake.write_json(f"{FOLDER}/{run_id}/{number}-{op}.json", {"op": op, "args": args})
        return run_id

    def refuses(self, error: Exception) -> bool:
        """False: a record that the lake does not accept now will not be accepted later."""
        return False

    def runs(self) -> list[str]:
        """The ids of the runs that have records here, parents before children."""
        return self._names("")

    def first(self, run_id: str) -> str | None:
        """The first operation of a run's waiting records."""
        records = [name for name in self._names(run_id) if name.endswith(".json")]
        return records[0].removesuffix(".json").partition("-")[2] if records else None

    def drain(self, run_id: str) -> Iterator[tuple[str, dict[str, object]]]:
        """Each record in its order, with local paths; it is deleted once the next one is asked for."""
        place = f"{FOLDER}/{run_id}"
        for name in self._names(run_id):
            if not name.endswith(".json"):
                continue
            record = self._lake.read_json(f"{place}/{name}")
            op, args = record["op"], record["args"]
            with tempfile.TemporaryDirectory() as scratch:
                if "path" in args:
                    args["path"] = fetch(self._lake.fs, f"{self._root}/{run_id}/{args['path']}", scratch)
                yield op, args
            self._lake.delete(f"{place}/{name}")
            self._lake.delete(f"{place}/{name.partition('-')[0]}")
        if not self._names(run_id):  # else a job that still runs has kept more
            self._lake.delete(place)

    def _keep(self, source: str, run_id: str, number: str) -> str:
        kept = f"{number}/{source.rpartition('/')[2]}"
        _copy(pafs.LocalFileSystem(), source, self._lake.fs, f"{self._root}/{run_id}/{kept}")
        return kept

    def _names(self, run_id: str) -> list[str]:
        return self._lake.names(f"{FOLDER}/{run_id}".rstrip("/"))


def new_key() -> str:
    """A name for a run that starts. Keys sort by time: a parent is sent before its children."""
    return f"{time.time_ns():016x}{uuid.uuid4().hex[:16]}"


def fetch(filesystem: pafs.FileSystem, path: str, scratch: str) -> str:
    """A local path to the file or folder `path`: itself if `filesystem` is local, else a copy.

    The copy is under `scratch`.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        return path
    target = f"{scratch}/{path.rpartition('/')[2]}"
    _copy(filesystem, path, pafs.LocalFileSystem(), target)
    return target


def _copy(source: pafs.FileSystem, path: str, destination: pafs.FileSystem, target: str) -> None:
    is_file = source.get_file_info(path).type == pafs.FileType.File
    destination.create_dir(target.rpartition("/")[0] if is_file else target, recursive=True)
    pafs.copy_files(path, target, source_filesystem=source, destination_filesystem=destination)
