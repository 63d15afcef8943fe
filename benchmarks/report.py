"""What all races share: a contender in a process of its own, results kept as JSON, and the table between two
marks of README.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def run_contender(script: str, *arguments: str) -> dict[str, Any]:
    """The object that `script` of this folder prints as its last line."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def kept(name: str) -> dict[str, Any]:
    """The results of `name` that were kept last, none at first."""
    file = HERE / "results" / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def keep(name: str, results: dict[str, Any]) -> None:
    """Write the results of `name`."""
    (HERE / "results" / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")


def show(name: str, table: str) -> None:
    """Print `table`, and put it between the marks ``bench-NAME`` of README.md."""
    marks = re.compile(rf"(<!-- bench-{name} -->\n).*?(<!-- /bench-{name} -->)", re.DOTALL)
    README.write_text(marks.sub(lambda found: f"{found[1]}{table}\n{found[2]}", README.read_text()))
    print(table)
