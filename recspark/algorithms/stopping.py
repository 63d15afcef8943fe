"""The end of a fit by its history: whether it has learned enough, and its best iteration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_iteration(history: Sequence[dict[str, float]]) -> int:
    """The iteration with the lowest validation RMSE, or the highest AUC; the last one without validation."""
    values = _validated(history)
    return len(history) if values is None else 1 + int(np.argmin(values))


def should_stop(history: Sequence[dict[str, float]], tol: float, patience: int) -> bool:
    """Whether the last iterations brought no relative gain of more than `tol`.

    They are `patience` iterations, or without validation only the last one.
    """
    validated = _validated(history)
    if validated is None and tol <= 0:
        return False
    values = [row["objective"] for row in history] if validated is None else validated
    recent = 1 if validated is None else patience
    if len(values) <= recent:
        return False
    return min(values[-recent:]) >= min(values[:-recent]) * (1 - tol)


def _validated(history: Sequence[dict[str, float]]) -> list[float] | None:
    """The validation RMSE of each iteration, or 1 - AUC: lower is better. None without validation rows."""
    if history and "validation_auc" in history[0]:
        return [1 - row["validation_auc"] for row in history]
    return (
        [row["validation_rmse"] for row in history] if history and "validation_rmse" in history[0] else None
    )
