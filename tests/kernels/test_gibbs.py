import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import truncnorm

from recspark.algorithms.gibbs import BINS, EDGES, SPREAD_BINS, _draw_cuts
from recspark.kernels import gibbs, probit
from recspark.kernels.als import padded_rows
from tests import reference

RANK, N = 5, 7
KEYS = np.array([3, 4], np.uint64)
NO_CUTS = np.empty(0)
NO_WEIGHTS = np.empty(0, np.float32)


def problem(seed=0, others=2, rows=60):
    """Rows of one side's N entities that join entities of `others` sides of 6, the last place standing for
    none.
    """
    rng = np.random.default_rng(seed)
    places = np.stack([rng.integers(0, 6, rows) + 6 * side for side in range(others)], axis=1).astype(
        np.int32
    )
    places[rng.random(rows) < 0.1, -1] = 6 * others
    table, bias = (
        rng.normal(0, 0.5, (6 * others + 1, RANK)).astype(np.float32),
        rng.normal(0, 0.3, 6 * others + 1).astype(np.float32),
    )
    table[-1], bias[-1] = 0, 0
    entities = np.sort(rng.integers(0, N - 1, rows))  # the last entity has no row
    own, own_bias = rng.normal(0, 0.5, (N, RANK)).astype(np.float32), rng.normal(0, 0.3, N).astype(np.float32)
    prior, prior_bias = (
        rng.normal(0, 0.5, (N, RANK)).astype(np.float32),
        rng.normal(0, 0.3, N).astype(np.float32),
    )
    values = rng.normal(3.5, 1, rows).astype(np.float32)
    return (
        np.searchsorted(entities, np.arange(N + 1)),
        places,
        values,
        table,
        bias,
        own,
        own_bias,
        prior,
        prior_bias,
    )


def draw(
    data,
    lo=0,
    hi=N,
    noise=0.0,
    alpha=1.7,
    offset=3.2,
    first=0,
    cuts=NO_CUTS,
    keys=KEYS,
    weights=NO_WEIGHTS,
    times=1.0,
):
    indptr, places, values, table, bias, own, own_bias, prior, prior_bias = data
    state = padded_rows(own.copy()), own_bias.copy()
    precision = (times * np.linspace(1, 2, RANK)).astype(np.float32)
    rows = gibbs.Rows(indptr, places, values, weights)
    around = gibbs.Prior(padded_rows(prior), prior_bias, precision, np.float32(times * 1.5))
    given = gibbs.Constants(np.float32(alpha), offset, np.float32(noise), keys, first, cuts)
    tables = gibbs.Table(padded_rows(table), bias), gibbs.Table(*state)
    sums = gibbs.draw_entities(lo, hi, rows, *tables, around, given, RANK)
    return state[0][:, :RANK], state[1], sums


@pytest.mark.parametrize("others", [1, 2, 3])
def test_without_noise_entities_are_the_minimum(others):
    data = problem(others=others)
    vectors, biases, (left, left_square, failed) = draw(data)
    expected, residuals = reference.fm_entities(*data, np.append(np.linspace(1, 2, RANK), 1.5), 1.7, 3.2)
    np.testing.assert_allclose(np.column_stack([vectors, biases]), expected, rtol=1e-3, atol=1e-4)
    assert (left, left_square) == pytest.approx(
        (residuals.sum(), np.square(residuals).sum()), rel=1e-3, abs=1e-3
    )
    assert failed == 0


