"""The jobs `crossvalidate` and `curves`, as users start them."""

import json
import statistics
from pathlib import Path

import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A source of ratings, and a lake."""
    folder = tmp_path_factory.mktemp("crossvalidation")
    write_movielens(generate(SyntheticOptions(users=60, items=40, ratings=1500)), folder / "ml-1m")
    return [
        f"data.source={folder / 'ml-1m'}",
        f"paths.lake={folder / 'lake'}",
        "split.folds=2",
        "split.name=fold",
    ]


@pytest.mark.slow
def test_means_and_deviations_of_all_folds(command, place):
    model = ["model.type=baseline", "model.maxIter=2", "evaluation.ranking=false", "tracking.logModel=false"]
    code, summary, err = command("crossvalidate", *place, *model)
    assert code == 0 and summary["folds"] == ["1", "2"]
    lake = Path(summary["lake"])
    measured = [json.loads((lake / f"metrics/baseline-fold-{fold}.json").read_text()) for fold in (1, 2)]
    for metric in ("rmse", "mae", "predicted_rows"):
        values = [fold[metric] for fold in measured]
        found = summary[metric], summary[f"{metric}_std"]
        assert found == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    # the folds are a partition of the rows
    assert 2 * summary["predicted_rows"] == summary["ratings"] == 1500
    assert measured[0]["rmse"] != measured[1]["rmse"]
    assert "fold 2: rmse" in err
    check_runs(summary)
    check_the_folds_figure(command, place)


def check_runs(summary):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{summary['lake']}/mlflow.db")
    parent = client.get_run(summary["run_id"])
    assert parent.data.metrics["rmse"] == pytest.approx(summary["rmse"])
    runs = {run.info.run_id: run for run in client.search_runs([parent.info.experiment_id])}
    nested = [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == summary["run_id"]]
    assert {run.info.run_name for run in nested} == {"ingest", "index", "fold 1", "fold 2"}
    [second] = [run for run in nested if run.info.run_name == "fold 2"]
    stages = {
        run.info.run_name
        for run in runs.values()
        if run.data.tags.get("mlflow.parentRunId") == second.info.run_id
    }
    assert stages == {"split", "train", "evaluate"} and second.data.params["split.name"] == "fold-2"
    table = pd.read_csv(f"{parent.info.artifact_uri}/folds.csv", index_col="fold")
    assert table.index.tolist() == [1, 2] and table["rmse"].mean() == pytest.approx(summary["rmse"])


def check_the_folds_figure(command, place):
    code, summary, _ = command("curves", "baseline-fold-1", "baseline-fold-2", place[1], "curves.figure=two")
    assert code == 0 and summary["epochs"] == {"baseline-fold-1": 2, "baseline-fold-2": 2}
    assert Path(summary["figure"]).read_bytes().startswith(b"\x89PNG")
    code, _, err = command("curves", "baseline-fold-1", "nothing", place[1])
    assert code == 5 and "models/nothing does not exist: run `recspark train` first" in err


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (
            ["crossvalidate"],
            ["split.kind=random"],
            "there are no folds to cross-validate over: set split.folds",
        ),
        (
            ["crossvalidate"],
            ["split.folds=2", 'crossvalidation.folds=["3"]'],
            "split.fold = '3' is not allowed: with split.folds = 2",
        ),
        (
            ["pipeline"],
            ["split.folds=2"],
            "split.fold = None is not allowed: with split.folds = 2 it must be 1 to 2",
        ),
        (
            ["split"],
            ["split.kind=given"],
            "split.fold = None is not allowed: split.kind = 'given' needs the name of a split",
        ),
        (
            ["crossvalidate"],
            ['crossvalidation.folds=["u1", "u1"]'],
            "crossvalidation.folds = ['u1', 'u1'] is not allowed",
        ),
        (["curves"], [], "curves.models is not set: name the models, as in `recspark curves als mf`"),
        (
            ["curves", "a", "a"],
            [],
            "curves.models = ['a', 'a'] is not allowed: it must be a list, of different names, at most 7",
        ),
    ],
)
def test_mistakes(command, place, words, settings, message):
    lake = next(Path(word.removeprefix("paths.lake=")) for word in place if word.startswith("paths.lake="))
    lake.mkdir(exist_ok=True)
    code, _, err = command(*words, *place[:2], "tracking.enabled=false", *settings)
    assert code == 2 and message in err
