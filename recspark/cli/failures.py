"""Failures of the machine instead of the program: a full disk, a folder that can't be written.

The user gets one sentence.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recspark.errors import RecsparkError
from recspark.lake.lake import Lake

#: messages of systems when nothing more can be written, as Python, NumPy, Arrow, Java and SQLite report them
_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|not enough space|database or disk is "
    r"full|\d+ requested and \d+ written",
    re.IGNORECASE,
)
_FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: errors that a user can mend without knowing the program
_PLAIN_CODES = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
)


class StorageFailure(RecsparkError):
    """Nothing more can be written, or writing is not allowed."""


@contextmanager
def explained(lake: Lake) -> Iterator[None]:
    """Raise StorageFailure in place of any exception that a full disk or a forbidden path has caused."""
    try:
        yield
    except RecsparkError:
        raise
    except Exception as error:
        if is_full(error):
            kept = "nothing was published, and what was published before is as it was"
            raise StorageFailure(f"no space is left for a file: {_free_space(lake)}; {kept}") from error
        if isinstance(error, OSError) and error.errno in _PLAIN_CODES:
            raise StorageFailure(str(error)) from error
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether `error`, or one of its causes, says that a disk or a quota is full.

    Errors of workers and of the JVM arrive as text.
    """
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL_CODES) or _FULL.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_space(lake: Lake) -> str:
    """The free space in the lake and in the temporary folders of Spark and Python, the fullest first."""
    spark = os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")
    places = dict.fromkeys(
        [*([lake.at("").rstrip("/")] if lake.is_local else []), *spark, tempfile.gettempdir()]
    )
    usage = {place: shutil.disk_usage(place) for place in places if Path(place).is_dir()}
    fullest = sorted(usage, key=lambda place: usage[place].free)
    found = [
        f"{place} has {_size(usage[place].free)} free of {_size(usage[place].total)}" for place in fullest
    ]
    return ", ".join(found if lake.is_local else [lake.root, *found])


def _size(count: float) -> str:
    """A number of bytes for people.

    >>> _size(0), _size(8 << 20), _size(3 << 29)
    ('0 MB', '8 MB', '1536 MB')
    """
    return f"{count / (1 << 20):.0f} MB"
