"""Top-n selection and ranks against their slow twins: ties, NaN, infinities, seen items, more places than
candidates.
"""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recspark.kernels import topn
from recspark.kernels.topn import NO_ITEM, ranks_of, top_n, top_n_of_factors
from tests.evaluation import reference_metrics as reference
from tests.reference import best_items

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


@given(st.data(), st.integers(0, 2**31), st.integers(0, 12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_lists_of_factors_equal_the_twin(data, seed, n):
    n_users, n_items, rank = (
        data.draw(st.integers(0, 40)),
        data.draw(st.integers(0, 40)),
        data.draw(st.integers(1, 20)),
    )
    rng = np.random.default_rng(seed)
    # small whole numbers, so that every score is exact, and ties are many
    users, items = (rng.integers(-2, 3, (count, rank)).astype(np.float32) for count in (n_users, n_items))
    offsets = rng.choice(np.array([0, 1, -2, np.nan, -np.inf, np.inf], np.float32), n_items)
    seen = [
        set(rng.choice(n_items, rng.integers(0, n_items + 1), replace=False).tolist()) if n_items else set()
        for _ in range(n_users)
    ]
    found, best = top_n_of_factors(users, items, offsets, n, *csr(seen))
    expected = best_items(users, items, offsets, n, seen)
    assert [[item for item in row if item != NO_ITEM] for row in found.tolist()] == [
        [item for item, _ in row] for row in expected
    ]
    assert [[score for score in row if score > -np.inf] for row in best.tolist()] == [
        [score for _, score in row] for row in expected
    ]
    assert ((found == NO_ITEM) == (best == -np.inf)).all()
    assert found.shape == best.shape == (n_users, n) and found.dtype == np.int32 and best.dtype == np.float32


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(3)
    users, items = (rng.standard_normal((count, 13), dtype=np.float32) for count in (700, 21_003))
    # equal rows far apart: in the tile of the last items, which is not full, and in others
    items[[3, 9000, 21_001, 21_002]] = items[7]
    seen = csr([set(rng.choice(len(items), 50, replace=False).tolist()) for _ in users])
    return users, items, rng.standard_normal(len(items), dtype=np.float32).round(), seen


def test_many_users_and_items_against_blas(many):
    users, items, offsets, seen = many
    found, best = top_n_of_factors(users, items, offsets, 20, *seen)
    scores = users.astype(np.float64) @ items.T.astype(np.float64) + offsets
    expected, expected_best = top_n(scores.astype(np.float32), 20, *seen)
    assert (np.sort(found) == np.sort(expected)).mean() > 0.999
    np.testing.assert_allclose(best, expected_best, rtol=1e-5)
    np.testing.assert_allclose(
        best, np.take_along_axis(scores, found.astype(int), axis=1), rtol=1e-5, atol=1e-5
    )


def test_equal_rows_stay_tied_wherever_they_stand(many):
    users, items, offsets, _ = many
    none = np.zeros(len(users) + 1, np.int64), np.empty(0, np.int32)
    found, best = top_n_of_factors(users, items, np.zeros_like(offsets), len(items), *none)
    same = np.flatnonzero((items == items[7]).all(axis=1))
    assert same.tolist() == [3, 7, 9000, 21_001, 21_002]
    for user in range(0, len(users), 50):
        places = np.flatnonzero(np.isin(found[user], same))
        assert found[user, places].tolist() == same.tolist()
        assert len(set(best[user, places].tolist())) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_a_user_s_list_has_the_same_bits_in_any_company(many, threads):
    users, items, offsets, (indptr, indices) = many
    found, best = top_n_of_factors(users, items, offsets, 10, indptr, indices, threads)
    for user in (0, 17, 255, 256, 699):
        alone = top_n_of_factors(users[user : user + 1], items, offsets, 10, indptr[user : user + 2], indices)
        np.testing.assert_array_equal(alone[0][0], found[user])
        np.testing.assert_array_equal(alone[1][0].view(np.int32), best[user].view(np.int32))
    fewer = top_n_of_factors(
        users, items[:9001], offsets[:9001], len(items), *(np.zeros(len(users) + 1, np.int64), indices[:0])
    )
    place = np.flatnonzero(fewer[0][5] == 9000)
    assert (
        fewer[1][5, place]
        == top_n_of_factors(
            users[5:6], items[9000:9001], offsets[9000:9001], 1, np.zeros(2, np.int64), indices[:0]
        )[1][0]
    )


def test_factors_that_are_not_numbers_are_on_no_list():
    users, items = np.ones((2, 2), np.float32), np.ones((20, 2), np.float32)
    items[::3, 1], users[1, 0] = np.nan, np.nan
    found, _ = top_n_of_factors(
        users, items, np.zeros(20, np.float32), 30, np.zeros(3, np.int64), np.empty(0, np.int32)
    )
    assert [item for item in found[0] if item != NO_ITEM] == [item for item in range(20) if item % 3]
    assert (found[1] == NO_ITEM).all()


def test_docstrings():
    failed, attempted = doctest.testmod(topn)
    assert attempted >= 9 and failed == 0
