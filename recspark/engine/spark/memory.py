"""The limit that ``spark.executor.pyspark.memory`` sets to a Python worker, and the need of recspark.

Spark limits the address space of a worker (RLIMIT_AS), also on a local master, to this amount divided by
``spark.executor.cores`` (1 if not set). Address space is more than memory: libraries, reserves of Arrow and
numba, mapped files and the stacks of threads all count in full. A process that has none left fails in odd
ways: if a thread can't start, the thread that started it waits for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pyspark.sql import SparkSession

from recspark.errors import ConfigError, RecsparkError
from recspark.kernels.threads import address_space

Result = TypeVar("Result")

SETTING = "spark.executor.pyspark.memory"

#: least limit in bytes. On a few hundred ratings a worker reaches 2.1 GiB with compiled kernels, and 2.3 GiB
#: if it compiles them
LEAST = 2560 << 20

_UNITS = {"": 20, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def require_worker_memory(spark: SparkSession) -> None:
    """Raise ConfigError if Python workers get less address space than recspark needs without any data."""
    text = spark.conf.get(SETTING, None)
    if not text:
        return
    cores = int(spark.conf.get("spark.executor.cores", None) or 1)
    if (given := _bytes(text) // cores) < LEAST:
        shared = f", shared by {cores} cores of an executor," if cores > 1 else ""
        raise ConfigError(
            f"{SETTING} = {text}{shared} gives a Python worker {given >> 20} MiB of address space, and "
            f"recspark needs {LEAST >> 20} MiB "
            f"and room for the data: set it to {cores * LEAST >> 20}m or more, or leave it out"
        )


def free_bytes() -> int:
    """The memory that this machine, or this container, has free, in bytes."""
    known = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(known["MemAvailable"].split()[0]) << 10
    with suppress(OSError, ValueError):  # a container without a limit says "max"
        most, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, most - used)
    return free


def _bytes(text: str) -> int:
    """A size in Spark's notation; a bare number is in MiB.

    >>> _bytes("2g") == _bytes("2048") == 2 << 30
    True
    """
    found = re.fullmatch(r"(\d+)\s*([bkmgtp]?)b?", text.strip().lower())
    return int(found[1]) << _UNITS[found[2]] if found else LEAST


def within_memory(function: Callable[..., Result], *arguments: object) -> Result:
    """Worker: call `function`; if memory ends under a limit, raise a RecsparkError that names the setting."""
    try:
        return function(*arguments)
    except MemoryError:
        if not (limit := address_space().limit):
            raise
        raise RecsparkError(
            f"a Python worker has no memory left: {SETTING} limits it to {limit >> 20} MiB of address space; "
            "raise it, or leave it out"
        ) from None
