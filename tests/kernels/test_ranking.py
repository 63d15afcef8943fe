"""Losses that compare items: their slopes, their draws, and steps beside a slow twin."""

import numpy as np
import pytest

from recspark.kernels.als import padded_rows
from recspark.kernels.arrays.csr import csr_from_coo
from recspark.kernels.ranking.factors import descend_preferences
from recspark.kernels.ranking.losses import LOSSES, Ranking, cost_and_slopes
from recspark.kernels.ranking.negatives import Unrated, draw
from recspark.kernels.sgd import COSINE, Entries, Penalties, Penalty, Rows, Rules
from tests import reference

N_USERS, N_ITEMS, NNZ = 12, 40, 90
BPR, SOFTMAX, CCL = range(3)
#: a loss, with the kernel that it is used with
CASES = {
    "bpr": (Ranking(BPR, 1), 0),
    "bpr of the hardest": (Ranking(BPR, 7), 0),
    "softmax": (Ranking(SOFTMAX, 7, 0.7), 0),
    "softmax of cosines": (Ranking(SOFTMAX, 7, 0.2), COSINE),
    "ccl": (Ranking(CCL, 7, margin=0.1, negative_weight=3.0), COSINE),
}
PENALTIES = Penalties(Penalty(0.02, 0.0, 0.01, 0.0), Penalty(0.05, 0.0, 0.03, 0.0))


def rules(ranking, kernel=0, rate=0.05, rank=5):
    biased = kernel != COSINE
    return Rules(kernel, 0, 0, 0.0, 1.0, 5.0, 0.4, rate, biased, False, rank, 1.0, ranking)


def rows(factors, bias):
    n = len(bias)
    empty = np.empty((0, 0), np.float32)
    return Rows(padded_rows(factors, copy=True), bias.copy(), np.ones(n, np.float32), empty, empty, empty)


