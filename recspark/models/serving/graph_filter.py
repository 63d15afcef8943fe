"""Graph filters as plain arrays: scores are histories, smoothed over the graph of users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix

from recspark.algorithms.item_item.graph_filter import GraphFilter, normalized
from recspark.algorithms.ratings import SIDES
from recspark.engine.storage import Store
from recspark.models.folder import FactorFacts, ModelTable, read_facts
from recspark.models.serving.item_item import ItemItemExplainer, as_csr, side_of
from recspark.models.serving.list_scorer import ListScorer
from recspark.models.serving.scorer import Side


class GraphFilterFacts(FactorFacts, tag="graph_filter", frozen=True, kw_only=True):
    """The facts of a graph filter: the Params that its scores need.

    Beside the tables there are the history of each user, as CSR, and the smooth basis.
    """

    scorer: ClassVar[str] = "recspark.models.serving.graph_filter:GraphFilterScorer"
    explainer: ClassVar[str] = "recspark.models.serving.graph_filter:GraphFilterExplainer"

    user_power: float
    item_power: float
    low_pass: float
    sharpening: float

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return (*SIDES, "basis", "history")


def read_filter(folder: str) -> tuple[csr_matrix, GraphFilter]:
    """The histories (users, items) and the filter of the model in `folder`, a path or a URI."""
    facts, store = read_facts(folder, GraphFilterFacts), Store(folder)
    history, basis = store.load("history"), store.load("basis")["vectors"]
    x = as_csr(history, (len(history["indptr"]) - 1, len(basis)))
    counts = np.maximum(np.bincount(x.indices, minlength=x.shape[1]), 1).astype(np.float64)
    n = normalized(x, facts.user_power, facts.item_power)
    weights = (counts**-facts.item_power).astype(np.float32)
    return x, GraphFilter(n, basis, weights, facts.low_pass, facts.sharpening)


@dataclass(frozen=True)
class GraphFilterScorer(ListScorer):
    """Scores: the filter of each user's history."""

    users: Side
    items: Side
    history: csr_matrix
    graph: GraphFilter

    @classmethod
    def load(cls, folder: str) -> GraphFilterScorer:
        """Read the model in `folder`, a path or a URI."""
        users, items = (side_of(ModelTable.read(folder, side)) for side in SIDES)
        history, graph = read_filter(folder)
        return cls(users, items, history, graph)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for positions of users."""
        return self.graph.rows(self.history[users])

    def _rows(self, side: str, positions: np.ndarray) -> np.ndarray:
        if side == "users":
            return self.scores(positions)
        weights = self.graph.columns(positions)
        weights[np.arange(len(positions)), positions] = -np.inf
        return weights


class GraphFilterExplainer(ItemItemExplainer):
    """What the filter takes from each item that the user has; the parts add up to the score."""

    def _weights(self, has: np.ndarray, places: np.ndarray, n_items: int) -> np.ndarray:
        _, graph = read_filter(self.folder)
        ones = np.ones(len(has), np.float32)
        alone = csr_matrix((ones, has, np.arange(len(has) + 1)), (len(has), n_items))
        return graph.rows(alone)[:, places]
