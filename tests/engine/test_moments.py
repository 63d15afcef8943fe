import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.engine.moments import LEAST_NOISE, LEAST_SHARE, UNKNOWN_SHARE, pair_moments, variance_shares


def by_pairs(entities, side, value, weight):
    """The slow twin of `pair_moments`: all ordered pairs of rows of the same entity, one after the other."""
    product, shared, total = 0.0, np.zeros(entities.shape[1]), 0.0
    for entity in np.unique(entities[:, side]):
        rows = np.flatnonzero(entities[:, side] == entity)
        w = weight[rows]
        if w.sum() - (w @ w) / max(w.sum(), 1e-300) <= 1e-9 * w.sum():
            continue
        total += w.sum()
        for i in rows:
            for j in rows:
                if i != j:
                    each = weight[i] * weight[j] / (w.sum() - (w @ w) / w.sum())
                    product += each * value[i] * value[j]
                    shared += each * ((entities[i] == entities[j]) & (entities[i] >= 0))
    return (product / total, shared / total) if total else (0.0, shared)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_moments_are_those_of_all_pairs(seed, weighted):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 30)
    entities = np.stack(
        [rng.integers(0, 5, n), rng.integers(-1, 3, n), rng.integers(0, 4, n)], axis=1
    ).astype(np.int32)
    value, weight = rng.normal(size=n), rng.choice([0.0, 0.5, 1.0, 3.0], n) if weighted else np.ones(n)
    found = pair_moments(entities, 0, value, weight.astype(np.float32) if weighted else None)
    expected = by_pairs(entities, 0, value, weight)
    assert found[0] == pytest.approx(expected[0], abs=1e-9)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_planted_variances_are_found(weighted):
    """Of users, of days of a user (a part of the user), of sparse items, and of nothing."""
    rng = np.random.default_rng(0)
    n, sizes = 60_000, (2_000, 10_000, 30_000, 50)
    user, item, nothing = (rng.integers(0, size, n) for size in (sizes[0], sizes[2], sizes[3]))
    entities = np.stack([user, user * 5 + rng.integers(0, 5, n), item, nothing], axis=1)
    planted = (0.25, 0.1, 0.2, 0.0)
    effects = [rng.normal(0, np.sqrt(v), size) for v, size in zip(planted, sizes, strict=True)]
    weight = rng.choice([0.5, 2.0], n).astype(np.float32) if weighted else None
    noise = rng.normal(0, np.sqrt(0.45), n) / (1 if weight is None else np.sqrt(weight))
    value = sum(effect[entities[:, side]] for side, effect in enumerate(effects)) + noise
    products, pairs = zip(*(pair_moments(entities, side, value, weight) for side in range(4)), strict=True)
    np.testing.assert_allclose(
        variance_shares(np.array(products), np.stack(pairs)), [*planted[:3], LEAST_SHARE], atol=0.02
    )


def test_shares_leave_some_noise_and_take_some_of_every_side():
    shares = variance_shares(np.array([1.2, -0.3]), np.eye(2))
    assert shares.sum() <= 1 - LEAST_NOISE + 1e-12 and shares[1] > 0
    np.testing.assert_array_equal(
        variance_shares(np.zeros(2), np.diag([1.0, 0.0])), [LEAST_SHARE, UNKNOWN_SHARE]
    )
