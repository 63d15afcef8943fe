"""What made a run: versions, commit and command line, with every secret taken out."""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import recspark

_CODE = Path(recspark.__file__).parent
_HIDDEN = "***"
_SECRET_PART = r"(?:passw(?:or)?d|secret|token|credential|signature|(?:access|api|account)[._-]?key)"
# a whole word with such a part; gone through once (lookahead, ++), for a long word must not cost its length squared
_SECRET = rf"(?<![\w.-])(?=-*sig(?![\w.-])|[\w.-]*?{_SECRET_PART})[\w.-]++"
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"""({_SECRET}["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&'"]+)""", re.IGNORECASE)
_SECRET_FLAG = re.compile(rf"(?=--)({_SECRET}\s+)(\S+)", re.IGNORECASE)
_USER_IN_URI = re.compile(r"(?<![\w+.-])([a-z][a-z0-9+.-]*+://)([^/\s@]*)@", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` without passwords, tokens and keys: in URIs, in ``name=value`` and ``name = "value"``, after ``--name``.

    >>> redact("s3a://key:secret@bucket/ratings --set store.password=x")
    's3a://***@bucket/ratings --set store.password=***'
    """
    text = _USER_IN_URI.sub(_hide_user, text)
    text = _SECRET_VALUE.sub(rf"\1{_HIDDEN}", text)
    return _SECRET_FLAG.sub(rf"\1{_HIDDEN}", text)


def _hide_user(match: re.Match[str]) -> str:
    # abfss://container@account/path has no secret: the part before @ is the container
    scheme, user = match.groups()
    return f"{scheme}{_HIDDEN}@" if ":" in user or scheme.lower().startswith("http") else match.group()


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``(name, text)`` of every value that is set, secrets hidden: ``{"als": {"rank": 8}}`` gives ``("als.rank", "8")``."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif value is not None:
            yield name, _HIDDEN if _SECRET_NAME.search(name) else redact(str(value))


def provenance() -> dict[str, str]:
    """Tags that tell which code, on which versions, by which command and for whom; the same on every host."""
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
    # an installed package may lie inside the checkout of another project: only a tracked file tells that the commit is ours
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
    """The error in one line; the middle of a long one is left out, for the cause stands at the end."""
    text = redact(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 240 else f"{text[:80]} ... {text[-155:]}"
