"""docs/api.md from the docstrings: ``python docs/make_api.py`` (`make docs`), after any change of a public
name or a Param.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from recspark.config import Option
from recspark.models.factors.factorization import Factorization
from recspark.models.factors.model import FactorModel
from recspark.models.params import Configurable
from recspark.pipeline.jobs import JOBS

ROOT = Path(__file__).parents[1]

#: packages whose public names are listed with their docstrings; of the others each module has a line
LISTED = ("features", "data", "evaluation", "tracking")
INSIDE = ("models", "engine", "algorithms", "kernels", "cli")

#: classes that others are made of: their methods are told once
SHARED = (Factorization, FactorModel)

HEAD = """# API reference
Written by `make docs` from the docstrings.
Words are explained in [notation](notation.md) and [metrics](metrics.md)."""
MODELS = """## Estimators and models
`from recspark.models import ...`; every Param has `getName()` and `setName(value)`,
and is a key of `[model]`."""
MODULES = """## Modules inside
| module | what |
|---|---|"""

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def document() -> str:
    """The whole reference as Markdown."""
    models = [estimator(cls) for cls in (*SHARED, *public_models())]
    inside = [_module_row(path) for name in INSIDE for path in modules(name)]
    parts = [
        HEAD,
        jobs(),
        MODELS,
        *models,
        *(package(name) for name in LISTED),
        "\n".join([MODULES, *inside]),
    ]
    return "\n\n".join(parts) + "\n"


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
    methods = [(name, member) for name, member in _members(cls) if name not in _accessors(params)]
    described = [f"#### `{name}{_signature(member)}`\n{_words(member)}" for name, member in methods]
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


def _accessors(params: dict[str, Option]) -> set[str]:
    return {f"{verb}{name[0].upper()}{name[1:]}" for name in params for verb in ("get", "set")}


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
    """The public names of a package, by module."""
    return "\n\n".join([f"## recspark.{name}", *(module(path) for path in modules(name))])


def modules(name: str) -> list[Path]:
    """The modules of a package that have something to import, in order of their names."""
    return [path for path in sorted((ROOT / "recspark" / name).rglob("*.py")) if path.name != "__init__.py"]


def module(path: Path) -> str:
    """The public functions and classes of a module, each with its signature and docstring."""
    tree = ast.parse(path.read_text("utf-8"))
    parts = [f"### {_dotted(path)}\n{markdown(ast.get_docstring(tree) or '')}"]
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            parts.append(f"#### `{_head(node)}`\n{markdown(ast.get_docstring(node) or '')}")
            parts += [f"- `{_head(method)}`: {_first(method)}" for method in public_methods(node)]
    return "\n\n".join(parts)


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
    parts = [head.rstrip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts.append(f"**{title}**\n\n{_entries(body)}")
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


if __name__ == "__main__":
    (ROOT / "docs/api.md").write_text(document(), "utf-8")
