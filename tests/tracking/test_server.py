"""A cross-validation tracked by a real ``mlflow server`` with its artifacts, looked at through its REST
interface.
"""

import json

import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.lake.lake import Lake
from recspark.tracking import Tracker, TrackingOptions
from tests.tracking.mlflow_server import free_port, start_server


@pytest.mark.slow
def test_what_a_server_knows_of_a_crossvalidation(spark, lake, tmp_path, capsys):
    from mlflow import MlflowClient

    write_movielens(generate(SyntheticOptions(users=60, items=40, ratings=1500)), tmp_path / "ml-1m")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    settings = {
        "paths.lake": lake.root,
        "data.source": tmp_path / "ml-1m",
        "tracking.uri": uri,
        "tracking.registeredModel": "nightly",
    }
    settings |= {
        "split.folds": 2,
        "split.fold": 1,
        "split.name": "fold-1",
        "model.rank": 2,
        "model.maxIter": 3,
    }
    with start_server(lake, port, str(tmp_path / "artifacts")):
        code = main(
            [
                "crossvalidate",
                *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
            ]
        )
        summary = json.loads(capsys.readouterr().out)
        assert code == 0
        client = MlflowClient(uri)
        runs = {run.info.run_id: run for run in client.search_runs(["1"])}
        outer = runs[summary["run_id"]]
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        assert outer.info.run_name == "crossvalidate als"

        def nested(run):
            return {
                each.info.run_name: each
                for each in runs.values()
                if each.data.tags.get("mlflow.parentRunId") == run.info.run_id
            }

        assert nested(outer).keys() == {"ingest", "index", "fold 1", "fold 2"}
        folds = [nested(outer)[f"fold {number}"] for number in (1, 2)]
        # the compare page draws the first metric that the runs share
        assert all(next(iter(run.data.metrics)) == "rmse" for run in (outer, *folds))
        assert sum(run.data.metrics["rmse"] for run in folds) / 2 == pytest.approx(outer.data.metrics["rmse"])
        train, evaluate = (nested(folds[0])[stage] for stage in ("train", "evaluate"))
        assert [point.step for point in client.get_metric_history(train.info.run_id, "train_rmse")][:3] == [
            1,
            2,
            3,
        ]
        (used,) = train.inputs.dataset_inputs
        assert (
            used.dataset.digest
            == Lake(lake.root).read_json("splits/fold-1/manifest.json")["fingerprint"][:36]
        )
        assert [file.path for file in client.list_artifacts(evaluate.info.run_id, "figures")] == [
            "figures/predicted_vs_actual.png",
            "figures/residuals.png",
        ]
        assert evaluate.info.artifact_uri.startswith("mlflow-artifacts:/")

        registry = Tracker(lake, TrackingOptions(uri=uri)).registry
        versions = registry.versions("nightly")
        assert [version.version for version in versions] == [2, 1]
        assert versions[1].run_id == train.info.run_id
        registry.assign(versions[0], "champion")
        assert client.get_registered_model("nightly").aliases == {"champion": "2"}
