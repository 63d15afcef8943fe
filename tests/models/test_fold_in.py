"""Folding in against what training gives, what a slow solver gives, and what was planted."""

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.models import ALS
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.models.folder import ModelTable, VectorFacts, write_facts
from recspark.models.starts.tables import initial_tables

N_USERS, N_ITEMS = 60, 40
REG = 0.05
OPTIONS = {
    "explicit": {},
    "biased": {"biases": True, "center": True, "regPower": 0.5},
    "implicit": {"implicitPrefs": True, "alpha": 2.0},
    "implicit by cg": {"implicitPrefs": True, "solver": "cg", "cgSteps": 12},
    "nonnegative": {"nonnegative": True},
}


def made_ratings(n_users, n_items, share, seed=0):
    """Two factors and a mean, no noise; user and item ids are ten times their numbers."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n_users, 2)), rng.standard_normal((n_items, 2))
    user, item = np.nonzero(rng.random((n_users, n_items)) < share)
    return ratings(10 * user, 10 * item, 3 + (x[user] * y[item]).sum(1))


def ratings(user, item, rating):
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("rating", pa.float32())])
    return pa.table(
        [pa.array(column, field.type) for column, field in zip((user, item, rating), schema, strict=True)],
        schema,
    )


TRAIN = made_ratings(N_USERS, N_ITEMS, 0.5)


def tables_of(model):
    """The tables of a model, which has its files as long as it is there."""
    return FactorTables.read(model.folder)


@pytest.fixture(scope="module")
def fitted(spark):
    """The model of `TRAIN` (or of other rows) by its options, fitted once."""
    made = {}

    def fit(kind="explicit", rows=TRAIN, **options):
        key = (kind, id(rows), *options.items())
        if key not in made:
            options = (
                {"rank": 3, "maxIter": 8, "regParam": REG, "userCol": "user_id", "itemCol": "item_id"}
                | OPTIONS[kind]
                | options
            )
            made[key] = tables_of(ALS(**options).fit(spark.createDataFrame(rows.to_pandas())))
        return made[key]

    return fit


def without(model, side, n):
    """`model` as if it had never seen the last n ids of a side."""
    table = model.tables[side]
    columns = (
        getattr(table, name)[: len(table) - n] for name in ("ids", "counts", "features", "bias", "deviation")
    )
    return replace(model, tables=model.tables | {side: ModelTable(*columns)})


def of_users(rows, users):
    return rows.filter(pc.is_in(rows["user_id"], value_set=pa.array(users, pa.int64())))


def same(found, wanted, rtol=2e-4):
    """The same rows, by their ids."""
    assert len(found) == len(wanted)
    order = found.positions(wanted.ids)
    np.testing.assert_array_equal(found.counts[order], wanted.counts)
    np.testing.assert_allclose(found.features[order], wanted.features, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found.bias[order], wanted.bias, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found.deviation[order], wanted.deviation, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_new_user_with_the_ratings_of_a_trained_one_gets_its_row(fitted, kind):
    model = fitted(kind)
    last = model.tables["users"].ids[-7:]
    start = without(model, "users", 7)
    # the items' counts are those without the users that are to come
    of_last = of_users(TRAIN, last.to_pylist())
    came = np.bincount(
        model.tables["items"].positions(of_last["item_id"].combine_chunks()), minlength=N_ITEMS
    )
    items = replace(model.tables["items"], counts=model.tables["items"].counts - came)
    start = replace(start, tables=start.tables | {"items": items})
    folded, report = fold_in(start, of_last, threads=2)
    # conjugate gradient stops before its minimum
    same(folded.tables["users"], model.tables["users"], rtol=5e-2 if "cg" in kind else 2e-4)
    same(folded.tables["items"], model.tables["items"], rtol=0)
    assert report == {
        "ratings": len(of_last),
        "new_users": 7,
        "updated_users": 0,
        "new_items": 0,
        "updated_items": 0,
    }


@pytest.mark.parametrize("kind", ["explicit", "biased", "implicit"])
def test_a_known_user_is_solved_from_old_and_new_ratings(fitted, kind):
    model = fitted(kind)
    users = model.tables["users"].ids[3:6].to_pylist()
    rows = of_users(TRAIN, users)
    # a part of what is known comes again: nothing changes
    again, report = fold_in(model, rows.slice(5, 20), [TRAIN])
    same(again.tables["users"], model.tables["users"])
    same(again.tables["items"], model.tables["items"], rtol=0)
    assert report["updated_users"] > 0 and report["new_users"] == report["updated_items"] == 0
    # to take in the first half and then the second is to take in all
    start = without_users(model, rows, users)
    first, _ = fold_in(start, rows.slice(0, 10))
    both, _ = fold_in(first, rows.slice(10), [of_others(TRAIN, users), rows.slice(0, 10)])
    same(both.tables["users"], model.tables["users"])
    same(both.tables["items"], model.tables["items"], rtol=0)


def without_users(model, rows, users):
    """`model` without `users`, whose ratings are `rows`."""
    table = model.tables["users"]
    stay = np.flatnonzero(~np.isin(table.ids.to_numpy(), users))
    left = ModelTable(
        table.ids.take(pa.array(stay)),
        table.counts[stay],
        table.features[stay],
        table.bias[stay],
        table.deviation[stay],
    )
    came = np.bincount(model.tables["items"].positions(rows["item_id"].combine_chunks()), minlength=N_ITEMS)
    items = replace(model.tables["items"], counts=model.tables["items"].counts - came)
    return replace(model, tables={"users": left, "items": items})


def of_others(rows, users):
    return rows.filter(pc.invert(pc.is_in(rows["user_id"], value_set=pa.array(users, pa.int64()))))


def test_a_pair_that_comes_again_replaces_its_rating(fitted):
    model = fitted("biased")
    batch = TRAIN.slice(0, 1).set_column(2, "rating", pa.array([1.0], pa.float32()))
    folded, _ = fold_in(model, batch, [TRAIN])
    changed = pa.concat_tables([batch, TRAIN.slice(1)])
    other, _ = fold_in(model, TRAIN.slice(1, 1), [changed])
    same(folded.tables["users"], other.tables["users"], rtol=1e-6)
    np.testing.assert_array_equal(folded.tables["items"].counts, model.tables["items"].counts)
    assert np.abs(folded.tables["users"].features[0] - model.tables["users"].features[0]).max() > 1e-3


def residual(table, fixed, positions, rating, row):
    """How far `row` is from solving (Y'Y + n reg I) x = Y'r, by numpy."""
    y = fixed.features[positions].astype(float)
    left = y.T @ y + REG * len(y) * np.eye(y.shape[1])
    return np.abs(np.linalg.solve(left, y.T @ rating) - table.features[row]).max()


def test_a_new_item_is_solved_from_the_users_that_rated_it(fitted):
    model, rng = fitted(), np.random.default_rng(3)
    raters = model.tables["users"].ids.to_numpy()[::3]
    batch = ratings(raters, np.full(len(raters), 5), rng.uniform(1, 5, len(raters)))
    folded, report = fold_in(model, batch, [TRAIN], sweeps=40)
    assert report == {"ratings": 20, "new_users": 0, "updated_users": 20, "new_items": 1, "updated_items": 0}
    users, items = folded.tables["users"], folded.tables["items"]
    # known ids keep their positions, the new id, though the second smallest, comes after them
    assert items.ids.to_pylist() == [*model.tables["items"].ids.to_pylist(), 5] and items.counts[-1] == 20
    assert (
        residual(
            items, users, users.positions(batch["user_id"].combine_chunks()), batch["rating"].to_numpy(), -1
        )
        < 1e-3
    )
    # users come last: theirs is the solution for the items as they are, however few the sweeps
    once, _ = fold_in(model, batch, [TRAIN], sweeps=1)
    rows = pa.concat_tables([TRAIN, batch])
    first = rows.filter(pc.equal(rows["user_id"], raters[0]))
    positions = items.positions(first["item_id"].combine_chunks())
    assert (
        residual(once.tables["users"], once.tables["items"], positions, first["rating"].to_numpy(), 0) < 1e-4
    )
    # what the batch does not name stays, to the bit
    np.testing.assert_array_equal(items.features[:-1], model.tables["items"].features)
    np.testing.assert_array_equal(users.features[1::3], model.tables["users"].features[1::3])


def test_new_users_and_new_items_that_rate_each_other_are_learnt(fitted):
    """The last 12 users and 8 items of a planted matrix are new; of the pairs between them a third is held
    out.
    """
    whole = made_ratings(N_USERS, N_ITEMS, 0.6, seed=5)
    new_user, new_item = (
        pc.greater_equal(whole[column], 10 * n)
        for column, n in (("user_id", N_USERS - 12), ("item_id", N_ITEMS - 8))
    )
    train, batch = (
        whole.filter(pc.invert(pc.or_(new_user, new_item))),
        whole.filter(pc.or_(new_user, new_item)),
    )
    between = np.flatnonzero(pc.and_(new_user, new_item).filter(pc.or_(new_user, new_item)).to_numpy())
    held = batch.take(pa.array(between[::3]))
    batch = batch.take(pa.array(np.setdiff1d(np.arange(len(batch)), between[::3])))
    model = fitted("biased", train, regParam=0.002, regPower=1.0, maxIter=20)
    folded, report = fold_in(model, batch, [train])
    assert (report["new_users"], report["new_items"]) == (12, 8)
    assert rmse(folded, held) < 0.1 * np.std(held["rating"].to_numpy())


def rmse(model, rows):
    x, y = (model.tables[side] for side in ("users", "items"))
    user, item = x.positions(rows["user_id"].combine_chunks()), y.positions(rows["item_id"].combine_chunks())
    biases = (x.bias[user] + y.bias[item]) if model.facts.biased else 0
    predicted = model.facts.mean + biases + (x.features[user] * y.features[item]).sum(1)
    return np.sqrt(np.mean((predicted - rows["rating"].to_numpy()) ** 2))


def test_users_are_first_solved_from_the_items_that_have_factors(fitted):
    """100 new users with 10 ratings of known items and 10 of new ones, which only they rate: one sweep is
    nearly enough.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 3)), rng.standard_normal((400, 3))
    user = np.repeat(np.arange(100), 20)
    item = np.concatenate(
        [np.r_[rng.choice(300, 10, False), 300 + rng.choice(100, 10, False)] for _ in range(100)]
    )
    batch = ratings(user, item, (x[user] * y[item]).sum(1) + 0.5 * rng.standard_normal(len(user)))
    empty = ModelTable(
        pa.array([], pa.int64()),
        np.zeros(0, np.int64),
        np.zeros((0, 3), np.float32),
        *[np.zeros(0, np.float32)] * 2,
    )
    known = ModelTable(
        pa.array(range(300)),
        np.zeros(300, np.int64),
        y[:300].astype(np.float32),
        *[np.zeros(300, np.float32)] * 2,
    )
    model = replace(fitted(), tables={"users": empty, "items": known})
    pairs = np.meshgrid(np.arange(100), np.arange(300, 400))
    truth = ratings(*(grid.ravel() for grid in pairs), (x[pairs[0].ravel()] * y[pairs[1].ravel()]).sum(1))
    truth = truth.filter(pc.is_in(truth["item_id"], value_set=batch["item_id"].combine_chunks()))
    one, many = (rmse(fold_in(model, batch, sweeps=sweeps)[0], truth) for sweeps in (1, 40))
    assert one < 1.1 * many


