"""docs/api.md and docs/api/ from the docstrings: ``python docs/make_api.py`` (`make docs`), after any change
of a public name or a Param.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from recspark.config import Option
from recspark.models.factors.factorization import Factorization
from recspark.models.factors.model import FactorModel
from recspark.models.params import Configurable
from recspark.pipeline.jobs import JOBS

ROOT = Path(__file__).parents[1]

#: packages whose public names are listed with their docstrings, each on a page of its own; of the others each
#: module has a line
LISTED = ("features", "data", "evaluation", "tracking")
INSIDE = ("models", "engine", "algorithms", "kernels", "cli")

#: classes that others are made of: their methods are told once
SHARED = (Factorization, FactorModel)

HEAD = """# API reference
Written by `make docs` from the docstrings.
Words are explained in [notation](notation.md) and [metrics](metrics.md).

This page has the jobs, and the estimators and models of `recspark.models`. The other packages:"""
MODELS = """## Estimators and models
`from recspark.models import ...`; every Param has `getName()` and `setName(value)`,
and is a key of `[model]`. A model also has the getters of its estimator's Params."""
MODULES = """## Modules inside
| module | what |
|---|---|"""

#: a name and, indented below it, what it means
_TERM = re.compile(r"(?! )(?!>>>).+\n {4}")
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def pages() -> dict[str, str]:
    """The reference as Markdown, by the place of each page in docs."""
    models = [estimator(cls) for cls in (*SHARED, *public_models())]
    inside = [_module_row(path) for name in INSIDE for path in modules(name)]
    links = "\n".join(f"- [recspark.{name}](api/{name}.md)" for name in LISTED)
    parts = [f"{HEAD}\n\n{links}", jobs(), MODELS, *models, "\n".join([MODULES, *inside])]
    return {"api.md": "\n\n".join(parts) + "\n"} | {f"api/{name}.md": package(name) for name in LISTED}


def jobs() -> str:
    """What ``recspark JOB`` does."""
    rows = "\n".join(f"| `recspark {name}` | {job.text} |" for name, job in JOBS.items())
    return (
        "## Jobs\nAll take `--conf-file FILE`, `--set SECTION.KEY=VALUE` and `--quiet`. The keys are in "
        f"[configuration](configuration.md).\n\n| job | what |\n|---|---|\n{rows}"
    )


def public_models() -> list[type[Configurable]]:
    """The classes of `recspark.models`, each once."""
    found = importlib.import_module("recspark.models")
    named = dict.fromkeys(getattr(found, name) for name in found.__all__)
    return [each for each in named if inspect.isclass(each)]


def estimator(cls: type[Configurable]) -> str:
    """A class of `recspark.models`: its docstring, its Params and its own methods."""
    params = {name: param.option for name, param in cls.hyperparameters().items()}
    methods = [(name, member) for name, member in _members(cls) if not _is_accessor(name, params)]
    described = [f"{_heading('####', name + _signature(member))}{_words(member)}" for name, member in methods]
    more = next(
        (
            f"With all of [{base.__name__}](#{base.__name__.lower()})."
            for base in SHARED
            if base in cls.__mro__[1:]
        ),
        "",
    )
    head = f"### {cls.__name__}\n{_words(cls)} {more}".rstrip()
    return "\n\n".join([head, _table("Param", params), *described])


