"""Classification as a job: ratings become labels in training and in evaluation, by one key of the conf."""

import json

import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=120, items=90, ratings=5000)), folder)
    return folder


def run(command, source, lake, *settings):
    code, summary, err = command(
        "pipeline",
        f"paths.lake={lake}",
        f"data.source={source}",
        "tracking.enabled=false",
        "model.positiveFrom=4",
        *settings,
    )
    assert code == 0, err
    return summary


@pytest.mark.slow
def test_a_factorization_machine_says_who_likes_what(command, source, tmp_path):
    settings = [
        "model.type=fm_classifier",
        'features.groups=["user", "item", "rated"]',
        "model.factorSize=3",
        "model.maxIter=15",
    ]
    summary = run(command, source, tmp_path, *settings, "evaluation.relevantThreshold=1")
    test = pd.read_parquet(tmp_path / "splits/default/test")
    assert summary["positive_share"] == pytest.approx((test["rating"] >= 4).mean()) and summary[
        "predicted_rows"
    ] == len(test)
    assert summary["roc_auc"] > 0.65 and 0.3 < summary["log_loss"] < 0.68 and summary["accuracy"] > 0.6
    assert "rmse" not in summary and 0 < summary["ndcg_at_10"] < 1 and summary["ranked_users"] > 50
    predicted = pd.read_parquet(tmp_path / "predictions/fm_classifier/test")
    assert set(predicted["rating"]) == {0.0, 1.0} == set(predicted["prediction"])
    manifest = json.loads((tmp_path / "models/fm_classifier/manifest.json").read_text())
    assert manifest["params"]["positiveFrom"] == 4.0


@pytest.mark.slow
def test_logistic_matrix_factorization_says_it_too(command, source, tmp_path):
    summary = run(
        command,
        source,
        tmp_path,
        "model.type=mf",
        "model.loss=logistic",
        "model.rank=2",
        "model.maxIter=10",
        "evaluation.ranking=false",
    )
    assert summary["roc_auc"] > 0.65 and summary["log_loss"] < 0.68 and "rmse" not in summary
