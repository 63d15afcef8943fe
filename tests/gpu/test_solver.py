"""The solver of ALS on a card: its objective beside that of the processor."""

from dataclasses import replace

import numpy as np
import pytest

from recspark.algorithms.als import ALSSolver
from recspark.algorithms.ratings import CSR, Block
from recspark.kernels.arrays.csr import csr_from_coo
from recspark.kernels.cuda.card import OnCard

SHAPE = {"users": 9, "items": 7}


def solver(**settings):
    given = {
        "rank": 5,
        "reg": dict.fromkeys(SHAPE, 0.1),
        "bias_reg": dict.fromkeys(SHAPE, 0.2),
        "reg_power": dict.fromkeys(SHAPE, 1.0),
        "mean": 3.0,
        "level": 3.0,
        "targets": 0.0,
        "biased": False,
        "nonnegative": False,
        "implicit": False,
        "cg_steps": 0,
        "clip": (1.0, 5.0),
        "seed": 1,
    }
    return ALSSolver(**given | settings)


def blocks(implicit):
    rng = np.random.default_rng(0)
    users, items = np.unique(rng.integers(0, list(SHAPE.values()), (45, 2)), axis=0).T.astype(np.int32)
    values, weights = rng.integers(1, 6, len(users)).astype(np.float32), np.empty(0, np.float32)
    if implicit:
        weights = 2 * values
        values = (1 + weights) / weights
    pairs = {"users": (users, items), "items": (items, users)}
    made = {
        side: CSR(
            *csr_from_coo(*pairs[side], values, weights, SHAPE[side], sum(SHAPE.values()) - SHAPE[side])
        )
        for side in SHAPE
    }
    watched = {} if implicit else {"validation": made["users"]}
    return {"users": Block(made["users"], watched=watched), "items": Block(made["items"])}


def fit(solver, data, iterations=3):
    states, history = {side: solver.start(side, 0, data[side]) for side in SHAPE}, []
    for _ in range(iterations):
        sums = {}
        for side, other in (("items", "users"), ("users", "items")):
            states[side], part = solver.step(side, data[side], states[other], states[side], threads=1)
            sums = {key: sums.get(key, 0.0) + part.get(key, 0.0) for key in sums | part}
        history.append(solver.summarize(sums))
    return states, history


@pytest.mark.parametrize("settings", [{}, {"biased": True}, {"implicit": True, "mean": 0.0}])
def test_the_objective_is_that_of_the_processor(settings):
    here = solver(**settings)
    data = blocks(here.implicit)
    expected = fit(here, data)[1]
    states, found = fit(replace(here, device="cuda"), data)
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert fit(replace(here, device="auto"), data)[1] == found  # the same bits
    assert all(isinstance(states[side]["factors"], OnCard) for side in SHAPE)
    table = here.export("users", data["users"], states["users"], SHAPE["items"])
    assert table["features"].shape == (SHAPE["users"], 5)


@pytest.mark.parametrize("settings", [{"nonnegative": True}, {"implicit": True, "mean": 0.0, "cg_steps": 3}])
def test_auto_leaves_to_the_processor_what_a_card_can_not_do(settings):
    data = blocks(settings.get("implicit", False))
    here = solver(**settings)
    states, found = fit(replace(here, device="auto"), data, 1)
    assert found == fit(here, data, 1)[1]
    assert not isinstance(states["users"]["factors"], OnCard)
