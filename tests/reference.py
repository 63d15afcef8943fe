"""Slow twins of the kernels, in numpy float64, written as the formulas are."""

import numpy as np


def als_row(src, src_bias, values, weights, mean, reg, bias_reg, reg_power, biased, gram=None):
    """Minimise sum w (r - mean - c - b - <x, y>)^2 + <x, G x> + s (reg |x|^2 + bias_reg b^2) over x and b; s = (sum w)^reg_power."""
    rank = src.shape[1]
    target = values - mean - src_bias
    scale = weights.sum() ** reg_power
    y = np.column_stack([src, np.ones(len(src))]).astype(np.float64)
    penalty = np.diag([scale * reg] * rank + [scale * bias_reg])
    system = y.T @ (weights[:, None] * y) + penalty
    if gram is not None:
        system[:rank, :rank] += gram
    right = y.T @ (weights * target)
    n = rank + 1 if biased else rank
    solution = np.linalg.lstsq(system[:n, :n], right[:n], rcond=None)[0]
    return solution[:rank], solution[rank] if biased else 0.0


def nonnegative_row(src, values, weights, reg):
    """Minimise sum w (r - <x, y>)^2 + (sum w) reg |x|^2 over x >= 0."""
    from scipy.optimize import nnls

    root = np.sqrt(weights)
    ridge = np.sqrt(reg * weights.sum()) * np.eye(src.shape[1])
    return nnls(np.vstack([root[:, None] * src, ridge]).astype(np.float64), np.concatenate([root * values, np.zeros(src.shape[1])]))[0]


def explicit_objective(rows, columns, values, x, y, reg):
    """sum (r - <x, y>)^2 + reg (sum n_u |x_u|^2 + sum n_i |y_i|^2): what MLlib's explicit ALS minimises."""
    error = values - np.einsum("ij,ij->i", x[rows], y[columns])
    sizes = (x**2).sum(1) @ np.bincount(rows, minlength=len(x)) + (y**2).sum(1) @ np.bincount(columns, minlength=len(y))
    return (error**2).sum() + reg * sizes


def implicit_objective(rows, columns, values, x, y, reg, alpha):
    """sum over ALL pairs of c (p - <x, y>)^2, p = [r > 0], c = 1 + alpha |r|, plus penalties that count n = #{r > 0} times."""
    confidence, preference = np.ones((len(x), len(y))), np.zeros((len(x), len(y)))
    confidence[rows, columns] += alpha * np.abs(values)
    preference[rows, columns] = values > 0
    loss = (confidence * (preference - x @ y.T) ** 2).sum()
    mass = (values > 0).astype(float)
    sizes = (x**2).sum(1) @ np.bincount(rows, mass, len(x)) + (y**2).sum(1) @ np.bincount(columns, mass, len(y))
    return loss + reg * sizes


def csr(rows, columns, values, n_rows):
    """Entries of each row, columns ascending: a list of (columns, values)."""
    order = np.lexsort((columns, rows))
    return [(columns[order][rows[order] == r], values[order][rows[order] == r]) for r in range(n_rows)]
