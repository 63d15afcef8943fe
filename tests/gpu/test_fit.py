"""Fits by Spark whose task has a card."""

import numpy as np
import pytest

from recspark.errors import RecsparkError
from recspark.models import ALS


@pytest.fixture(scope="module")
def ratings(spark):
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, [9, 7], (45, 2)), axis=0).tolist()
    rows = [(user, item, float(rng.integers(1, 6))) for user, item in pairs]
    return spark.createDataFrame(rows, "user int, item int, rating float").coalesce(1).cache()


@pytest.mark.parametrize("settings", [{"biases": True, "center": True}, {"implicitPrefs": True}])
def test_a_fit_on_the_card(ratings, settings):
    histories, predictions = [], []
    for device in ("cpu", "cuda"):
        model = ALS(rank=3, maxIter=2, device=device, **settings).fit(ratings)
        histories.append([row["objective"] for row in model.summary.history])
        predictions.append(
            [row.prediction for row in model.transform(ratings).sort("user", "item").collect()]
        )
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)
    np.testing.assert_allclose(predictions[1], predictions[0], rtol=1e-3, atol=1e-4)


def test_two_tasks_of_a_local_master_never_share_a_card(ratings):
    blocks = {"rank": 3, "maxIter": 1, "tasks": "blocks", "userBlocks": 2, "itemBlocks": 1}
    with pytest.raises(RecsparkError, match="Spark gave this task none"):
        ALS(device="cuda", **blocks).fit(ratings)
    objective = [ALS(device=device, **blocks).fit(ratings).summary.history for device in ("auto", "cpu")]
    assert objective[0][0]["objective"] == objective[1][0]["objective"]
