"""The step from scores to ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class Response:
    """The step from the score s of a pair to its rating.

    All kinds grow with s, so they keep rankings.
    ``linear``: s; ``sigmoid``: low + (high - low) / (1 + exp(-s)); ``rbf``: low + (high - low) exp(gamma s),
    where s is minus the squared distance of the two vectors (Rendle and Schmidt-Thieme 2008, section 3);
    ``ordered``: the mean of `levels` where level l has the probability that a normal around s with variance 1
    lies between cuts l and l + 1.
    """

    kernel: str = "linear"
    low: float = 0.0
    high: float = 1.0
    gamma: float = 1.0
    cuts: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """The ratings of scores."""
        if self.kernel == "linear":
            return score
        if self.kernel == "ordered":
            gaps = np.diff(self.levels)
            return self.levels[0] + sum(
                gap * ndtr(score - cut) for gap, cut in zip(gaps, self.cuts, strict=True)
            )
        unit = np.exp(self.gamma * score) if self.kernel == "rbf" else 1 / (1 + np.exp(-score))
        return self.low + (self.high - self.low) * unit
