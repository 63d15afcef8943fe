"""Workers of a real standalone cluster that can't run recspark: one sentence each."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import recspark
from benchmarks.standalone import cluster

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).with_name("broken_workers.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Write a Python that first runs a line and sees a folder of files before all others; gives its path."""

    def give(name, line="", **files):
        folder = tmp_path_factory.mktemp(name)
        for file, text in {"sitecustomize.py": line, **files}.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        script = folder / "bin" / "python"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\nPYTHONPATH={folder}:$PYTHONPATH exec {sys.executable} "$@"\n')
        script.chmod(0o755)
        return script

    return give


@pytest.fixture(scope="module")
def said(python, tmp_path_factory):
    """The sentence for each kind of Python."""
    archive = tmp_path_factory.mktemp("archive") / "environment.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        without = python("archive", 'import sys; sys.modules["recspark"] = None')
        packed.add(without, "bin/python")
    newer = {"recspark/__init__.py": '__version__ = "9.9"'}
    cases = {
        "whole": python("whole"),
        "version": python("version"),
        "numba": python("numba", 'import sys; sys.modules["numba"] = None'),
        "newer": python("newer", **newer),
        "archive": "./environment/bin/python",
        "no archive": "./other/bin/python",
    }
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYSPARK_")}
    with cluster(workers=1, cores=1, memory="1g") as running:
        done = subprocess.run(
            [
                sys.executable,
                BROKEN,
                running.master,
                archive,
                *(f"{name}={path}" for name, path in cases.items()),
            ],
            env=variables | {"PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"},
            cwd=archive.parent,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("version", "/bin/python, is Python {}.{}, and this is 3.8: ".format(*sys.version_info)),
        ("numba", "which lacks numba: "),
        ("newer", f"with recspark 9.9, and this process has {recspark.__version__}: "),
        ("archive", "which finds no recspark: "),
        ("no archive", "Cannot run program"),
    ],
)
def test_one_sentence(said, name, words):
    assert words in said[name] and "\n" not in said[name]


def test_the_advice_fits_the_place_of_the_python(said):
    for name in ("archive", "no archive"):
        assert f": send an archive (--archives) with recspark {recspark.__version__} for" in said[name]
    for name in ("version", "numba", "newer"):
        assert f": install recspark {recspark.__version__} there, or set" in said[name]


def test_nothing_is_said_of_a_whole_python(said):
    assert said["whole"] is None
