"""Blends of lists: standardized scores and weights against plain numpy, models that know other ids, lists,
saving and loading.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.errors import RecsparkError
from recspark.evaluation.list_weights import (
    STEPS,
    Contenders,
    contenders,
    contenders_of,
    fit_list_weights,
    mean_metric,
    search,
)
from recspark.evaluation.ranking import per_user_ranking, ranking_metrics
from recspark.models import ALS, EASE, Popularity
from recspark.models.list_blend import ListBlendModel, ListWeights
from recspark.models.saving import PathExists, load_model
from recspark.models.serving.list_blend import (
    USERS_AT_ONCE,
    Members,
    StoredMembers,
    standardized,
)
from recspark.models.serving.scorer import Side

EQUAL = ListWeights((0.5, 0.5))
IDS = {"userCol": "user_id", "itemCol": "item_id"}


class Table:
    """A scorer that holds all scores."""

    def __init__(self, users, items, scores):
        nothing = [np.zeros(len(ids), np.float32) for ids in (users, items)]
        self.users, self.items = (
            Side(np.array(ids), np.empty((len(ids), 0), np.float32), zeros, zeros)
            for ids, zeros in zip((users, items), nothing, strict=True)
        )
        self.matrix = np.array(scores, np.float32)

    def scores(self, users):
        assert len(users) == USERS_AT_ONCE
        return self.matrix[users]


class Drawn:
    """Two models of some taste, one of them better, as `StoredMembers` would be."""

    def __init__(self, users=40, items=30, seed=3):
        draw = np.random.default_rng(seed)
        self.taste = draw.normal(size=(users, items))
        self.user_ids, self.item_ids = np.arange(users) + 100, np.arange(items) + 1000
        noisy = [self.taste * unit + draw.normal(size=(users, items)) for unit in (1.2, 1)]
        scorers = [Table(self.user_ids, self.item_ids, each) for each in (5 * noisy[0] + 3, noisy[1])]
        self.members = Members.of(scorers, "score")

    def standardized(self, users):
        return self.members.standardized(users)


def test_scores_are_made_alike():
    draw = np.random.default_rng(0)
    scores = draw.normal(3, 7, (5, 40)).astype(np.float32)
    found = standardized(scores, "score")
    expected = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(standardized(1000 * scores + 5, "score"), found, atol=1e-4)
    order = np.argsort(np.argsort(-scores, axis=1), axis=1)
    np.testing.assert_allclose(standardized(scores, "rank"), 1 / np.log2(order + 2), rtol=1e-6)


@pytest.mark.parametrize("on", ["score", "rank"])
def test_strange_scores(on):
    alike = standardized(np.full((2, 3), 7, np.float32), on)
    assert (alike == alike[0, 0]).all() and (on == "rank" or alike[0, 0] == 0)
    odd = standardized(np.array([[1, np.nan, 5], [np.nan, -np.inf, np.inf]], np.float32), on)
    assert np.isfinite(odd).all() and odd[0, 1] == odd[0, 0] == odd[0].min() and len(set(odd[1])) == 1


def test_models_with_other_ids():
    one = Table([1, 2], [10, 20, 30], [[1, 2, 3], [3, 2, 1]])
    other = Table([2, 3], [20, 40], [[0, 1], [1, 0]])
    found = Members.of([one, other], "score")
    assert found.users.ids.tolist() == [1, 2, 3] and found.items.ids.tolist() == [10, 20, 30, 40]
    first, second = found.standardized(np.arange(3))
    high = np.sqrt(1.5)
    np.testing.assert_allclose(first, [[-high, 0, high, -high], [high, 0, -high, -high], [0] * 4], atol=1e-6)
    np.testing.assert_allclose(second, [[0] * 4, [-1, -1, -1, 1], [-1, 1, -1, -1]], atol=1e-6)


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_search_ends_where_no_pair_of_models_is_better(seed, models):
    target = np.random.default_rng(seed).dirichlet(np.ones(models)) * STEPS
    value = lambda parts: -float(((parts - target) ** 2).sum())  # noqa: E731
    found = search(value, models)
    assert found.sum() == STEPS and found.min() >= 0
    for i in range(models):
        for j in range(models):
            if i != j and found[i]:
                tried = found.copy()
                tried[i] -= 1
                tried[j] += 1
                assert value(tried) <= value(found)


def slow_metric(scores, relevant, weights, k):
    """NDCG of one blend by whole rankings."""
    total = []
    for user in range(scores.shape[1]):
        own = np.flatnonzero(relevant[user])
        if len(own):
            blended = sum(np.float32(w) * each[user] for w, each in zip(weights, scores, strict=True))
            order = np.argsort(-blended, kind="stable").tolist()
            gains = [1 / np.log2(order.index(item) + 2) for item in own if order.index(item) < k]
            total.append(sum(gains) / sum(1 / np.log2(np.arange(2, min(k, len(own)) + 2))))
    return np.mean(total)


def frame(pairs, drawn):
    users, items = np.nonzero(pairs)
    return pd.DataFrame({"user_id": drawn.user_ids[users], "item_id": drawn.item_ids[items]})


def test_weights_are_those_of_whole_rankings():
    drawn = Drawn()
    relevant = drawn.taste > 1.2
    relevant[3] = False
    wanted, seen = frame(relevant, drawn), frame(np.zeros_like(relevant), drawn)
    rows = contenders_of(wanted, seen, drawn, 30)
    assert 103 not in set(rows["user_id"]) and len(rows) == relevant.any(axis=1).sum()
    found = as_contenders(rows)
    scores = drawn.members.standardized(np.arange(40))
    for weights in ((1, 0), (0.3, 0.7), (0.5, 0.5)):
        expected = slow_metric(scores, relevant, weights, 5)
        assert mean_metric(found, np.array(weights), "ndcg", 5) == pytest.approx(expected, abs=1e-12)
    fitted, alone = fit_list_weights(found, "score", "ndcg", 5)
    every = [slow_metric(scores, relevant, (part / STEPS, 1 - part / STEPS), 5) for part in range(STEPS + 1)]
    assert fitted.value == pytest.approx(max(every)) and fitted.value > max(alone)
    assert alone == pytest.approx([every[-1], every[0]])
    # a few contenders are as good as all items
    few = as_contenders(contenders_of(wanted, seen, drawn, 15))
    assert len(few.scores) < len(found.scores)
    assert fit_list_weights(few, "score", "ndcg", 5) == (fitted, alone)


def as_contenders(rows):
    rows = rows.sort_values("user_id")
    return Contenders(
        np.append(0, np.cumsum([len(each) for each in rows["relevant"]])),
        np.concatenate(rows["scores"].to_list()).reshape(-1, 2),
        np.concatenate(rows["relevant"].to_list()).astype(bool),
        rows["n_relevant"].to_numpy(),
    )


@pytest.fixture(scope="module")
def ratings(spark):
    draw = np.random.default_rng(1)
    users, items = draw.normal(size=(30, 2)), draw.normal(size=(20, 2))
    liked = users @ items.T + 0.5 * draw.normal(size=(30, 20)) > 0.3
    rows = [(int(u) * 3, f"i{i:02d}", 1.0) for u, i in zip(*np.nonzero(liked), strict=True)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    table["user_id"] = table["user_id"].astype("int32")
    test = draw.random(len(table)) < 0.25
    return tuple(spark.createDataFrame(table[each]).repartition(3).cache() for each in (~test, test))


@pytest.fixture(scope="module")
def models(ratings):
    train, _ = ratings
    return {
        "als": ALS(rank=3, maxIter=4, implicitPrefs=True, **IDS).fit(train),
        "ease": EASE(regParam=5.0, **IDS).fit(train.filter("item_id != 'i03' AND user_id != 6")),
    }


@pytest.fixture(scope="module")
def blend(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("blends") / "blend"
    return ListBlendModel.of(models, ListWeights((0.4, 0.6), "score", "ndcg_at_5", 0.5), str(path))


def lists_of(rows):
    return {row[0]: [tuple(entry) for entry in row[1]] for row in rows.collect()}


def test_lists_are_those_of_the_weighted_scores(blend, models, ratings):
    train, _ = ratings
    scorers = [StoredMembers((model.files,), "score") for model in models.values()]
    assert len(scorers[0].item_ids) == 20 and len(scorers[1].item_ids) == 19
    members = StoredMembers(tuple(model.files for model in models.values()), "score")
    first, second = members.standardized(np.arange(30))
    whole = np.float32(0.4) * first + np.float32(0.6) * second
    assert second[2].tolist() == [0] * 20 and (second[3][3] == second[3].min())
    found = lists_of(blend.recommendForAllUsers(5))
    assert found.keys() == {3 * user for user in range(30)}
    for user, scores in enumerate(whole):
        best = np.argsort(-scores, kind="stable")[:5]
        assert [item for item, _ in found[3 * user]] == [f"i{item:02d}" for item in best]
        np.testing.assert_allclose([score for _, score in found[3 * user]], scores[best], atol=1e-6)
    seen = {(row.user_id, row.item_id) for row in train.collect()}
    unseen = lists_of(blend.recommendForAllUsers(5, seen=train))
    assert all((user, item) not in seen for user, entries in unseen.items() for item, _ in entries)


def test_order_partitions_and_company_of_users_do_not_matter(blend, spark):
    whole = lists_of(blend.recommendForAllUsers(4))
    users = spark.createDataFrame([(3 * user,) for user in range(30)], "user_id int")
    for partitions in (1, 2, 3):
        assert lists_of(blend.recommendForUserSubset(users.repartition(partitions), 4)) == whole
    for user in (0, 6, 87):
        alone = users.filter(f"user_id = {user}")
        assert lists_of(blend.recommendForUserSubset(alone, 4)) == {user: whole[user]}


def test_it_is_the_same_once_saved_and_loaded(blend, ratings, tmp_path):
    path = str(tmp_path / "copy")
    blend.write().save(path)
    loaded = load_model(path)
    assert type(loaded) is ListBlendModel and loaded.getUserCol() == "user_id"
    assert lists_of(loaded.recommendForAllUsers(7)) == lists_of(blend.recommendForAllUsers(7))
    a, b = (each.transform(ratings[1]).orderBy("user_id", "item_id").toPandas() for each in (blend, loaded))
    pd.testing.assert_frame_equal(a, b)
    with pytest.raises(PathExists, match="already exists: a blend is written to a new folder"):
        ListBlendModel.of({"blend": blend}, ListWeights((1.0,)), path)


def test_users_that_no_model_knows_get_what_most_have(blend, ratings, spark):
    users = spark.createDataFrame([(0,), (999,)], "user_id int")
    rows = {row.user_id: row for row in blend.recommendForUserSubset(users, 3, fallback=True).collect()}
    assert rows[999].cold and not rows[0].cold
    counts = ratings[0].groupBy("item_id").count().orderBy("count", ascending=False).toPandas()
    popular = counts.set_index("item_id")["count"]
    found = popular[[entry.item_id for entry in rows[999].recommendations]]
    assert found.tolist() == popular.head(3).tolist()


def test_what_it_can_not_do(blend, models, ratings, tmp_path):
    for what in (blend.recommendForAllItems, blend.similarItems, blend.similarUsers):
        with pytest.raises(RecsparkError, match="ranks items for users only"):
            what(3)
    numbers = ratings[0].selectExpr("user_id", "int(substr(item_id, 2)) AS item_id", "rating")
    other = Popularity(**IDS).fit(numbers)
    with pytest.raises(RecsparkError, match="ids of different kinds can't be blended"):
        ListBlendModel.of({"als": models["als"], "other": other}, EQUAL, str(tmp_path / "x"))


def test_an_explanation_adds_up(blend, ratings):
    [row] = blend.transform(ratings[1]).limit(1).collect()
    found = blend.explain(row.user_id, row.item_id)
    assert {part.name for part in found.parts} <= {"als", "ease"}
    assert sum(part.value for part in found.parts) == pytest.approx(row.prediction, abs=1e-5)


def test_the_metric_of_the_weights_is_that_of_an_evaluation(models, ratings, tmp_path):
    train, test = ratings
    members = StoredMembers(tuple(model.files for model in models.values()), "rank")
    shuffled = [
        contenders(rows, train.repartition(parts), members, 5, blocks=parts)
        for parts, rows in ((1, test), (3, test.orderBy("item_id")))
    ]
    for one, other in zip(*shuffled, strict=True):
        np.testing.assert_array_equal(one, other)
    fitted, alone = fit_list_weights(shuffled[0], "rank", "ndcg", 5)
    blend = ListBlendModel.of(models, fitted, str(tmp_path / "blend"))
    found = ranking_metrics(per_user_ranking(test, train, blend.scorer, [5]))
    assert found["ndcg_at_5"] == pytest.approx(fitted.value, abs=1e-12)
    by_itself = ranking_metrics(per_user_ranking(test, train, models["als"].scorer, [5]))
    assert by_itself["ndcg_at_5"] == pytest.approx(alone[0], abs=1e-12)
    with pytest.raises(RecsparkError, match="no user of the validation rows whom a model knows"):
        contenders(test, train, members, 5, threshold=2.0)
