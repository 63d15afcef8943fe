"""EASE and ItemKNN against plain numpy, for any number of blocks, and what they refuse."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recspark.algorithms.item_item.gram import dense_gram, ease_inplace, invert_inplace, nearest
from recspark.errors import RecsparkError
from recspark.kernels.item_item.slim import descend
from recspark.models import EASE, SLIM, ItemKNN, load_model

IDS = {"userCol": "user_id", "itemCol": "item_id"}
N_USERS, N_ITEMS = 40, 13


def drawn(values=False):
    draw = np.random.default_rng(5)
    x = (draw.random((N_USERS, N_ITEMS)) < 0.35) * (
        draw.integers(1, 6, (N_USERS, N_ITEMS)) if values else 1.0
    )
    x[0, :], x[:, 0] = 1, 1  # everybody and everything is there
    return x.astype(float)


def slow_ease(x, penalty, reg_power=0.0, user_power=0.0, item_power=0.0):
    counts = (x > 0).sum(axis=0)
    gram = x.T @ ((x > 0).sum(axis=1)[:, None] ** -user_power * x)
    inverse = np.linalg.inv(gram + penalty * np.diag(counts**reg_power))
    weights = -inverse / np.diag(inverse) * counts**-item_power
    np.fill_diagonal(weights, 0)
    return weights


def slow_nearest(x, k, shrinkage, user_power=0.0, item_power=0.5, neighbour_power=0.5):
    gram, n = x.T @ ((x > 0).sum(axis=1)[:, None] ** -user_power * x), np.square(x).sum(axis=0)
    found = np.zeros(gram.shape)
    for i in range(len(gram)):
        similar = [
            (gram[i, j] / (n[i] ** item_power * n[j] ** neighbour_power + shrinkage), j)
            for j in range(len(gram))
            if j != i and gram[i, j]
        ]
        for value, j in sorted(similar, key=lambda pair: (-round(pair[0], 12), pair[1]))[:k]:
            found[i, j] = value
    return found


@pytest.fixture(scope="module")
def ratings(spark):
    x = drawn(values=True)
    rows = [(int(u) * 3, f"i{i:02d}", float(x[u, i])) for u, i in zip(*np.nonzero(x), strict=True)]
    return spark.createDataFrame(rows, "user_id int, item_id string, rating float").repartition(3).cache()


def ease(gram, penalty):
    weights = gram.astype(np.float32)
    ease_inplace(weights, np.full(len(gram), penalty), np.ones(len(gram)), 2)
    return weights


@pytest.mark.parametrize("penalty", [1.0, 50.0])
def test_ease_is_its_formula(penalty):
    x = drawn()
    np.testing.assert_allclose(ease(x.T @ x, penalty), slow_ease(x, penalty), atol=1e-6)


@pytest.mark.parametrize("swept", [1, 5, 16, 50])
def test_an_inverse_by_blocks(swept, monkeypatch):
    monkeypatch.setattr("recspark.algorithms.item_item.gram.SWEPT", swept)
    x = np.random.default_rng(1).normal(size=(80, 33))
    a = (x.T @ x + np.eye(33)).astype(np.float32)
    found = np.where(np.tri(33), a, np.nan).astype(np.float32)  # the upper half is not read
    assert invert_inplace(found, 2)
    np.testing.assert_allclose(np.tril(found), np.tril(np.linalg.inv(a.astype(float))), atol=1e-5)
    x = drawn()
    np.testing.assert_allclose(ease(x.T @ x, 2.0), slow_ease(x, 2.0), atol=1e-6)


def test_ease_without_a_solution_says_so():
    with pytest.raises(RecsparkError, match="from 1e-30 on, are too small: .* raise regParam"):
        ease(np.ones((3, 3)), 1e-30)


def test_powers_of_ease(ratings):
    x, powers = (drawn() > 0).astype(float), {"regPower": 0.6, "userPower": 0.5, "itemPower": 0.2}
    model = EASE(regParam=0.7, itemBlocks=2, **powers, **IDS).fit(ratings)
    weights = slow_ease(x, 0.7, *powers.values())
    found = {(row.user_id, row.item_id): row.prediction for row in model.transform(ratings).collect()}
    wanted = {(3 * int(u), f"i{i:02d}"): (x @ weights)[u, i] for u, i in zip(*np.nonzero(x), strict=True)}
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("k", "shrinkage"), [(1, 0.0), (3, 0.0), (3, 10.0), (100, 2.0)])
def test_neighbours_are_their_formula(k, shrinkage, monkeypatch):
    x = drawn(values=True)
    monkeypatch.setattr("recspark.algorithms.item_item.gram.STRIP_NUMBERS", 3 * N_ITEMS)
    block = csr_matrix(x.T[4:11])
    length = np.sqrt(np.square(x).sum(axis=0))
    found = nearest(block, csr_matrix(x), 4, (length, length), k, shrinkage)
    np.testing.assert_allclose(found.toarray(), slow_nearest(x, k, shrinkage)[4:11], atol=1e-6)
    np.testing.assert_array_equal(dense_gram(block, csr_matrix(x)), (x.T @ x)[4:11])
    assert nearest(csr_matrix((0, N_USERS)), csr_matrix(x), 0, (length, length), k, shrinkage).shape == (
        0,
        N_ITEMS,
    )


def slow_slim(x, k, l1, l2, sweeps=300):
    """Weights of items (rows) for items, by coordinate descent on the Gram matrix in double precision."""
    gram, found = x.T @ x, np.zeros((x.shape[1], x.shape[1]))
    for j in range(x.shape[1]):
        others = sorted(
            (i for i in range(len(gram)) if i != j and gram[i, j]), key=lambda i: (-gram[i, j], i)
        )[:k]
        w = np.zeros(len(gram))
        for _ in range(sweeps):
            for i in others:
                rest = gram[i, j] - gram[i] @ w + gram[i, i] * w[i]
                w[i] = max(0.0, rest - l1) / (gram[i, i] + l2)
        found[:, j] = w
    return found


def csr_arrays(matrix):
    return matrix.indptr, matrix.indices, matrix.data.astype(np.float32)


@pytest.mark.parametrize(("l1", "l2"), [(0.5, 2.0), (0.0, 5.0), (4.0, 0.0)])
def test_weights_of_slim_are_the_minimum(l1, l2):
    """No weight can be moved to lower the objective: its gradient is 0, or positive where the weight is 0."""
    x = drawn(values=True)
    everything = csr_matrix(1.0 - np.eye(N_ITEMS))
    weights = descend(
        csr_arrays(csr_matrix(x.T)), np.arange(N_ITEMS), csr_arrays(everything), (l1, l2), 1000, 0.0, N_USERS
    )
    found = csr_matrix((weights, everything.indices, everything.indptr)).toarray().T.astype(float)
    slope = x.T @ (x @ found - x) + l1 + l2 * found
    away = ~np.eye(N_ITEMS, dtype=bool)
    assert (found >= 0).all() and (found[away] > 0).any()
    np.testing.assert_allclose(slope[away & (found > 0)], 0, atol=2e-3)
    assert (slope[away & (found == 0)] > -2e-3).all()


def test_sweeps_of_slim_end_at_tol_and_at_max_iter():
    x = csr_arrays(csr_matrix(drawn().T))
    others, targets = csr_arrays(csr_matrix(1.0 - np.eye(N_ITEMS))), np.arange(N_ITEMS)
    found = {
        case: descend(x, targets, others, (0.1, 1.0), *case, N_USERS)
        for case in ((1, 0.0), (50, 10.0), (500, 0.0), (500, 1e-9))
    }
    np.testing.assert_array_equal(found[1, 0.0], found[50, 10.0])
    assert np.abs(found[1, 0.0] - found[500, 0.0]).max() > 0.01
    np.testing.assert_allclose(found[500, 1e-9], found[500, 0.0], atol=1e-6)


@pytest.mark.parametrize(("blocks", "binary", "k"), [(1, True, 4), (3, True, 100), (2, False, 4)])
def test_slim_by_spark(ratings, blocks, binary, k):
    x = drawn(values=True)
    x = (x > 0).astype(float) if binary else x
    params = {"k": k, "regParam": 3.0, "elasticNetParam": 0.25, "maxIter": 500, "tol": 1e-9}
    model = SLIM(itemBlocks=blocks, binary=binary, **params, **IDS).fit(ratings)
    scores = x @ slow_slim(x, k, 0.75, 2.25)
    found = {(row.user_id, row.item_id): row.prediction for row in model.transform(ratings).collect()}
    wanted = {(3 * int(u), f"i{i:02d}"): scores[u, i] for u, i in zip(*np.nonzero(x), strict=True)}
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blocks", "binary"),
    [
        (1, True),
        (3, False),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, True), (8, True), (8, False))),
    ],
)
def test_spark_gives_the_same_for_any_blocks(ratings, blocks, binary):
    x = drawn(values=not binary)
    if binary:
        x = (x > 0).astype(float)
    for estimator, weights in (
        (EASE(regParam=3.0, binary=binary, itemBlocks=blocks, **IDS), slow_ease(x, 3.0)),
        (ItemKNN(k=4, shrinkage=1.0, binary=binary, itemBlocks=blocks, **IDS), slow_nearest(x, 4, 1.0).T),
    ):
        model = estimator.fit(ratings)
        found = {(row.user_id, row.item_id): row.prediction for row in model.transform(ratings).collect()}
        wanted = {(3 * int(u), f"i{i:02d}"): (x @ weights)[u, i] for u, i in zip(*np.nonzero(x), strict=True)}
        assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_powers_of_users_and_items(ratings, binary):
    x = (drawn() > 0).astype(float) if binary else drawn(values=True)
    powers = {"userPower": 0.7, "itemPower": 0.3, "neighbourPower": 0.6}
    model = ItemKNN(k=5, shrinkage=0.5, binary=binary, itemBlocks=2, **powers, **IDS).fit(ratings)
    weights = slow_nearest(x, 5, 0.5, *powers.values()).T
    found = {(row.user_id, row.item_id): row.prediction for row in model.transform(ratings).collect()}
    wanted = {(3 * int(u), f"i{i:02d}"): (x @ weights)[u, i] for u, i in zip(*np.nonzero(x), strict=True)}
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [EASE(regParam=3.0, **IDS), ItemKNN(k=4, shrinkage=1.0, **IDS)])
def test_lists(spark, ratings, estimator, tmp_path):
    x = (drawn() > 0).astype(float)
    weights = slow_ease(x, 3.0) if isinstance(estimator, EASE) else slow_nearest(x, 4, 1.0).T
    model = estimator.fit(ratings)
    model.write().save(str(tmp_path / "model"))
    model = load_model(str(tmp_path / "model"))
    scores = np.where(x > 0, -np.inf, (x @ weights).round(6))
    unseen = {
        row.user_id: row.recommendations for row in model.recommendForAllUsers(4, seen=ratings).collect()
    }
    assert unseen.keys() == {3 * user for user in range(N_USERS)} and unseen[0] == []
    for user in range(1, N_USERS):
        found = [(item.item_id, item.rating) for item in unseen[3 * user]]
        best = np.sort(scores[user])[::-1][: len(found)]
        np.testing.assert_allclose([score for _, score in found], best, atol=1e-4)
        assert not {int(item[1:]) for item, _ in found} & set(np.flatnonzero(x[user]))
    few = spark.createDataFrame([(3,), (6,), (999,)], "user_id int")
    assert {
        row.user_id: row.recommendations
        for row in model.recommendForUserSubset(few, 4, seen=ratings).collect()
    } == {user: unseen[user] for user in (3, 6)}
    cold = model.recommendForUserSubset(few, 2, fallback=True).where("cold").collect()
    counts = x.sum(axis=0)
    assert [counts[int(item.item_id[1:])] for item in cold[0].recommendations] == sorted(
        counts, reverse=True
    )[:2]
    [alike] = model.similarItems(["i03"], 3).collect()
    best = np.sort(weights[:, 3][np.arange(N_ITEMS) != 3])[::-1][:3]
    np.testing.assert_allclose(
        [item.similarity for item in alike.similar], best[: len(alike.similar)], atol=1e-4
    )
    with pytest.raises(RecsparkError, match="ranks items, not users: use recommendForAllUsers"):
        model.recommendForAllItems(3)


def test_more_items_than_memory_holds_are_refused(ratings):
    with pytest.raises(
        RecsparkError,
        match=r"EASE on 13 items is refused: maxItems allows 12 .*ItemKNN, which takes any number",
    ):
        EASE(maxItems=12, **IDS).fit(ratings)


@pytest.mark.slow
def test_ease_on_the_published_files_is_the_numpy_solution(spark, movielens):
    """ML-1M_m1, full ranking: R@20 and NDCG@20 within .002 of the same Gram matrix solved by numpy."""
    with zipfile.ZipFile(movielens / "topn/ml-1m-m1.zip") as archive:
        names = {Path(name).stem: name for name in archive.namelist()}
        train, test = (_pairs(archive.read(names[part]).decode()) for part in ("train", "test"))
    n_users, n_items = (1 + max(train[:, side].max(), test[:, side].max()) for side in (0, 1))
    x = csr_matrix((np.ones(len(train)), train.T), (n_users, n_items))
    plain = x @ slow_ease_of(x, 500.0)
    plain[x.nonzero()] = -np.inf
    frame = spark.createDataFrame([tuple(map(int, pair)) for pair in train], "user_id int, item_id int")
    model = EASE(regParam=500.0, ratingCol="", **IDS).fit(frame)
    lists = {
        row.user_id: [item.item_id for item in row.recommendations]
        for row in model.recommendForAllUsers(20, seen=frame).collect()
    }
    ours = recall_and_ndcg(lists, test)
    by_numpy = recall_and_ndcg(
        {user: np.argsort(-plain[user], kind="stable")[:20].tolist() for user in range(n_users)}, test
    )
    assert ours == pytest.approx(by_numpy, abs=0.002)
    assert ours == pytest.approx((0.2759, 0.2660), abs=0.002)  # SimpleX .2802/.2670, UltraGCN .2787/.2642


def slow_ease_of(x, penalty):
    return slow_ease(x.toarray(), penalty)


def _pairs(text):
    rows = [line.split() for line in text.splitlines()]
    return np.array([(int(row[0]), int(item)) for row in rows for item in row[1:]])


def recall_and_ndcg(lists, test):
    wanted = {}
    for user, item in test:
        wanted.setdefault(int(user), set()).add(int(item))
    recalls, gains = [], []
    for user, items in wanted.items():
        hits = [place for place, item in enumerate(lists.get(user, ())) if item in items]
        recalls.append(len(hits) / len(items))
        ideal = sum(1 / np.log2(place + 2) for place in range(min(20, len(items))))
        gains.append(sum(1 / np.log2(place + 2) for place in hits) / ideal)
    return float(np.mean(recalls)), float(np.mean(gains))
