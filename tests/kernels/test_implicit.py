"""Rows of implicit ALS in the basis of the Gram matrix's eigenvectors are the rows of the plain solver."""

import numpy as np
import pytest

from recspark.algorithms import rotated
from recspark.algorithms.ratings import CSR
from recspark.kernels import als
from recspark.kernels.arrays.csr import csr_from_coo
from tests import reference


def problem(rank, n=40, n_source=25, nnz=400, seed=0):
    """CSR of excess confidence, with rows of 0 to many entries, and the source's factors."""
    rng = np.random.default_rng(seed)
    rows = np.minimum(rng.geometric(0.08, nnz) - 1, n - 2).astype(np.int32)
    columns = rng.integers(0, n_source, nnz).astype(np.int32)
    rows, columns = np.unique(np.stack([rows, columns]), axis=1)
    weights = rng.uniform(0.5, 60, len(rows)).astype(np.float32)
    values = ((1 + weights) / weights).astype(np.float32)
    values[rng.random(len(rows)) < 0.05] = 0  # pairs that are not preferred
    csr = CSR(*csr_from_coo(rows, columns, values, weights, n, n_source))
    return csr, (rng.standard_normal((n_source, rank)) / np.sqrt(rank)).astype(np.float32)


@pytest.mark.parametrize("rank", [3, 16, 40])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_rotated_rows_are_the_least_squares_solutions(rank, power, threads):
    csr, source = problem(rank)
    assert np.diff(csr.indptr).min() == 0 and np.diff(csr.indptr).max() > 16
    gram, found = source.T @ source, np.full((40, rank), 7, np.float32)
    penalty = als.Penalty(np.float32(0), 2.0, 0.0, power)
    total = rotated.solve_rotated(csr, source, gram, found, penalty, threads)
    expected_total = 0.0
    for row, (lo, hi) in enumerate(zip(csr.indptr[:-1], csr.indptr[1:], strict=True)):
        if lo == hi:
            assert not found[row].any()
            continue
        y, values, weights = source[csr.indices[lo:hi]], csr.values[lo:hi], csr.weights[lo:hi]
        scale = (values > 0).sum() ** power
        x, _ = reference.als_row(y, 0 * values, values, weights, 0.0, 2.0 * scale, 0.0, 0.0, False, gram)
        np.testing.assert_allclose(found[row], x, rtol=1e-3, atol=1e-5)
        expected_total += 2.0 * scale * (x**2).sum()
    assert total == pytest.approx(expected_total, rel=1e-4)


def test_a_penalty_that_rounding_loses_is_not_safe():
    _, source = problem(30, n_source=12)
    gram = source.T @ source
    assert rotated.is_safe(gram, 0.01)
    assert not rotated.is_safe(gram, 0.0) and not rotated.is_safe(gram, 1e-6)


def test_long_rows_do_not_pay():
    assert rotated.pays(np.arange(0, 30_000, 25), 1_000, 256)
    assert not rotated.pays(np.arange(0, 3_000_000, 2_500), 1_000, 256)
    assert not rotated.pays(np.arange(0, 30_000, 25), 1_000, 16)
    assert not rotated.pays(np.arange(0, 50, 25), 1_000, 256)
