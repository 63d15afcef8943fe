"""Where compiled kernels are kept: what numba would choose, else a temporary folder."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import recspark
from recspark.kernels import cache

ROOT = Path(recspark.__file__).parents[1]
COMPILE = """
from recspark.kernels import topn
print(topn._worse(1.0, 2, 1.0, 3))
import os, numba
print(os.environ.get("NUMBA_CACHE_DIR"), numba.config.CACHE_DIR)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of kernels of its own, a home and a folder for temporary files."""
    kernels = tmp_path / "site" / "kernels"
    kernels.mkdir(parents=True)
    (kernels / "als.py").write_text("")
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(cache, "KERNELS", kernels)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(cache, "_user_caches", lambda: tmp_path / "home")
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return tmp_path


def refuse(monkeypatch, *parts):
    """No folder with one of `parts` in its path can be written: we may be root, whom permissions don't
    stop.
    """
    access = os.access
    monkeypatch.setattr(
        cache.os,
        "access",
        lambda path, mode: access(path, mode) and not any(part in str(path) for part in parts),
    )


def test_beside_the_modules(installed):
    cache.choose_folder()
    assert cache.VARIABLE not in os.environ
    assert cache.writable_folder() == installed / "site" / "kernels" / "__pycache__"


def test_in_the_home(installed, monkeypatch):
    refuse(monkeypatch, "/site")
    cache.choose_folder()
    assert cache.VARIABLE not in os.environ
    assert cache.writable_folder().is_relative_to(installed / "home" / "numba")


def test_in_a_temporary_folder(installed, monkeypatch):
    refuse(monkeypatch, "/site", "/home")
    monkeypatch.setenv(cache.VARIABLE, str(installed / "home" / "mine"))
    cache.choose_folder()
    chosen = Path(os.environ[cache.VARIABLE])
    assert chosen == installed / "tmp" / f"recspark-numba-{os.geteuid()}"
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
    assert str(chosen) == sys.modules["numba"].config.CACHE_DIR
    cache.choose_folder()
    assert os.environ[cache.VARIABLE] == str(chosen)


def test_nobody_elses_folder(installed, monkeypatch):
    refuse(monkeypatch, "/site", "/home")
    taken = installed / "tmp" / f"recspark-numba-{os.geteuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", lambda prefix: str(installed / "tmp" / "another"))
    cache.choose_folder()
    assert os.environ[cache.VARIABLE] == str(installed / "tmp" / "another")


def test_a_user_id_without_a_home(installed, monkeypatch):
    monkeypatch.setattr(cache, "_user_caches", lambda: Path("~/.cache"))  # what expanduser leaves
    refuse(monkeypatch, "/site")
    cache.choose_folder()
    assert os.environ[cache.VARIABLE].startswith(str(installed / "tmp"))


def test_cold_until_something_was_compiled_since_the_install(installed):
    kernels = installed / "site" / "kernels"
    assert cache.is_cold()
    index = kernels / "__pycache__" / "als.solve-1.py311.nbi"
    index.parent.mkdir()
    index.write_text("")
    os.utime(index, (1, 1))
    assert cache.is_cold()
    os.utime(index, (2**31, 2**31))
    assert not cache.is_cold()


def test_this_folder_is_numbas(monkeypatch, tmp_path):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=100
    )
    assert list(cache.writable_folder().glob("topn._worse-*.nbi"))


@pytest.mark.skipif(
    not (shutil.which("setpriv") and os.geteuid() == 0), reason="needs root, to give its rights away"
)
def test_kernels_run_where_nothing_can_be_written(tmp_path):
    """An install that is read only, no home, and none of root's rights."""
    shutil.copytree(ROOT / "recspark", tmp_path / "recspark", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "recspark").rglob("*/"):
        folder.chmod(0o555)
    (tmp_path / "tmp").mkdir()
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", COMPILE]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
        "HOME": "/proc/none",
    }
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    folder = str(tmp_path / "tmp" / "recspark-numba-0")
    assert done.stdout.splitlines() == ["False", f"{folder} {folder}"]