def test_a_weight_of_two_is_a_row_twice():
    indptr, places, values, *rest = problem()
    times = 1 + np.arange(len(values)) % 2
    twice = (
        np.concatenate([[0], np.cumsum(times)])[indptr],
        np.repeat(places, times, axis=0),
        np.repeat(values, times),
        *rest,
    )
    weighted, plain = draw((indptr, places, values, *rest), weights=times.astype(np.float32)), draw(twice)
    for found, expected in zip(weighted, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def levels_of(data):
    return *data[:2], (data[2] > 3).astype(np.float32) + (data[2] > 4), *data[3:]


def test_latent_values_of_weight_four_have_half_the_noise():
    """Which is as if all else were twice as large."""
    indptr, places, values, table, bias, *rest = levels_of(problem(others=1))
    cuts, fours = np.array([-np.inf, 2.5, 3.5, np.inf]), np.full(len(values), 4, np.float32)
    vectors, biases, sums = draw(
        (indptr, places, values, table, bias, *rest), noise=1.0, alpha=1.0, cuts=cuts, weights=fours
    )
    doubled = (indptr, places, values, table, 2 * bias, *(2 * array for array in rest))
    expected = draw(doubled, noise=1.0, alpha=1.0, offset=6.4, cuts=2 * cuts, times=0.25)
    np.testing.assert_allclose(2 * vectors, expected[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(2 * biases, expected[1], rtol=1e-3, atol=1e-3)
    assert sums[1] == pytest.approx(expected[2][1], rel=1e-3)


@pytest.mark.parametrize("cuts", [NO_CUTS, np.array([-np.inf, 3, 3.5, np.inf])])
@pytest.mark.parametrize("weighted", [False, True])
def test_spreads_have_the_mean_and_variance_of_the_posterior(cuts, weighted):
    indptr, places, values, table, bias, own, own_bias, *_ = levels_of(problem()) if len(cuts) else problem()
    rng, copies, rows, precision, alpha = (
        np.random.default_rng(0),
        4000,
        indptr[1],
        3.0,
        1.0 if len(cuts) else 1.7,
    )
    spread = rng.normal(0, 0.4, len(table)).astype(np.float32)
    weights = rng.integers(1, 4, rows).astype(np.float32) if weighted else np.ones(rows, np.float32)
    drawn = np.zeros(copies, np.float32)
    many = gibbs.Rows(
        np.arange(copies + 1) * rows,
        np.tile(places[:rows], (copies, 1)),
        np.tile(values[:rows], copies),
        np.tile(weights, copies) if weighted else NO_WEIGHTS,
    )
    others = gibbs.Table(padded_rows(table), bias)
    entities = gibbs.Table(padded_rows(np.repeat(own[:1], copies, axis=0)), np.repeat(own_bias[:1], copies))
    spreads = gibbs.Spreads(spread, drawn, precision)
    for key in range(40):
        given = gibbs.Constants(alpha, 3.2, np.float32(1), np.array([key, 0], np.uint64), 0, cuts)
        gibbs.draw_spreads(0, copies, many, others, entities, spreads, given)
    joined = [(np.vstack([table[row], own[0]]), np.append(bias[row], own_bias[0])) for row in places[:rows]]
    scores = np.array([reference.fm_score(*each, 3.2) for each in joined])
    at = np.linspace(-3, 3, 1201)
    given = (values[:rows], scores, spread[places[:rows]].sum(axis=1), weights, precision, alpha, cuts)
    density = np.exp([reference.fm_spread(x, *given) - reference.fm_spread(0.0, *given) for x in at])
    mean = (at * density).sum() / density.sum()
    deviation = np.sqrt(((at - mean) ** 2 * density).sum() / density.sum())
    assert drawn.mean() == pytest.approx(mean, abs=0.02)
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


def test_spreads_do_not_depend_on_how_entities_are_cut():
    indptr, places, values, table, bias, own, own_bias, *_ = problem()
    spread, whole, part = (
        np.zeros(len(table), np.float32),
        np.zeros(N, np.float32),
        np.zeros(N - 3, np.float32),
    )

    def drawn(first, indptr, own, own_bias, out):
        rows = gibbs.Rows(indptr, places, values, NO_WEIGHTS)
        tables = gibbs.Table(padded_rows(table), bias), gibbs.Table(padded_rows(own), own_bias)
        given = gibbs.Constants(1.7, 3.2, np.float32(1), KEYS, first, NO_CUTS)
        gibbs.draw_spreads(0, len(out), rows, *tables, gibbs.Spreads(spread, out, 2.0), given)

    drawn(0, indptr, own, own_bias, whole)
    drawn(3, indptr[3:], own[3:].copy(), own_bias[3:], part)
    np.testing.assert_array_equal(part, whole[3:])
    assert len(np.unique(whole)) >= N // 2  # some stay where they are


@pytest.mark.parametrize("weighted", [False, True])
def test_weights_of_rows_by_their_spreads(weighted):
    indptr, places, values, table, *_ = problem()
    rng, rows = np.random.default_rng(0), len(values)
    weights = rng.random(rows).astype(np.float32) if weighted else NO_WEIGHTS
    spread, own = rng.normal(size=len(table)).astype(np.float32), rng.normal(size=N).astype(np.float32)
    out = np.empty(rows, np.float32)
    gibbs.spread_weights(0, N, gibbs.Rows(indptr, places, out, weights), spread, own, out)
    total = spread[places].sum(axis=1) + np.repeat(own, np.diff(indptr))
    np.testing.assert_allclose(out, np.exp(-2 * total) * (weights if weighted else 1), rtol=1e-5)


def test_draws_have_the_mean_and_covariance_of_the_posterior():
    indptr, places, values, table, bias, own, own_bias, prior, prior_bias = problem()
    copies, rows = 20_000, indptr[1]
    many = (
        np.arange(copies + 1) * rows,
        np.tile(places[:rows], (copies, 1)),
        np.tile(values[:rows], copies),
        table,
        bias,
    )
    many += tuple(np.repeat(array[:1], copies, axis=0) for array in (own, own_bias, prior, prior_bias))
    vectors, biases, _ = draw(many, hi=copies, noise=1.0)
    drawn = np.column_stack([vectors, biases])
    one = (
        np.array([0, rows]),
        places[:rows],
        values[:rows],
        table,
        bias,
        own[:1],
        own_bias[:1],
        prior[:1],
        prior_bias[:1],
    )
    mean, _ = reference.fm_entities(*one, np.append(np.linspace(1, 2, RANK), 1.5), 1.7, 3.2)
    covariance = np.linalg.inv(
        reference.fm_precision(places[:rows], table, np.append(np.linspace(1, 2, RANK), 1.5), 1.7)
    )
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.03)


@pytest.mark.parametrize("cuts", [NO_CUTS, np.array([-np.inf, -1, 0, 1, np.inf])])
def test_draws_do_not_depend_on_how_entities_are_cut(cuts):
    data = levels_of(problem()) if len(cuts) else problem()
    whole = draw(data, noise=1.0, cuts=cuts)
    indptr = data[0]
    rows = slice(indptr[3], None)
    part = (
        indptr[3:] - indptr[3],
        data[1][rows],
        data[2][rows],
        *data[3:5],
        *(array[3:] for array in data[5:]),
    )
    cut = draw(part, hi=N - 3, noise=1.0, first=3, cuts=cuts)
    np.testing.assert_array_equal(cut[0], whole[0][3:])
    np.testing.assert_array_equal(cut[1], whole[1][3:])


def biases_of(data, lo=0, hi=N, noise=0.0, first=0, cuts=NO_CUTS, weights=NO_WEIGHTS):
    indptr, places, values, table, bias, _, own_bias, _, prior_bias = data
    drawn = own_bias.copy()
    rows, others = gibbs.Rows(indptr, places, values, weights), gibbs.Table(padded_rows(table), bias)
    nothing = np.empty((0, 0), np.float32), np.empty(0, np.float32)
    prior = gibbs.Prior(nothing[0], prior_bias, nothing[1], np.float32(1.5))
    given = gibbs.Constants(np.float32(1.7), 3.2, np.float32(noise), KEYS, first, cuts)
    return drawn, gibbs.draw_biases(lo, hi, rows, others, drawn, prior, given)


def test_biases_alone_are_the_minimum_without_noise():
    data = problem()
    drawn, (left, left_square, failed) = biases_of(data)
    indptr, places, values, table, bias, *_, prior_bias = data
    for e in range(N):
        rows = range(indptr[e], indptr[e + 1])
        target = [
            values[r] - reference.fm_score(table[places[r]].astype(float), bias[places[r]], 3.2) for r in rows
        ]
        assert drawn[e] == pytest.approx(
            (1.7 * sum(target) + 1.5 * prior_bias[e]) / (1.7 * len(rows) + 1.5), abs=1e-5
        )
        values[rows.start : rows.stop] = np.array(target, np.float32) - drawn[e]
    assert (left, left_square, failed) == pytest.approx(
        (values.sum(), np.square(values).sum(), 0), rel=1e-3, abs=1e-3
    )


def test_biases_alone_with_a_weight_of_two_are_those_of_a_row_twice():
    indptr, places, values, *rest = problem()
    times = 1 + np.arange(len(values)) % 2
    twice = (
        np.concatenate([[0], np.cumsum(times)])[indptr],
        np.repeat(places, times, axis=0),
        np.repeat(values, times),
        *rest,
    )
    weighted, plain = (
        biases_of((indptr, places, values, *rest), weights=times.astype(np.float32)),
        biases_of(twice),
    )
    np.testing.assert_allclose(weighted[0], plain[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weighted[1], plain[1], rtol=1e-4, atol=1e-4)


def test_biases_alone_have_the_spread_of_the_posterior():
    indptr, places, values, table, bias, *_ = problem()
    copies, rows = 20_000, indptr[1]
    many = (
        np.arange(copies + 1) * rows,
        np.tile(places[:rows], (copies, 1)),
        np.tile(values[:rows], copies),
        table,
        bias,
    )
    drawn, _ = biases_of(
        (*many, None, np.zeros(copies, np.float32), None, np.zeros(copies, np.float32)), hi=copies, noise=1.0
    )
    assert np.var(drawn) == pytest.approx(1 / (1.7 * rows + 1.5), rel=0.05)


@pytest.mark.parametrize("cuts", [NO_CUTS, np.array([-np.inf, 3, 3.5, 4, np.inf])])
def test_biases_alone_do_not_depend_on_how_entities_are_cut(cuts):
    data = levels_of(problem()) if len(cuts) else problem()
    whole, _ = biases_of(data, noise=1.0, cuts=cuts)
    indptr, rows = data[0], slice(data[0][3], None)
    part = (
        indptr[3:] - indptr[3],
        data[1][rows],
        data[2][rows],
        *data[3:5],
        *(array[3:] for array in data[5:]),
    )
    cut, _ = biases_of(part, hi=N - 3, noise=1.0, first=3, cuts=cuts)
    np.testing.assert_array_equal(cut, whole[3:])
    assert len(np.unique(whole)) == N


def features(seed=1, columns=4, entities=30):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(entities, columns)) * (rng.random((entities, columns)) < 0.5)
    indptr = np.append(0, np.cumsum((x != 0).sum(axis=0)))
    rows = np.concatenate([np.flatnonzero(x[:, j]) for j in range(columns)]).astype(np.int32)
    values = np.concatenate([x[x[:, j] != 0, j] for j in range(columns)]).astype(np.float32)
    return x, (indptr, rows, values), rng.normal(size=(entities, RANK + 1)).astype(np.float32)


def test_features_without_noise_solve_one_column_after_the_other():
    x, csc, target = features()
    residual, residual_bias = padded_rows(target[:, :RANK].copy()), target[:, RANK].copy()
    own, own_bias = padded_rows(np.zeros((4, RANK), np.float32)), np.zeros(4, np.float32)
    precision, prior = (
        np.linspace(1, 2, RANK + 1).astype(np.float32),
        np.linspace(0.5, 3, RANK + 1).astype(np.float32),
    )
    for _ in range(200):
        gibbs.draw_features(
            gibbs.Features(*csc),
            gibbs.Table(own, own_bias),
            gibbs.Table(residual, residual_bias),
            gibbs.Precision(precision[:-1], precision[-1]),
            gibbs.Precision(prior[:-1], prior[-1]),
            np.float32(0),
            KEYS[0],
            RANK,
        )
    found = np.column_stack([own[:, :RANK], own_bias])
    for column in range(RANK + 1):
        ridge = np.linalg.solve(
            precision[column] * x.T @ x + prior[column] * np.eye(4),
            precision[column] * x.T @ target[:, column],
        )
        np.testing.assert_allclose(found[:, column], ridge, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(residual[:, :RANK], target[:, :RANK] - x @ own[:, :RANK], atol=1e-4)


def test_features_are_drawn_with_the_posterior_variance():
    x, csc, target = features(columns=1)
    drawn = []
    for key in range(4000):
        own, own_bias = padded_rows(np.zeros((1, RANK), np.float32)), np.zeros(1, np.float32)
        residual, bias = padded_rows(target[:, :RANK].copy()), target[:, RANK].copy()
        ones = np.ones(RANK, np.float32)
        one = gibbs.Precision(ones, ones[0])
        tables = gibbs.Table(own, own_bias), gibbs.Table(residual, bias)
        key = np.uint64(key)
        gibbs.draw_features(gibbs.Features(*csc), *tables, one, one, np.float32(1), key, RANK)
        drawn.append(own[0, :RANK].copy())
    assert np.var(drawn, axis=0) == pytest.approx(np.full(RANK, 1 / (np.square(x).sum() + 1)), rel=0.1)


@settings(max_examples=200, deadline=None)
@given(st.floats(-6, 6), st.floats(-7, 7), st.floats(0.01, 5), st.floats(0.001, 0.999))
def test_truncated_normal_is_its_quantile(mean, low, width, u):
    expected = truncnorm.ppf(u, low - mean, low + width - mean, loc=mean)
    assert probit.truncated_normal(mean, low, low + width, u) == pytest.approx(expected, abs=1e-5)
    assert probit.truncated_normal(mean, low, np.inf, u) >= low
    assert probit.truncated_normal(mean, -np.inf, low, u) <= low


@settings(max_examples=200, deadline=None)
@given(st.floats(-6, 6), st.floats(-7, 7), st.floats(0.01, 5))
def test_truncated_mean(mean, low, width):
    assert probit.truncated_mean(mean, low, low + width) == pytest.approx(
        truncnorm.mean(low - mean, low + width - mean) + mean, abs=1e-4
    )
    assert probit.truncated_mean(mean, low, np.inf) == pytest.approx(
        truncnorm.mean(low - mean, np.inf) + mean, abs=1e-5
    )
    assert probit.truncated_mean(40.0, -np.inf, 0.0) == 0 and probit.truncated_mean(-40.0, 0.0, np.inf) == 0


@pytest.mark.parametrize("p", [1e-12, 1e-4, 0.02, 0.3, 0.5, 0.9, 0.999])
def test_normal_quantile(p):
    assert probit.normal_quantile(p) == pytest.approx(ndtri(p), rel=1e-7, abs=1e-8)
    assert probit.normal_cdf(ndtri(p)) == pytest.approx(p, rel=1e-10)


@pytest.mark.parametrize("sides", [2, 3, 4])
def test_a_score_is_the_sum_over_pairs_of_sides(sides):
    rng = np.random.default_rng(0)
    samples, places = 3, rng.integers(0, 10, (20, sides)).astype(np.int32)
    table, bias = (
        rng.normal(size=(10, samples * RANK)).astype(np.float32),
        rng.normal(size=(10, samples)).astype(np.float32),
    )
    out = np.empty((20, samples))
    gibbs.sample_scores(0, 20, places, table, bias, np.arange(samples, dtype=float), RANK, out)
    for sample in range(samples):
        vectors = table[:, sample * RANK : (sample + 1) * RANK]
        expected = [reference.fm_score(vectors[row], bias[row, sample], sample) for row in places]
        np.testing.assert_allclose(out[:, sample], expected, rtol=1e-4, atol=1e-4)
        one = np.empty(20)
        gibbs.scores(
            0, 20, places, padded_rows(vectors), np.ascontiguousarray(bias[:, sample]), float(sample), one
        )
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)


def test_an_entity_beyond_the_vectors_adds_its_bias():
    rng = np.random.default_rng(0)
    places = np.array([[0, 2, 5], [1, 3, 4]], np.int32)
    table, bias = rng.normal(size=(4, RANK)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    expected = [reference.fm_score(table[row[:2]], bias[row], 1.0) for row in places]
    one, samples = np.empty(2), np.empty((2, 1))
    gibbs.scores(0, 2, places, padded_rows(table), bias, 1.0, one)
    gibbs.sample_scores(0, 2, places, table, bias[:, None].copy(), np.ones(1), RANK, samples)
    np.testing.assert_allclose(one, expected, rtol=1e-5)
    np.testing.assert_allclose(samples[:, 0], expected, rtol=1e-5)


def test_expected_levels():
    scores, cuts, values = np.linspace(-3, 3, 9), np.array([-np.inf, -1, 0.5, np.inf]), np.array([1.0, 2, 5])
    spreads, out = np.linspace(-0.5, 0.7, 9), np.empty(9)
    probit.expected_levels(0, 9, scores, spreads, cuts, values, out)
    below = ndtr((cuts - scores[:, None]) / np.exp(spreads[:, None]))
    np.testing.assert_allclose(out, np.diff(below, axis=1) @ values, atol=1e-12)


@pytest.mark.parametrize("bins", [BINS, SPREAD_BINS])
def test_cuts_find_where_levels_part(bins):
    rng, true = np.random.default_rng(0), np.array([-1.2, -0.3, 0.8])
    scores = rng.normal(0, 1, 100_000)
    spreads = rng.normal(0, 0.4, len(scores)) if bins[0] > 1 else np.zeros(len(scores))
    levels = np.searchsorted(true, scores + np.exp(spreads) * rng.standard_normal(len(scores))).astype(
        np.float32
    )
    counts = np.zeros((4, *bins), np.int64)
    probit.count_scores(0, len(scores), scores, spreads, levels, EDGES, counts)
    assert counts.sum() == len(scores)
    cuts, drawn = [-1.0, 0.0, 1.0], []
    for _ in range(60):
        cuts = _draw_cuts(rng, counts, cuts)
        drawn.append(cuts)
    np.testing.assert_allclose(np.mean(drawn[20:], axis=0), true, atol=0.03)
