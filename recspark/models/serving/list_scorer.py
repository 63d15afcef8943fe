"""What all scorers share whose scores order the items of a user, and are not ratings."""

from __future__ import annotations

from functools import partial

import numpy as np

from recspark.kernels.threads import in_threads
from recspark.kernels.topn import top_n
from recspark.models.serving.scorer import Best, Ids, Side

#: number of users whose scores of all items a thread makes at once
USERS_AT_ONCE = 256


class ListScorer:
    """Predictions and lists from `scores`; see `recspark.models.serving.scorer.Scorer`."""

    users: Side
    items: Side

    def scores(self, users: np.ndarray) -> np.ndarray:
        """float32 (len(users), n_items): scores of all items for positions of users."""
        raise NotImplementedError

    def predict(self, user_ids: Ids, item_ids: Ids, cold: str | None = None) -> np.ndarray:
        """float32 scores of pairs of ids.

        A pair with a cold id gets 0 if `cold` is ``mean``, else NaN.
        """
        user, item = self.users.index.positions(user_ids), self.items.index.positions(item_ids)
        known = (user >= 0) & (item >= 0)
        found = np.full(len(user), 0.0 if (cold or "mean") == "mean" else np.nan, np.float32)
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(user[rows], kind="stable")]
        asked, first = np.unique(user[rows], return_index=True)
        edges = np.append(first, len(rows))
        for low in range(0, len(asked), USERS_AT_ONCE):
            part = rows[edges[low] : edges[min(low + USERS_AT_ONCE, len(asked))]]
            scores = self.scores(asked[low : low + USERS_AT_ONCE])
            found[part] = scores[np.searchsorted(asked, user[part]) - low, item[part]]
        return found

    def ratings(self, scores: np.ndarray) -> np.ndarray:
        """The scores, unchanged: they are not ratings."""
        return scores

    def best(self, side: str, ranked: str, chosen: np.ndarray) -> Best:
        """See `recspark.models.serving.scorer.Scorer.best`; only items are ranked."""
        return partial(self._best, side, chosen)

    def _best(
        self,
        side: str,
        chosen: np.ndarray,
        positions: np.ndarray,
        n: int,
        indptr: np.ndarray,
        indices: np.ndarray,
        threads: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        def lists(low: int) -> tuple[np.ndarray, np.ndarray]:
            rows = self._rows(side, positions[low : low + USERS_AT_ONCE])[:, chosen]
            return top_n(np.ascontiguousarray(rows), n, indptr[low:], indices)

        found = in_threads(lists, range(0, len(positions), USERS_AT_ONCE), threads)
        items, scores = zip(*found, strict=True)
        return np.concatenate(items), np.concatenate(scores)

    def _rows(self, side: str, positions: np.ndarray) -> np.ndarray:
        """float32 (len(positions), n_items): what orders the items for each position of `side`."""
        return self.scores(positions)

    def list_values(
        self, side: str, ranked: str, owners: np.ndarray, entries: np.ndarray, scores: np.ndarray
    ) -> np.ndarray:
        """The values that lists show: the scores.

        Parameters
        ----------
        side, ranked, owners, entries, scores
            See `recspark.models.serving.scorer.Scorer.list_values`.
        """
        return scores
