"""The yardstick of every comparison: the mean rating, and a bias of every user and item."""

from __future__ import annotations

import math
from dataclasses import asdict

from recspark.algorithms.als import ALSSolver
from recspark.algorithms.sgd import SGDSolver
from recspark.config import above, at_least, one_of
from recspark.engine.encode import Parts
from recspark.kernels.sgd import Penalty
from recspark.models.factors.factorization import Factorization, per_side
from recspark.models.factors.model import FactorModel
from recspark.models.folder import FitFacts, SolverFacts
from recspark.models.params import Hyperparameter
from recspark.models.unread import Unread


class BaselineModel(FactorModel):
    """The mean and the biases that `Baseline` fitted."""

    @property
    def rank(self) -> int:
        """0: there are no factors."""
        return 0


class Baseline(Factorization):
    """``mean + b_u + b_i``, least squares with a penalty: a factorization without factors.

    ``solver = "als"``: ``b_u = sum_i (r_ui - mean - b_i) / (n_u + regParam)``, and likewise for items:
    regParam is a damping, in ratings (Koren 2010, "Factor in the neighbors", section 2.1).
    ``solver = "sgd"``: one gradient step per rating; each step pays the penalty.
    """

    model_class = BaselineModel

    solver = Hyperparameter(str, "als", "how biases are fitted", one_of("als", "sgd"))
    maxIter = Hyperparameter(int, 10, "largest number of iterations or epochs", at_least(0))
    regParam = Hyperparameter(
        float,
        5.0,
        "als: number of ratings that a bias of 0 counts for; sgd: penalty per rating, such as 0.005",
        at_least(0),
    )
    userRegParam = Hyperparameter(float, None, "of users; regParam if not set", at_least(0))
    itemRegParam = Hyperparameter(float, None, "of items; regParam if not set", at_least(0))
    stepSize = Hyperparameter(float, 0.01, "learning rate of solver sgd", above(0))

    unread: tuple[Unread, ...] = (
        Unread("stepSize seed", lambda e, _: e.getSolver() == "als", "solver = 'als'"),
    )

    def _rank(self) -> int:
        return 0

    def _facts(self, solver: ALSSolver | SGDSolver) -> FitFacts:
        rows: SolverFacts = {
            "kind": self.getSolver(),
            "settings": asdict(solver),
            "weights": self.getWeightCol() is not None,
        }
        if self.getSolver() == "als":
            rows["alpha"] = 0.0
        return {**super()._facts(solver), "solver": rows}

    def _solver(self, parts: Parts) -> ALSSolver | SGDSolver:
        reg = per_side(self.getRegParam(), self.getUserRegParam(), self.getItemRegParam())
        shared = {
            "rank": 0,
            "mean": parts.mean,
            "level": parts.mean,
            "biased": True,
            "nonnegative": False,
            "clip": (parts.low, parts.high) if self.getClip() else (-math.inf, math.inf),
            "seed": self.getSeed(),
        }
        if self.getSolver() == "als":
            return ALSSolver(
                reg=reg,
                bias_reg=reg,
                reg_power=dict.fromkeys(reg, 0.0),
                targets=0.0,
                implicit=False,
                cg_steps=0,
                **shared,
            )
        return SGDSolver(
            kernel="linear",
            loss="squared",
            optimizer="sgd",
            batch=1,
            rate=self.getStepSize(),
            schedule="constant",
            decay=0.0,
            penalty={side: Penalty(0.0, 0.0, value, 0.0) for side, value in reg.items()},
            reg_power=1.0,
            weight=parts.weight,
            low=parts.low,
            high=parts.high,
            gamma=1.0,
            stdev=0.0,
            **shared,
        )
