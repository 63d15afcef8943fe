"""Item-item models as plain arrays: scores are products of histories and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from recspark.algorithms.ratings import SIDES
from recspark.engine.storage import Store
from recspark.ids import IdIndex
from recspark.models.folder import FactorFacts, ModelTable, read_facts, read_rows
from recspark.models.serving.explanation import Explanation, Id, Part, positions_of
from recspark.models.serving.list_scorer import ListScorer
from recspark.models.serving.scorer import Side


class ItemItemFacts(FactorFacts, tag="item_item", frozen=True, kw_only=True):
    """The facts of an item-item model.

    The weights are a whole matrix if `dense`, else CSR. The history of each user is CSR too.
    """

    scorer: ClassVar[str] = "recspark.models.serving.item_item:ItemItemScorer"
    explainer: ClassVar[str] = "recspark.models.serving.item_item:ItemItemExplainer"

    dense: bool

    @property
    def content(self) -> tuple[str, ...]:
        """See `Facts.content`."""
        return (*SIDES, "weights", "history")


@dataclass(frozen=True)
class ItemItemScorer(ListScorer):
    """Scores ``history @ weights``: (users, items) by (items, items)."""

    users: Side
    items: Side
    history: csr_matrix
    weights: np.ndarray | csr_matrix

    @classmethod
    def load(cls, folder: str) -> ItemItemScorer:
        """Read the model in `folder`, a path or a URI."""
        facts, store = read_facts(folder, ItemItemFacts), Store(folder)
        users, items = (side_of(ModelTable.read(folder, side)) for side in SIDES)
        n = len(items.ids)
        history, weights = store.load("history"), store.load("weights")
        return cls(
            users,
            items,
            as_csr(history, (len(users.ids), n)),
            weights["whole"] if facts.dense else as_csr(weights, (n, n)),
        )

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for positions of users."""
        return _dense(self.history[users] @ self.weights)

    def _rows(self, side: str, positions: np.ndarray) -> np.ndarray:
        if side == "users":
            return self.scores(positions)
        # column j has the weights of other items for item j; an item without a weight is not listed
        weights = _dense(self.weights[:, positions]).T
        return np.where(weights == 0, np.float32(-np.inf), weights)


@dataclass(frozen=True)
class ItemItemExplainer:
    """``sum of h_ui w_ij`` over the items i that the user has.

    It maps the files, and reads the rows of the user and of these items.
    """

    folder: str

    #: the model keeps what each user has
    reads_ratings = False

    @classmethod
    def load(cls, folder: str) -> ItemItemExplainer:
        """Open the model in `folder`, a path or a URI."""
        return cls(folder)

    def explain(self, user: Id, items: Sequence[Id], rated: pa.Table | None = None) -> list[Explanation]:
        """See `recspark.models.serving.explanation.Explainer`."""
        users, ids = (IdIndex(read_rows(self.folder, side, ["id"])["id"]) for side in SIDES)
        [row] = positions_of("users", [user], users)
        places = positions_of("items", items, ids)
        [(has, values)] = _rows_of(Store(self.folder).load("history"), [row])
        weights = self._weights(has, places, len(ids))
        names = ids.ids.take(pa.array(has)).to_pylist()
        # where every row counts 1, the ratings are not known
        ratings = values.tolist() if (values != 1).any() else [None] * len(has)
        found = []
        for item, of_item in zip(items, (weights * values[:, None]).T.astype(np.float64), strict=True):
            score = float(of_item.sum())
            parts = [Part("rating", *part) for part in zip(of_item.tolist(), names, ratings, strict=True)]
            found.append(Explanation.of(item, score, score, parts))
        return found

    def _weights(self, has: np.ndarray, places: np.ndarray, n_items: int) -> np.ndarray:
        """float32 (len(has), len(places)): the weights of the items that the user has for others."""
        store = Store(self.folder)
        if read_facts(self.folder, ItemItemFacts).dense:
            return store.load("weights")["whole"][np.ix_(has, places)]
        weights = np.zeros((len(has), len(places)), np.float32)
        for number, (columns, entries) in enumerate(_rows_of(store.load("weights"), has)):
            whole = np.zeros(n_items, np.float32)
            whole[columns] = entries
            weights[number] = whole[places]
        return weights


def _rows_of(arrays: Mapping[str, np.ndarray], rows: Iterable[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices and values of some rows of a CSR matrix, which is mapped."""
    spans = [slice(*arrays["indptr"][row : row + 2]) for row in rows]
    return [(arrays["indices"][span], arrays["values"][span]) for span in spans]


def _dense(matrix: np.ndarray | csr_matrix) -> np.ndarray:
    return np.ascontiguousarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float32)


def side_of(table: ModelTable) -> Side:
    """The ids and offsets of a side; there are no factors."""
    return Side(table.ids.to_numpy(zero_copy_only=False), table.features, table.bias, table.deviation)


def as_csr(arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> csr_matrix:
    """The matrix of this shape from its stored arrays."""
    return csr_matrix((arrays["values"], arrays["indices"], arrays["indptr"]), shape)
