"""Spark ML estimators and models.

They are imported on demand, so that `recspark.models.serving` works without Spark.
"""

from __future__ import annotations

from typing import Any

from recspark.models.registry import HOMES, find

__all__ = sorted(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return find(name)
