"""The tutorials: commands are understood, programs compile, and each page runs as a reader would type it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recspark.cli.main import _parser
from recspark.config import read_conf
from recspark.pipeline.conf.sections import validated

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/tutorials").glob("*.md"))
#: what a block needs that a test has not: a host, a browser, a change of the environment
ELSEWHERE = re.compile(r"HOST|mlflow server|pip install|make dist")


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


def script_of(page):
    """A shell script that does what a page asks for: it saves the files and types the commands."""
    text = page.read_text("utf-8")
    for block in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        language, body = block.groups()
        before = text[: block.start()].strip().split("\n\n")[-1]
        named = re.findall(r"`([\w./-]+\.(?:py|toml))`", before)
        if language in ("python", "toml") and named:
            yield f"cat {'>>' if 'Add these lines' in before else '>'} {named[-1]} <<'END'\n{body}END\n"
        elif language == "sh":
            commands = body.replace("\\\n", " ").splitlines()
            yield "".join(f"{line}\n" for line in commands if not ELSEWHERE.search(line))


def without_numbers(text):
    return re.sub(r"[\d.]+", "#", text)


@pytest.mark.long
@pytest.mark.parametrize("pages", ["first_model mlflow_run", "nightly_job", "features", "cluster"])
def test_pages_run(pages, tmp_path):
    for name in ("conf", "examples", "jobs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    binaries = Path(sys.executable).parent
    (tmp_path / ".venv").symlink_to(binaries.parent)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{binaries}:{os.environ['PATH']}"}
    for name in pages.split():
        page = ROOT / f"docs/tutorials/{name}.md"
        done = subprocess.run(
            ["bash", "-s"],
            input="".join(script_of(page)),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        codes = re.findall(r"^exit code \d+$", page.read_text("utf-8"), re.MULTILINE)
        assert re.findall(r"^exit code \d+$", done.stdout, re.MULTILINE) == codes, done.stderr[-3000:]
        # numbers may differ from one processor to another
        shown = without_numbers(blocks(page, "text")[-1].splitlines()[-1])
        assert shown in without_numbers(done.stdout + done.stderr)
