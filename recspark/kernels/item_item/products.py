"""Products of a CSR matrix and a few dense columns."""

from __future__ import annotations

import numpy as np
from numba import njit

#: columns of a product. 64 floats are four lines of a cache, and 40,000 such rows stay in it
WIDTH = 64


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"})
def csr_product(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, dense: np.ndarray, out: np.ndarray
) -> None:
    """Write ``A D`` into `out`.

    Parameters
    ----------
    indptr, indices, values
        A, a CSR matrix of float32.
    dense
        D: float32 (columns of A, WIDTH).
    out
        float32 (rows of A, WIDTH).
    """
    for row in range(len(indptr) - 1):
        total = out[row]
        total[:] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            value, source = values[entry], dense[indices[entry]]
            for column in range(WIDTH):
                total[column] += value * source[column]
