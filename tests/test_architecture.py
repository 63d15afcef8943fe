"""The rules of the house, checked on the source: which way imports point, what kernels and jobs hold,
docstrings, names.

Each rule is a function from a project's root folder to the list of its breaches; each is shown to find one in
a bad snippet.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: who may import whom: any part to the left of its own, and nobody on its own level but itself
ORDER = (
    "redaction < errors, hints < config < lake < data, kernels < ids < features < algorithms < engine < "
    "models"
    " < evaluation, tracking < pipeline < cli < jobs"
)
LEVELS = {part: level for level, parts in enumerate(ORDER.split(" < ")) for part in parts.split(", ")}
#: what the package itself imports, to prepare its process before Spark and numba are imported
PREPARING = ("recspark.engine.spark.workers.", "recspark.kernels.cache.")
ONLY_IN = {"mlflow": "tracking"}
#: names of Spark's JVM, which a session of Spark Connect lacks, and the folder that may use them
OF_THE_JVM = re.compile(r"_jvm|_jsc|_jdf|_jsparkSession|sparkContext|SparkContext|py4j")
KNOWS_THE_JVM = "recspark/engine/spark"
NEVER_IN_KERNELS = {"pyspark", "py4j", "pandas", "pyarrow"}
NEVER_IN_JOBS = {"numpy", "pandas", "scipy", "numba", "pyarrow", "math"}
UDFS = {
    "udf",
    "pandas_udf",
    "arrow_udf",
    "mapInPandas",
    "mapInArrow",
    "applyInPandas",
    "applyInArrow",
    "mapPartitions",
}
JOB_LINES = 60
FOLDER_MODULES = 14
#: a public function with more than this many has a section Parameters
DESCRIBED_ARGUMENTS = 4
MOST_ARGUMENTS = 8
#: arguments that no caller passes; the last is numba's
NOT_PASSED = ("self", "cls", "typing_context")
LONGEST_CHAIN = 14
#: uses of Any in annotations, each at a place whose type is open: JSON, Params by name, classes found by name
MOST_ANY = 12
BAD_NAMES = {"utils", "common", "helpers", "base", "core"}
#: parts of names that say nothing, or for which docs/notation.md has another word
RETIRED = {
    "mine",
    "met",
    "moved",
    "told",
    "said",
    "stuff",
    "overall",
    "dense_position",
    "global_mean",
    "identity",
}


def sources(root: Path, *folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root), ast.parse(path.read_text("utf-8"), str(path))


def part_of(path: Path) -> str:
    """``recspark/lake/lake.py`` is of the part lake, ``recspark/cli.py`` of cli, ``jobs/train.py`` of
    jobs.
    """
    return "jobs" if path.parts[0] == "jobs" else path.with_suffix("").parts[1]


def imported(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported anywhere in a module, relative imports resolved."""
    package = path.parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def imports_point_one_way(root: Path) -> list[str]:
    breaches = []
    for path, tree in sources(root, "recspark", "jobs"):
        part = part_of(path)
        if part != "__init__" and part not in LEVELS:
            breaches.append(f"{path}: {part} has no place in {ORDER}")
            continue
        for line, name in imported(path, tree):
            parts = name.split(".")
            target = (
                "jobs"
                if parts[0] == "jobs"
                else parts[1]
                if parts[0] == "recspark" and len(parts) > 1
                else part
            )
            if part == "__init__" and name.startswith(PREPARING):
                continue
            if target != part and LEVELS.get(target, len(LEVELS)) >= LEVELS.get(part, 0):
                breaches.append(f"{path}:{line}: {part} imports {name}")
    return breaches


def one_module_imports_mlflow(root: Path) -> list[str]:
    return [
        f"{path}:{line}: {name} belongs in {ONLY_IN[name.split('.')[0]]}"
        for path, tree in sources(root, "recspark", "jobs")
        for line, name in imported(path, tree)
        if part_of(path) != ONLY_IN.get(name.split(".")[0], part_of(path))
    ]


def one_folder_knows_the_jvm(root: Path) -> list[str]:
    return [
        f"{path}:{number}: {found[0]} belongs in {KNOWS_THE_JVM}"
        for path, _ in sources(root, "recspark", "jobs")
        if not path.is_relative_to(KNOWS_THE_JVM)
        for number, line in enumerate((root / path).read_text("utf-8").splitlines(), start=1)
        if (found := OF_THE_JVM.search(line))
    ]


def kernels_know_only_arrays(root: Path) -> list[str]:
    return forbidden_imports(root, "recspark/kernels", NEVER_IN_KERNELS)


