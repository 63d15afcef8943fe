import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from recspark.kernels import fm
from recspark.kernels.fm import Compressed, Prior
from tests import reference

ROWS, COLUMNS, RANK = 40, 12, 3


def problem(seed=0):
    rng = np.random.default_rng(seed)
    x = random_sparse(ROWS, COLUMNS, 0.3, "csr", random_state=rng, data_rvs=rng.standard_normal)
    return (
        x,
        rng.normal(size=ROWS),
        rng.normal(size=COLUMNS),
        rng.normal(size=(RANK, COLUMNS)),
        rng.uniform(0.2, 2, ROWS),
    )


def compressed(x):
    return Compressed(x.indptr, x.indices, x.data)


def scores(x, w0, w, v):
    out = np.empty(x.shape[0])
    fm.scores(0, x.shape[0], compressed(x), w0, w, v, out)
    return out


def test_scores_are_the_sum_over_pairs_of_columns():
    x, _, w, v, _ = problem()
    expected = [0.7 + row @ w + reference.pairs(row, v.T) for row in x.toarray()]
    np.testing.assert_allclose(scores(x, 0.7, w, v), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_errors_follow_every_draw(noise):
    x, labels, w, v, weights = problem()
    csc, normal, q = x.tocsc(), noise * np.random.default_rng(1).standard_normal(COLUMNS), np.empty(ROWS)
    errors = labels - scores(x, 0.7, w, v)
    fm.draw_weights(compressed(csc), weights, errors, w, 1.3, Prior(0.1, 2.0), normal)
    fm.draw_factor(compressed(csc), weights, errors, q, v[1], 1.3, Prior(-0.2, 3.0), normal)
    np.testing.assert_allclose(errors, labels - scores(x, 0.7, w, v), atol=1e-9)
    np.testing.assert_allclose(q, x @ v[1], atol=1e-9)


def test_without_noise_each_parameter_is_at_its_own_minimum():
    x, labels, w, v, weights = problem()
    csc, nothing, q = x.tocsc(), np.zeros(COLUMNS), np.empty(ROWS)
    errors = labels - scores(x, 0.7, w, v)
    for _ in range(1500):
        fm.draw_weights(compressed(csc), weights, errors, w, 1.3, Prior(0.1, 2.0), nothing)
        for factor in v:
            fm.draw_factor(compressed(csc), weights, errors, q, factor, 1.3, Prior(-0.2, 3.0), nothing)

    def cost(w, v):
        loss = 1.3 * weights @ (labels - scores(x, 0.7, w, v)) ** 2
        return loss + 2 * np.square(w - 0.1).sum() + 3 * np.square(v + 0.2).sum()

    for array in (w, v):
        for place in np.ndindex(array.shape):
            kept, sides = array[place], []
            for step in (-1e-4, 1e-4):
                array[place] = kept + step
                sides.append(cost(w, v))
            array[place] = kept
            assert (sides[1] - sides[0]) / 2e-4 == pytest.approx(0, abs=1e-3)


def test_latent_values_are_on_the_side_of_their_label():
    score, labels, out = np.linspace(-4, 4, 50), np.arange(50) % 2.0, np.empty(50)
    fm.draw_latent(score, labels, np.uint64(5), 1.0, out)
    np.testing.assert_array_equal(out + score > 0, labels > 0.5)
