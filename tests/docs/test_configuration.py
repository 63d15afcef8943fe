"""docs/configuration.md is written from the options in the code."""

import importlib.util
from pathlib import Path

import pytest

from recspark.models.registry import KINDS
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.conf.sections import SECTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def make_configuration():
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs/make_configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(make_configuration):
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    assert page == make_configuration.document(), "run python docs/make_configuration.py"


def test_it_has_every_key(make_configuration):
    page = make_configuration.document()
    for section in SECTIONS:
        part = page.partition(f"\n## [{section.name}]\n")[2].partition("\n## ")[0]
        assert "Read by " in part
        assert [key for key in section.options if f"\n| `{key}` |" not in part] == []
    for kind in KINDS:
        part = page.partition(f'\n### model.type = "{kind}"\n')[2].partition("\n### ")[0]
        assert [key for key in ModelSection(type=kind).known if f"\n| `{key}` |" not in part] == []


def test_a_bar_does_not_end_a_cell(make_configuration):
    from recspark.config import Option, one_of

    table = make_configuration.table({"mark": Option(str, "|", "a | mark", one_of("|", ";"))})
    assert table.splitlines()[-1] == r'| `mark` | string | `"\|"` | one of \|, ; | a \| mark |'