def jobs_hold_no_formula(root: Path) -> list[str]:
    return forbidden_imports(root, "jobs", NEVER_IN_JOBS)


def forbidden_imports(root: Path, folder: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path}:{line}: imports {name}"
        for path, tree in sources(root, folder)
        for line, name in imported(path, tree)
        if name.split(".")[0] in forbidden
    ]


def jobs_hold_no_udf(root: Path) -> list[str]:
    return [
        f"{path}:{node.lineno}: {name}"
        for path, tree in sources(root, "jobs")
        for node in ast.walk(tree)
        for name in names_of(node)
        if name in UDFS
    ]


def names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names]
    return []


def jobs_fit_on_a_screen(root: Path) -> list[str]:
    lengths = {path: len((root / path).read_text("utf-8").splitlines()) for path, _ in sources(root, "jobs")}
    return [
        f"{path}: {lines} lines, more than {JOB_LINES}"
        for path, lines in lengths.items()
        if lines > JOB_LINES
    ]


def public_things_have_docstrings(root: Path) -> list[str]:
    """A function of a single statement may stand without: its name, its types and that statement say it
    all.
    """
    return [
        f"{path}:{node.lineno}: {node.name} has no docstring"
        for path, tree in sources(root, "recspark")
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")
        if ast.get_docstring(node) is None and (isinstance(node, ast.ClassDef) or len(node.body) > 1)
    ]


def functions(root: Path) -> Iterator[tuple[str, bool, ast.FunctionDef, list[str]]]:
    """Place, whether it is public, node and argument names (without self) of all functions and methods."""

    def inside(path: Path, node: ast.AST, public: bool) -> Iterator[tuple[str, bool, ast.FunctionDef, list]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.ClassDef, ast.FunctionDef))
            shown = public and not (named and child.name.startswith("_"))
            if isinstance(child, ast.FunctionDef):
                taken = (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)
                arguments = [each.arg for each in taken if each.arg not in NOT_PASSED]
                yield f"{path}:{child.lineno}", shown, child, arguments
            # what is defined inside a function is not public
            yield from inside(path, child, shown and not isinstance(child, ast.FunctionDef))

    for path, tree in sources(root, "recspark"):
        yield from inside(path, tree, True)


def long_signatures_say_their_parameters(root: Path) -> list[str]:
    return [
        f"{place}: {node.name} has {len(arguments)} arguments and no section Parameters"
        for place, public, node, arguments in functions(root)
        if public and len(arguments) > DESCRIBED_ARGUMENTS
        if not re.search(r"^Parameters\n-+$", ast.get_docstring(node) or "", re.MULTILINE)
    ]


def signatures_are_short(root: Path) -> list[str]:
    """More arguments belong into a NamedTuple."""
    return [
        f"{place}: {node.name} has {len(arguments)} arguments, more than {MOST_ARGUMENTS}"
        for place, _, node, arguments in functions(root)
        if len(arguments) > MOST_ARGUMENTS
    ]


def modules_have_telling_names(root: Path) -> list[str]:
    return [
        f"{path}: a module called {name} could hold anything"
        for path, _ in sources(root, "recspark", "jobs")
        for name in path.with_suffix("").parts
        if name in BAD_NAMES
    ]


def module_imports(root: Path) -> dict[str, set[str]]:
    """The modules that each module imports when it is imported itself."""
    trees = {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): tree
        for path, tree in sources(root, "recspark")
    }
    found = {}
    for module, tree in trees.items():
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        known = names & trees.keys()
        # of a package and a module in it, the module is meant
        found[module] = {
            name
            for name in known
            if name != module and not any(other.startswith(f"{name}.") for other in known)
        }
    return found


def imports_have_no_cycle(root: Path) -> list[str]:
    """And no chain of them is longer than LONGEST_CHAIN: who follows one opens every file of it."""
    imports, chains, breaches = module_imports(root), {}, []

    def chain(module: str, above: tuple[str, ...]) -> tuple[str, ...]:
        if module in above:
            breaches.append(f"a cycle: {' > '.join([*above[above.index(module) :], module])}")
            return ()
        if module not in chains:
            below = [chain(other, (*above, module)) for other in sorted(imports[module])]
            chains[module] = (module, *max(below, key=len, default=()))
        return chains[module]

    longest = max((chain(module, ()) for module in imports), key=len, default=())
    return breaches + (
        [f"{len(longest)} modules in a chain: {' > '.join(longest)}"] if len(longest) > LONGEST_CHAIN else []
    )


