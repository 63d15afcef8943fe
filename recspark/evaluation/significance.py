"""Tests whether models differ by more than chance: the paired bootstrap over users, on the same test rows.

A test set is a draw of users with all their rows, so users are drawn again: the rows of a user depend on each
other (one user rates high, another is hard to predict), and resampling rows as if they did not would make
intervals too narrow. With weights ``w_u`` and totals ``t_um`` of user u and model m, the metric of model m on
a resample that has user u ``c_u`` times is

    v_m = f(sum_u c_u t_um / sum_u c_u w_u),    (c_1 .. c_n) ~ Multinomial(n; 1/n .. 1/n),

where RMSE has w = number of rows, t = sum of squared errors and f = the square root, and a ranking metric
that is a mean over users has w = 1, t = the user's value and f = the identity. All models are measured on the
same resamples, so common effects (an unlucky draw of users) drop out of the difference ``d_m = v_m - v_0``
to the first.

Intervals are percentile intervals, the quantiles of ``d_m`` over resamples (Efron and Tibshirani 1993, "An
introduction to the bootstrap", chapter 13). The one-sided p value of "model m is better" is the share of
resamples in which it is not (Koehn 2004, "Statistical significance tests for machine translation evaluation",
section 4), the test set itself counted as one of them (Davison and Hinkley 1997, section 4.2.5):
``p = (1 + #{d_m on the wrong side of 0, or 0}) / (1 + resamples)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recspark.errors import RecsparkError

#: most draws of users that are held at once
_DRAWS = 1 << 22


@dataclass(frozen=True)
class PairedBootstrap:
    """Metrics of models on one test set, and on resamples of its users.

    values : (models,), on the test set
    resampled : (resamples, models)
    lower_is_better : whether the metric is an error
    """

    values: np.ndarray
    resampled: np.ndarray
    lower_is_better: bool

    @property
    def differences(self) -> np.ndarray:
        """``v_m - v_0`` on the test set, (models,), in the unit of the metric."""
        return self.values - self.values[0]

    def interval(self, confidence: float) -> np.ndarray:
        """(models, 2): the two-sided percentile interval of the difference to the first model."""
        tail = (1 - confidence) / 2
        return np.quantile(self._drawn, (tail, 1 - tail), axis=0).T

    def largest_loss(self, level: float) -> np.ndarray:
        """(models,): the most that a model is worse than the first, at the one-sided confidence 1 - `level`.

        Below 0 it is better. This is the upper end of the one-sided interval of the loss, which is the
        difference if lower is better, else minus the difference.
        """
        return np.quantile(self._loss, 1 - level, axis=0)

    @property
    def p_better(self) -> np.ndarray:
        """(models,): one-sided p value of "better than the first model"."""
        return (1 + np.sum(self._loss >= 0, axis=0)) / (1 + len(self.resampled))

    @property
    def _drawn(self) -> np.ndarray:
        return self.resampled - self.resampled[:, :1]

    @property
    def _loss(self) -> np.ndarray:
        return self._drawn if self.lower_is_better else -self._drawn


def paired_bootstrap(
    weights: np.ndarray,
    totals: np.ndarray,
    *,
    root: bool,
    lower_is_better: bool,
    resamples: int = 2000,
    seed: int = 42,
) -> PairedBootstrap:
    """Measure models on `resamples` draws of the users, with replacement, as many users as there are.

    Parameters
    ----------
    weights : ndarray
        (users,), ``w_u`` of the module: numbers of rows, or ones.
    totals : ndarray
        (users, models), ``t_um``: sums of squared errors, or values.
    root : bool
        Whether f is the square root (RMSE).
    lower_is_better : bool
    resamples, seed : int
        The same seed and order of users give the same draws. Time is linear in resamples x users.

    Raises
    ------
    RecsparkError
        With fewer than two users: there is nothing to resample.
    """
    users = len(weights)
    if users < 2:
        raise RecsparkError(
            f"{users} users can't be resampled: a paired bootstrap needs two users with test rows, better "
            "hundreds"
        )
    table = np.column_stack([weights, totals]).astype(np.float64)
    random, chunk = np.random.default_rng(seed), max(1, _DRAWS // users)
    sums = [_draw(random, min(chunk, resamples - done), table) for done in range(0, resamples, chunk)]
    measured = [_metric(part, root) for part in (table.sum(axis=0, keepdims=True), np.concatenate(sums))]
    return PairedBootstrap(measured[0][0], measured[1], lower_is_better)


def _draw(random: np.random.Generator, resamples: int, table: np.ndarray) -> np.ndarray:
    """Column sums of `table` over as many rows as it has, drawn with replacement: (resamples, columns)."""
    users = len(table)
    drawn = random.integers(0, users, (resamples, users)) + np.arange(resamples)[:, None] * users
    counts = np.bincount(drawn.reshape(-1), minlength=resamples * users).reshape(resamples, users)
    # not by BLAS, whose order of additions, and so the last bit, depends on the number of draws at once
    return np.einsum("du,uc->dc", counts, table)


def _metric(sums: np.ndarray, root: bool) -> np.ndarray:
    ratio = sums[:, 1:] / sums[:, :1]
    return np.sqrt(ratio) if root else ratio
