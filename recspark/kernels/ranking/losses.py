"""Losses over the score s_0 of a preferred item and the scores s_1 ... s_n of items drawn for it.

    softmax   -ln (exp(s_0 / T) / sum_k exp(s_k / T)),   T the temperature
    bpr       ln (1 + exp(max_k s_k - s_0)),         k > 0: against the drawn item with the highest score
    ccl       1 - s_0 + (w / n) sum_k max(0, s_k - m),   w the weight of negatives, m the margin

With n = 1, bpr is that of Rendle et al. 2009; with more it is dynamic negative sampling (Zhang, Chen, Wang,
Yu 2013). ccl is the cosine contrastive loss of SimpleX (Mao et al. 2021): s are cosines, and without an upper
bound on s_0 it has no minimum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

LOSSES = ("bpr", "softmax", "ccl")

_BPR, _CCL = 0, 2


class Ranking(NamedTuple):
    """A loss of `LOSSES`, by its position, and the number of items to draw for each preferred one."""

    loss: int
    negatives: int
    temperature: float = 1.0
    margin: float = 0.0
    negative_weight: float = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def cost_and_slopes(ranking, scores, slopes):
    """The cost of scores, of which the preferred item's comes first; ``slopes[k]`` becomes d cost / d s_k.

    Items that do not count have the slope 0: with bpr all drawn ones but the first with the highest score.
    """
    if ranking.loss == _BPR:
        hardest = 1 + np.argmax(scores[1:])
        difference = scores[0] - scores[hardest]
        slopes[:] = 0
        slopes[hardest] = 1 / (1 + np.exp(difference))
        slopes[0] = -slopes[hardest]
        return max(-difference, 0.0) + np.log1p(np.exp(-abs(difference)))
    if ranking.loss == _CCL:
        cost, share = 1 - scores[0], ranking.negative_weight / (len(scores) - 1)
        slopes[0] = -1.0
        for k in range(1, len(scores)):
            slopes[k] = share if scores[k] > ranking.margin else 0.0
            cost += slopes[k] * (scores[k] - ranking.margin)
        return cost
    top, total, others = scores.max(), 0.0, 0.0
    for k in range(len(scores)):
        slopes[k] = np.exp((scores[k] - top) / ranking.temperature)
        total += slopes[k]
    for k in range(1, len(scores)):
        slopes[k] /= total * ranking.temperature
        others += slopes[k]
    # not probability - 1, which is 0 where the probability is near 1
    slopes[0] = -others
    return np.log(total) - (scores[0] - top) / ranking.temperature


@njit(cache=True, nogil=True, error_model="numpy")
def penalty_share(ranking):
    """The part of its penalty that a drawn item pays in a step, so that all of them pay as much as one."""
    return 1.0 if ranking.loss == _BPR else 1.0 / ranking.negatives