def test_new_users_and_items_that_know_only_each_other_don_t_stay_at_zero(fitted):
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(1001, 1007), np.arange(2001, 2006)))
    batch = ratings(user, item, 1.0 + (user - 1000) * (item - 2000) / 10)
    folded, _ = fold_in(fitted(), batch, sweeps=10)
    assert rmse(folded, batch) < 0.5


def test_items_that_were_added_learn_more_from_later_batches(fitted):
    model = fitted()
    raters = model.tables["users"].ids.to_numpy()
    batches = [
        ratings(users, np.full(len(users), 5), np.full(len(users), 4.0))
        for users in (raters[:4], raters[4:12])
    ]
    first, _ = fold_in(model, batches[0], [TRAIN])
    second, report = fold_in(first, batches[1], [TRAIN, batches[0]], sweeps=40)
    assert report == {"ratings": 8, "new_users": 0, "updated_users": 8, "new_items": 0, "updated_items": 1}
    users, items = second.tables["users"], second.tables["items"]
    assert items.counts[-1] == 12
    assert residual(items, users, np.arange(12), np.full(12, 4.0), -1) < 1e-3


def test_refresh_items_solves_trained_items_too(fitted):
    model = fitted()
    batch = ratings([5, 15, 25], [0, 0, 0], [1.0, 1.0, 1.0])
    fixed, _ = fold_in(model, batch)
    refreshed, report = fold_in(model, batch, [TRAIN], refresh_items=True, sweeps=40)
    np.testing.assert_array_equal(fixed.tables["items"].features, model.tables["items"].features)
    assert report["updated_items"] == 1
    before, *after = (made.tables["items"].counts[0] for made in (model, fixed, refreshed))
    assert after == [before + 3] * 2
    rows = pa.concat_tables([TRAIN, batch])
    rows = rows.filter(pc.equal(rows["item_id"], 0))
    users, items = refreshed.tables["users"], refreshed.tables["items"]
    assert (
        residual(
            items, users, users.positions(rows["user_id"].combine_chunks()), rows["rating"].to_numpy(), 0
        )
        < 1e-3
    )


