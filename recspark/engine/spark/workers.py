"""Spark's Python workers: the Python that starts them, and the packages that recspark needs there.

This module is imported before PySpark, whose session reads the environment once, when it starts.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TypedDict

from recspark.kernels.cache import private_folder

#: the shortest program that says which Python runs it
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def prepare_environment() -> None:
    """Set the variables that Spark's session reads, unless the environment has them.

    The workers run this Python: Spark's own default is the ``python3`` of the PATH. A user id without a name
    gets one, and a home, because Spark's JVM does not start without.
    """
    if not os.environ.get("PYSPARK_PYTHON") and sys.executable:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    if not user_has_name():
        # MLflow and getpass read USER and HOME
        for variable, value in {
            "SPARK_USER": nameless_user(),
            "USER": nameless_user(),
            "HOME": _home(),
        }.items():
            os.environ.setdefault(variable, value)
        options = os.environ.get("SPARK_SUBMIT_OPTS", "")
        if "-Duser.home=" not in options:
            os.environ["SPARK_SUBMIT_OPTS"] = f"-Duser.home={_home()} {options}".strip()


def user_has_name() -> bool:
    """Whether the user of this process has a name in the system: not in ``docker run --user 12345``."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def nameless_user() -> str:
    """A name for a user id that has none."""
    return f"uid{os.geteuid()}"


def _home() -> str:
    home = os.path.expanduser("~")
    return home if os.path.isabs(home) and os.access(home, os.W_OK) else private_folder("home")


class Found(TypedDict):
    """What `look` finds; `version` is None where there is no recspark."""

    python: str
    version: str | None
    missing: list[str]
    cold: bool


def look(_: object = None) -> Found:
    """Worker: the Python, the version of recspark, missing modules, and whether kernels are compiled.

    The function is sent whole, with all that it needs: recspark may not be there.
    """
    import sys
    from importlib.util import find_spec

    missing = [name for name in ("numba", "numpy", "pandas", "pyarrow", "scipy") if find_spec(name) is None]
    version, cold = None, False
    try:
        import recspark

        # a folder that only has the name recspark has no version
        version = getattr(recspark, "__version__", None)
        from recspark.kernels.cache import is_cold

        cold = is_cold()
    except ImportError:
        pass  # not there, or another version
    return {"python": sys.executable, "version": version, "missing": missing, "cold": cold}


def look_in_arrow(batches: Iterator[object]) -> Iterator[object]:
    """Worker: `look` as the function of a ``mapInArrow``; the result is JSON."""
    import json

    import pyarrow

    for _ in batches:
        yield pyarrow.RecordBatch.from_pydict({"found": [json.dumps(look())]})


# functions of __main__ travel whole, others by their name
look.__module__ = look_in_arrow.__module__ = "__main__"


def complaint(found: Found, version: str, remedy: str) -> str | None:
    """The fault of a worker by the result of `look`, in one sentence that ends with `remedy`.

    None if it has no fault.
    """
    python = found["python"]
    if found["version"] is None:
        return f"Spark's workers run {python}, which finds no recspark: {remedy}"
    if found["version"] != version:
        return (
            f"Spark's workers run {python} with recspark {found['version']}, and this process has {version}: "
            f"{remedy}"
        )
    if found["missing"]:
        return f"Spark's workers run {python}, which lacks {', '.join(found['missing'])}: {remedy}"
    return None


def is_this_python(python: str) -> bool:
    """Whether the executable `python` is the one that runs this process.

    Links are not followed, because they make virtual environments.
    """
    found = shutil.which(python)
    return found is not None and os.path.abspath(found) == sys.executable


def version_of(python: str) -> str | None:
    """Major and minor version of the executable `python` on this machine; None if it does not run."""
    found = shutil.which(python)
    if found is None:
        return None
    if is_this_python(python):
        return this_version()
    try:
        done = subprocess.run(
            [found, "-c", _VERSION], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def this_version() -> str:
    """Major and minor version of this Python."""
    return "{}.{}".format(*sys.version_info)