def folders_are_small(root: Path) -> list[str]:
    folders = {path.parent for path, _ in sources(root, "recspark")}
    counts = {folder: len(list((root / folder).glob("*.py"))) for folder in sorted(folders)}
    return [
        f"{folder}: {count} modules, more than {FOLDER_MODULES}"
        for folder, count in counts.items()
        if count > FOLDER_MODULES
    ]


def folders_are_packages(root: Path) -> list[str]:
    """A folder without ``__init__.py`` is imported here, and is missing from the wheel."""
    folders = {path.parent for path, _ in sources(root, "recspark")}
    return [
        f"{folder} has no __init__.py"
        for folder in sorted(folders)
        if not (root / folder / "__init__.py").exists()
    ]


def any_is_rare(root: Path) -> list[str]:
    """At most MOST_ANY times a type says Any, which mypy does not check."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources(root, "recspark")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "Any")
        or (isinstance(node, ast.Attribute) and node.attr == "Any")
    ]
    return (
        [f"{len(found)} uses of Any, more than {MOST_ANY}: {', '.join(found)}"]
        if len(found) > MOST_ANY
        else []
    )


def names_have_no_retired_word(root: Path) -> list[str]:
    return [
        f"{path}:{node.lineno}: the name {name} has a retired word"
        for path, tree in sources(root, "recspark")
        for node in ast.walk(tree)
        for name in defined_by(node)
        if any(f"_{word}_" in f"_{name.lower()}_" for word in RETIRED)
    ]


def defined_by(node: ast.AST) -> list[str]:
    """The name that a node gives to a variable, an argument, a function or a class."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []


RULES = [
    names_have_no_retired_word,
    any_is_rare,
    imports_have_no_cycle,
    folders_are_small,
    folders_are_packages,
    imports_point_one_way,
    one_module_imports_mlflow,
    one_folder_knows_the_jvm,
    kernels_know_only_arrays,
    jobs_hold_no_formula,
    jobs_hold_no_udf,
    jobs_fit_on_a_screen,
    public_things_have_docstrings,
    long_signatures_say_their_parameters,
    signatures_are_short,
    modules_have_telling_names,
]

GOOD = {
    "recspark/__init__.py": '__version__ = "1"',
    "recspark/errors.py": 'class RecsparkError(Exception):\n    """Said in one sentence."""',
    "recspark/config.py": "from recspark.errors import RecsparkError",
    "recspark/kernels/als.py": "import numpy as np\nfrom . import linalg\nfrom ..errors import RecsparkError",
    "recspark/kernels/linalg.py": "def solve(a, b):\n    return a / b\ndef _hidden():\n    pass\n    pass",
    "recspark/models/als.py": "from recspark.engine.fit import run\n"
    "import recspark.kernels.als\nfrom recspark import config",
    "recspark/engine/fit.py": "import pandas, pyspark",
    "recspark/engine/spark/session.py": "from pyspark import SparkContext",
    "recspark/tracking/runs.py": "import mlflow.pyfunc\nfrom recspark.models import als",
    "recspark/cli.py": "def main():\n    from recspark.tracking import runs",
    **{
        f"recspark/{part}/__init__.py": ""
        for part in ("kernels", "models", "engine", "engine/spark", "tracking")
    },
    "jobs/train.py": "from recspark.cli import main\nmain()",
}

LONG = {f"recspark/kernels/k{i}.py": f"from recspark.kernels import k{i + 1}" for i in range(LONGEST_CHAIN)}
LONG[f"recspark/kernels/k{LONGEST_CHAIN}.py"] = ""