def test_row_order_and_threads_change_nothing_and_the_model_stays(fitted):
    model = fitted("biased")
    before = {side: table.features.copy() for side, table in model.tables.items()}
    batch = ratings([7, 3, 7, 10, 3, 3], [10, 5, 5, 5, 20, 30], [1, 2, 3, 4, 5, 1])
    history = [TRAIN.take(pa.array(np.random.default_rng(1).permutation(len(TRAIN))))]
    results = [
        fold_in(model, batch.take(pa.array(order)), history, threads=threads)[0]
        for order, threads in ((range(6), 1), ([3, 5, 0, 2, 4, 1], 2))
    ]
    for side in ("users", "items"):
        same(results[0].tables[side], results[1].tables[side], rtol=0)
        np.testing.assert_array_equal(model.tables[side].features, before[side])
    assert results[0].tables["users"].ids.to_pylist()[-2:] == [3, 7]


def test_ids_that_are_strings(spark):
    named = TRAIN.to_pandas()
    named["user_id"] = "u" + named["user_id"].astype(str)
    model = tables_of(ALS(rank=2, userCol="user_id", itemCol="item_id").fit(spark.createDataFrame(named)))
    batch = pa.table({"user_id": ["ä", "new"], "item_id": [0, 10], "rating": [1.0, 5.0]})
    folded, report = fold_in(model, batch)
    assert report["new_users"] == 2 and folded.tables["users"].ids.to_pylist()[-2:] == ["new", "ä"]
    assert np.isfinite(folded.tables["users"].features).all()


