import numpy as np
import pytest

from recspark.kernels.linalg import (
    add_gram_inplace,
    cholesky_inplace,
    cholesky_solve_inplace,
    padded,
    solve_lower_inplace,
    solve_upper_inplace,
)


def panel_of(rank, rows, seed=0):
    panel = np.zeros((rows, padded(rank)), np.float32)
    panel[:, :rank] = np.random.default_rng(seed).standard_normal((rows, rank))
    return panel


@pytest.mark.parametrize("rank", [1, 7, 16, 17, 64, 100])
@pytest.mark.parametrize("rows", [1, 5, 128])
def test_add_gram_is_the_upper_half_of_the_product(rank, rows):
    panel = panel_of(rank, rows)
    gram = np.ones((padded(rank), padded(rank)), np.float32)
    add_gram_inplace(panel, rows, gram)
    np.testing.assert_allclose(np.triu(gram), np.triu(1 + panel.T @ panel), rtol=1e-5, atol=1e-4)


def test_add_gram_reads_only_the_first_rows():
    panel = panel_of(10, 8)
    gram = np.zeros((16, 16), np.float32)
    add_gram_inplace(panel, 3, gram)
    np.testing.assert_allclose(np.triu(gram), np.triu(panel[:3].T @ panel[:3]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 16, 30, 64, 128])
def test_cholesky_solves(rank):
    panel = panel_of(rank, 3 * rank)
    a = panel.T @ panel + np.eye(padded(rank), dtype=np.float32)
    b = np.random.default_rng(1).standard_normal(rank).astype(np.float32)
    expected = np.linalg.solve(a[:rank, :rank].astype(np.float64), b)
    assert cholesky_inplace(a, rank)
    cholesky_solve_inplace(a, b)
    np.testing.assert_allclose(b, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 9, 16, 17, 47, 64, 130])
def test_the_factor_and_both_halves_of_a_solution(rank):
    panel = panel_of(rank, 3 * rank)
    # tiles below the diagonal are not read
    size, nan = padded(rank), np.float32(np.nan)
    a = panel.T @ panel + np.eye(size, dtype=np.float32)
    a[np.add.outer(np.arange(size) // 16, -(np.arange(size) // 16)) > 0] = nan
    b = np.random.default_rng(2).standard_normal(rank).astype(np.float32)
    upper = np.linalg.cholesky((panel.T @ panel)[:rank, :rank].astype(np.float64) + np.eye(rank)).T
    assert cholesky_inplace(a, rank)
    found = np.triu(a[:rank, :rank], 1)
    np.testing.assert_allclose(found, np.triu(upper, 1), rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(np.diag(a)[:rank], 1 / np.diag(upper), rtol=1e-3)
    assert (np.diag(a)[rank:] == 0).all()
    for solve, matrix in ((solve_lower_inplace, upper.T), (solve_upper_inplace, upper)):
        held = np.append(b, np.float32([7, 8, 9]))
        solve(a, held[:rank])
        np.testing.assert_allclose(held[:rank], np.linalg.solve(matrix, b), rtol=2e-3, atol=2e-4)
        # what lies behind a vector is not touched
        assert held[rank:].tolist() == [7, 8, 9]


@pytest.mark.parametrize("place", [0, 15, 16, 40])
def test_cholesky_refuses_a_matrix_that_is_not_positive_wherever(place):
    a = np.eye(48, dtype=np.float32) * 2
    a[place, place] = -1e-3
    assert not cholesky_inplace(a.copy(), 48)
    # rows of padding are not asked
    assert cholesky_inplace(a, place)


def test_cholesky_refuses_a_singular_matrix():
    panel = panel_of(16, 3)
    assert not cholesky_inplace(panel.T @ panel, panel.shape[1])


def test_cholesky_refuses_nan():
    a = np.eye(16, dtype=np.float32)
    a[3, 3] = np.nan
    assert not cholesky_inplace(a, len(a))
