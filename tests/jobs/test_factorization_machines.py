"""Factorization machines through the jobs: of entities, which make lists, and of rows, which have no vectors
of users and items.
"""

import json

import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machines") / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=100, items=60, ratings=3000)), folder)
    return f"data.source={folder}"


@pytest.fixture
def settings(tmp_path):
    return [
        f"paths.lake={tmp_path}",
        "model.type=fm",
        "model.factorSize=2",
        "model.maxIter=3",
        "evaluation.ranking=false",
    ]


@pytest.mark.slow
def test_lists_come_from_the_vectors_of_users_and_items(command, source, settings, tmp_path):
    settings += ['features.groups=["user", "item", "rated", "day"]']
    code, summary, err = command("pipeline", *settings, source)
    assert code == 0 and summary["rmse"] < 1.5, err
    code, summary, err = command("recommend", *settings, "recommend.n=5")
    assert code == 0, err
    lists = pd.read_parquet(tmp_path / "recommendations/fm/lists")
    train = pd.read_parquet(tmp_path / "splits/default/train")
    assert summary["users"] == lists["user_id"].nunique() == train["user_id"].nunique()
    assert lists.merge(train, on=["user_id", "item_id"]).empty
    train.head(3)[["user_id", "item_id", "rating"]].to_csv(tmp_path / "new.csv", index=False)
    code, _, err = command("update", *settings, f"update.source={tmp_path / 'new.csv'}", "data.dataset=csv")
    assert code == 1 and "(kind fm) can't take new ratings in" in err


@pytest.mark.slow
def test_a_model_of_rows_is_none_for_lists_or_for_mlflow(command, source, settings, tmp_path):
    settings += ["model.solver=sgd", 'features.groups=["user", "item", {group = "rated", scope = "past"}]']
    code, summary, err = command("pipeline", *settings, source)
    assert code == 0 and summary["rmse"] < 1.5, err
    assert json.loads((tmp_path / "models/fm/model.json").read_text())["layout"] == "rows"
    assert "models/fm is not kept in MLflow" in err
    code, _, err = command("promote", settings[0], "promote.candidate=fm")
    refusal = (
        "promote.candidate = 'fm' is not allowed: models/fm (kind fm) can't be served by MLflow: its answers "
        "need Spark"
    )
    assert code == 2 and refusal in err
    for job in ("recommend", "update"):
        code, _, err = command(job, *settings)
        assert (
            code == 2 and "models/fm (kind fm) can't make lists: it has no vectors of users and items" in err
        )
