"""The parts of a factor model's scores, from the few rows of its tables that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from recspark.errors import RecsparkError
from recspark.ids import IdIndex, as_ids
from recspark.kernels.als import Source
from recspark.models.factors.row_solvers import SOLVERS, ALSRows
from recspark.models.folder import FactorFacts, ModelTable, read_facts
from recspark.models.serving.explanation import Explanation, Id, Part, positions_of, unknown
from recspark.models.serving.scorer import Scorer

#: the part of a product that the given ratings don't account for
REST = "not from these ratings"

_NO_GRAM = np.zeros((0, 0))


@dataclass(frozen=True)
class FactorExplainer:
    """``mean + b_u + b_i + <x_u, y_i>``; of ALS each rating of the user has its share of the product."""

    folder: str
    facts: FactorFacts

    @classmethod
    def load(cls, folder: str) -> FactorExplainer:
        """Open the model in `folder`, a path or a URI."""
        return cls(folder, read_facts(folder, FactorFacts))

    @property
    def reads_ratings(self) -> bool:
        """Whether the user's row is linear in the ratings: true for ALS."""
        return self._rows is not None

    @cached_property
    def _rows(self) -> ALSRows | None:
        if self.facts.solver is None or not self.facts.rank:
            return None
        rows = SOLVERS[self.facts.solver["kind"]](self.facts.solver, 0, None)
        return rows if isinstance(rows, ALSRows) else None

    def explain(self, user: Id, items: Sequence[Id], rated: pa.Table | None = None) -> list[Explanation]:
        """See `recspark.models.serving.explanation.Explainer`."""
        asked = as_ids(items)
        needed = asked if rated is None else pa.concat_arrays([asked, as_ids(rated["item"]).cast(asked.type)])
        users = ModelTable.read(self.folder, "users", as_ids([user]))
        table = ModelTable.read(self.folder, "items", needed)
        if not len(users):
            raise unknown("users", user)
        places = positions_of("items", items, IdIndex(table.ids))
        scorer = Scorer.of(self.facts, users, table)
        scores = scorer.scores(np.zeros(1, int))[0, places].tolist()
        predictions = scorer.predict(as_ids([user] * len(items)), asked).tolist()
        parts = self._parts(users, table, places, rated)
        if self.facts.response.kernel == "rbf":
            parts = [[Part("distance of the factors", score)] for score in scores]
        return [Explanation.of(*each) for each in zip(items, scores, predictions, parts, strict=True)]

    def _parts(
        self, users: ModelTable, items: ModelTable, places: np.ndarray, rated: pa.Table | None
    ) -> list[list[Part]]:
        """The parts of the scores of the items at `places`."""
        products = items.features[places].astype(np.float64) @ users.features[0]
        if rated is None or self._rows is None:
            of_products = [[Part("factors", product)] for product in products.tolist()]
        else:
            of_products = self._of_ratings(self._rows, users, items, places, rated)
            for product, parts in zip(products.tolist(), of_products, strict=True):
                parts.append(Part(REST, product - sum(part.value for part in parts)))
        common = [Part("mean", self.facts.mean, shared=True)]
        common.append(Part("user bias", float(users.bias[0]), shared=True))
        biases = items.bias[places].tolist()
        return [
            [*common, Part("item bias", bias), *parts]
            for bias, parts in zip(biases, of_products, strict=True)
        ]

    def _of_ratings(
        self, rows: ALSRows, users: ModelTable, items: ModelTable, places: np.ndarray, rated: pa.Table
    ) -> list[list[Part]]:
        """The share of each rating in the products of the user with the items at `places`."""
        if rows.given_weights and "weight" not in rated.column_names:
            raise RecsparkError(
                "the model was fitted with weights: weightCol must name their column in ratings"
            )
        ratings = rated["rating"].to_numpy().astype(np.float32)
        given = rated["weight"].to_numpy().astype(np.float32) if rows.given_weights else None
        values, weights = rows.targets(ratings, given)
        at = IdIndex(items.ids).positions(rated["item"])
        used = np.flatnonzero((at >= 0) & (weights != 0))
        if users.counts[0] not in (len(used), len(rated)):
            raise RecsparkError(
                f"the ratings of user {users.ids[0].as_py()!r} are not those that the model was made from: "
                f"there are {len(rated)}, the model has seen {users.counts[0]}"
            )
        gram = ModelTable.gram(self.folder, "items") if rows.solver.implicit else _NO_GRAM
        source = Source(items.features[at[used]], items.bias[at[used]], gram)
        shares = rows.solver.shares(
            source, values[used], weights[used], users.features[0], items.features[places]
        )
        ids, given_ratings = rated["item"].take(pa.array(used)).to_pylist(), ratings[used].tolist()
        return [
            [
                Part("rating", share, item, rating)
                for share, item, rating in zip(of_item, ids, given_ratings, strict=True)
            ]
            for of_item in shares.tolist()
        ]
