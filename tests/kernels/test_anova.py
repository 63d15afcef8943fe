"""The ANOVA kernel against the explicit sum, its steps against differences; joined rows against plain
ones.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from scipy.sparse import random as random_sparse

from recspark.kernels import anova
from recspark.kernels.anova import Parameters, Rule, Sparse
from recspark.kernels.ranking.losses import Ranking
from recspark.kernels.ranking.negatives import Unrated, draw
from tests import reference

COLUMNS, RANK = (5, 4, 3), 2
N_USERS, N_ITEMS, ROWS = 6, 4, 30


def sides(seed=0):
    """A joined table, and the same rows as one matrix."""
    rng = np.random.default_rng(seed)
    user, item, context = (
        random_sparse(n, c, 0.6, "csr", random_state=rng, data_rvs=rng.standard_normal)
        for n, c in zip((N_USERS, N_ITEMS, ROWS), COLUMNS, strict=True)
    )
    users, items = (
        rng.integers(0, N_USERS - 1, ROWS).astype(np.int32),
        rng.integers(0, N_ITEMS - 1, ROWS).astype(np.int32),
    )
    shifted = [
        Sparse(x.indptr.astype(np.int64), (x.indices + start).astype(np.int32), x.data)
        for x, start in zip((user, item, context), (0, 5, 9), strict=True)
    ]
    return (
        anova.joined(users, items, *shifted),
        csr_matrix(hstack([user[users], item[items], context])),
        (user, item, context),
    )


def parameters(order, seed=1):
    rng = np.random.default_rng(seed)
    return Parameters(
        rng.normal(size=1), rng.normal(size=sum(COLUMNS)), rng.normal(size=(order - 1, sum(COLUMNS), RANK))
    )


def explicit(x, parts):
    """The sum over all sets of 2, 3 ... columns."""
    score = parts.w0[0] + x @ parts.w
    for t, v in enumerate(parts.v, start=2):
        score += sum(
            np.prod([v[j] * x[j] for j in chosen], axis=0).sum() for chosen in combinations(range(len(x)), t)
        )
    return score


def scores(joined, parts):
    out = np.empty(len(joined.users))
    anova.scores(0, len(out), joined, parts, out)
    return out


@pytest.mark.parametrize("order", [2, 3, 4])
def test_scores_are_the_sums_over_sets_of_columns(order):
    joined, x, _ = sides()
    parts = parameters(order)
    expected = [explicit(row, parts) for row in x.toarray()]
    np.testing.assert_allclose(scores(joined, parts), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        scores(anova.vectors(x.indptr, x.indices, x.data), parts), expected, rtol=1e-9, atol=1e-9
    )


def moved(function, order, rule, row, reg, *arguments):
    """The gradient that one row's step followed: adagrad's first step divides it by sqrt(1 + its square)."""
    before = parameters(order)
    after = Parameters(*(part.copy() for part in before))
    function(np.array([row]), *arguments, reg, rule, after, anova.empty_moments(after, "adagrad"))
    steps = [(old - new) / rule.rate for old, new in zip(before, after, strict=True)]
    return before, [np.sign(step) * np.sqrt(step**2 / (1 - step**2)) for step in steps]


def differences(cost, parts):
    found = [np.zeros_like(part) for part in parts]
    for which, part in enumerate(parts):
        for place in np.ndindex(part.shape):
            kept, sides = part[place], []
            for size in (-1e-5, 1e-5):
                part[place] = kept + size
                sides.append(cost(parts))
            part[place] = kept
            found[which][place] = (sides[1] - sides[0]) / 2e-5
    return found


def penalty(reg, parts, met):
    return 0.5 * (reg[met] @ parts.w[met] ** 2 + sum(reg[met] @ (v[met] ** 2).sum(axis=1) for v in parts.v))


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("loss", [0, 1])
def test_a_step_goes_down_the_gradient(order, loss):
    joined, x, _ = sides()
    row, weights, reg = 3, np.full(ROWS, 0.3), np.linspace(0.1, 0.5, sum(COLUMNS))
    labels = np.full(ROWS, 1.0) if loss else np.full(ROWS, 0.4)
    rule = Rule(loss, 0, 1e-3, True, True)
    before, gradients = moved(anova.descend, order, rule, row, reg, joined, labels, weights)
    met = np.flatnonzero(x[row].toarray()[0])

    def cost(parts):
        score = explicit(x[row].toarray()[0], parts)
        return 0.3 * (np.log1p(np.exp(-score)) if loss else 0.5 * (score - 0.4) ** 2) + penalty(
            reg, parts, met
        )

    for gradient, expected in zip(gradients, differences(cost, before), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(
    "ranking",
    [Ranking(0, 1), Ranking(0, 2), Ranking(1, 2, 0.7)],
    ids=["bpr", "bpr of the hardest", "softmax"],
)
def test_a_step_on_several_items_goes_down_its_gradient(order, ranking):
    joined, _, (user, item, context) = sides()
    row, reg = 3, np.full(sum(COLUMNS), 0.2)
    chosen, rated = joined.items[row], np.arange(N_USERS + 1, dtype=np.int64)
    others = np.array([(chosen + 1) % 3, (chosen + 2) % 3])
    drawn = np.full(ranking.negatives + 1, chosen, np.int64)
    for key in range(100):  # one whose draws differ, so that each item takes one step
        unrated = Unrated(others, rated, np.full(N_USERS, chosen, np.int32), np.uint64(key))
        draw(unrated, joined.users[row], row, drawn)
        if len(set(drawn)) == len(drawn):
            break
    arguments = joined, np.full(ROWS, 0.05), unrated
    rule = Rule(0, 0, 1e-3, False, True, ranking)
    before, gradients = moved(anova.descend_preferences, order, rule, row, reg, *arguments)

    def whole(number):
        return np.concatenate(
            [user[joined.users[row]].toarray()[0], item[number].toarray()[0], context[row].toarray()[0]]
        )

    def scores_of(parts):
        return np.array([explicit(whole(number), parts) for number in drawn])

    stepping = drawn if ranking.loss else drawn[[0, 1 + scores_of(before)[1:].argmax()]]
    paid = np.zeros(sum(COLUMNS))
    for number in stepping[1:]:
        paid[whole(number) != 0] = reg[0] / (len(stepping) - 1)
    paid[whole(chosen) != 0] = reg[0]

    def cost(parts):
        met = np.flatnonzero(paid)
        return 0.05 * reference.ranking_cost(scores_of(parts), ranking) + penalty(paid, parts, met)

    expected = differences(cost, before)
    # a column of several items takes several steps
    met = np.sum([item[number].toarray()[0] != 0 for number in stepping], axis=0)
    once = np.setdiff1d(np.arange(sum(COLUMNS)), np.flatnonzero(met > 1) + COLUMNS[0])
    assert len(once) >= 9
    np.testing.assert_allclose(gradients[1][once], expected[1][once], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(gradients[2][:, once], expected[2][:, once], rtol=1e-3, atol=1e-5)


def test_adam_takes_a_first_step_of_the_rate():
    joined, x, _ = sides()
    before, parts = parameters(2), parameters(2)
    moments = anova.empty_moments(parts, "adam")
    rule = Rule(0, 1, 0.01, True, True)
    anova.descend(
        np.array([0]),
        joined,
        np.full(ROWS, 9.0),
        np.ones(ROWS),
        np.zeros(sum(COLUMNS)),
        rule,
        parts,
        moments,
    )
    met = np.flatnonzero(x[0].toarray()[0])
    np.testing.assert_allclose(np.abs(parts.w - before.w)[met], 0.01, rtol=1e-5)
    assert moments.steps[:-1].tolist() == [int(j in met) for j in range(sum(COLUMNS))]


@pytest.mark.parametrize("rule", [Rule(0, 0, 0.1, False, True), Rule(0, 0, 0.1, True, False)])
def test_parts_that_are_not_fitted_stay(rule):
    joined, _, _ = sides()
    before, parts = parameters(2), parameters(2)
    anova.descend(
        np.arange(ROWS),
        joined,
        np.ones(ROWS),
        np.ones(ROWS),
        np.zeros(sum(COLUMNS)),
        rule,
        parts,
        anova.empty_moments(parts, "adagrad"),
    )
    assert (parts.w0 == before.w0).all() == (not rule.intercept)
    assert (parts.w == before.w).all() == (not rule.linear)


def one_hot(width, *columns):
    row = np.zeros(width)
    for column, value in columns:
        row[column] = value
    return row


def fm_score(x, parts):
    return scores(anova.vectors(np.array([0, len(x)]), np.arange(len(x)), x), parts)[0]


def test_user_and_item_are_matrix_factorization():
    parts = parameters(2)
    u, i = 2, 7
    score = fm_score(one_hot(12, (u, 1), (i, 1)), parts)
    assert score == pytest.approx(parts.w0[0] + parts.w[u] + parts.w[i] + parts.v[0, u] @ parts.v[0, i])


def test_user_item_and_rated_items_are_svd_plus_plus():
    """Koren 2008, equation 15; what is left is the user's alone: pairs inside the user's side."""
    parts = parameters(2)
    u, rated, value = 1, [3, 4], 1 / np.sqrt(2)
    v, w = parts.v[0], parts.w

    def plus_plus(i):
        return parts.w0[0] + w[u] + w[i] + v[i] @ (v[u] + value * v[rated].sum(axis=0))

    left = [
        fm_score(one_hot(12, (u, 1), (i, 1), *((j, value) for j in rated)), parts) - plus_plus(i)
        for i in (6, 7, 8)
    ]
    own = value * w[rated].sum() + value * v[u] @ v[rated].sum(axis=0) + value**2 * v[3] @ v[4]
    np.testing.assert_allclose(left, own)


@pytest.mark.parametrize("context", [9, 11])
def test_user_item_and_a_level_rank_as_pitf_and_fpmc(context):
    """PITF (Rendle and Schmidt-Thieme 2010, tags i for a user and an item) and FPMC (Rendle et al. 2010, the
    next item i after another): differences between items are those of <v_u, v_i> + <v_i, v_c>, and of the
    items' own weights."""
    parts, u = parameters(2), 0
    v = parts.v[0]

    def score(i):
        return fm_score(one_hot(12, (u, 1), (i, 1), (context, 1)), parts)

    def pairwise(i):
        return parts.w[i] + v[u] @ v[i] + v[i] @ v[context]

    assert score(6) - score(7) == pytest.approx(pairwise(6) - pairwise(7))
