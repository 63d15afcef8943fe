"""The deviation of an id, which needs no model: how far its ratings lie from the mean."""

from __future__ import annotations

import numpy as np

from recspark.algorithms.ratings import CSR

#: number of ratings that the mean rating counts for
DAMPING = 5.0


def damped_deviation(csr: CSR, level: float) -> np.ndarray:
    """``sum w (r - level) / (sum w + DAMPING)`` of each row, float64."""
    deviations = csr.values - level
    if not len(csr.weights):
        return _row_sums(csr, deviations) / (np.diff(csr.indptr) + DAMPING)
    return _row_sums(csr, csr.weights * deviations) / (_row_sums(csr, csr.weights) + DAMPING)


def as_columns(bias: np.ndarray, deviation: np.ndarray) -> dict[str, np.ndarray]:
    """Both as columns of a model's table."""
    columns = {"bias": bias, "deviation": deviation}
    return {name: np.ascontiguousarray(column, np.float32) for name, column in columns.items()}


def _row_sums(csr: CSR, values: np.ndarray) -> np.ndarray:
    return np.diff(np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])[csr.indptr])
