import numpy as np
import pytest

from recspark.kernels import als
from recspark.kernels.arrays import csr
from recspark.kernels.implicit import solve_rows_cg
from recspark.kernels.linalg import padded
from tests import reference

NO_GRAM = np.zeros((0, 0), np.float32)
NO_WEIGHTS = np.empty(0, np.float32)


def problem(n_dst=30, n_src=20, nnz=300, rank=5, seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, n_dst, nnz).astype(np.int32), rng.integers(0, n_src, nnz).astype(np.int32)
    values = rng.integers(1, 6, nnz).astype(np.float32)
    weights = rng.uniform(0.1, 3, nnz).astype(np.float32) if weighted else NO_WEIGHTS
    src = rng.standard_normal((n_src, rank)).astype(np.float32)
    return (
        csr.csr_from_coo(rows, columns, values, weights, n_dst, n_src),
        src,
        rng.standard_normal(n_src).astype(np.float32),
    )


def solve(
    entries,
    src,
    src_bias,
    reg=0.1,
    bias_reg=0.2,
    power=1.0,
    biased=False,
    nonnegative=False,
    gram=NO_GRAM,
    mean=0.0,
):
    n = len(entries[0]) - 1
    dst, bias = np.zeros((n, src.shape[1]), np.float32), np.zeros(n, np.float32)
    penalty = als.solve_rows(
        0,
        n,
        csr.Entries(*entries),
        als.Source(als.padded_rows(src), src_bias, gram),
        als.Side(dst, bias),
        als.Penalty(np.float32(mean), reg, bias_reg, power),
        biased,
        nonnegative,
    )
    return dst, bias, penalty


def rows_of(entries):
    indptr, indices, values, weights = entries
    weights = weights if len(weights) else np.ones(len(values), np.float32)
    for row, (lo, hi) in enumerate(zip(indptr[:-1], indptr[1:], strict=True)):
        yield row, indices[lo:hi], values[lo:hi], weights[lo:hi]


@pytest.mark.parametrize("rank", [1, 5, 16, 33])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_rows_are_the_least_squares_solutions(rank, biased, weighted, power):
    entries, src, src_bias = problem(rank=rank, weighted=weighted)
    dst, bias, penalty = solve(entries, src, src_bias, power=power, biased=biased, mean=3.0)
    expected_penalty = 0.0
    for row, indices, values, weights in rows_of(entries):
        x, b = reference.als_row(
            src[indices], src_bias[indices], values, weights, 3.0, 0.1, 0.2, power, biased
        )
        np.testing.assert_allclose(dst[row], x, rtol=1e-3, atol=1e-3)
        assert bias[row] == pytest.approx(b, abs=1e-3)
        expected_penalty += weights.sum() ** power * (0.1 * (x**2).sum() + 0.2 * b**2)
    assert penalty == pytest.approx(expected_penalty, rel=1e-3)


