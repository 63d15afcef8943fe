"""Pages of the docs that the code names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_page_that_the_code_names_is_there():
    named = {
        (page, str(path.relative_to(ROOT)))
        for folder in ("recspark", "jobs", "examples", "conf", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".toml", ".sh")
        for page in re.findall(r"\bdocs/\w+\.md", path.read_text("utf-8"))
    }
    assert named
    assert [(page, path) for page, path in sorted(named) if not (ROOT / page).is_file()] == []
