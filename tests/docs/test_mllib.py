"""docs/mllib.md is written from the list of differences."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_mllib", ROOT / "docs/make_mllib.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/mllib.md").read_text("utf-8") == module.document(), "run python docs/make_mllib.py"
