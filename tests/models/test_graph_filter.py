"""Graph filters against dense numpy: kernels, scores by Spark, lists and alike items."""

from math import factorial

import numpy as np
import pytest
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from recspark.algorithms.item_item.graph_filter import normalized, smooth_basis
from recspark.kernels.item_item.products import WIDTH, csr_product
from recspark.models import GraphFilter, load_model

IDS = {"userCol": "user_id", "itemCol": "item_id"}
N_USERS, N_ITEMS = 40, 13


def drawn(values=False):
    draw = np.random.default_rng(8)
    x = (draw.random((N_USERS, N_ITEMS)) < 0.3) * (draw.integers(1, 6, (N_USERS, N_ITEMS)) if values else 1.0)
    x[0, :], x[:, 0] = 1, 1  # everybody and everything is there
    return x.astype(float)


def slow_filter(x, rank, low_pass=0.2, sharpening=2.5, powers=(0.5, 0.5)):
    """The matrix M of scores x M, as in the docstring of the module."""
    users, items = ((x > 0).sum(axis=axis) ** -power for axis, power in zip((1, 0), powers, strict=True))
    n = users[:, None] * x * items
    values, vectors = np.linalg.eigh(n.T @ n)
    smooth = vectors[:, np.argsort(-values)[:rank]]
    kernel = n.T @ n
    sharp = sum(
        (-sharpening) ** order / factorial(order) * np.linalg.matrix_power(kernel, order)
        for order in range(5)
    )
    return (kernel + low_pass * items[:, None] * (smooth @ smooth.T) / items) @ sharp


@pytest.fixture(scope="module")
def ratings(spark):
    x = drawn(values=True)
    rows = [(int(u) * 3, f"i{i:02d}", float(x[u, i])) for u, i in zip(*np.nonzero(x), strict=True)]
    return spark.createDataFrame(rows, "user_id int, item_id string, rating float").repartition(3).cache()


def test_products_are_those_of_scipy():
    draw = np.random.default_rng(0)
    a = csr_matrix(((draw.random((7, 9)) < 0.4) * draw.normal(size=(7, 9))).astype(np.float32))
    dense, out = draw.normal(size=(9, WIDTH)).astype(np.float32), np.full((7, WIDTH), np.nan, np.float32)
    csr_product(a.indptr, a.indices, a.data, dense, out)
    np.testing.assert_allclose(out, a.toarray() @ dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("spare", "threads"), [(20, 1), (20, 2), (120, 1)])
@pytest.mark.parametrize("rank", [1, 5, 13, 200])
def test_the_basis_spans_the_leading_vectors(rank, spare, threads, monkeypatch):
    """By iteration (20 spare columns), and whole: the projection is the same."""
    monkeypatch.setattr("recspark.algorithms.item_item.graph_filter.SPARE", spare)
    monkeypatch.setattr("recspark.algorithms.item_item.graph_filter.STEPS", 200)
    draw = np.random.default_rng(1)
    x = csr_matrix((draw.random((300, 120)) < 0.1).astype(float))
    n = normalized(x, 0.5, 0.5)
    basis = smooth_basis(n, rank, threads)
    vectors = np.linalg.svd(n.toarray().astype(float), full_matrices=False)[2][:rank]
    assert basis.shape == (120, min(rank, 120))
    np.testing.assert_allclose(basis @ basis.T, vectors.T @ vectors, atol=1e-4)


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"rank": 4}, {"rank": 4}),
        ({"rank": 4, "itemBlocks": 3}, {"rank": 4}),
        ({"rank": 2, "lowPass": 0.0, "sharpening": 0.0}, {"rank": 2, "low_pass": 0.0, "sharpening": 0.0}),
        (
            {"rank": 13, "userPower": 0.3, "itemPower": 0.6, "lowPass": 1.5},
            {"rank": 13, "powers": (0.3, 0.6), "low_pass": 1.5},
        ),
        ({"rank": 3, "binary": False, "sharpening": 0.5}, {"rank": 3, "sharpening": 0.5}),
    ],
)
def test_scores_are_those_of_dense_matrices(ratings, params, wanted):
    values = not params.get("binary", True)
    x = drawn(values=True)
    x = x if values else (x > 0).astype(float)
    scores = x @ slow_filter(x, **wanted)
    model = GraphFilter(**params, **IDS).fit(ratings)
    found = {(row.user_id, row.item_id): row.prediction for row in model.transform(ratings).collect()}
    expected = {(3 * int(u), f"i{i:02d}"): scores[u, i] for u, i in zip(*np.nonzero(x), strict=True)}
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_lists_and_alike_items_of_a_saved_model(spark, ratings, tmp_path):
    x = (drawn() > 0).astype(float)
    weights = slow_filter(x, 4)
    GraphFilter(rank=4, **IDS).fit(ratings).write().save(str(tmp_path / "model"))
    model = load_model(str(tmp_path / "model"))
    scores = np.where(x > 0, -np.inf, x @ weights)
    few = spark.createDataFrame([(3,), (60,)], "user_id int")
    for row in model.recommendForUserSubset(few, 4, seen=ratings).collect():
        user = row.user_id // 3
        best = np.sort(scores[user][x[user] == 0])[::-1][:4]
        np.testing.assert_allclose([item.rating for item in row.recommendations], best, atol=1e-4)
        assert not {int(item.item_id[1:]) for item in row.recommendations} & set(np.flatnonzero(x[user]))
    [alike] = model.similarItems(["i03"], 3).collect()
    best = np.sort(weights[np.arange(N_ITEMS) != 3, 3])[::-1][:3]
    np.testing.assert_allclose([item.similarity for item in alike.similar], best, atol=1e-4)


def test_two_fits_have_the_same_bits(ratings):
    lists = [
        GraphFilter(rank=4, **IDS).fit(ratings).recommendForAllUsers(5).orderBy("user_id").collect()
        for _ in range(2)
    ]
    assert lists[0] == lists[1]


def test_rows_of_a_user_are_scored_together(ratings):
    """A prediction takes the scores of all items of the user: rows that lie apart would take them each."""
    found = GraphFilter(rank=4, **IDS).fit(ratings).transform(ratings)
    places = found.select("user_id", F.spark_partition_id().alias("part")).distinct().collect()
    assert len(places) == N_USERS and len({row.part for row in places}) > 1
