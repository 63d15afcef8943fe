"""Shell lines and Python blocks of README, CONTRIBUTING and docs.

The jobs, keys, files, targets of make, classes and Params that they use exist.
"""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from recspark.cli.main import _parser
from recspark.config import read_conf
from recspark.pipeline.conf.sections import validated
from recspark.pipeline.jobs import JOBS

ROOT = Path(__file__).parents[2]
#: without the pages that are generated from the code, and the one of what was
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    if path.name not in ("api.md", "changelog.md")
}
#: files of a reader, which no checkout has
OWN = {"CONF", "my.toml", "lakehouse.toml", "conf/a.toml", "conf/CONF.toml", "conf/mine.toml"}


def shell_lines(text):
    """Lines of sh blocks, indented lines and code spans, continued ones joined, without explanations."""
    text = re.sub(r"\s*\\\n\s*", " ", text)
    fenced = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (\S.*)", outside, re.MULTILINE)
    spans = re.findall(r"`((?:recspark|make|python) [^`]+)`", outside)
    for line in [*fenced, *indented, *spans]:
        # a comment, or a column that explains
        yield re.split(r"\s#|\s{3,}", line.strip())[0]


def words_of(line):
    """The words of a line up to the end of its first command; `...` stands for more of them."""
    words = shlex.split(line)
    end = next((at for at, word in enumerate(words) if word in (">", "|", "&&", "||", ";")), len(words))
    return [word for word in words[:end] if word != "..."]


LINES = {(page, line) for page, text in PAGES.items() for line in shell_lines(text)}


def jobs():
    """Page and words of every job, which `recspark` or `spark-submit` starts."""
    for page, line in sorted(LINES):
        if re.match(r"(?:\S*/)?recspark \S", line):
            words = words_of(line)[1:]
            if words and (words[0] in JOBS or words[0].islower()):
                yield page, " ".join(shlex.quote(word) for word in words)
        elif re.match(r"(?:\S*/)?spark-submit ", line):
            words = words_of(line)
            at = next(at for at, word in enumerate(words) if word.endswith(".py"))
            job = [] if words[at] == "job.py" else [Path(words[at]).stem]
            yield page, " ".join(shlex.quote(word) for word in [*job, *words[at + 1 :]])


@pytest.mark.parametrize(("page", "command"), [*jobs()])
def test_jobs_are_understood(page, command):
    words = shlex.split(command.replace("--model TYPE", "--model als"))
    if words == ["--version"] or "--help" in words:
        return
    options = _parser().parse_args(words)
    if options.job == "conf":
        return
    conf = options.conf_file
    if conf is not None:
        found = [path for path in (ROOT / conf, ROOT / "conf" / conf) if path.is_file()]
        assert found or conf in OWN, f"there is no {conf}"
        conf = str(found[0]) if found else None
    assert validated(read_conf(conf, options.set))


def test_there_are_lines_of_all_kinds():
    pages = {page for page, _ in jobs()}
    assert {"README.md", "docs/operations.md", "docs/gate.md", "docs/install.md"} <= pages
    assert len([*jobs()]) > 60


def test_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {*re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    variables = {*re.findall(r"\$\((?:if \$\()?([A-Z_]+)", makefile)}
    used = [(page, words_of(line)[1:]) for page, line in sorted(LINES) if re.match(r"make [a-z]", line)]
    assert len(used) > 10
    for page, words in used:
        names = {word.partition("=")[0] for word in words if "=" in word}
        assert {word for word in words if "=" not in word} <= targets and names <= variables, (
            f"{page}: {words}"
        )


def test_files_exist():
    missing = [
        (page, word)
        for page, line in sorted(LINES)
        for word in line.split()
        if re.fullmatch(r"(conf|examples|jobs|benchmarks|tests|docs)/[\w./-]+\.\w+", word)
        and word not in OWN
        and not (ROOT / word).is_file()
    ]
    assert missing == []


def python_blocks():
    for page, text in PAGES.items():
        for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if ">>>" not in block:  # tests/docs and tests/evaluation run those
                yield page, block.replace(", ...)", ")")


@pytest.mark.parametrize(("page", "block"), [*python_blocks()])
def test_python_blocks_name_what_exists(page, block):
    import recspark.models

    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("recspark"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            estimator = getattr(recspark.models, node.func.id, None)
            if estimator is not None and hasattr(estimator, "params"):
                known = set(dir(estimator))
                assert [word.arg for word in node.keywords if word.arg not in known] == []