def problem(kernel, rank=5, seed=0):
    """Ratings of which some are 0, the draws' source, and rows of both sides."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(N_USERS * N_ITEMS, NNZ, replace=False)
    users, items = (cells // N_ITEMS).astype(np.int32), (cells % N_ITEMS).astype(np.int32)
    entries = Entries(
        users, items, rng.integers(0, 5, NNZ).astype(np.float32), rng.uniform(0.2, 2, NNZ).astype(np.float32)
    )
    rated = csr_from_coo(*entries, N_USERS, N_ITEMS)
    x, y = (rng.standard_normal((n, rank)).astype(np.float32) for n in (N_USERS, N_ITEMS))
    c = 0.1 * rng.standard_normal(N_ITEMS).astype(np.float32)
    if kernel == COSINE:
        x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y))
        c = np.zeros_like(c)
    return entries, Unrated(np.arange(N_ITEMS), rated[0], rated[1], np.uint64(3)), x, y, c


@pytest.mark.parametrize("ranking", [ranking for ranking, _ in CASES.values()], ids=CASES)
def test_slopes_are_differences_of_the_cost(ranking):
    rng = np.random.default_rng(2)
    for _ in range(5):
        scores, slopes = rng.uniform(-1, 1, ranking.negatives + 1), np.empty(ranking.negatives + 1)
        assert cost_and_slopes(ranking, scores, slopes) == pytest.approx(
            reference.ranking_cost(scores, ranking)
        )
        np.testing.assert_allclose(slopes, reference.ranking_slopes(scores, ranking), rtol=1e-5, atol=1e-8)


def test_a_softmax_of_two_items_is_bpr():
    scores, one, other = np.array([0.3, -1.1]), np.empty(2), np.empty(2)
    cost = cost_and_slopes(Ranking(BPR, 1), scores, one)
    assert cost == pytest.approx(cost_and_slopes(Ranking(SOFTMAX, 1), scores, other))
    np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("own", [-2000.0, 2000.0])
def test_far_scores_have_finite_costs(own):
    scores, slopes = np.array([own, -3000.0, 0.0]), np.empty(3)
    for loss in (BPR, SOFTMAX):
        cost = cost_and_slopes(Ranking(loss, 2), scores, slopes)
        assert cost == pytest.approx(max(-own, 0))
        np.testing.assert_allclose(slopes, [-1, 0, 1] if own < 0 else 0, atol=1e-12)


def test_draws_are_even_and_never_of_what_is_rated():
    candidates = np.array([1, 2, 5, 6, 9])
    unrated = Unrated(candidates, np.array([0, 2]), np.array([2, 9], np.int32), np.uint64(11))
    counts, items = np.zeros(10, int), np.empty(5, np.int64)
    for number in range(3_000):
        items[0] = 2
        filled = draw(unrated, 0, number, items)
        assert items[0] == 2 and filled == 5
        counts += np.bincount(items[1:], minlength=10)
    assert counts[[1, 5, 6]].sum() == 12_000
    np.testing.assert_allclose(counts[[1, 5, 6]], 4_000, atol=4 * np.sqrt(12_000 * 2 / 9))
    # a draw is a function of the key and the number alone
    again = np.empty(5, np.int64)
    draw(unrated, 0, 2_999, again)
    np.testing.assert_array_equal(again[1:], items[1:])


def test_a_user_that_has_rated_all_makes_no_step():
    everything = Entries(
        np.zeros(30, np.int32),
        np.arange(30, dtype=np.int32),
        np.ones(30, np.float32),
        np.empty(0, np.float32),
    )
    full = csr_from_coo(*everything, 1, 30)
    unrated = Unrated(np.arange(30), full[0], full[1], np.uint64(1))
    users, items = (rows(np.ones((n, 3), np.float32), np.zeros(n, np.float32)) for n in (1, 30))
    arguments = (everything, unrated, rules(Ranking(SOFTMAX, 4)), users, items, PENALTIES)
    assert descend_preferences(0, 30, *arguments) == (0, 0, 0)
    assert users.factors[:, :3].min() == users.factors.max() == items.factors.max() == 1


@pytest.mark.parametrize(("ranking", "kernel"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("rank", [5, 16])
def test_steps_are_those_of_the_slow_twin(ranking, kernel, rank):
    entries, unrated, x, y, c = problem(kernel, rank)
    chosen = rules(ranking, kernel, rank=rank)
    users, items = rows(x, np.zeros(N_USERS, np.float32)), rows(y, c)
    found = descend_preferences(0, NNZ, entries, unrated, chosen, users, items, PENALTIES)
    drawn = []
    for e in range(NNZ):
        places = np.full(ranking.negatives + 1, entries.items[e], np.int64)
        filled = draw(unrated, entries.users[e], e, places)
        drawn.append(places[:filled] if entries.values[e] > 0 else None)
    expected = reference.descend_preferences(
        entries.users, entries.weights, drawn, x, y, c, chosen, *PENALTIES
    )
    moved = users.factors[:, :rank], items.factors[:, :rank], items.bias
    for got, want in zip(moved, expected[:3], strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-4)
    assert found == pytest.approx(tuple(expected[3]), rel=1e-3)
    assert users.bias.max() == 0


@pytest.mark.parametrize(("ranking", "kernel"), CASES.values(), ids=CASES)
def test_a_step_goes_down_the_gradient(ranking, kernel):
    """Of the loss of one rating and its penalties, as a function of the rows themselves."""
    rng = np.random.default_rng(5)
    x, y = (rng.standard_normal((n, 4)).astype(np.float32) for n in (1, 4))
    if kernel == COSINE:
        x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y))
    entries = Entries(
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1, np.float32), np.empty(0, np.float32)
    )
    ranking = ranking._replace(negatives=min(ranking.negatives, 3))
    for key in range(100):  # one whose draws differ, so that each row takes one step
        unrated = Unrated(np.arange(4), np.array([0, 1]), np.zeros(1, np.int32), np.uint64(key))
        drawn = np.zeros(ranking.negatives + 1, np.int64)
        draw(unrated, 0, 0, drawn)
        if len(set(drawn)) == len(drawn):
            break
    rate, penalty = 1e-4, Penalty(0.1, 0.0, 0.0, 0.0)
    users, items = (rows(each, np.zeros(len(each), np.float32)) for each in (x, y))
    chosen = rules(ranking, kernel, rate, 4)._replace(biased=False)
    descend_preferences(0, 1, entries, unrated, chosen, users, items, Penalties(penalty, penalty))

    def scores_of(x, y):
        scores = y[drawn] @ x[0]
        if kernel == COSINE:
            scores /= np.linalg.norm(y[drawn], axis=1) * np.linalg.norm(x[0])
        return scores

    hardest = 1 + scores_of(x, y)[1:].argmax()

    def objective(x, y):
        cost = reference.ranking_cost(scores_of(x, y), ranking)
        if kernel == COSINE:
            return cost
        paying = y[drawn[1:]] if ranking.loss != BPR else y[drawn[[hardest]]]
        return cost + 0.05 * ((x**2).sum() + (y[0] ** 2).sum() + (paying**2).sum() / len(paying))

    both = [x.astype(float), y.astype(float)]
    for side, moved in enumerate((users.factors[:, :4], items.factors[:, :4])):
        for place in np.ndindex(both[side].shape):
            ends = []
            for size in (-1e-5, 1e-5):
                shifted = [part.copy() for part in both]
                shifted[side][place] += size
                ends.append(objective(*shifted))
            slope = (ends[1] - ends[0]) / 2e-5
            assert (both[side][place] - moved[place]) / rate == pytest.approx(slope, rel=1e-2, abs=4e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_epochs_learn_the_order(loss):
    rng = np.random.default_rng(0)
    taste = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    liked = np.argwhere(taste > 0.8).astype(np.int32)
    entries = Entries(
        liked[:, 0].copy(), liked[:, 1].copy(), np.ones(len(liked), np.float32), np.empty(0, np.float32)
    )
    rated = csr_from_coo(*entries, 40, 30)
    kernel, number = COSINE if loss == "ccl" else 0, LOSSES.index(loss)
    users, items = (
        rows(rng.standard_normal((n, 4)).astype(np.float32) / 2, np.zeros(n, np.float32)) for n in (40, 30)
    )
    if kernel == COSINE:
        for side in (users, items):
            side.factors[:] /= np.linalg.norm(side.factors, axis=1, keepdims=True)
    light, shares = Penalty(0.001, 0.0, 0.001, 0.0), []
    ranking = Ranking(number, 5, margin=0.3, negative_weight=2.0)
    for epoch in range(60):
        unrated = Unrated(np.arange(30), rated[0], rated[1], np.uint64(epoch))
        arguments = (entries, unrated, rules(ranking, kernel, 0.1, 4), users, items, Penalties(light, light))
        right, total, _ = descend_preferences(0, len(liked), *arguments)
        shares.append(right / total)
    assert shares[0] < 0.8 < 0.95 < shares[-1]
    if kernel == COSINE:
        for side in (users, items):
            np.testing.assert_allclose(np.linalg.norm(side.factors, axis=1), 1, rtol=1e-5)
