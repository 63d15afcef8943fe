"""Top-n selection and ranks against their slow twins: ties, NaN, infinities, seen items, more places than candidates."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recspark.kernels import topn
from recspark.kernels.topn import NO_ITEM, ranks_of, top_n, top_n_of_factors
from tests.evaluation import reference_metrics as reference

LEVELS = [0.0, 1.0, 1.5, -2.0, np.nan, np.inf, -np.inf]


def csr(rows):
    """CSR of one set of items a user."""
    indptr = np.cumsum([0, *map(len, rows)])
    return indptr, np.array([item for row in rows for item in sorted(row)], np.int32)


@st.composite
def score_rows(draw):
    """Scores from few levels (so that most are tied), and the items that each user has seen."""
    n_users, n_items = draw(st.integers(1, 4)), draw(st.integers(1, 150))
    scores = draw(arrays.arrays(np.float32, (n_users, n_items), elements=st.sampled_from(LEVELS)))
    seen = [draw(st.sets(st.integers(0, n_items - 1))) for _ in range(n_users)]
    return scores, seen


@given(score_rows(), st.integers(0, 12))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_top_n_equals_a_full_sort(rows, n):
    scores, seen = rows
    items, best = top_n(scores, n, *csr(seen))
    expected_items, expected_best = reference.top_n(scores.tolist(), n, seen)
    assert items.tolist() == expected_items
    assert best.tolist() == expected_best
    assert items.dtype == np.int32 and best.dtype == np.float32


@pytest.mark.parametrize("n", [1, 10, 700, 3000])
def test_top_n_of_distinct_scores(n):
    rng = np.random.default_rng(7)
    scores = rng.standard_normal((5, 2000), dtype=np.float32)
    seen = [set(rng.choice(2000, 300, replace=False).tolist()) for _ in range(5)]
    items, best = top_n(scores, n, *csr(seen))
    for user in range(5):
        masked = scores[user].copy()
        masked[list(seen[user])] = -np.inf
        expected = np.lexsort((np.arange(2000), -masked))[: min(n, 1700)]
        assert items[user, : len(expected)].tolist() == expected.tolist()
        assert (items[user, len(expected) :] == NO_ITEM).all()
        np.testing.assert_array_equal(best[user, : len(expected)], masked[expected])


def test_a_user_who_has_seen_everything_gets_nothing():
    items, best = top_n(np.ones((1, 3), np.float32), 2, *csr([{0, 1, 2}]))
    assert items.tolist() == [[NO_ITEM, NO_ITEM]]
    assert best.tolist() == [[-np.inf, -np.inf]]


def test_scores_are_left_as_they_were():
    scores = np.arange(12, dtype=np.float32).reshape(3, 4)
    before = scores.copy()
    top_n(scores, 2, *csr([{0}, {1}, {2}]))
    ranks_of(scores, *csr([{0}, {1}, {2}]), *csr([{1}, {2}, {3}]))
    np.testing.assert_array_equal(scores, before)


@given(score_rows(), st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_ranks_equal_places_in_a_full_sort(rows, data):
    scores, seen = rows
    wanted = [data.draw(st.sets(st.integers(0, scores.shape[1] - 1), max_size=5)) for _ in seen]
    wanted_indptr, wanted_indices = csr(wanted)
    ranks, midranks, candidates = ranks_of(scores, *csr(seen), wanted_indptr, wanted_indices)
    for user, row in enumerate(scores.tolist()):
        ranking = reference.ranked_list(row, seen[user])
        assert candidates[user] == len(ranking)
        for place in range(wanted_indptr[user], wanted_indptr[user + 1]):
            item = wanted_indices[place]
            tied = [rank for rank, other in enumerate(ranking, start=1) if row[other] == row[item]]
            assert ranks[place] == (ranking.index(item) + 1 if item in ranking else 0)
            assert midranks[place] == (np.mean(tied) if item in ranking else 0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("users_a_block", [1, 3, 7, 100])
def test_factors_are_scored_block_by_block(threads, users_a_block):
    rng = np.random.default_rng(3)
    # small whole numbers, so that every product is exact however it is blocked, and ties are many
    users, items = (rng.integers(-3, 4, (count, 5)).astype(np.float32) for count in (7, 40))
    seen = csr([set(rng.choice(40, 9, replace=False).tolist()) for _ in range(7)])
    expected = top_n(users @ items.T, 6, *seen)
    found = top_n_of_factors(users, items, 6, *seen, threads=threads, block_bytes=users_a_block * 4 * 40)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_no_users_and_no_items():
    none = np.zeros(1, np.int64), np.empty(0, np.int32)
    items, _ = top_n_of_factors(np.empty((0, 2), np.float32), np.ones((4, 2), np.float32), 3, *none)
    assert items.shape == (0, 3)
    items, _ = top_n_of_factors(np.ones((1, 2), np.float32), np.empty((0, 2), np.float32), 3, np.zeros(2, np.int64), none[1])
    assert items.tolist() == [[NO_ITEM] * 3]


def test_docstrings():
    failed, attempted = doctest.testmod(topn)
    assert attempted >= 6 and failed == 0
