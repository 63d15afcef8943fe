"""The API reference is made from the docstrings, and has every public name."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from recspark import models
from recspark.pipeline.jobs import JOBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def make_api():
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs/make_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference(make_api):
    return "\n".join(make_api.pages().values())


def test_it_has_every_job_estimator_and_param(reference):
    assert [job for job in JOBS if f"| `recspark {job}` |" not in reference] == []
    for name in set(models.__all__) - {"load_model"}:
        cls = getattr(models, name)
        text = reference.partition(f"\n### {cls.__name__}\n")[2].partition("\n### ")[0]
        assert [param for param in cls.hyperparameters() if f"| `{param}` |" not in text] == []


def test_it_has_every_public_name_of_the_packages_that_users_import(make_api, reference):
    for package in make_api.LISTED:
        for path in (ROOT / "recspark" / package).glob("*.py"):
            names = [
                node.name
                for node in ast.parse(path.read_text("utf-8")).body
                if isinstance(node, (ast.ClassDef, ast.FunctionDef))
            ]
            missing = [
                name
                for name in names
                if not name.startswith("_") and not re.search(rf"### `(class )?{name}\b", reference)
            ]
            assert missing == [], path


def test_no_entry_is_without_words(reference):
    headings = re.findall(r"^####? `(.+)`\n(?:```python\n[^`]+```\n)?(.*)", reference, re.MULTILINE)
    assert len(headings) > 100
    assert [name for name, text in headings if not text.strip()] == []
    assert [line for line in reference.splitlines() if re.match(r"- `.*`: ?$", line)] == []
    assert "``" not in re.sub(r"```", "", reference)


def test_numpydoc_becomes_markdown(make_api):
    docstring = (
        "Fit :class:`~a.B`.\n\nParameters\n----------\nrank : int\n    How many\n    "
        "factors.\nseed\n\nRaises\n------\nE\n    Never."
    )
    assert make_api.markdown(docstring) == (
        "Fit `a.B`.\n\n**Parameters**\n\n- `rank : int`: How many factors.\n- `seed`\n\n**Raises**\n\n- `E`: "
        "Never."
    )
