"""Solve rows of a fitted model while the other side is fixed.

The solver that trained is made again from the facts that the model keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from recspark.algorithms.als import LEAST_EXCESS, ALSSolver
from recspark.algorithms.contract import State
from recspark.algorithms.ratings import CSR, SIDES, Block
from recspark.algorithms.sgd import SGDSolver
from recspark.errors import RecsparkError
from recspark.kernels.sgd import Penalty
from recspark.models.folder import FactorFacts, SolverFacts


class RowSolver(Protocol):
    """An algorithm that can solve any rows of one side by themselves."""

    @property
    def given_weights(self) -> bool:
        """Whether ratings come with weights."""

    @property
    def weighted(self) -> bool:
        """Whether the fitted values have weights other than 1."""

    def targets(self, ratings: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The values to fit and their weights, both float32; weight 0: the rating has no effect.

        `weights` is None unless ratings come with weights.
        """

    def start(self, side: str, first: int, n: int) -> State:
        """Factors and biases of n rows from position `first` on, of which nothing is known."""

    def solve(self, side: str, csr: CSR, fixed: State, own: State, threads: int) -> State:
        """Solve rows of `side` while the other side is fixed.

        Parameters
        ----------
        side
            ``users`` or ``items``: the side of the rows.
        csr
            The ratings of the rows: one CSR row per solved row, whose indices are positions of the other
            side.
        fixed
            Factors float32 (n_other, rank) and biases float32 (n_other,) of the whole other side, as
            ``factors`` and ``bias``.
        own
            Factors float32 (n, rank) and biases float32 (n,) of the n rows before; they are not changed.
        threads
            Number of threads of the kernels.

        Returns
        -------
        State
            The new ``factors`` and ``bias`` of the rows.
        """

    def export(self, side: str, csr: CSR, state: State, n_other: int) -> State:
        """The columns features, bias and deviation of these rows in the model's table.

        Parameters
        ----------
        side, csr, state
            The side, the ratings of the rows, and their solution, as in `solve`.
        n_other
            The number of ids of the other side.
        """


@dataclass(frozen=True)
class ALSRows:
    """ALS: each row is the minimum of its own least squares problem.

    So rows that were trained like that come back unchanged.
    """

    solver: ALSSolver
    #: factor of the confidence, for implicit feedback without weights
    alpha: float
    given_weights: bool

    @classmethod
    def from_facts(cls, facts: SolverFacts, epochs: int, rate: float | None) -> ALSRows:
        """Make the solver from the facts that `recspark.models.factors.als` writes."""
        settings = dict(facts["settings"])
        if isinstance(settings["reg_power"], float):  # a model of version 0.1 has one for both sides
            settings["reg_power"] = dict.fromkeys(SIDES, settings["reg_power"])
        # rows are solved from nothing: conjugate gradient would need many more steps than while training
        solver = replace(ALSSolver(**settings), cg_steps=0)
        return cls(solver, facts["alpha"], facts["weights"])

    @property
    def weighted(self) -> bool:
        """Whether ratings have weights."""
        return self.solver.implicit or self.given_weights

    def targets(self, ratings: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The values that `ALS` fits, and their weights.

        They are ratings, or for implicit feedback c / (c - 1) with weight c - 1 (`recspark.kernels.als`).
        """
        if not self.solver.implicit:
            return ratings, np.ones_like(ratings) if weights is None else weights
        excess = (
            self.alpha * np.abs(ratings.astype(np.float64))
            if weights is None
            else weights.astype(np.float64) - 1
        )
        excess = np.where(ratings > 0, np.maximum(excess, LEAST_EXCESS), excess)
        targets = np.divide(1 + excess, excess, out=np.zeros_like(excess), where=ratings > 0)
        return targets.astype(np.float32), excess.astype(np.float32)

    def start(self, side: str, first: int, n: int) -> State:
        """Starting rows for ids that training has not seen."""
        return self.solver.fresh(side, first, n)

    def solve(self, side: str, csr: CSR, fixed: State, own: State, threads: int) -> State:
        """Solve rows by this algorithm.

        Parameters
        ----------
        side, csr, fixed, own, threads
            See `RowSolver.solve`.
        """
        source = self.solver.state(fixed["factors"], fixed["bias"])
        return self.solver.step(side, Block(csr), source, own, threads)[0]

    def export(self, side: str, csr: CSR, state: State, n_other: int) -> State:
        """Columns features, bias and deviation of a model, from solved rows.

        Parameters
        ----------
        side, csr, state, n_other
            See `RowSolver.export`.
        """
        return self.solver.export(side, Block(csr), state, n_other)


@dataclass(frozen=True)
class SGDRows:
    """Gradient descent: epochs over a row's own ratings, with the loss and penalties that trained.

    The learning rate is constant.
    """

    solver: SGDSolver
    given_weights: bool
    epochs: int
    rate: float

    @classmethod
    def from_facts(cls, facts: SolverFacts, epochs: int, rate: float | None) -> SGDRows:
        """Make the solver from the facts that `recspark.models.factors.mf` writes.

        If `rate` is None, it is the rate of the first epoch of training.
        """
        settings = facts["settings"]
        penalty = {side: Penalty(*values) for side, values in settings["penalty"].items()}
        solver = SGDSolver(**settings | {"penalty": penalty, "clip": tuple(settings["clip"])})
        return cls(solver, facts["weights"], epochs, solver.rate if rate is None else rate)

    @property
    def weighted(self) -> bool:
        """Whether ratings have weights."""
        return self.given_weights

    def targets(self, ratings: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The values to fit and their weights, for given ratings."""
        return ratings, np.ones_like(ratings) if weights is None else weights

    def start(self, side: str, first: int, n: int) -> State:
        """Starting rows for ids that training has not seen."""
        return self.solver.fresh(side, first, n)

    def solve(self, side: str, csr: CSR, fixed: State, own: State, threads: int) -> State:
        """Solve rows by this algorithm.

        Parameters
        ----------
        side, csr, fixed, own, threads
            See `RowSolver.solve`.
        """
        return self.solver.solve_rows(side, csr, fixed, own, self.epochs, self.rate, threads)

    def export(self, side: str, csr: CSR, state: State, n_other: int) -> State:
        """Columns features, bias and deviation of a model, from solved rows.

        Parameters
        ----------
        side, csr, state, n_other
            See `RowSolver.export`.
        """
        return self.solver.export(side, Block(csr), state, n_other)


#: by the kind that a model's facts name
SOLVERS: dict[str, Callable[[SolverFacts, int, float | None], RowSolver]] = {
    "als": ALSRows.from_facts,
    "sgd": SGDRows.from_facts,
}


def row_solver(facts: FactorFacts, epochs: int, rate: float | None) -> RowSolver:
    """The solver that the facts of a model name; `epochs` and `rate` are for gradient descent.

    Raise RecsparkError if the model can't be updated.
    """
    facts.require("update", "the model")
    if facts.solver is None:
        raise RecsparkError("the facts of the model do not say how its rows are solved: train it again")
    return SOLVERS[facts.solver["kind"]](facts.solver, epochs, rate)
