"""What a public project has at its root, and what an install brings along."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


def test_the_changelog_is_ready_for_a_tag():
    """Its first version is the one of the package; a release puts the date in place of `unreleased`."""
    page = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", page, re.MULTILINE)
    assert len(versions) == len(re.findall(r"^## ", page, re.MULTILINE))
    assert versions[0][0] == recspark.__version__
    assert "unreleased" not in dict(versions[1:]).values()


def workflow():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]["ci"]


def test_the_workflow_has_the_steps_of_ci():
    steps = [step["run"] for step in workflow()["steps"] if step.get("run", "").startswith("make ")]
    ours = re.findall(r"^(make [a-z-]+)", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    assert steps == ours
    [whole] = [row for row in workflow()["strategy"]["matrix"]["include"] if row.get("all")]
    assert whole["spark"] == max(row["spark"] for row in workflow()["strategy"]["matrix"]["include"])


def test_actions_are_pinned():
    uses = [step["uses"] for step in workflow()["steps"] if "uses" in step]
    assert len(uses) == 4
    assert [use for use in uses if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", use)] == []


def test_supported_versions_are_those_of_the_workflow():
    matrix = workflow()["strategy"]["matrix"]["include"]
    rows = {(row["python"], row["spark"], row["java"]) for row in matrix}
    table = (ROOT / "docs" / "install.md").read_text("utf-8").partition("<!-- versions -->")[2]
    assert rows == {*re.findall(r"^\| (3\.\d+) \| (\d\.\d) \| (\d+) \|", table, re.MULTILINE)}
    conf = configparser.ConfigParser()
    conf.read(ROOT / "setup.cfg")
    classified = re.findall(r"Python :: (3\.\d+)", conf["metadata"]["classifiers"])
    assert {python for python, _, _ in rows} == {*classified}
    assert conf["options"]["python_requires"] == f">={classified[0]},<3.{int(classified[-1][2:]) + 1}"
    assert f"pyspark[sql]>={min(spark for _, spark, _ in rows)}," in conf["options"]["install_requires"]


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
