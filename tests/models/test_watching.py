"""Fits that a judge ends."""

import numpy as np
import pytest

from recspark.errors import ConfigError
from recspark.models import ALS, FMRegressor


@pytest.fixture(scope="module")
def ratings(spark):
    draw = np.random.default_rng(5)
    rows = {(int(user), int(item)) for user, item in draw.integers(0, 40, (600, 2))}
    return spark.createDataFrame(
        [(*pair, float(draw.integers(1, 6))) for pair in sorted(rows)],
        "user_id int, item_id int, rating float",
    ).cache()


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_fit_ends_where_its_judge_says_so(ratings, tmp_path, blocks):
    seen = []

    def judge(row):
        seen.append(row["iteration"])
        return row["iteration"] == 2

    most = 4000 if blocks == 1 else 60
    als = ALS(rank=16, maxIter=most, userCol="user_id", itemCol="item_id", workDir=str(tmp_path))
    model = als.setParams(userBlocks=blocks, itemBlocks=blocks, tasks="blocks").stop_when(judge).fit(ratings)
    assert seen == [1, 2]
    assert 2 <= len(model.summary.history) < most
    # what ended a fit is no part of it: the same fit again is a whole one
    assert (
        len(
            ALS(rank=2, maxIter=3, userCol="user_id", itemCol="item_id", workDir=str(tmp_path))
            .fit(ratings)
            .summary.history
        )
        == 3
    )


@pytest.mark.slow
def test_a_sampler_ends_where_its_judge_says_so(ratings):
    seen = []
    fm = FMRegressor(groups=["user", "item"], factorSize=2, maxIter=40, burnIn=1, labelCol="rating")
    fm.setParams(userBlocks=2, itemBlocks=2, tasks="blocks")
    model = fm.stop_when(lambda row: seen.append(row["iteration"]) or row["iteration"] == 2).fit(ratings)
    assert seen == [1, 2] and 2 <= len(model.summary.history) < 40


def test_only_known_data_can_be_watched(ratings):
    with pytest.raises(
        ConfigError, match="watch\\(train=...\\) is not allowed: it must be one of validation, test"
    ):
        ALS().watch(train=ratings)
