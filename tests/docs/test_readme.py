"""The README's examples, run as they are written, by a user who has just installed recspark and set
nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recspark

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def clean_shell(command, folder, **variables):
    """Run `command` as ``env -i PATH=/usr/bin:/bin HOME=EMPTY`` in `folder`, the virtual environment not
    activated.
    """
    home = folder / "home"
    home.mkdir(exist_ok=True)
    java = os.path.dirname(shutil.which("java") or "/usr/bin/java")
    environment = {"PATH": f"/usr/bin:/bin:{java}", "HOME": str(home), **variables}
    if "JAVA_HOME" in os.environ:
        environment["JAVA_HOME"] = os.environ["JAVA_HOME"]
    if not _is_installed():
        environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def _is_installed():
    """Whether this Python finds this checkout by itself, and not another or none."""
    find = "import recspark; print(recspark.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", find], cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    return found.stdout.strip() == str(Path(recspark.__file__))


def test_there_are_examples():
    assert len(PYTHON) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_examples_run_as_written(tmp_path, number):
    script = tmp_path / "example.py"
    script.write_text(PYTHON[number])
    done = clean_shell([sys.executable, str(script)], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "prediction" in done.stdout and "recommendations" in done.stdout


@pytest.mark.slow
def test_a_session_that_was_there_first_ends_in_one_sentence(tmp_path):
    """The same example with the import after the session: its workers run the python3 of the PATH."""
    line = next(line for line in PYTHON[0].splitlines() if line.startswith("from recspark"))
    script = tmp_path / "example.py"
    script.write_text(PYTHON[0].replace(f"{line}\n", "").replace("\nmodel = ", f"\n{line}\nmodel = ", 1))
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # a Python without packages
    (fake / "python3").chmod(0o755)
    done = clean_shell([sys.executable, str(script)], tmp_path, PATH=f"{fake}:/usr/bin:/bin")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("recspark.errors.RecsparkError: Spark's workers run ")
    assert last.endswith(f"stop this session, set PYSPARK_PYTHON={sys.executable}, and start another")


@pytest.mark.parametrize(
    "words",
    [
        "3.11, 3.12, 3.13",
        "4.1 to 4.x",
        "17 or newer",
        "pip install git+",
        f"pip install path/to/recspark-{recspark.__version__}-py3-none-any.whl",
        "docs/install.md",
        "open an issue",
    ],
)
def test_the_readme_says_what_is_supported(words):
    assert words in README


def test_every_link_of_the_readme_leads_somewhere():
    targets = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_jobs_of_the_flow_exist():
    from recspark.pipeline.jobs import JOBS

    assert {*re.findall(r"^    recspark (\w+)", README, re.MULTILINE)} == {*JOBS, "conf"} - {"demo"}
