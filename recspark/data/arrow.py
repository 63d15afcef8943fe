"""Arrays as columns of Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def as_arrow(array: np.ndarray) -> pa.Array:
    """One value, or one list of values, a row."""
    if array.ndim == 1:
        return pa.array(array)
    offsets = np.arange(len(array) + 1, dtype=np.int32) * np.int32(array.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(array.reshape(-1)))
