"""One report with everything in it, and what must then be in the store."""

import json
import logging
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import recspark

UNREACHABLE = "http://127.0.0.1:9"  # the discard port: refused at once


def client_of(tracker):
    from mlflow import MlflowClient

    return MlflowClient(tracker.uri)


def runs_of(tracker):
    """All runs of the store, by name."""
    client = client_of(tracker)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_name: run for run in client.search_runs(experiments)}


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def report_everything(tracker, scorer, in_the_middle=lambda: None):
    """Every method of Run once, in a run "pipeline" with a child "train"; `in_the_middle` is called when the
    training has its curve.
    """
    cls, folder, code = scorer
    with tracker.run("pipeline", params={"als": {"rank": 8, "tol": None}}, tags={"data": "ml"}) as run:
        with run.child("train") as train:
            train.curve(
                [
                    {"iteration": 1, "train_rmse": 0.9, "seconds": 0.1},
                    {"iteration": 2, "train_rmse": 0.8, "seconds": None},
                ]
            )
            in_the_middle()
            train.dataset("ratings", "/lake/tables/ratings", "0123456789abcdef" * 4, rows=100)
            train.model(cls, folder, pd.DataFrame({"user_id": [1, 22], "item_id": [3, 4]}), code_paths=code)
        figure = Figure()
        figure.subplots().plot([1, 2, 3])
        run.figure(figure, "figures/curve.png")
        run.text("some words", "notes/words.txt")
        run.json({"rmse": 0.8}, "summary.json")
        run.file(folder, "files")
        run.metrics({"rmse": 0.8, "ndcg@10": 0.25, "auc": None})
        run.describe("RMSE **0.8**")
        return run


def assert_everything(tracker, tmp_path):
    client, runs = client_of(tracker), runs_of(tracker)
    run, train = runs["pipeline"], runs["train"]
    assert set(runs) == {"pipeline", "train"}
    assert run.info.status == train.info.status == "FINISHED"
    assert train.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert run.data.params == {"als.rank": "8"}
    assert run.data.metrics == {"rmse": 0.8, "ndcg_at_10": 0.25}
    assert run.data.tags["mlflow.note.content"] == "RMSE **0.8**"
    assert run.data.tags["data"] == "ml" and run.data.tags["recspark.job"] == "pipeline"
    assert run.data.tags["recspark.version"] == recspark.__version__
    assert [(m.step, m.value) for m in client.get_metric_history(train.info.run_id, "train_rmse")] == [
        (1, 0.9),
        (2, 0.8),
    ]
    assert [m.value for m in client.get_metric_history(train.info.run_id, "seconds")] == [0.1]
    (used,) = train.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("ratings", ("0123456789abcdef" * 4)[:36])
    assert json.loads(used.dataset.profile) == {"num_rows": 100}
    assert used.tags[0].value == "training"
    kept = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (kept / "figures/curve.png").read_bytes().startswith(b"\x89PNG")
    assert (kept / "notes/words.txt").read_text() == "some words"
    assert json.loads((kept / "summary.json").read_text()) == {"rmse": 0.8}
    assert (kept / "files/als/offset.json").read_text() == "0.5"
    (output,) = train.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
    return output.model_id
