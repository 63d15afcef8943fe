"""Popularity: the counts, in predictions, rankings and lists; what it has no use for is refused."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from recspark.errors import ConfigError, RecsparkError
from recspark.models import Popularity, PopularityModel
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables

PAIRS = [("ann", 3), ("ann", 1), ("bob", 3), ("cid", 3), ("cid", 2), ("cid", 1)]


@pytest.fixture(scope="module")
def ratings(spark):
    rows = [(user, item, float(n % 5)) for n, (user, item) in enumerate(PAIRS)]
    return spark.createDataFrame(rows, "user string, item int, rating float")


@pytest.fixture(scope="module", params=[1, 2])
def model(request, ratings):
    return Popularity(userBlocks=request.param).fit(ratings.repartition(3))


def test_a_prediction_is_the_number_of_ratings_of_the_item(spark, model):
    counts = Counter(item for _, item in PAIRS)
    asked = spark.createDataFrame(
        [("ann", 3), ("dan", 3), ("bob", 2), ("bob", 9), ("dan", 9)], "user string, item int"
    )
    found = {(row.user, row.item): row.prediction for row in model.transform(asked).collect()}
    assert found == {(user, item): counts[item] for user, item in found} and len(found) == 5


def test_everybody_gets_the_same_ranking(model):
    scores = model.scorer.scores(np.arange(3))
    assert scores.tolist() == [[2.0, 1.0, 3.0]] * 3
    lists = {
        row.user: [entry.item for entry in row.recommendations]
        for row in model.recommendForAllUsers(2).collect()
    }
    assert lists == {"ann": [3, 1], "bob": [3, 1], "cid": [3, 1]}


def test_saved_and_loaded(model, tmp_path):
    model.write().save(str(tmp_path / "model"))
    assert PopularityModel.load(str(tmp_path / "model")).scorer.scores(np.array([0])).tolist() == [
        [2.0, 1.0, 3.0]
    ]


def test_there_is_no_iteration(model):
    assert model.summary.history == [] and model.rank == 0


@pytest.mark.parametrize(
    "options", [{"weightCol": "rating"}, {"clip": True}, {"initialModel": "/some/model"}]
)
def test_what_counts_have_no_use_for_is_refused(ratings, options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} = .* is not allowed with Popularity"):
        Popularity(**options).fit(ratings)


def test_new_ratings_need_another_count(model, tmp_path):
    model.write().save(str(tmp_path / "model"))
    with pytest.raises(RecsparkError, match=r"\(kind popularity\) can't take new ratings in"):
        fold_in(
            FactorTables.read(str(tmp_path / "model")),
            pa.table({"user_id": ["eve"], "item_id": [1], "rating": [5.0]}),
        )
