"""A fitted factor model as arrays that can grow.

Its tables are read into one process, and written as a new model.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec

from recspark.algorithms.ratings import SIDES
from recspark.errors import RecsparkError
from recspark.models.folder import FactorFacts, ModelTable, read_facts, write_facts


@dataclass(frozen=True)
class FactorTables:
    """Both sides by name, and the facts of the model."""

    tables: dict[str, ModelTable]
    facts: FactorFacts

    @classmethod
    def read(cls, folder: str) -> FactorTables:
        """Read the model saved in `folder`, a path or a URI.

        Raise RecsparkError if there is none, or one that can't be updated.
        """
        facts = read_facts(folder)
        facts.require("update", folder)
        if not isinstance(facts, FactorFacts):
            raise RecsparkError(f"{folder} (kind {facts.kind}) is not a model of factors")
        return cls({side: ModelTable.read(folder, side) for side in SIDES}, facts)

    def write(self, folder: str) -> None:
        """Write tables and facts to `folder`, in place of another version that is there."""
        for side, table in self.tables.items():
            table.write(folder, side)
        # readers keep a model in memory by its stamp
        write_facts(folder, msgspec.structs.replace(self.facts, stamp=uuid.uuid4().hex))
