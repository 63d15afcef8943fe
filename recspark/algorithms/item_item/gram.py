"""Item-item models from the Gram matrix ``G = X^T D X`` of the ratings X (users, items).

    EASE      all weights at once: ridge regression of each item on all others, in closed form (Steck 2019)
    ItemKNN   the similarity of two columns of X, of each item with its nearest neighbours alone
              (Deshpande and Karypis 2004)

D has a weight per user. G is made by blocks of items, ``X_b^T D X``: a task holds X, which is sparse, and the
rows of one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_matrix, vstack

from recspark.errors import RecsparkError
from recspark.kernels.threads import in_threads

#: how many numbers of a Gram matrix a block makes at once
STRIP_NUMBERS = 1 << 22
#: bytes per entry of G while EASE is solved: float32 in place, and strips of it
BYTES_PER_ENTRY = 5
#: columns that are swept out at a time: products of matrices of this size are as quick as larger ones
SWEPT = 1024


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
    """The rows of G for a block of items, float32 (items of the block, items)."""
    rows, first = np.empty((x_block.shape[0], x.shape[1]), np.float32), 0
    for strip in gram_rows(x_block, x):
        rows[first : first + strip.shape[0]] = strip.toarray()
        first += strip.shape[0]
    return rows


def invert_inplace(a: np.ndarray, threads: int) -> bool:
    """Replace a symmetric positive definite matrix by its inverse; only its lower half is read and written.

    False if it is not positive definite; `a` is then of no use. Its blocks are swept out one after the other
    (Goodnight 1979, "A tutorial on the SWEEP operator"): with the inverse P of the block on the diagonal, and
    C the other rows of its columns, the rest becomes ``A - C P C'``, C becomes ``C P``, and the block -P. The
    work is that of a Cholesky factor and its inverse, n^3 / 2 multiplications, in products of large matrices.
    """
    cuts = [*range(0, len(a), SWEPT), len(a)]
    for lo, hi in pairwise(cuts):
        block = np.tril(a[lo:hi, lo:hi]).astype(np.float64)
        factor, failed = dpotrf(block, lower=True)
        if failed:
            return False
        inverse = np.tril(dpotri(factor, lower=True)[0])
        inverse = (inverse + np.tril(inverse, -1).T).astype(np.float32)
        column = np.concatenate([a[lo:hi, :lo].T, np.zeros((hi - lo, hi - lo), a.dtype), a[hi:, lo:hi]])
        scaled = np.empty_like(column)

        def scale(rows: tuple[int, int], out=scaled, column=column, inverse=inverse) -> None:
            np.matmul(column[slice(*rows)], inverse, out=out[slice(*rows)])

        def update(rows: tuple[int, int], scaled=scaled, column=column) -> None:
            a[slice(*rows), : rows[1]] -= scaled[slice(*rows)] @ column[: rows[1]].T

        ranges = list(pairwise(cuts))[::-1]  # the longest first: threads then end together
        in_threads(scale, ranges, threads)
        in_threads(update, ranges, threads)
        a[lo:hi, :lo], a[hi:, lo:hi] = scaled[:lo].T, scaled[hi:]
        a[lo:hi, lo:hi] = -inverse
    for lo, hi in pairwise(cuts):
        np.negative(a[lo:hi, :hi], out=a[lo:hi, :hi])
    return True


def ease_inplace(gram: np.ndarray, ridges: np.ndarray, scale: np.ndarray, threads: int) -> None:
    """Replace G by the weights B that minimise ``|X - X B|^2 + sum_ij r_i B_ij^2`` with a diagonal of 0.

    With ``P = (G + diag(r))^-1``: ``B_ij = - P_ij / P_jj`` (Steck 2019, "Embarrassingly shallow autoencoders
    for sparse data", equation 8). Column j is then multiplied by ``scale_j``.

    Parameters
    ----------
    gram
        float32 (items, items).
    ridges, scale
        (items,): the penalties of an item's weights for others, and the factors of an item's scores.
    threads
        Number of threads.

    Raises
    ------
    RecsparkError
        If G + diag(r) is not positive definite: the penalty is too small.
    """
    gram.flat[:: len(gram) + 1] += ridges.astype(np.float32)
    if not invert_inplace(gram, threads):
        raise RecsparkError(
            f"the penalties of items, from {ridges.min():g} on, are too small: there is no solution, so "
            "raise regParam"
        )
    factor = (-scale / np.diag(gram)).astype(np.float32)
    for lo, hi in pairwise([*range(0, len(gram), SWEPT), len(gram)]):
        below = gram[lo:hi, :lo]
        gram[:lo, lo:hi] = below.T * factor[lo:hi]
        below *= factor[:lo]
        block = np.tril(gram[lo:hi, lo:hi], -1)
        gram[lo:hi, lo:hi] = (block + block.T) * factor[lo:hi]


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
    """The number of items that `ease_inplace` can handle in `free` bytes.

    >>> most_items(2_000_000_000)
    20000
    """
    return int((free / BYTES_PER_ENTRY) ** 0.5)
