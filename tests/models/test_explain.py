"""Parts of scores: they add up to what transform gives, and each is what its formula says."""

import doctest
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.algorithms.als import ALSSolver
from recspark.errors import RecsparkError
from recspark.kernels.als import Source
from recspark.models import ALS, EASE, FMRegressor, GraphFilter, ItemKNN, MatrixFactorization
from recspark.models.factors.explain import REST
from recspark.models.factors.row_solvers import ALSRows
from recspark.models.serving import explanation
from recspark.models.serving.explanation import Part

IDS = {"userCol": "user_id", "itemCol": "item_id"}
FACTORS = {"rank": 3, "maxIter": 3, **IDS}
N_ITEMS, RANK = 7, 3


def slow_share(solver, rated, value, weight, place, values, weights, asked):
    """<x, asked> where x solves the user's equations with one rating alone on the right side: float64."""
    n = RANK + solver.biased
    rows = [[*row, 1.0][:n] for row in rated.factors.astype(float)]
    size = sum(values > 0) if solver.implicit else sum(weights)
    system = (
        np.diag([solver.reg["users"]] * RANK + [solver.bias_reg["users"]])[:n, :n]
        * size ** solver.reg_power["users"]
    )
    if solver.implicit:
        system[:RANK, :RANK] += rated.gram
    for row, w in zip(rows, weights, strict=True):
        system += w * np.outer(row, row)
    right = weight * (value - solver.mean - rated.bias[place]) * np.array(rows[place])
    return np.linalg.solve(system, right)[:RANK] @ asked


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_share_is_the_product_for_that_rating_alone(seed, n, biased, implicit, power):
    draw = np.random.default_rng(seed)
    solver = solver_of(
        biased=biased and not implicit, implicit=implicit, reg_power={"users": power, "items": 0.3}
    )
    every = draw.normal(size=(N_ITEMS, RANK)).astype(np.float32)
    at = draw.integers(0, N_ITEMS, n)
    bias = draw.normal(size=n).astype(np.float32) * solver.biased
    gram = every.T.astype(float) @ every if implicit else np.zeros((0, 0))
    rated = Source(every[at], bias, gram)
    values = draw.integers(0 if implicit else 1, 6, n).astype(np.float32)
    weights = draw.uniform(0.1, 3.0, n).astype(np.float32)
    found = solver.shares(rated, values, weights, np.ones(RANK), every)
    slow = [
        [slow_share(solver, rated, values[i], weights[i], i, values, weights, item) for i in range(n)]
        for item in every.astype(float)
    ]
    np.testing.assert_allclose(found, slow, atol=1e-5 * (1 + np.abs(slow).max()))
    # a rating that is t times as far from what the biases say has t times the share; the others keep theirs
    base = solver.mean + bias[0]
    farther = values.copy()
    farther[0] = base + 3 * (values[0] - base)
    if not implicit or (values[0] > 0) == (farther[0] > 0):
        again = solver.shares(rated, farther, weights, np.ones(RANK), every)
        np.testing.assert_allclose(again[:, 0], 3 * found[:, 0], atol=1e-4 * (1 + np.abs(found).max()))
        np.testing.assert_allclose(again[:, 1:], found[:, 1:], atol=1e-12)


def solver_of(**values):
    settings = {
        "rank": RANK,
        "reg": {"users": 0.3, "items": 0.1},
        "bias_reg": {"users": 0.7, "items": 0.1},
        "reg_power": {"users": 1.0, "items": 1.0},
        "mean": 0.5,
        "level": 0.0,
        "targets": 0.0,
        "biased": False,
        "nonnegative": False,
        "implicit": False,
        "cg_steps": 0,
        "clip": (-np.inf, np.inf),
        "seed": 1,
    }
    return ALSSolver(**settings | values)


def test_settings_of_an_earlier_model_have_one_power_for_both_sides():
    settings = asdict(solver_of()) | {"reg_power": 0.5}
    facts = {"kind": "als", "settings": settings, "weights": False, "alpha": 1.0}
    assert ALSRows.from_facts(facts, 1, None).solver.reg_power == {"users": 0.5, "items": 0.5}


