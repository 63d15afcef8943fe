"""Factorization machines on sparse rows, one column after the other: libFM's mcmc and als, in one process."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from recspark.algorithms.gibbs import draw_precision
from recspark.algorithms.machine import Report, matrix
from recspark.errors import RecsparkError
from recspark.kernels import fm
from recspark.kernels.anova import Joined
from recspark.kernels.fm import Compressed, Prior


@dataclass(frozen=True)
class GibbsFit:
    """The hyper-parameters of solvers mcmc and als; `link` is a key of `LINKS`.

    The priors of mcmc are those of `FMSampler`, for labels in units of their standard deviation.
    """

    rank: int
    iterations: int
    burn_in: int
    samples: int
    solver: str
    link: str
    reg: float
    stdev: float
    linear: bool
    intercept: bool
    seed: int

    def run(
        self,
        joined: Joined,
        labels: np.ndarray,
        weights: np.ndarray,
        roles: np.ndarray,
        reg: np.ndarray,
        report: Report,
    ) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        """Sample, one column after the other, and return the kept samples and the history.

        Watched rows are not used.

        Parameters
        ----------
        joined, labels, weights, roles, reg, report
            See `recspark.algorithms.machine.RowFit.run`.
        """
        train, columns = np.flatnonzero(roles == 0), len(reg)
        x, labels, weights = matrix(joined, columns)[train], labels[train], weights[train]
        n, total = len(train), weights.sum()
        draw, by_column, noise = np.random.default_rng(self.seed), x.tocsc(), float(self.solver == "mcmc")
        csc = Compressed(by_column.indptr, by_column.indices, by_column.data)
        center, unit = self._scale(labels, weights)
        # w0 is a number, not an array with one entry: numba would add to it in place
        w0, w, v = 0.0, np.zeros(columns), draw.normal(0, self.stdev, (self.rank, columns))
        score, q, target, alpha = np.empty(n), np.empty(n), (labels - center) / unit, 1.0
        fm.scores(0, n, Compressed(x.indptr, x.indices, x.data), w0, w, v, score)
        errors = target - score
        kept: list[dict[str, np.ndarray]] = []
        history: list[dict[str, float]] = []
        for iteration in range(1, self.iterations + 1):
            started = time.perf_counter()
            if self.link != "identity":
                score = target - errors
                fm.draw_latent(score, labels, draw.integers(1 << 63, dtype=np.uint64), noise, errors)
                target = score + errors
            elif noise:
                alpha = float(draw_precision(draw, n, _sum(weights, errors, errors)))
            if self.intercept:
                change = _sum(weights, errors) / total + noise * draw.standard_normal() / np.sqrt(
                    alpha * total
                )
                w0 += change
                errors -= change
            if self.linear:
                prior = self._prior(draw, w, noise)
                fm.draw_weights(csc, weights, errors, w, alpha, prior, noise * draw.standard_normal(columns))
            for factor in v:
                prior = self._prior(draw, factor, noise)
                normal = noise * draw.standard_normal(columns)
                fm.draw_factor(csc, weights, errors, q, factor, alpha, prior, normal)
            objective = float(unit**2 * _sum(weights, errors, errors) / total)
            history.append(_row(iteration, objective, time.perf_counter() - started, n))
            last = report(history[-1]) or iteration == self.iterations
            if (iteration > self.burn_in and (iteration - self.burn_in) % self._every == 0) or (
                last and not kept
            ):
                kept.append(_sample(w0, w, v, alpha, center, unit))
            if last:
                break
        kept = kept or [_sample(w0, w, v, alpha, center, unit)]
        return {key: np.stack([sample[key] for sample in kept]) for key in kept[0]}, history

    def _scale(self, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
        """The center that is subtracted from labels, and the unit that they are then divided by.

        They are 0 and 1 if other values would change the model: labels of classes have no unit, fixed
        penalties are in the labels' unit, and without an intercept 0 has a meaning.
        """
        if self.link != "identity":
            return 0.0, 1.0
        mean = float(np.average(labels, weights=weights))
        deviation = float(np.sqrt(np.average(np.square(labels - mean), weights=weights)))
        varies = deviation > 1e-7 * abs(mean)  # else it is rounding
        return mean if self.intercept else 0.0, deviation if self.solver == "mcmc" and varies else 1.0

    @property
    def _every(self) -> int:
        return max(1, (self.iterations - self.burn_in) // self.samples)

    def _prior(self, draw: np.random.Generator, values: np.ndarray, noise: float) -> Prior:
        """The prior of parameters of one kind."""
        if not noise:
            return Prior(0.0, max(self.reg, 1e-10))
        if not values.any():
            # weights at their start are all 0, which says nothing about their variance
            return Prior(0.0, 1.0)
        n, mean = len(values), values.mean()
        precision = float(draw_precision(draw, n, np.square(values - mean).sum()))
        return Prior(draw.normal(n * mean / (n + 1), 1 / np.sqrt((n + 1) * precision)), precision)


def _row(iteration: int, objective: float, seconds: float, rows: int) -> dict[str, float]:
    """The metrics of an iteration. Raise RecsparkError if the objective is not finite."""
    if not np.isfinite(objective):
        raise RecsparkError(f"the fit diverged at iteration {iteration}: lower initStd, or raise regParam")
    return {
        "iteration": iteration,
        "objective": objective,
        "seconds": seconds,
        "ratings_per_second": rows / seconds,
    }


def _sample(
    w0: float, w: np.ndarray, v: np.ndarray, alpha: float, center: float, unit: float
) -> dict[str, np.ndarray]:
    """The parameters in the unit of the labels."""
    found = {
        "w0": np.array(center + unit * w0),
        "w": unit * w,
        "alpha": np.array(alpha / unit**2),
    }
    return found | {"v": np.sqrt(unit) * v.T[None]}


def _sum(*factors: np.ndarray) -> float:
    """The sum of products of rows.

    A dot product of BLAS would add in an order that depends on its threads.
    """
    return float(np.einsum(",".join("i" * len(factors)) + "->", *factors))
