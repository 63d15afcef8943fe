"""Implicit ALS in the basis of the eigenvectors of the Gram matrix, in which short rows are cheap.

With ``G = V D V'``, the problem of a row with factors ``x = V z`` has the diagonal D in place of G. So a row
with fewer entries than factors is solved, exactly, from the inner products of its source rows
(`recspark.kernels.implicit.solve_rows_dual`). Longer rows are solved as ever, from the rotated source.
"""

from __future__ import annotations

import numpy as np

from recspark.algorithms.ratings import CSR
from recspark.kernels import als
from recspark.kernels.arrays.csr import balanced_cuts
from recspark.kernels.implicit import solve_rows_dual
from recspark.kernels.threads import in_threads, over_rows

#: rotated rows are solved if that takes at most this share of the work
WORTH = 0.7
#: cost of a decomposition of the Gram matrix, in multiples of rank^3
DECOMPOSITION = 10


def is_safe(gram: np.ndarray, reg: float) -> bool:
    """Whether the penalty `reg` of a row with one entry is not lost beside the spectrum of `gram`.

    Else rows may have many solutions, of which `recspark.kernels.als.solve_rows` finds the shortest.
    """
    return reg > als.NEGLIGIBLE * float(np.trace(gram))


def pays(indptr: np.ndarray, n_source: int, rank: int) -> bool:
    """Whether solving rows in the rotated basis is cheaper by far, counted in multiplications.

    >>> pays(np.arange(0, 100_000, 20), 5_000, 512), pays(np.arange(0, 100_000, 20), 5_000, 16)
    (True, False)
    """
    m = np.diff(indptr).astype(np.float64)
    as_ever, short = m * rank**2 / 2 + rank**3 / 6, m < rank
    dual = m**2 * rank / 2 + m**3 / 6 + 2 * m * rank
    rotations = (n_source + 2 * len(m)) * rank**2 + DECOMPOSITION * rank**3
    return bool(np.where(short, dual, as_ever).sum() + rotations <= WORTH * as_ever.sum())


def solve_rotated(
    csr: CSR, source: np.ndarray, gram: np.ndarray, factors: np.ndarray, penalty: als.Penalty, threads: int
) -> float:
    """Solve the rows of `factors` in place; return the sum of their penalties.

    Parameters
    ----------
    csr
        The entries of the rows, as `recspark.kernels.als.solve_rows` takes them.
    source
        The factors of the other side, float32 (n_source, rank).
    gram
        float32 (rank, rank): the Gram matrix of the whole other side, both halves.
    factors
        float32 (n, rank).
    penalty
        The constants of the objective; reg, which `is_safe`, and power are read.
    threads
        Number of threads of the kernels.
    """
    rank = factors.shape[1]
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    spectrum, vectors = np.maximum(values, 0).astype(np.float32), vectors.astype(np.float32)
    read, own = (_product(each, vectors, threads) for each in (source, factors))
    positive = np.concatenate([[0], np.cumsum(csr.values > 0)])[csr.indptr]
    # a row without a positive target is 0 with any ridge, and needs one: the spectrum may end in 0
    ridges = (penalty.reg * np.maximum(np.diff(positive), 1) ** penalty.power).astype(np.float32)
    short = np.diff(csr.indptr) < rank
    total = 0.0
    rows, long = np.flatnonzero(short), np.flatnonzero(~short)
    chosen, part = _rows_of(csr, rows), own[rows]
    dual = chosen.entries, read, spectrum, ridges[rows], part
    total = sum(over_rows(solve_rows_dual, _dual_work(chosen), threads, *dual))
    own[rows] = part
    chosen, part = _rows_of(csr, long), own[long]
    total += sum(_solve_as_ever(chosen, read, spectrum, part, penalty, threads))
    own[long] = part
    factors[:] = _product(own, vectors.T, threads)
    return total


def _solve_as_ever(
    csr: CSR, source: np.ndarray, spectrum: np.ndarray, own: np.ndarray, penalty: als.Penalty, threads: int
) -> list[float]:
    wide, rank = als.padded_rows(source), len(spectrum)
    gram = np.zeros((wide.shape[1], wide.shape[1]), np.float32)
    np.fill_diagonal(gram[:rank, :rank], spectrum)
    read = als.Source(wide, np.zeros(len(wide), np.float32), gram)
    rows = als.Side(own, np.zeros(len(own), np.float32))
    return over_rows(als.solve_rows, csr.work, threads, csr.entries, read, rows, penalty, False, False)


def _dual_work(csr: CSR) -> np.ndarray:
    m = np.diff(csr.indptr)
    return m * m + m + 1


def _rows_of(csr: CSR, rows: np.ndarray) -> CSR:
    """The CSR of some rows."""
    counts = np.diff(csr.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(indptr[-1]) + np.repeat(csr.indptr[rows] - indptr[:-1], counts)
    return CSR(indptr, csr.indices[places], csr.values[places], csr.weights[places])


def _product(rows: np.ndarray, matrix: np.ndarray, threads: int) -> np.ndarray:
    """``rows @ matrix``, by some threads."""
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    cuts = balanced_cuts(np.ones(len(rows)), max(1, min(threads, len(rows))))
    in_threads(
        lambda cut: np.matmul(rows[cut[0] : cut[1]], matrix, out=out[cut[0] : cut[1]]),
        list(zip(cuts[:-1], cuts[1:], strict=True)),
        threads,
    )
    return out
