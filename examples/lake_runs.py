"""What the examples share: jobs of one conf on one lake, models that are trained once, and tables to
print.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recspark.cli import main as recspark
from recspark.config import read_conf
from recspark.lake.lake import Lake
from recspark.lake.manifests import ModelManifest
from recspark.pipeline.conf.sections import validated
from recspark.pipeline.stages import is_trained


@dataclass(frozen=True)
class LakeRuns:
    """Jobs by one conf file on one lake; settings are ``section.key=value``, those of a call after those of
    all.
    """

    conf: Path
    lake: str
    settings: tuple[str, ...] = ()

    def job(self, name: str, *settings: str) -> None:
        """Run one job; its failure ends this program."""
        words = [word for each in self._all(settings) for word in ("--set", each)]
        if code := recspark([name, "--conf-file", str(self.conf), *words]):
            sys.exit(code)

    def prepare(self, source: str) -> None:
        """Ingest, index and split, where the lake does not have that."""
        for stage in ("ingest", "index", "split"):
            self.job(stage, f"data.source={source}")

    def measure(self, name: str, *settings: str) -> dict[str, Any]:
        """Metrics of models/NAME and its ``fit_seconds``; it is trained and evaluated unless the lake has
        done that.
        """
        settings = (*settings, f"model.name={name}")
        lake, sections = Lake(self.lake), validated(read_conf(str(self.conf), self._all(settings)))
        if not is_trained(lake, sections):
            lake.delete(f"metrics/{name}.json")
            self.job("train", *settings)
        if lake.read_json(f"metrics/{name}.json") is None:
            self.job("evaluate", *settings)
        return lake.read_json(f"metrics/{name}.json") | {
            "fit_seconds": lake.require(f"models/{name}", ModelManifest, "train").fit_seconds
        }

    def _all(self, settings: Iterable[str]) -> list[str]:
        return [f"paths.lake={self.lake}", *self.settings, *settings]


def toml(value: Any) -> str:
    """A list, a table, a text or a number as TOML writes it, in one line.

    >>> toml(["user", {"group": "rated", "scale": "linear"}])
    '["user", {group = "rated", scale = "linear"}]'
    """
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table.

    >>> print(markdown(["k", "RMSE"], [["2", ".9"]]))
    | k | RMSE |
    | --- | --- |
    | 2 | .9 |
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