def _members(cls: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties that recspark wrote, for `cls` or a class it is made of and that is not
    told by itself.
    """
    told = {Configurable, *(base for shared in SHARED if shared is not cls for base in shared.__mro__)}
    ours = [
        base for base in cls.__mro__ if base.__module__.startswith("recspark.models.") and base not in told
    ]
    names = dict.fromkeys(name for base in ours for name in vars(base) if not name.startswith("_"))
    for name in names:
        member = inspect.getattr_static(cls, name)
        member = member.__func__ if isinstance(member, classmethod) else member
        if isinstance(member, property) or inspect.isfunction(member):
            yield name, member


def _is_accessor(name: str, params: dict[str, Option]) -> bool:
    """Whether a method gets or sets a Param, of the class or of the estimator that made it."""
    return name.startswith("get") or name in {f"set{param[0].upper()}{param[1:]}" for param in params}


def _signature(member: object) -> str:
    if isinstance(member, property):
        return ""
    arguments = [
        str(each)
        for each in inspect.signature(member).parameters.values()
        if each.name not in ("self", "cls")
    ]
    return f"({', '.join(arguments)})"


def package(name: str) -> str:
    """The page of a package: its public names, by module."""
    written = "Written by `make docs` from the docstrings: part of the [API reference](../api.md)."
    return "\n\n".join([f"# recspark.{name}\n{written}", *(module(path) for path in modules(name))]) + "\n"


def modules(name: str) -> list[Path]:
    """The modules of a package that have something to import, in order of their names."""
    return [path for path in sorted((ROOT / "recspark" / name).rglob("*.py")) if path.name != "__init__.py"]


def module(path: Path) -> str:
    """The public functions and classes of a module, each with its signature and docstring."""
    tree = ast.parse(path.read_text("utf-8"))
    parts = [f"## {_dotted(path)}\n{markdown(ast.get_docstring(tree) or '')}"]
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            parts.append(f"{_heading('###', _head(node))}{markdown(ast.get_docstring(node) or '')}")
            parts += [f"- `{_head(method)}`: {_first(method)}" for method in public_methods(node)]
    return "\n\n".join(parts)


def _heading(marks: str, signature: str) -> str:
    """A heading with the name, and below it the signature where there is more of it."""
    name, call, _ = signature.partition("(")
    if not call:
        return f"{marks} `{name}`\n"
    wrapped = fill(signature, 100, subsequent_indent="    ", break_on_hyphens=False)
    return f"{marks} `{name}`\n```python\n{wrapped}\n```\n"


def public_methods(node: ast.AST) -> list[ast.FunctionDef]:
    """The methods of a class, if it is one, whose names have no underscore in front."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    return [each for each in body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")]


def _head(node: ast.ClassDef | ast.FunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args))
    if any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list):
        return node.name
    return f"{node.name}({arguments})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def _words(member: object) -> str:
    return markdown(inspect.getdoc(member) or "")


def _first(node: ast.FunctionDef) -> str:
    return " ".join(markdown(ast.get_docstring(node) or "").partition("\n\n")[0].split())


def _module_row(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return f"| `{_dotted(path)}` | {' '.join(markdown(docstring).partition(chr(10) * 2)[0].split())} |"


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _table(first: str, options: dict[str, Option]) -> str:
    rows = [
        f"| `{name}` | {_default(option)} | {option.doc} ({option.allowed}) |"
        for name, option in options.items()
    ]
    return f"| {first} | default | what |\n|---|---|---|\n" + "\n".join(rows)


def _default(option: Option) -> str:
    return "not set" if option.default is None else f"`{option.default}`"


def markdown(docstring: str) -> str:
    """A numpydoc docstring as Markdown: sections in bold, literals as code, blocks that are indented as they
    stand.

    >>> print(markdown("A fit.\\n\\nRaises\\n------\\nConfigError\\n    Where ``rank`` is 0."))
    A fit.
    <BLANKLINE>
    **Raises**
    <BLANKLINE>
    - `ConfigError`: Where `rank` is 0.
    """
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring.replace("``", "`"))
    head, *sections = _SECTION.split(text)
    parts = [_entries(part) if _TERM.match(part) else part for part in head.rstrip().split("\n\n")]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts.append(f"**{title}**\n\n{_PARTS.get(title, _entries)(body)}")
    return "\n\n".join(parts)


def _entries(body: str) -> str:
    """The entries of a numpydoc section, a list item each."""
    entries: list[list[str]] = []
    for line in body.strip().splitlines():
        if line and not line.startswith(" "):
            entries.append([line])
        elif entries:
            entries[-1].append(line.strip())
    return "\n".join(
        f"- `{name}`" + (f": {' '.join(filter(None, rest))}" if any(rest) else "") for name, *rest in entries
    )


def _plain(body: str) -> str:
    return body.strip()


def _code(body: str) -> str:
    return "```python\n" + re.sub(r" +# doctest: .*", "", body.strip()) + "\n```"


#: how sections of plain text are shown; the other sections list entries
_PARTS = {"Examples": _code, "References": _plain, "Notes": _plain}


if __name__ == "__main__":
    for place, page in pages().items():
        (ROOT / "docs" / place).parent.mkdir(exist_ok=True)
        (ROOT / "docs" / place).write_text(page, "utf-8")
