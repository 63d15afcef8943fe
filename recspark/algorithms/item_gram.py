"""Item-item models from the Gram matrix ``G = X^T X`` of the ratings X (users, items).

    EASE      all weights at once: ridge regression of each item on all others, in closed form (Steck 2019)
    ItemKNN   the cosine of two columns of X, of each item with its nearest neighbours alone
              (Deshpande and Karypis 2004)

G is made by blocks of items, ``X_b^T X``: a task holds X, which is sparse, and the rows of one block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_matrix, vstack

from recspark.errors import RecsparkError

#: how many numbers of a Gram matrix a block makes at once
STRIP_NUMBERS = 1 << 22
#: bytes per entry of G while EASE is solved: float64 in place, and the weights as float32
BYTES_PER_ENTRY = 12


def gram_rows(x_block: csr_matrix, x: csr_matrix) -> Iterator[csr_matrix]:
    """Rows of G for a block of items, some at a time.

    Parameters
    ----------
    x_block
        (items of the block, users): the columns of X for the block's items, transposed.
    x
        (users, items).
    """
    height = max(1, STRIP_NUMBERS // max(1, x.shape[1]))
    for low in range(0, x_block.shape[0], height):
        yield (x_block[low : low + height] @ x).tocsr()


def dense_gram(x_block: csr_matrix, x: csr_matrix) -> np.ndarray:
    """The rows of G for a block of items, float64 (items of the block, items)."""
    return np.concatenate(
        [strip.toarray() for strip in gram_rows(x_block.astype(np.float64), x)] or [np.empty((0, x.shape[1]))]
    )


def ease(gram: np.ndarray, penalty: float) -> np.ndarray:
    """The weights B that minimise ``|X - X B|^2 + penalty |B|^2`` with a diagonal of 0.

    B is float32 (items, items). With ``P = (G + penalty I)^-1``: ``B_ij = - P_ij / P_jj`` (Steck 2019,
    "Embarrassingly shallow autoencoders for sparse data", equation 8). `gram`, float64 and whole, is
    overwritten.

    Raises
    ------
    RecsparkError
        If G + penalty I is not positive definite: the penalty is too small.
    """
    gram.flat[:: len(gram) + 1] += penalty
    # the transpose: LAPACK's order of a symmetric matrix, without a copy
    factor, failed = dpotrf(gram.T, overwrite_a=True, clean=False)
    if failed:
        raise RecsparkError(
            f"regParam = {penalty:g} is too small: the equations of the items have no solution"
        )
    inverse, _ = dpotri(factor, overwrite_c=True)
    upper = inverse.T  # its lower half still holds LAPACK's factor
    weights = np.empty(gram.shape, np.float32)
    diagonal = np.diag(upper).copy()
    for row in range(len(weights)):
        weights[row, : row + 1] = upper[row, : row + 1] / -diagonal[: row + 1]
        weights[:row, row] = upper[row, :row] / -diagonal[row]
    np.fill_diagonal(weights, 0)
    return weights


def nearest(
    x_block: csr_matrix,
    x: csr_matrix,
    first: int,
    lengths: tuple[np.ndarray, np.ndarray],
    k: int,
    shrinkage: float,
) -> csr_matrix:
    """The `k` largest similarities of each item of a block; others are 0.

    The similarity of an item j and a neighbour i is ``G_ij / (a_j b_i + shrinkage)``, with ``a, b`` the
    `lengths`. Of equal ones the lower item is kept.

    Parameters
    ----------
    x_block
        (items of the block, users): the columns of X for the block's items, transposed.
    x
        (users, items), with the weights of users.
    first
        The position of the block's first item.
    lengths
        float64 (items,) each: of items, and of items as neighbours; for the cosine both are the roots of the
        diagonal of G.
    k
        Number of neighbours per item.
    shrinkage
        Added to the denominator, in the unit of G.

    Returns
    -------
    csr_matrix
        float32 (items of the block, items).
    """
    rows, (own_length, length) = [], lengths
    for strip in gram_rows(x_block, x):
        own = first + np.repeat(np.arange(strip.shape[0]), np.diff(strip.indptr))
        shared = (strip.data != 0) & (strip.indices != own)
        divisor = own_length[own] * length[strip.indices] + shrinkage
        values = np.divide(strip.data, divisor, out=np.zeros(len(own)), where=shared)
        order = np.lexsort((strip.indices, -values, own))
        place = np.arange(len(order)) - np.repeat(strip.indptr[:-1], np.diff(strip.indptr))
        kept = np.sort(order[(place < k) & shared[order]])
        counts = np.bincount(own[kept] - first, minlength=strip.shape[0])
        indptr = np.concatenate([[0], np.cumsum(counts)])
        rows.append(csr_matrix((values[kept].astype(np.float32), strip.indices[kept], indptr), strip.shape))
        first += strip.shape[0]
    return csr_matrix(vstack(rows)) if rows else csr_matrix((0, x.shape[1]), dtype=np.float32)


def most_items(free: int) -> int:
    """The number of items that `ease` can handle in `free` bytes.

    >>> most_items(4_800_000_000)
    20000
    """
    return int((free / BYTES_PER_ENTRY) ** 0.5)