BAD = [
    (
        any_is_rare,
        "recspark/models/als.py",
        "import typing\nfrom typing import Any\nlast: list[typing.Any]\n" + "value: Any\n" * MOST_ANY,
        f"{MOST_ANY + 1} uses of Any, more than {MOST_ANY}: ",
    ),
    (
        imports_have_no_cycle,
        "recspark/errors.py",
        "import recspark.config",
        "a cycle: recspark.config > recspark.errors > recspark.config",
    ),
    (
        imports_have_no_cycle,
        LONG,
        "",
        f"{LONGEST_CHAIN + 1} modules in a chain: recspark.kernels.k0 > recspark.kernels.k1",
    ),
    (
        folders_are_small,
        {f"recspark/data/d{i}.py": "" for i in range(FOLDER_MODULES + 1)},
        "",
        "recspark/data: 15 modules, more than 14",
    ),
    (
        names_have_no_retired_word,
        "recspark/kernels/als.py",
        "def f(overall_mean):\n    pass",
        "name overall_mean",
    ),
    (folders_are_packages, "recspark/lake/lake.py", "", "recspark/lake has no __init__.py"),
    (
        imports_point_one_way,
        "recspark/models/als.py",
        "from recspark.evaluation import rmse",
        "als.py:1: models imports",
    ),
    (
        imports_point_one_way,
        "recspark/models/als.py",
        "from recspark import tracking",
        "models imports recspark.tracking",
    ),
    (imports_point_one_way, "recspark/models/als.py", "import recspark.cli", "models imports recspark.cli"),
    (
        imports_point_one_way,
        "recspark/models/als.py",
        "def f():\n    from ..tracking import run",
        "als.py:2: models imports",
    ),
    (
        imports_point_one_way,
        "recspark/data/index.py",
        "from recspark.kernels import csr",
        "data imports recspark.kernels",
    ),
    (imports_point_one_way, "recspark/errors.py", "import recspark.config", "errors imports recspark.config"),
    (
        imports_point_one_way,
        "recspark/__init__.py",
        "from recspark.models import ALS",
        "__init__ imports recspark.models",
    ),
    (imports_point_one_way, "recspark/cli.py", "from jobs.train import main", "cli imports jobs.train"),
    (imports_point_one_way, "recspark/cli.py", "import recspark.plots", "cli imports recspark.plots"),
    (imports_point_one_way, "recspark/plots.py", "", "plots has no place"),
    (
        one_module_imports_mlflow,
        "recspark/models/als.py",
        "def f():\n    import mlflow.pyfunc",
        "als.py:2: mlflow.pyfunc",
    ),
    (one_module_imports_mlflow, "jobs/train.py", "from mlflow import log_metric", "train.py:1: mlflow"),
    (
        one_folder_knows_the_jvm,
        "recspark/models/als.py",
        "def f(spark):\n    return spark.sparkContext.defaultParallelism",
        "als.py:2: sparkContext belongs in recspark/engine/spark",
    ),
    (
        kernels_know_only_arrays,
        "recspark/kernels/als.py",
        "from pyspark.sql import DataFrame",
        "pyspark.sql.DataFrame",
    ),
    (
        kernels_know_only_arrays,
        "recspark/kernels/als.py",
        "def f():\n    import pandas as pd",
        "als.py:2: imports pandas",
    ),
    (jobs_hold_no_formula, "jobs/train.py", "import numpy as np", "imports numpy"),
    (jobs_hold_no_udf, "jobs/train.py", "from pyspark.sql.functions import pandas_udf", "pandas_udf"),
    (jobs_hold_no_udf, "jobs/train.py", "df.mapInArrow(f, s)", "train.py:1: mapInArrow"),
    (jobs_fit_on_a_screen, "jobs/train.py", "pass\n" * 61, "61 lines"),
    (
        public_things_have_docstrings,
        "recspark/cli.py",
        "def main():\n    a = 1\n    return a",
        "main has no docstring",
    ),
    (public_things_have_docstrings, "recspark/cli.py", "class Job:\n    pass", "Job has no docstring"),
    (
        long_signatures_say_their_parameters,
        "recspark/models/als.py",
        'class ALS:\n    "A fit."\n    def fit(self, a, b, c, d, e):\n        "Fit."',
        "als.py:3: fit has 5 arguments",
    ),
    (
        signatures_are_short,
        "recspark/models/als.py",
        "def _fit(a, b, c, d, e, f, g, h, i):\n    pass",
        "als.py:1: _fit has 9 arguments, more than 8",
    ),
    (modules_have_telling_names, "recspark/data/utils.py", "", "utils could hold anything"),
    (modules_have_telling_names, "recspark/core/als.py", "", "core could hold anything"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps(rule):
    assert rule(ROOT) == []


def test_there_is_something_to_check():
    assert len(list(sources(ROOT, "recspark"))) > 10


@pytest.fixture
def project(tmp_path):
    for name, text in GOOD.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_project_has_no_breach(rule, project):
    assert rule(project) == []


@pytest.mark.parametrize(
    ("rule", "name", "text", "breach"), BAD, ids=[f"{rule.__name__}-{breach}" for rule, _, _, breach in BAD]
)
def test_a_breach_is_found(rule, name, text, breach, project):
    for path, content in (name if isinstance(name, dict) else {name: text}).items():
        write(project / path, content)
    breaches = rule(project)
    assert len(breaches) == 1
    assert breach in breaches[0]


def test_each_rule_is_shown_to_fail():
    assert {rule for rule, *_ in BAD} == set(RULES)
