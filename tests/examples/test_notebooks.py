"""The notebooks run, print no warning, and hold the outputs of a run."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))


@pytest.fixture
def executed():
    spec = importlib.util.spec_from_file_location("run", ROOT / "examples/notebooks/run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed


def kinds(notebook):
    """The kinds of output of each cell of code: stdout, stderr, image/png ...

    MLlib's words on a machine without a BLAS don't count.
    """
    return [
        [
            each["name"] if "name" in each else sorted(each.get("data", each))
            for each in cell.outputs
            if not each.get("text", "").startswith("netlib-")
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["als", "fm", "promote"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_whole_and_name_no_machine(path):
    notebook = nbformat.read(path, as_version=4)
    found = kinds(notebook)
    assert "stderr" not in str(found) and "image/png" in str(found)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    text = re.sub(r'"image/png": ".*?"', "", path.read_text("utf-8"))
    assert re.findall(r"(?<![\w.:/])/(?:tmp|home|root|work|usr)\b[^\"\\]*", text) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path, executed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = kinds(executed(path, tmp_path))
    assert found == kinds(nbformat.read(path, as_version=4))
