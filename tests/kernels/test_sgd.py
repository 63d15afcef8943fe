import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.kernels import sgd
from recspark.kernels.als import padded_rows
from recspark.kernels.arrays.csr import csr_from_coo
from recspark.kernels.arrays.runs import RUN, in_runs
from recspark.kernels.sgd import Entries, Penalties, Penalty, Rows, Rules
from tests import reference

N_USERS, N_ITEMS, NNZ = 12, 9, 60


def rules(
    kernel="linear", loss="squared", optimizer="sgd", rate=0.05, biased=True, nonnegative=False, rank=5
):
    positions = (sgd.KERNELS.index(kernel), sgd.LOSSES.index(loss), sgd.OPTIMIZERS.index(optimizer))
    # errors in another unit than that of ratings, where the kernel has one
    return Rules(*positions, 0.3, 1.0, 5.0, 0.4, rate, biased and kernel != "rbf", nonnegative, rank, 0.8)


def problem(rank=5, seed=0, binary=False):
    rng = np.random.default_rng(seed)
    cells = rng.choice(N_USERS * N_ITEMS, NNZ, replace=False)
    values = rng.integers(0, 2, NNZ) if binary else rng.integers(1, 6, NNZ)
    weights = rng.uniform(0.2, 2, NNZ).astype(np.float32)
    entries = Entries(
        (cells // N_ITEMS).astype(np.int32),
        (cells % N_ITEMS).astype(np.int32),
        values.astype(np.float32),
        weights,
    )
    x, y = (0.3 * rng.standard_normal((n, rank)).astype(np.float32) for n in (N_USERS, N_ITEMS))
    b, c = (0.1 * rng.standard_normal(n).astype(np.float32) for n in (N_USERS, N_ITEMS))
    return entries, (x, b), (y, c)


def rows(factors, bias, rank):
    n = len(bias)
    return Rows(
        factors.copy(),
        bias.copy(),
        np.ones(n, np.float32),
        np.ones((n, 2), np.float32),
        np.zeros((n, 2, rank + 1), np.float32),
        np.zeros(n, np.float32),
    )


PENALTIES = Penalties(Penalty(0.02, 0.0, 0.01, 0.0), Penalty(0.05, 0.0, 0.03, 0.0))
CASES = [(kernel, "squared") for kernel in ("linear", "sigmoid", "rbf")] + [
    ("linear", "absolute"),
    ("sigmoid", "absolute"),
    ("linear", "logistic"),
]


@pytest.mark.parametrize(("kernel", "loss"), CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("rank", [5, 16])
def test_one_rating_at_a_time(kernel, loss, optimizer, rank):
    entries, user, item = problem(rank, binary=loss == "logistic")
    chosen = rules(kernel, loss, optimizer, rank=rank)
    users, items = rows(padded_rows(user[0]), user[1], rank), rows(padded_rows(item[0]), item[1], rank)
    entries = Entries(*(column[np.argsort(entries.users)] for column in entries))
    order, runs, first = in_runs(entries.users, entries.items, np.array([0, 20, 20, NNZ]))
    entries = Entries(*(column[order] for column in entries))
    found = sgd.descend(0, first[-1], runs, entries, chosen, users, items, PENALTIES)
    x, y, b, c, squared = reference.descend(
        *entries, user[0], item[0], user[1], item[1], 1, chosen, *PENALTIES
    )
    for got, expected in (
        (users.factors[:, :rank], x),
        (items.factors[:, :rank], y),
        (users.bias, b),
        (items.bias, c),
    ):
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4)
    assert found[0] == pytest.approx(squared, rel=1e-4)
    assert found[1] == pytest.approx(entries.weights.sum(), rel=1e-5)


@pytest.mark.parametrize(("kernel", "loss"), CASES)
@pytest.mark.parametrize("optimizer", sgd.OPTIMIZERS)
@pytest.mark.parametrize("batch", [1, 7, NNZ])
def test_batches(kernel, loss, optimizer, batch):
    if loss == "absolute" and optimizer == "adam":
        pytest.skip(
            "Adam divides by the size of a gradient that jumps: float32 and float64 part ways at the kink"
        )
    entries, user, item = problem(binary=loss == "logistic")
    chosen = rules(kernel, loss, optimizer)
    users, items = rows(*user, 5), rows(*item, 5)
    found = sgd.descend_batches(np.arange(NNZ), batch, entries, chosen, users, items, PENALTIES)
    x, y, b, c, squared = reference.descend(
        *entries, user[0], item[0], user[1], item[1], batch, chosen, *PENALTIES
    )
    for got, expected in ((users.factors, x), (items.factors, y), (users.bias, b), (items.bias, c)):
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=5e-4)
    assert found[0] == pytest.approx(squared, rel=1e-3)


