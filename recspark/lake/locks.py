"""Locks of the products of a local lake, for writers and readers: ``flock`` on one small file per product.

The kernel frees a lock when its process ends, in any way, so no lock outlives its holder. The file
itself is a journal, one line of JSON per holder since the last writer. It only serves to name the holder that
others wait for.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TypedDict

from recspark.errors import RecsparkError

log = logging.getLogger(__name__)

_POLL_S = 0.1
#: seconds between two messages that a job still waits
_SAY_AGAIN_S = 60
#: whether this thread holds a lock for writing, by the path of its file
_HELD: dict[tuple[str, int], bool] = {}


class Entry(TypedDict, total=False):
    """A line of the journal: a holder, or the mark of one that is done."""

    mark: str
    host: str
    pid: int
    writes: bool
    since: str
    done: str


class LakeBusy(RecsparkError):
    """Another job works on the same output, and did not end within the allowed time."""


@contextmanager
def hold(path: Path, what: str, exclusive: bool, wait: float) -> Iterator[bool]:
    """Hold the lock of `what`, whose file is `path`, while the body runs.

    It yields whether this thread did not hold it already. Any number of readers hold it together, a writer
    holds it alone. A thread that holds it takes it again at once; for writing only if it holds it for
    writing.

    Raises
    ------
    LakeBusy
        If another process or thread still holds it after `wait` seconds; the message names host, process and
        start.
    """
    key = (str(path), threading.get_ident())
    if key in _HELD:
        if exclusive and not _HELD[key]:
            raise RuntimeError(
                f"{what} can't be written by a thread that reads it: the lock would wait for itself"
            )
        yield False
        return
    with _journal(path, exclusive) as file:
        if file is not None:
            _acquire(file, what, exclusive, wait)
        _HELD[key] = exclusive
        mark = _sign(file, exclusive)
        try:
            yield True
        finally:
            _HELD.pop(key)
            _write(file, {"done": mark})


def _journal(path: Path, exclusive: bool) -> AbstractContextManager[BinaryIO | None]:
    """The open file of a lock.

    None if it can't be written and need not be, because readers of such a lake meet no writer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab+", buffering=0)
    except OSError:
        if exclusive:
            raise
        return nullcontext()


def _acquire(file: BinaryIO, what: str, exclusive: bool, wait: float) -> None:
    started = reported = time.monotonic()
    while not _try(file, exclusive):
        waited = time.monotonic() - started
        if waited >= wait:
            limit = f"this run has waited for {wait:g} s, as long as paths.waitSeconds allows"
            raise LakeBusy(f"{what} is in use by {_holders(file)}: {limit}")
        if reported == started or time.monotonic() - reported > _SAY_AGAIN_S:
            reported = time.monotonic()
            log.warning("%s is in use by %s: waiting, at most %g s", what, _holders(file), wait)
        time.sleep(_POLL_S)


def _try(file: BinaryIO, exclusive: bool) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        # some mounts have no locks: then the scheduler must start one job at a time
        log.warning(
            "%s has no locks (%s): nothing keeps another run from the same output", file.name, error.strerror
        )
    return True


def _sign(file: BinaryIO | None, exclusive: bool) -> str:
    """Note in the journal who holds the lock now; a writer, who is alone, begins it anew."""
    mark = uuid.uuid4().hex[:12]
    if exclusive and file is not None:
        file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    _write(
        file,
        {"mark": mark, "host": socket.gethostname(), "pid": os.getpid(), "writes": exclusive, "since": since},
    )
    return mark


def _write(file: BinaryIO | None, entry: Entry) -> None:
    if file is None:
        return
    try:
        file.write(json.dumps(entry).encode() + b"\n")
    except OSError as error:
        # the lock still holds: on a full disk only its journal is short
        log.debug("%s can't be written: %s", file.name, error)


def _holders(file: BinaryIO) -> str:
    """The holders in the journal that have neither released the lock nor died, in words."""
    file.seek(0)
    entries = [_parsed(line) for line in file.read().splitlines()]
    done = {entry.get("done") for entry in entries}
    found = [entry for entry in entries if entry.get("mark") not in (None, *done) and _may_live(entry)]
    words = "{} (process {} on {}, since {})"
    named = [
        words.format("a writer" if e["writes"] else "a reader", e["pid"], e["host"], e["since"])
        for e in found
    ]
    return ", ".join(named) or "another process"


def _parsed(line: bytes) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    whole = isinstance(entry, dict) and (
        "done" in entry or entry.keys() >= {"mark", "host", "pid", "writes", "since"}
    )
    return entry if whole else {}


def _may_live(entry: Entry) -> bool:
    if entry["host"] != socket.gethostname():
        return True
    try:
        os.kill(entry["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
