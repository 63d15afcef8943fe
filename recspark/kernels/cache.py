"""The folder of numba's compiled kernels. Imported before numba, which reads the environment once."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
KERNELS = Path(__file__).parent


def choose_folder() -> None:
    """Set NUMBA_CACHE_DIR to a temporary folder if numba could write none of its own.

    numba tries NUMBA_CACHE_DIR, ``__pycache__`` beside each module, then the user's cache folder. Without any
    it refuses to run.
    """
    if writable_folder() is None:
        _set(private_folder("numba"))  # private, because numba runs what it finds there


def writable_folder() -> Path | None:
    """The folder in which numba keeps the kernels of this folder; None if it can write none."""
    return next((folder for folder in _folders() if _is_writable(folder)), None)


def is_cold() -> bool:
    """Whether none of the kernels was compiled since they were installed."""
    folder = writable_folder()
    if folder is None or not KERNELS.is_dir():
        return False  # in an archive: unknown
    installed = max(module.stat().st_mtime for module in KERNELS.glob("*.py"))
    return not any(index.stat().st_mtime >= installed for index in folder.glob("*.nbi"))


def _folders() -> Iterator[Path]:
    """The folders that numba tries, in its order."""
    below = f"{KERNELS.name}_{hashlib.sha1(os.path.abspath(KERNELS).encode()).hexdigest()}"
    if os.environ.get(VARIABLE):
        yield Path(os.environ[VARIABLE], below)
    if KERNELS.is_dir():  # not in an archive
        yield KERNELS / "__pycache__"
    caches = _user_caches()
    if caches.is_absolute():  # not so for a user id without a home
        yield caches / "numba" / below


def _user_caches() -> Path:
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))


def _is_writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def private_folder(purpose: str) -> str:
    """A temporary folder that only this user can write, one for all processes.

    It is a new one if somebody else owns its name.
    """
    folder = Path(tempfile.gettempdir(), f"recspark-{purpose}-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    safe = (
        folder.is_dir()
        and not folder.is_symlink()
        and found.st_uid == os.geteuid()
        and not found.st_mode & 0o022
    )
    return str(folder) if safe else tempfile.mkdtemp(prefix=f"recspark-{purpose}-")


def _set(folder: str) -> None:
    os.environ[VARIABLE] = folder
    if not KERNELS.is_dir():
        os.environ["XDG_CACHE_HOME"] = folder  # numba knows no other for modules in an archive
    if "numba" in sys.modules:  # it has read the environment already
        sys.modules["numba"].config.CACHE_DIR = folder
