"""What a public project has at its root, and what an install brings along."""

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import recspark

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("LICENSE", ["Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"]),
        ("CITATION.cff", ["cff-version: 1.2.0", f"version: {recspark.__version__}", "license: Apache-2.0"]),
        ("SECURITY.md", ["Report a vulnerability"]),
        ("CONTRIBUTING.md", ["## Set up", "## Test", "## Measure", "## Where things are"]),
        ("CHANGELOG.md", ["docs/changelog.md"]),
    ],
)
def test_files_at_the_root(file, words):
    text = (ROOT / file).read_text("utf-8")
    assert [word for word in words if word not in text] == []


def test_links_lead_somewhere():
    for file in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / file).read_text("utf-8")):
            assert (ROOT / target).exists(), f"{file}: {target}"


def test_pre_commit_runs_what_make_lint_runs():
    hooks = re.findall(r"entry: \.venv/bin/(.+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    recipe = re.search(r"^lint:.*\n\t@(.+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    assert hooks == [part.strip().removeprefix("$(BIN)/") for part in recipe.split("&&")]


def test_types_are_shipped():
    conf = configparser.ConfigParser()
    conf.read(ROOT / "setup.cfg")
    assert "py.typed" in conf["options.package_data"]["recspark"]
    assert (Path(recspark.__file__).parent / "py.typed").exists()


@pytest.mark.slow
def test_a_wheel_is_whole(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(_copy(tmp_path)),
    ]
    subprocess.run(command, check=True, timeout=300)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name == f"recspark-{recspark.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {"recspark/py.typed", "recspark/engine/spark/log4j2.properties"} <= {*names}
    assert any(name.endswith("/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.slow
def test_an_editable_install_works_from_the_folder_that_holds_the_clone(tmp_path):
    clone = _copy(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=300)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(clone)],
        check=True,
        timeout=300,
    )
    find = "import recspark, recspark.engine; print(recspark.__file__)"
    found = subprocess.run(
        [python, "-c", find],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stdout.strip() == str(clone / "recspark" / "__init__.py"), found.stderr


def _copy(folder):
    """The checkout as a clone called recspark in `folder`, without what git leaves out."""
    clone = folder / "recspark"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    return clone