@pytest.mark.parametrize(("kernel", "loss"), CASES)
def test_the_full_gradient_is_that_of_the_objective(kernel, loss):
    entries, user, item = problem(binary=loss == "logistic")
    chosen, penalty, scale = rules(kernel, loss, rate=1.0), Penalty(0.1, 0.0, 0.2, 0.0), 1 / NNZ
    csr = csr_from_coo(entries.users, entries.items, entries.values, entries.weights, N_USERS, N_ITEMS)
    moved = rows(*user, 5)
    sgd.full_gradient(0, N_USERS, csr, scale, chosen, rows(*item, 5), (rows(*user, 5), moved), penalty)

    def objective(x, b):
        total = 0.0
        for u, i, r, w in zip(*entries, strict=True):
            total += (
                scale
                * w
                * reference.cost(
                    reference.pair_score(x[u], item[0][i].astype(float), b[u], item[1][i], chosen), r, chosen
                )
            )
        return total + penalty.l2 * (x**2).sum() / 2 + penalty.bias_l2 * (b**2).sum() / 2 * chosen.biased

    x, b, step = user[0].astype(float), user[1].astype(float), 1e-5
    for u, l in ((0, 0), (3, 4), (11, 2)):
        shift = np.zeros_like(x)
        shift[u, l] = step
        slope = (objective(x + shift, b) - objective(x - shift, b)) / (2 * step)
        assert user[0][u, l] - moved.factors[u, l] == pytest.approx(slope, rel=2e-3, abs=1e-5)
    if chosen.biased:
        shift = np.eye(N_USERS)[5] * step
        assert user[1][5] - moved.bias[5] == pytest.approx(
            (objective(x, b + shift) - objective(x, b - shift)) / (2 * step), rel=2e-3, abs=1e-5
        )


def test_l1_leaves_exact_zeros_and_signs_hold():
    entries, user, item = problem()
    users, items = rows(*user, 5), rows(np.abs(item[0]), item[1], 5)
    strong = Penalty(0.0, 2.0, 0.0, 0.0)
    for _ in range(20):
        sgd.descend_batches(
            np.arange(NNZ),
            4,
            entries,
            rules(nonnegative=True),
            users,
            items,
            Penalties(strong, Penalty(0.0, 0.0, 0.0, 0.0)),
        )
    assert (users.factors == 0).mean() > 0.5
    assert users.factors.min() >= 0 and items.factors.min() >= 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 6)), max_size=200))
def test_runs_hold_every_entry_of_a_cell_once_and_no_row_twice(entries):
    cells, users, items = np.array(sorted(entries), np.int32).reshape(-1, 3).T
    offsets = np.searchsorted(cells, np.arange(5))
    order, runs, first = in_runs(users, items, offsets)
    for cell in range(4):
        assert sorted(order[offsets[cell] : offsets[cell + 1]]) == list(
            range(offsets[cell], offsets[cell + 1])
        )
        assert runs[first[cell]] == offsets[cell]
    for lo, hi in zip(runs[:-1], runs[1:], strict=True):
        assert 0 < hi - lo <= RUN
        assert len(set(users[order[lo:hi]])) == len(set(items[order[lo:hi]])) == hi - lo