def test_gram_enters_every_row():
    entries, src, _ = problem(weighted=True)
    gram = np.zeros((16, 16), np.float32)
    gram[:5, :5] = src.T @ src
    dst, _, _ = solve(entries, src, np.zeros(20, np.float32), power=0.0, gram=gram)
    for row, indices, values, weights in rows_of(entries):
        x, _ = reference.als_row(
            src[indices], 0 * values, values, weights, 0, 0.1, 0, 0.0, False, src.T @ src
        )
        np.testing.assert_allclose(dst[row], x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_nonnegative_rows_are_the_nnls_solutions(weighted):
    entries, src, _ = problem(weighted=weighted)
    dst, _, _ = solve(entries, src, np.zeros(20, np.float32), nonnegative=True)
    assert (dst >= 0).all() and (dst == 0).any()
    for row, indices, values, weights in rows_of(entries):
        np.testing.assert_allclose(
            dst[row], reference.nonnegative_row(src[indices], values, weights, 0.1), rtol=1e-3, atol=1e-3
        )


def test_conjugate_gradient_converges_to_the_exact_solution():
    entries, src, _ = problem(weighted=True)
    gram = np.zeros((16, 16), np.float32)
    gram[:5, :5] = src.T @ src
    exact, _, _ = solve(entries, src, np.zeros(20, np.float32), gram=gram)
    dst = np.zeros_like(exact)
    penalty = als.Penalty(np.float32(0), 0.1, 0.0, 1.0)
    solve_rows_cg(0, len(dst), entries, src, np.ascontiguousarray(gram[:5, :5]), dst, penalty, 20)
    np.testing.assert_allclose(dst, exact, rtol=1e-3, atol=1e-4)


def test_gram_kernel():
    factors = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)
    out = als.gram(100, 300, als.padded_rows(factors))
    assert out.shape == (padded(20), padded(20))
    np.testing.assert_allclose(
        np.triu(out[:20, :20]), np.triu(factors[100:].T @ factors[100:]), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_squared_error(weighted):
    entries, src, src_bias = problem(weighted=weighted)
    dst, bias, _ = solve(entries, src, src_bias, biased=True, mean=3.0)
    error, total = als.squared_error(
        0, 30, entries, als.Side(src, src_bias), als.Side(dst, bias), *map(np.float32, (3, 1, 5))
    )
    expected = sum(
        (
            weights
            * (values - np.clip(3 + bias[row] + src_bias[indices] + src[indices] @ dst[row], 1, 5)) ** 2
        ).sum()
        for row, indices, values, weights in rows_of(entries)
    )
    assert error == pytest.approx(expected, rel=1e-5)
    assert total == pytest.approx(entries[3].sum() if weighted else 300, rel=1e-6)


def one_row(values, src, weights=NO_WEIGHTS, **options):
    n = len(values)
    entries = (
        np.array([0, n]),
        np.arange(n, dtype=np.int32) % len(src),
        np.asarray(values, np.float32),
        weights,
    )
    return solve(entries, src, np.zeros(len(src), np.float32), **options)


def test_rank_larger_than_the_data_and_no_penalty_gives_finite_rows():
    src = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    dst, _, _ = one_row([1, 2, 3], src, reg=0.0)
    assert np.isfinite(dst).all()
    np.testing.assert_allclose(src @ dst[0], [1, 2, 3], atol=1e-2)


@pytest.mark.parametrize("biased", [False, True])
def test_source_of_zeros_gives_finite_rows(biased):
    dst, bias, _ = one_row([4, 4, 4], np.zeros((3, 8), np.float32), reg=0.0, bias_reg=0.0, biased=biased)
    assert (dst == 0).all() and bias[0] == (4 if biased else 0)


def test_rows_without_entries_are_zero():
    entries = (np.array([0, 0, 1]), np.array([0], np.int32), np.array([2.0], np.float32), NO_WEIGHTS)
    dst, _, _ = solve(entries, np.ones((1, 3), np.float32), np.zeros(1, np.float32))
    assert (dst[0] == 0).all() and (dst[1] > 0).all()


def test_a_row_of_a_hundred_thousand_ratings_keeps_its_precision():
    rng = np.random.default_rng(0)
    src = (1 + 0.1 * rng.standard_normal((100_000, 8))).astype(np.float32)
    values = (src @ np.arange(8) + 0.1 * rng.standard_normal(100_000)).astype(np.float32)
    dst, _, _ = one_row(values, src, reg=1e-4)
    x, _ = reference.als_row(src, 0 * values, values, np.ones(100_000), 0, 1e-4, 0, 1.0, False)
    np.testing.assert_allclose(dst[0], x, atol=2e-2)


def test_weights_of_zero_are_as_if_the_row_were_not_there():
    src = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    dst, bias, _ = one_row([1, 2, 3, 4], src, weights=np.zeros(4, np.float32), biased=True)
    assert (dst == 0).all() and bias[0] == 0


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_penalty_a_row_of_few_entries_is_the_shortest_solution(biased, weighted):
    entries, src, src_bias = problem(nnz=100, rank=9, weighted=weighted)
    dst, bias, _ = solve(entries, src, src_bias, reg=0.0, bias_reg=0.0, biased=biased, mean=3.0)
    few = 0
    for row, indices, values, weights in rows_of(entries):
        # numpy's least squares gives the shortest of all solutions
        x, b = reference.als_row(src[indices], src_bias[indices], values, weights, 3.0, 0.0, 0.0, 1.0, biased)
        np.testing.assert_allclose(dst[row], x, atol=1e-3 * max(1, np.abs(x).max()))
        assert bias[row] == pytest.approx(b, abs=1e-3 * max(1, abs(b)))
        few += 0 < len(indices) < 9
    assert few > 20


def test_a_row_stays_where_a_new_one_is_no_better():
    entries, src, src_bias = problem(nnz=100, rank=9)
    dst, bias, _ = solve(entries, src, src_bias, reg=0.0, bias_reg=0.0)
    again, bias_again = dst.copy(), bias.copy()
    source, own = als.Source(als.padded_rows(src), src_bias, NO_GRAM), als.Side(again, bias_again)
    penalty = als.Penalty(np.float32(0), 0.0, 0.0, 1.0)
    als.solve_rows(0, len(dst), entries, source, own, penalty, False, False)
    explained = [row for row, indices, *_ in rows_of(entries) if 0 < len(indices) < 9]
    np.testing.assert_array_equal(again[explained], dst[explained])
