"""The kernels of a card beside their slow twins, and beside those of the processor."""

import gc

import numpy as np
import pytest

from recspark.kernels import als
from recspark.kernels.cuda import als as gpu
from recspark.kernels.cuda import layout
from recspark.kernels.cuda.card import Card, OnCard
from tests import reference
from tests.gpu.problems import NO_GRAM, before, by_processor, implicit_problem, problem, rows_of

PENALTY = als.Penalty(np.float32(3), 0.1, 0.2, 0.5)


def solve(card, entries, source, penalty=PENALTY, biased=True, gram=NO_GRAM):
    read = als.Source(*source, gram)
    return gpu.solve_rows(card, entries, read, before(entries, source.factors.shape[1]), penalty, biased)


def check(found, expected):
    """Rows and penalty agree with those of the processor."""
    (rows, penalty), (expected_rows, expected_penalty) = found, expected
    np.testing.assert_allclose(np.asarray(rows.factors), expected_rows.factors, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(np.asarray(rows.bias), expected_rows.bias, rtol=1e-3, atol=2e-5)
    assert penalty == pytest.approx(expected_penalty, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 9, 26])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_are_the_least_squares_solutions(card, rank, biased, weighted):
    entries, source = problem(rank, weighted=weighted)
    rows, penalty = solve(card, entries, source, biased=biased)
    expected_penalty = 0.0
    for row, indices, values, weights in rows_of(entries):
        x, b = reference.als_row(
            source.factors[indices], source.bias[indices], values, weights, 3.0, 0.1, 0.2, 0.5, biased
        )
        np.testing.assert_allclose(rows.factors[row], x, rtol=1e-3, atol=1e-4)
        assert rows.bias[row] == pytest.approx(b, abs=1e-4)
        expected_penalty += weights.sum() ** 0.5 * (0.1 * (x**2).sum() + 0.2 * b**2)
    assert penalty == pytest.approx(expected_penalty, rel=1e-5)
    check((rows, penalty), by_processor(entries, source, PENALTY, biased))


def test_rows_without_entries_are_zero(card):
    entries, source = problem(3)
    rows, _ = solve(card, entries, source)
    assert not rows.factors[0].any() and rows.bias[0] == 0 and rows.factors[1].all()


@pytest.mark.parametrize("rank", [4, 17])
def test_rows_of_implicit_feedback(card, rank):
    entries, source, gram = implicit_problem(rank)
    penalty = als.Penalty(np.float32(0), 0.5, 0.0, 1.0)
    rows, total = solve(card, entries, source, penalty, False, gram)
    whole = source.factors.T @ source.factors
    for row, indices, values, weights in rows_of(entries):
        ridge = 0.5 * (values > 0).sum()
        x, _ = reference.als_row(
            source.factors[indices], 0 * values, values, weights, 0.0, ridge, 0.0, 0.0, False, whole
        )
        np.testing.assert_allclose(rows.factors[row], x, rtol=1e-3, atol=1e-4)
    check((rows, total), by_processor(entries, source, penalty, False, gram))


@pytest.mark.parametrize("change", ["slots", "batches", "global", "threads"])
def test_the_layout_does_not_change_rows(card, change, monkeypatch):
    """Long rows in several slots, several batches, matrices outside of shared memory, blocks as on a card."""
    small = {"slots": (gpu, "SLOT", 2), "batches": (gpu, "BATCH_BYTES", 1000)}
    rank = 9 if change != "threads" else 3
    entries, source = problem(rank, n=6, nnz=30)
    expected = by_processor(entries, source, PENALTY, True)
    if change in small:
        monkeypatch.setattr(*small[change])
    elif change == "global":
        monkeypatch.setattr(layout, "SHARED_BYTES", 1500)
        assert not layout.shape_of(rank).fits
    else:
        monkeypatch.setattr(layout, "SIMULATED", False)
        monkeypatch.setattr(layout, "THREADS", 64)
        shape = layout.shape_of(rank)
        assert (shape.groups, shape.solvers) == (64, 32)
    if change == "batches":
        assert len(layout.batches(layout.order_of(entries.indptr, 2048).slots, 1)) == 5
    check(solve(card, entries, source), expected)