def test_weights_count_like_repeated_rows(spark, fitted):
    weighted = TRAIN.append_column("weight", pa.array(np.full(len(TRAIN), 1.0), pa.float32()))
    options = {
        "rank": 3,
        "maxIter": 8,
        "regParam": REG,
        "userCol": "user_id",
        "itemCol": "item_id",
        "weightCol": "weight",
    }
    model = tables_of(ALS(**options).fit(spark.createDataFrame(weighted.to_pandas())))
    batch = ratings([1, 1, 1], [0, 10, 10], [1.0, 5.0, 5.0])
    with pytest.raises(DataRejected, match="no column weight"):
        fold_in(model, batch)
    with pytest.raises(DataRejected, match="weight is too small"):
        fold_in(model, batch.append_column("weight", pa.array([1.0, 1.0, -1.0])))
    repeated, _ = fold_in(fitted(), batch)
    folded, _ = fold_in(model, batch.slice(0, 2).append_column("weight", pa.array([1.0, 2.0])))
    np.testing.assert_allclose(
        folded.tables["users"].features[-1], repeated.tables["users"].features[-1], rtol=1e-3, atol=1e-4
    )


def test_preferences_that_say_nothing_are_left_out(fitted):
    model = fitted("implicit")
    batch = ratings([1, 1, 2], [0, 10, 10], [1.0, 0.0, 0.0])
    folded, report = fold_in(model, batch)
    assert report["ratings"] == report["new_users"] == 1 and folded.tables["users"].counts[-1] == 1
    nothing, report = fold_in(model, batch.slice(1))
    assert set(report.values()) == {0}
    same(nothing.tables["users"], model.tables["users"], rtol=0)