@pytest.fixture(scope="module")
def rows(spark):
    draw = np.random.default_rng(3)
    table = [
        (
            u,
            f"i{i}",
            float(draw.integers(1, 6)),
            float(draw.uniform(0.5, 3)),
            int(86_400 * draw.integers(0, 4)),
        )
        for u in range(20)
        for i in range(11)
        if draw.random() < 0.5 or i == 0
    ]
    names = ["user_id", "item_id", "rating", "weight", "timestamp"]
    return spark.createDataFrame(table, names).coalesce(1).cache()


def sums_up(model, rows, user, item, atol, **how):
    """The explanation of a pair, whose parts were added up, and its prediction compared with transform."""
    found = model.explain(user, item, **how)
    assert sum(part.value for part in found.parts) == pytest.approx(found.score, abs=atol)
    [row] = model.transform(rows.filter(f"user_id = {user} and item_id = '{item}'").limit(1)).collect()
    assert found.prediction == pytest.approx(row.prediction, abs=atol)
    assert [abs(part.value) for part in found.parts] == sorted(
        (abs(part.value) for part in found.parts), reverse=True
    )
    return found


@pytest.mark.parametrize(
    "params",
    [
        {},
        pytest.param({"biases": True, "center": True, "biasRegParam": 0.3}, marks=pytest.mark.slow),
        pytest.param({"nonnegative": True}, marks=pytest.mark.slow),
        {"implicitPrefs": True, "alpha": 2.0},
        pytest.param({"weightCol": "weight", "biases": True, "regPower": 0.5}, marks=pytest.mark.slow),
        pytest.param({"implicitPrefs": True, "nonnegative": True}, marks=pytest.mark.slow),
        pytest.param({"regParam": 0.0, "rank": 8}, marks=pytest.mark.slow),
    ],
)
def test_als_has_a_part_for_each_rating_and_no_other_of_the_product(rows, params):
    model = ALS(**FACTORS | params).fit(rows)
    found = sums_up(model, rows, 4, "i0", 1e-5, ratings=rows, weightCol=params.get("weightCol"))
    rated = {row.item_id: row.rating for row in rows.filter("user_id = 4").collect()}
    parts = {part.item: part.rating for part in found.parts if part.name == "rating"}
    assert parts.items() <= rated.items() and len(parts) == len(rated)
    # the row that training left is the solution of these equations, to the rounding of float32
    assert sum(part.value for part in found.parts if part.name == REST) == pytest.approx(0, abs=2e-3)
    plain = sums_up(model, rows, 4, "i0", 1e-5)
    assert "rating" not in {part.name for part in plain.parts}


@pytest.mark.slow
def test_rows_that_are_not_solved_to_the_end_say_what_ratings_do_not_explain(rows):
    model = ALS(implicitPrefs=True, solver="cg", cgSteps=1, **FACTORS).fit(rows)
    found = sums_up(model, rows, 4, "i0", 1e-5, ratings=rows)
    assert abs(sum(part.value for part in found.parts if part.name == REST)) > 1e-4


@pytest.mark.parametrize("estimator", [EASE(regParam=5.0, **IDS), ItemKNN(k=4, binary=False, **IDS)])
def test_items_by_items_have_a_part_for_each_item_of_the_user(rows, estimator):
    model = estimator.fit(rows)
    found = sums_up(model, rows, 4, "i0", 1e-5)
    rated = {row.item_id: row.rating for row in rows.filter("user_id = 4").collect()}
    assert {part.item for part in found.parts} <= rated.keys() - {"i0"}
    if isinstance(estimator, ItemKNN):
        assert all(part.rating == rated[part.item] for part in found.parts)


def test_a_graph_filter_has_a_part_for_each_item_of_the_user(rows):
    model = GraphFilter(rank=2, **IDS).fit(rows)
    found = sums_up(model, rows, 4, "i0", 1e-5)
    rated = {row.item_id for row in rows.filter("user_id = 4").collect()}
    assert {part.item for part in found.parts} <= rated and len(found.parts) > 1


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"kernel": "sigmoid"}, {"kernel": "rbf"}, {"clip": True}])
def test_a_response_is_not_part_of_the_score(rows, params):
    model = MatrixFactorization(**FACTORS | params).fit(rows)
    found = sums_up(model, rows, 4, "i0", 1e-5)
    assert {part.name for part in found.parts} == (
        {"distance of the factors"}
        if params.get("kernel") == "rbf"
        else {"mean", "user bias", "item bias", "factors"}
    )


