"""Ordered levels: level l is a normal around the score between cuts l and l + 1 (Albert and Chib 1993).

The standard deviation of that normal is 1, or exp(spread) of a row that has one.
"""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True)
def normal_cdf(x):
    """The distribution function of the standard normal; precise in the lower tail."""
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@njit(cache=True, nogil=True)
def normal_quantile(p):
    """The inverse of `normal_cdf` to a relative error of 1e-9 (Acklam's rational approximations)."""
    if p < 0.02425:
        q = math.sqrt(-2 * math.log(p))
        top = (
            (
                ((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838) * q
                - 2.549732539343734
            )
            * q
            + 4.374664141464968
        ) * q
        bottom = (
            ((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996) * q
            + 3.754408661907416
        ) * q + 1
        return (top + 2.938163982698783) / bottom
    if p > 0.97575:
        return -normal_quantile(1 - p)
    q = p - 0.5
    r = q * q
    top = (
        (
            ((-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02) * r
            + 1.383577518672690e02
        )
        * r
        - 3.066479806614716e01
    ) * r
    bottom = (
        (
            ((-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02) * r
            + 6.680131188771972e01
        )
        * r
        - 1.328068155288572e01
    ) * r
    return (top + 2.506628277459239) * q / (bottom + 1)


@njit(cache=True, nogil=True)
def truncated_normal(mean, low, high, u):
    """The u-quantile of a normal of variance 1 around `mean`, cut to low < x < high.

    Both bounds may be infinite.
    """
    a, b = low - mean, high - mean
    # in the lower tail, where probabilities are precise
    flip = a + b > 0
    if flip:
        a, b, u = -b, -a, 1 - u
    below, above = normal_cdf(a), normal_cdf(b)
    p = below + u * (above - below)
    x = normal_quantile(p) if p > 1e-300 else b
    x = min(max(x, a), b)
    return mean - x if flip else mean + x


@njit(cache=True, nogil=True)
def truncated_mean(mean, low, high):
    """The mean of a normal of variance 1 around `mean`, cut to low < x < high."""
    a, b = low - mean, high - mean
    # in the lower tail, where probabilities are precise
    flip = a + b > 0
    if flip:
        a, b = -b, -a
    p = normal_cdf(b) - normal_cdf(a)
    x = 0.3989422804014327 * (math.exp(-0.5 * a * a) - math.exp(-0.5 * b * b)) / p if p > 1e-300 else b
    x = min(max(x, a), b)
    return mean - x if flip else mean + x


@njit(cache=True, nogil=True)
def latent(mean, low, high, u, noise):
    """The latent value of a label.

    Parameters
    ----------
    mean
        The score.
    low, high
        Bounds of the value; they may be infinite.
    u
        A uniform number between 0 and 1, which draws the value.
    noise
        Greater than 0 to draw; 0 for the mean.
    """
    return truncated_normal(mean, low, high, u) if noise > 0 else truncated_mean(mean, low, high)


@njit(cache=True, nogil=True)
def level_likelihood(a, b):
    """ln P(a < x < b) of a standard normal x; precise in both tails."""
    if a + b > 0:
        a, b = -b, -a
    return math.log(max(normal_cdf(b) - normal_cdf(a), 1e-300))


@njit(cache=True, nogil=True)
def expected_levels(lo, hi, scores, spreads, cuts, level_values, out):
    """The expected level value of rows lo..hi: ``sum_l v_l P(l | score, spread)``.

    Parameters
    ----------
    lo, hi
        The range of rows.
    scores, spreads
        float64 (rows,): the score, and the logarithm of the standard deviation.
    cuts
        float64 (levels + 1,): bounds of the levels, from -inf to inf.
    level_values
        float64 (levels,): the ratings of the levels, ascending.
    out
        float64 (rows,): ``out[lo:hi]`` is written.
    """
    for row in range(lo, hi):
        total, root = level_values[-1], math.exp(-spreads[row])
        for cut in range(1, len(cuts) - 1):
            total -= (level_values[cut] - level_values[cut - 1]) * normal_cdf(
                (cuts[cut] - scores[row]) * root
            )
        out[row] = total
    return 0


@njit(cache=True, nogil=True)
def _bin(x, edge, bins):
    return min(int((min(max(x, -edge), edge) + edge) / (2 * edge) * bins), bins - 1)


@njit(cache=True, nogil=True)
def count_scores(lo, hi, scores, spreads, levels, edges, counts):
    """Count rows lo..hi by their level, spread and score.

    Parameters
    ----------
    lo, hi
        The range of rows.
    scores, spreads
        float64 (rows,): the score, and the logarithm of the standard deviation.
    levels
        float (rows,): numbers 0, 1 ... of levels.
    edges
        float64 (2,): spreads, and scores, are cut to -edge .. edge.
    counts
        int64 (levels, bins of spreads, bins of scores), bins of equal width; increased in place.
    """
    for row in range(lo, hi):
        i, j = _bin(spreads[row], edges[0], counts.shape[1]), _bin(scores[row], edges[1], counts.shape[2])
        counts[int(levels[row]), i, j] += 1
    return 0


@njit(cache=True, nogil=True)
def binned_log_likelihood(counts, edges, cuts):
    """Sum ln P(level | score, spread, cuts) over rows counted by `count_scores`, at the middle of bins."""
    levels, many, bins = counts.shape
    total = 0.0
    for i in range(many):
        root = math.exp(edges[0] - (i + 0.5) * 2 * edges[0] / many)
        for j in range(bins):
            score = -edges[1] + (j + 0.5) * 2 * edges[1] / bins
            for level in range(levels):
                if counts[level, i, j] > 0:
                    total += counts[level, i, j] * level_likelihood(
                        (cuts[level] - score) * root, (cuts[level + 1] - score) * root
                    )
    return total