def test_written_and_read_again(fitted, tmp_path):
    folded, _ = fold_in(fitted("biased"), ratings([1], [0], [1.0]))
    for _ in range(2):
        folded.write(str(tmp_path))
    again = FactorTables.read(str(tmp_path))
    for side in ("users", "items"):
        same(again.tables[side], folded.tables[side], rtol=0)
    assert again.facts.trained == {"users": N_USERS, "items": N_ITEMS}
    assert again.facts.stamp != folded.facts.stamp
    with pytest.raises(RecsparkError, match="nowhere holds no model"):
        FactorTables.read(str(tmp_path / "nowhere"))
    write_facts(str(tmp_path / "other"), VectorFacts(kind="fm", link="identity"))
    with pytest.raises(RecsparkError, match=r"other \(kind fm\) can't take new ratings in"):
        FactorTables.read(str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"other \(kind fm\) can't start a fit"):
        initial_tables(str(tmp_path / "other"), str(tmp_path), 3)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            {"user_id": ["1"], "item_id": [1], "rating": [1.0]},
            "user_id is string in the new ratings, but the model's ids .* are int64",
        ),
        ({"user_id": [1], "rating": [1.0]}, "no column item_id: they have user_id, rating"),
        ({"user_id": [1.5], "item_id": [1], "rating": [1.0]}, "user_id is double"),
        ({"user_id": [1, None], "item_id": [1, 1], "rating": [1.0, 1.0]}, "user_id is null in 1 new ratings"),
        (
            {"user_id": [1, 2], "item_id": [1, 1], "rating": [1.0, None]},
            "rating is null or not finite in 1 of 2 ratings",
        ),
        (
            {"user_id": [1], "item_id": [1], "rating": [float("inf")]},
            "rating is null or not finite in 1 of 1 ratings",
        ),
        (
            {"user_id": pa.array([2**64 - 1], pa.uint64()), "item_id": [1], "rating": [1.0]},
            "does not fit the model's ids of users",
        ),
    ],
)
def test_bad_batches_are_refused(fitted, batch, message):
    with pytest.raises(DataRejected, match=message):
        fold_in(fitted(), pa.table(batch))


def test_a_history_that_is_not_the_model_s_is_refused(fitted):
    model = fitted()
    seen = len(of_users(TRAIN, [0]))
    for history, found in (([], 0), ([TRAIN.slice(1)], seen - 1)):
        message = (
            f"the earlier ratings of 1 users are not those .* of 0 there are {found}, the model has seen "
            f"{seen}"
        )
        with pytest.raises(RecsparkError, match=message):
            fold_in(model, ratings([0], [0], [1.0]), history)


def test_a_model_that_can_t_be_updated_says_so(fitted):
    model = fitted()
    with pytest.raises(RecsparkError, match=r"the model \(kind als\) can't take new ratings in"):
        fold_in(
            replace(model, facts=msgspec.structs.replace(model.facts, can=("lists",))),
            ratings([1], [0], [1.0]),
        )
