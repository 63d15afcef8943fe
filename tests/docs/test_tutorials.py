"""The tutorials: commands are understood, programs compile, and the one from MLlib runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recspark.cli.main import _parser
from recspark.config import read_conf
from recspark.pipeline.conf.sections import validated

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/tutorials").glob("*.md"))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands():
    """The jobs that blocks of shell start, each as its words after ``recspark``."""
    for page in PAGES:
        for line in "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
            if line.startswith("recspark ") and "--version" not in line:
                yield re.split(r" (?:\||>|2>)|; ", line.removeprefix("recspark "))[0]


def test_there_are_tutorials():
    assert PAGES


@pytest.mark.parametrize("words", [*commands()])
def test_commands_are_understood(words):
    options = _parser().parse_args(shlex.split(words))
    # confs of the reader are blocks of TOML, which the next test reads
    assert validated(read_conf(None, options.set))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_programs_compile_and_confs_are_valid(page, tmp_path):
    for program in blocks(page, "python"):
        compile(program, str(page), "exec")
    for conf in blocks(page, "toml"):
        (tmp_path / "conf.toml").write_text(conf)
        assert validated(read_conf(str(tmp_path / "conf.toml"), []))


@pytest.mark.slow
def test_the_program_from_mllib_runs(tmp_path):
    (tmp_path / "search.py").write_text("".join(blocks(ROOT / "docs/tutorials/from_mllib.md", "python")))
    command = [sys.executable, "search.py", "recspark.models"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recspark.models" in done.stdout and "recommendations" in done.stdout
