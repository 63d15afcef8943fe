"""The objective of ALS never rises, also where no penalty makes a row unique. Without Spark: the solver on
one block per side.
"""

import numpy as np
import pytest

from recspark.algorithms.als import ALSSolver
from recspark.algorithms.ratings import CSR, Block
from recspark.kernels.arrays.csr import csr_from_coo

SHAPE = {"users": 60, "items": 40}


def objectives(
    seed, nnz=240, rank=8, reg=0.0, bias_reg=None, mean=0.0, weights=None, implicit=False, **settings
):
    """The objective of each of 50 iterations, and the weighted sum of squares of the ratings."""
    rng = np.random.default_rng(seed)
    users, items = np.unique(rng.integers(0, list(SHAPE.values()), (nnz, 2)), axis=0).T.astype(np.int32)
    values = rng.integers(1, 6, len(users)).astype(np.float32)
    given = rng.choice(weights, len(users)).astype(np.float32) if weights else np.empty(0, np.float32)
    if implicit:
        given, values = 2 * values, ((1 + 2 * values) / (2 * values)).astype(np.float32)
    squares = float(np.sum((given if len(given) else 1) * values**2))
    defaults = {"biased": False, "nonnegative": False, "cg_steps": 0}
    bias_reg = reg if bias_reg is None else bias_reg
    solver = ALSSolver(
        rank=rank,
        reg=dict.fromkeys(SHAPE, reg),
        bias_reg=dict.fromkeys(SHAPE, bias_reg),
        mean=mean,
        level=0.0,
        targets=squares if implicit else 0.0,
        implicit=implicit,
        clip=(-np.inf, np.inf),
        seed=seed,
        **defaults | settings | {"reg_power": dict.fromkeys(SHAPE, settings.get("reg_power", 1.0))},
    )
    sides = {"users": (users, items), "items": (items, users)}
    blocks = {
        side: Block(CSR(*csr_from_coo(*pair, values, given, SHAPE[side], sum(SHAPE.values()) - SHAPE[side])))
        for side, pair in sides.items()
    }
    states = {side: solver.start(side, 0, blocks[side]) for side in SHAPE}
    found = []
    for _ in range(50):
        sums = {}
        for side, other in (("items", "users"), ("users", "items")):
            states[side], part = solver.step(side, blocks[side], states[other], states[side], threads=1)
            sums = {key: sums.get(key, 0.0) + part.get(key, 0.0) for key in sums | part}
        found.append(solver.summarize(sums)["objective"])
    return np.array(found), squares


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"nnz": 900},
        {"rank": 40, "nnz": 600},
        {"reg": 1e-9},
        {"reg": 0.1},
        {"biased": True, "mean": 3.0},
        {"biased": True, "mean": 3.0, "bias_reg": 0.1},
        {"nonnegative": True},
        {"nonnegative": True, "biased": True},
        {"weights": [0.0, 1.0, 2.0]},
        {"reg_power": 0.0},
        {"implicit": True},
        {"implicit": True, "cg_steps": 3},
        {"implicit": True, "rank": 150, "reg": 0.1},
        {"implicit": True, "rank": 150, "reg": 0.1, "reg_power": 0.0, "nnz": 100},
        {"rank": 0, "biased": True},
    ],
    ids=str,
)
def test_the_objective_never_rises(case):
    for seed in range(3):
        found, squares = objectives(seed, **case)
        # predictions are float32 (a relative 6e-8 each); their errors add up in the objective at random signs
        # the implicit objective has sums over all pairs, of products of float32
        rounding = (1e-7 if case.get("implicit") else 1e-8) * squares
        assert np.isfinite(found).all() and np.diff(found).max() <= rounding
        assert found[-1] <= found[0]


def test_few_ratings_without_penalty_are_explained():
    found, squares = objectives(0)
    assert found[-1] <= 1e-10 * squares
