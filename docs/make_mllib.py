"""docs/mllib.md from the list of differences that the tests read: ``python docs/make_mllib.py``, after any
change of the list.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.dropin.differences import DEFAULTS, DIFFERENCES  # noqa: E402

HEAD = """# In place of MLlib
Written by `python docs/make_mllib.py` from `tests/dropin/differences.py`.

```python
from recspark.models import ALS, ALSModel                                # pyspark.ml.recommendation
from recspark.models import FMRegressor, FMRegressionModel               # pyspark.ml.regression
from recspark.models import FMClassifier, FMClassificationModel          # pyspark.ml.classification
```

Every public method, property and Param of these classes of PySpark 4.1 is here, with results of the same
types. They work in a Pipeline, a CrossValidator and a TrainValidationSplit, and are saved with them.
`tests/dropin` runs one set of tests on both libraries, and checks the list below: what is not in it is as
in MLlib.

Exceptions are those of MLlib as well: a value that a Param does not take and a column that is missing, of
another type or there already are `IllegalArgumentException`, a value of another type is `TypeError`; all
are `recspark.errors.RecsparkError`."""


def document() -> str:
    """The whole page as Markdown."""
    defaults = [
        _row(f"`{each.of}.{each.param}`", _value(each.mllib), _value(each.recspark), each.why)
        for each in DEFAULTS
    ]
    cases = [_row(each.case, each.mllib, each.recspark, each.why) for each in DIFFERENCES]
    tables = (("Defaults", "Param", defaults), ("Behaviour", "case", cases))
    parts = [
        f"## {title}\n" + "\n".join([_row(first, "MLlib", "recspark", "why"), "|---|---|---|---|", *rows])
        for title, first, rows in tables
    ]
    return "\n\n".join([HEAD, *parts]) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _value(value: object) -> str:
    return value if isinstance(value, str) and " " in value else f"`{value!r}`"


if __name__ == "__main__":
    (ROOT / "docs/mllib.md").write_text(document(), "utf-8")
