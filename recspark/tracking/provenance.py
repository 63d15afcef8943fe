"""The origin of a run: versions, commit and command line, without secrets."""

from __future__ import annotations

import contextlib
import getpass
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import recspark
from recspark.redaction import HIDDEN, names_secret, redact

_CODE = Path(recspark.__file__).parent


def flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``(name, text)`` of every value that is set, secrets hidden.

    ``{"als": {"rank": 8}}`` gives ``("als.rank", "8")``.
    """
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif value is not None:
            yield name, HIDDEN if names_secret(name) else redact(str(value))


def provenance() -> dict[str, str]:
    """Tags with code, versions, command and user of a run; the same on every host."""
    program, *arguments = sys.argv or [""]
    tags = {
        "recspark.version": recspark.__version__,
        "recspark.command": redact(shlex.join([Path(program).name, *arguments])),
        "python.version": platform.python_version(),
        "mlflow.source.name": Path(program).name,
        "mlflow.source.type": "JOB",
    }
    if spark := sys.modules.get("pyspark"):  # a cluster's Spark need not be an installed package
        tags["spark.version"] = spark.__version__
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags | _commit()


def _commit() -> dict[str, str]:
    # an installed package may lie inside the checkout of another project: only a tracked file shows that the
    # commit is ours
    commit = _git("rev-parse", "HEAD") if _git("ls-files", "--error-unmatch", "__init__.py") else None
    if not commit:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": str(bool(changed)).lower()}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(_CODE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def one_line(error: Exception) -> str:
    """The error in one line; a long one loses its middle, as the cause stands at the end."""
    text = redact(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 240 else f"{text[:80]} ... {text[-155:]}"