@pytest.mark.parametrize("rank", [1, 19])
@pytest.mark.parametrize("batch_bytes", [1000, 1 << 20])
def test_gram(card, rank, batch_bytes, monkeypatch):
    monkeypatch.setattr(gpu, "BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(gpu, "DENSE_SLOT", 16)
    factors = np.random.default_rng(0).standard_normal((40, rank)).astype(np.float32)
    found = gpu.gram(card, factors)
    assert found.shape == als.gram(0, 40, als.padded_rows(factors)).shape
    np.testing.assert_allclose(found[:rank, :rank], np.triu(factors.T @ factors), rtol=1e-5, atol=1e-5)
    assert not found[rank:].any() and not found[:, rank:].any()


@pytest.mark.parametrize("weighted", [False, True])
def test_squared_error(card, weighted):
    entries, source = problem(9, weighted=weighted)
    own = by_processor(entries, source, PENALTY, True)[0]
    bounds = als.Bounds(*map(np.float32, (3, 2, 4.5)))
    expected = als.squared_error(0, len(own.bias), entries, source, own, *bounds)
    assert gpu.squared_error(card, entries, source, own, bounds) == pytest.approx(expected, rel=1e-6)


def test_no_ratings(card):
    entries, source = problem(3, nnz=0)
    rows, penalty = solve(card, entries, source)
    bounds = als.Bounds(*map(np.float32, (3, 2, 4.5)))
    assert not np.asarray(rows.factors).any() and penalty == 0
    assert gpu.squared_error(card, entries, source, rows, bounds) == (0, 0)
    assert not gpu.gram(card, np.empty((0, 3), np.float32)).any()


@pytest.mark.parametrize("biased", [False, True])
def test_the_processor_solves_rows_without_a_penalty(card, biased):
    entries, source = problem(9, nnz=40)
    penalty = als.Penalty(np.float32(3), 0.0, 0.0, 1.0)
    rows, total = solve(card, entries, source, penalty, biased)
    expected, _ = by_processor(entries, source, penalty, biased)
    np.testing.assert_array_equal(rows.factors, expected.factors)
    np.testing.assert_array_equal(rows.bias, expected.bias)
    assert total == 0


def test_a_singular_row_among_others_is_solved_by_the_processor(card):
    """One source row of zeros, and a penalty that float32 keeps for small rows only."""
    entries, source = problem(4)
    factors = source.factors.copy()
    factors[3] *= 1e6
    source = als.Side(factors, source.bias)
    rows, _ = solve(card, entries, source, biased=False)
    doubtful = np.array([3 in indices for _, indices, *_ in rows_of(entries)])
    assert doubtful.any() and not doubtful.all()
    expected, _ = by_processor(entries, source, PENALTY, False)
    np.testing.assert_array_equal(rows.factors[1:][doubtful], expected.factors[1:][doubtful])
    np.testing.assert_allclose(rows.factors[1:], expected.factors[1:], rtol=1e-3, atol=1e-4)


def test_the_same_bits_again():
    entries, source = problem(9, weighted=True)
    first, second = (solve(Card(0), entries, source) for _ in range(2))
    assert first[1] == second[1]
    for one, other in zip(first[0], second[0], strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_entries_are_sent_once_and_forgotten_with_their_arrays(card, monkeypatch):
    entries, source = problem(5)
    rows, _ = solve(card, entries, source)
    sent = []
    monkeypatch.setattr(Card, "send", lambda self, array, send=Card.send: sent.append(1) or send(self, array))
    solve(card, entries, source)
    assert len(sent) == 2  # the source's biases, and the Gram matrix that there is none of
    blocks = [key for key in card._held if "block" in key]
    assert len(blocks) == 1
    del entries
    gc.collect()
    assert not [key for key in card._held if "block" in key]
    assert isinstance(rows.factors, OnCard) and rows.factors._host is None
    assert np.array(rows.factors).shape == rows.factors.shape == (12, 5)