GIBBS = {"factorSize": 2, "maxIter": 4, "burnIn": 1, "labelCol": "rating"}
SGD = {"factorSize": 2, "maxIter": 3, "labelCol": "rating", "solver": "sgd"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "parts"),
    [
        (
            GIBBS | {"groups": ["user", "item", "rated", "day"]},
            "intercept|user with rated|item|day|user with rated x item|user with rated x day|item x day",
        ),
        (GIBBS | {"groups": ["user", "item", "day"], "ordered": True, "noisyChains": 1, "chains": 2}, None),
        (SGD | {"groups": ["user", "item", {"group": "rated", "scope": "past"}, "count_value"]}, None),
        (SGD | {"groups": ["user", "item", "day"], "order": 3}, None),
    ],
)
def test_machines_have_shares_of_groups_and_pairs(rows, params, parts):
    model = FMRegressor(**params).fit(rows)
    when = rows.filter("user_id = 4 and item_id = 'i0'").first().timestamp
    found = sums_up(model, rows, 4, "i0", 1e-4, context={"timestamp": when})
    if parts:
        assert {part.name for part in found.parts} == set(parts.split("|"))
    without = model.explain(4, "i0")
    assert sum(part.value for part in without.parts) == pytest.approx(without.score, abs=1e-4)
    assert not any("day" in part.name for part in without.parts)
    if not model.is_of_rows:
        lists = model.recommendForUserSubset(rows.filter("user_id = 4"), 11).first().recommendations
        listed = next(entry.rating for entry in lists if entry.item_id == "i0")
        assert listed == pytest.approx(without.prediction, abs=0.2 if params.get("ordered") else 1e-4)


def test_mistakes_are_one_sentence(rows):
    model = ALS(**FACTORS).fit(rows)
    for asked, words in (
        ((99, "i0"), "user 99 is not known to the model"),
        ((2**40, "i0"), "user 1099511627776 is not known to the model"),
        ((4, "never"), "item 'never' is not known to the model"),
        (("four", "i0"), "user = 'four' is not allowed: the model's ids of users are whole numbers"),
        ((4, None), "item = None is not allowed: the model's ids of items are strings"),
    ):
        with pytest.raises(RecsparkError, match=words):
            model.explain(*asked, ratings=rows)
    with pytest.raises(
        RecsparkError, match="the ratings of user 4 are not those that the model was made from"
    ):
        model.explain(4, "i0", ratings=rows.filter("item_id <> 'i0'"))
    weighted = ALS(weightCol="weight", **FACTORS).fit(rows)
    with pytest.raises(RecsparkError, match="fitted with weights: weightCol must name their column"):
        weighted.explain(4, "i0", ratings=rows)


def test_later_ratings_of_a_pair_replace_earlier_ones(spark, rows):
    model = ALS(**FACTORS).fit(rows)
    now = rows.filter("user_id = 4 and item_id = 'i0'")
    stale = rows.selectExpr("user_id", "item_id", "if(item_id = 'i0', 9.0, rating) AS rating")
    found = model.explain(4, "i0", ratings=[stale, now])
    assert found == model.explain(4, "i0", ratings=rows)


def test_a_table_and_the_largest_parts(rows):
    model = ALS(biases=True, center=True, **FACTORS).fit(rows)
    found = model.explain(4, "i0", ratings=rows)
    assert found.table["value"].sum() == pytest.approx(found.score, abs=1e-5)
    few = found.largest(2)
    assert len(few.parts) == 3 and few.parts[:2] == found.parts[:2]
    assert sum(part.value for part in few.parts) == pytest.approx(found.score, abs=1e-5)
    assert all(isinstance(part, Part) and part.value > 0 for part in found.reasons(3))
    assert not {"mean", "user bias"} & {part.name for part in found.reasons(99)}


def test_docstrings():
    failed, attempted = doctest.testmod(explanation)
    assert attempted and not failed
