"""What a run shows of its model, from tables made in place."""

from types import SimpleNamespace

import numpy as np
import pytest

from recspark.models import ALS
from recspark.pipeline import model_figures
from recspark.pipeline.model_figures import bias_histogram, similar_items


def test_bias_histogram_has_every_bin_between_the_ends(spark):
    users = spark.createDataFrame([(0.0,), (0.0,)], "bias float")
    items = spark.createDataFrame([(-0.12,), (0.21,), (0.18,)], "bias float")
    rows = bias_histogram(SimpleNamespace(userBiases=users, itemBiases=items))
    found = {
        side: list(zip(table["bias"].round(1), table["n"], strict=True))
        for side, table in rows.groupby("side")
    }
    assert found["users"] == [(-0.1, 0), (0.0, 2), (0.1, 0)]
    assert found["items"] == [(-0.2, 0), (-0.1, 1), (0.0, 0), (0.1, 0), (0.2, 2), (0.3, 0)]


@pytest.fixture(scope="module")
def model(spark):
    """Items 0 to 7 are rated 30 times, item 8 once."""
    rng = np.random.default_rng(0)
    rows = [(user, item, float(rng.integers(1, 6))) for user in range(30) for item in range(8)] + [
        (0, 8, 5.0)
    ]
    return ALS(rank=2, maxIter=2, itemCol="item_id").fit(
        spark.createDataFrame(rows, "user int, item_id int, rating float")
    )


def test_similar_items_are_titled_in_order_and_rated_often(spark, model, monkeypatch):
    monkeypatch.setattr(model_figures, "SHOWN_ITEMS", 3)
    films = [(item, f"Film {item}", 1990 + item if item else None) for item in range(9)]
    titles = spark.createDataFrame(films, "item_id int, title string, year int")
    job = SimpleNamespace(
        lake=SimpleNamespace(exists=lambda table: table == "tables/items"), read=lambda table: titles
    )
    rows = similar_items(job, model)
    assert rows["item_id"].tolist() == [0] * 5 + [1] * 5 + [2] * 5 and 8 not in rows["like_id"].tolist()
    assert rows["title"].tolist()[:6] == ["Film 0"] * 5 + ["Film 1 (1991)"]
    assert (rows["item_id"] != rows["like_id"]).all()
    assert all((np.diff(table["similarity"]) <= 0).all() for _, table in rows.groupby("item_id"))
