"""Factorization machines by stochastic gradients, in one process.

Epochs run over joined rows. The result is a curve, and the parameters of the best epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recspark.algorithms.machine import LINKS, Report, scores, some_rows
from recspark.algorithms.ratings import ROLES
from recspark.algorithms.stopping import best_iteration, should_stop
from recspark.errors import RecsparkError
from recspark.kernels import anova
from recspark.kernels.anova import LOSSES, OPTIMIZERS, Joined, Parameters, Rule
from recspark.kernels.ranking.losses import Ranking, cost_and_slopes
from recspark.kernels.ranking.negatives import Unrated

#: a fit has diverged if its loss is this many times the loss of the prediction 0
WORST = 100.0


@dataclass(frozen=True)
class SGDFit:
    """The hyper-parameters; loss and optimizer are of `recspark.kernels.anova`, link is a key of `LINKS`.

    ``ranking`` is the loss if it compares items, which `loss` names.
    """

    rank: int
    order: int
    iterations: int
    loss: str
    link: str
    optimizer: str
    rate: float
    stdev: float
    linear: bool
    intercept: bool
    tol: float
    patience: int
    seed: int
    ranking: Ranking | None = None

    def run(
        self,
        joined: Joined,
        labels: np.ndarray,
        weights: np.ndarray,
        roles: np.ndarray,
        reg: np.ndarray,
        report: Report,
    ) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        """Descend for some epochs, and return the parameters and the history.

        There is one sample: the last epoch, or the best one on validation rows. Its alpha, the precision of a
        label, is 1 over its mean squared error.

        Parameters
        ----------
        joined, labels, weights, roles, reg, report
            See `recspark.algorithms.machine.RowFit.run`.

        Raises
        ------
        RecsparkError
            If the loss of an epoch is not a number, or more than `WORST` times the loss of the prediction 0.
        """
        draw, train = np.random.default_rng(self.seed), np.flatnonzero(roles == 0)
        parameters = self._start(draw, len(reg), labels[train], weights[train])
        moments = anova.empty_moments(parameters, self.optimizer)
        rule, unrated = self._rule(), _unrated(joined, train) if self.ranking else None
        watched = self._watched(joined, labels, roles)
        worst = WORST * self._of_nothing(labels[train], weights[train])
        best, history = parameters, []
        for iteration in range(1, self.iterations + 1):
            started = time.perf_counter()
            order = draw.permutation(train)
            if unrated is not None:
                unrated = unrated._replace(key=draw.integers(1 << 63, dtype=np.uint64))
                preferred = order[labels[order] > 0]
                loss, total = anova.descend_preferences(
                    preferred, joined, weights, unrated, reg, rule, parameters, moments
                )
            else:
                loss, total = (
                    anova.descend(order, joined, labels, weights, reg, rule, parameters, moments),
                    weights[train].sum(),
                )
            if not loss <= worst * total:
                raise RecsparkError(
                    f"the fit diverged at iteration {iteration} with stepSize = {self.rate:g}: lower it"
                )
            row = {"iteration": iteration, **self._metrics(loss / max(total, 1e-300), watched, parameters)}
            seconds = time.perf_counter() - started
            history.append(row | {"seconds": seconds, "ratings_per_second": len(train) / seconds})
            if "validation_rmse" in row and best_iteration(history) == iteration:
                best = Parameters(*(part.copy() for part in parameters))
            if report(history[-1]) or should_stop(history, self.tol, self.patience):
                break
        errors = max(history[best_iteration(history) - 1].get("train_rmse", 1.0), 1e-9) if history else 1.0
        return {key: part[None] for key, part in best._asdict().items()} | {
            "w0": best.w0,
            "alpha": np.array([errors**-2]),
        }, history

    def _rule(self) -> Rule:
        optimizer = OPTIMIZERS.index(self.optimizer)
        if self.ranking:
            return Rule(0, optimizer, self.rate, False, self.linear, self.ranking)
        return Rule(LOSSES.index(self.loss), optimizer, self.rate, self.intercept, self.linear)

    def _of_nothing(self, labels: np.ndarray, weights: np.ndarray) -> float:
        """The mean loss of the prediction 0.

        Labels count as at least about 1: equal labels leave no other scale.
        """
        if self.ranking:
            equal = np.zeros(self.ranking.negatives + 1)
            return float(cost_and_slopes(self.ranking, equal, np.empty_like(equal)))
        if self.loss != "squared" or not weights.any():
            return float(np.log(2))
        return 0.5 * float(np.average(labels**2, weights=weights)) + 0.5

    def _watched(
        self, joined: Joined, labels: np.ndarray, roles: np.ndarray
    ) -> dict[str, tuple[Joined, np.ndarray]]:
        """The rows of each watched role, and their labels."""
        chosen = {
            role: np.flatnonzero(roles == code)
            for code, role in enumerate(ROLES)
            if code and not self.ranking
        }
        return {role: (some_rows(joined, rows), labels[rows]) for role, rows in chosen.items() if len(rows)}

    def _start(
        self, draw: np.random.Generator, columns: int, labels: np.ndarray, weights: np.ndarray
    ) -> Parameters:
        mean = (
            np.average(labels, weights=weights)
            if self.loss == "squared" and self.intercept and weights.any()
            else 0.0
        )
        return Parameters(
            np.array([float(mean)]),
            np.zeros(columns),
            draw.normal(0, self.stdev, (self.order - 1, columns, self.rank)),
        )

    def _metrics(
        self, objective: float, watched: dict[str, tuple[Joined, np.ndarray]], parameters: Parameters
    ) -> dict[str, float]:
        metrics = {"train_rmse": float(np.sqrt(2 * objective))} if self.loss == "squared" else {}
        for role, (rows, labels) in watched.items():
            errors = labels - LINKS[self.link](scores(rows, parameters))
            metrics[f"{role}_rmse"] = float(np.sqrt(np.mean(errors**2)))
        return metrics | {"objective": float(objective)}


def _unrated(joined: Joined, train: np.ndarray) -> Unrated:
    """The items that have training rows, and those that each user has rated; each epoch sets its own key."""
    users, items = joined.users[train], joined.items[train]
    shape = len(joined.user.indptr) - 1, len(joined.item.indptr) - 1
    rated = csr_matrix((np.ones(len(train), np.int8), (users, items)), shape)
    rated.sum_duplicates()
    csr = rated.indptr.astype(np.int64), rated.indices.astype(np.int32)
    return Unrated(np.unique(items), *csr, np.uint64(0))
