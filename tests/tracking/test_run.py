import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

import recspark
from recspark.config import build_sections
from recspark.errors import ConfigError, RecsparkError
from recspark.lake.lake import Lake
from recspark.tracking import Tracker, TrackingOptions
from recspark.tracking.store import quiet_mlflow
from tests.tracking.reports import assert_everything, client_of, report_everything, runs_of, warnings_in

REPOSITORY = Path(recspark.__file__).parents[1]


def test_a_run_holds_all_that_a_job_reports(lake, scorer, tmp_path):
    tracker = Tracker(lake)
    run = report_everything(tracker, scorer)
    assert_everything(tracker, tmp_path)
    assert tracker.uri == f"sqlite:///{lake.root}/mlflow.db"
    assert runs_of(tracker)["pipeline"].info.run_id == run.id
    assert Path(lake.path("mlartifacts"), run.id).is_dir()
    assert not lake.exists("tracking-spool")


def test_the_page_of_runs_shows_what_can_be_compared(lake):
    tracker = Tracker(lake)
    with tracker.run("demo") as run:
        for name, metrics in {
            "worse": {"rmse": 0.9, "auc": 0.7},
            "implicit": {"auc": 0.8},
            "better": {"rmse": 0.8},
        }.items():
            with run.child(name) as child:
                child.metrics(metrics)
    with tracker.run("another") as other:
        other.metrics({"rmse": 0.1})
    page = urlsplit(
        urlsplit(
            tracker.runs_page(f"metrics.rmse > 0 and tags.mlflow.parentRunId = '{run.id}'", "rmse")
        ).fragment
    )
    query = dict(parse_qsl(page.query))
    assert query["workflowType"] == "machine_learning" and query["orderByAsc"] == "true"
    experiment = page.path.split("/")[2]
    found = client_of(tracker).search_runs(
        [experiment], query["searchFilter"], order_by=[f"{query['orderByKey']} ASC"]
    )
    assert [each.info.run_name for each in found] == ["better", "worse"]
    assert Tracker(lake, TrackingOptions(enabled=False)).runs_page("", "rmse") is None


@pytest.mark.parametrize(
    "error, status", [(ValueError("rank too large"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_an_exception_ends_the_run_and_goes_on(lake, error, status):
    tracker = Tracker(lake)
    with pytest.raises(type(error)), tracker.run("train") as run, run.child("fit"):
        raise error
    runs = runs_of(tracker)
    assert {run.info.status for run in runs.values()} == {status}
    assert runs["fit"].data.tags.get("recspark.error") == (
        "ValueError: rank too large" if status == "FAILED" else None
    )


def test_long_values_and_long_curves_are_cut_to_what_mlflow_takes(lake):
    tracker = Tracker(lake)
    with tracker.run(
        "train", params={f"p{n}": n for n in range(250)} | {"long": "x" * 10_000}, tags={"long": "y" * 10_000}
    ) as run:
        run.curve({"iteration": n, "rmse": 1 / n, "seconds": n} for n in range(1, 1301))
        run.metrics({"loss": float("nan"), "peak": np.float32(2)})
    data = runs_of(tracker)["train"].data
    assert len(data.params) == 251 and data.params["p249"] == "249"
    assert data.params["long"].endswith("x...") and len(data.params["long"]) == 6000
    assert data.tags["long"].endswith("y...") and len(data.tags["long"]) == 8000
    history = client_of(tracker).get_metric_history(run.id, "rmse")
    assert sorted(point.step for point in history) == list(range(1, 1301))
    assert np.isnan(data.metrics["loss"]) and data.metrics["peak"] == 2


def test_the_conf_file_is_kept_without_its_secrets(lake, tmp_path):
    conf = tmp_path / "als.toml"
    conf.write_text(
        '[data]\nsource = "s3a://key:hidden@bucket/ml-1m.zip"\n[store]\npassword = "hidden"\n[als]\nrank = '
        "8\n"
    )
    tracker = Tracker(lake)
    with tracker.run(
        "train", conf_file=str(conf), params={"store": {"password": "hidden"}, "rank": 8}
    ) as run:
        pass
    kept = Path(
        client_of(tracker).download_artifacts(run.id, "conf/als.toml", str(tmp_path / "mlartifacts"))
    ).read_text()
    assert kept == '[data]\nsource = "s3a://***@bucket/ml-1m.zip"\n[store]\npassword = ***\n[als]\nrank = 8\n'
    assert runs_of(tracker)["train"].data.params == {"store.password": "***", "rank": "8"}


def test_options_name_the_run_its_parent_and_the_experiment(lake):
    options = TrackingOptions(runName="nightly", experiment="ml-1m", parentRunId="abc")
    tracker = Tracker(lake, options)
    with tracker.run("train") as run, run.child("fit"):
        pass
    runs = runs_of(tracker)
    assert set(runs) == {"nightly", "fit"}
    assert runs["nightly"].data.tags["recspark.job"] == "train"
    assert runs["nightly"].data.tags["mlflow.parentRunId"] == "abc"
    assert client_of(tracker).get_experiment_by_name("ml-1m").artifact_location == lake.path("mlartifacts")


def test_the_option_goes_before_the_environment_and_that_before_the_lake(lake, monkeypatch):
    assert Tracker(lake).uri == f"sqlite:///{lake.root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of-the-environment")
    assert Tracker(lake).uri == "http://of-the-environment"
    assert Tracker(lake, TrackingOptions(uri="http://of-the-option")).uri == "http://of-the-option"


@pytest.mark.parametrize(
    "values", [{"timeoutSeconds": 0}, {"experiment": " "}, {"url": "http://x"}, {"enabled": "no"}]
)
def test_wrong_options_are_named(values):
    with pytest.raises(ConfigError, match=rf"tracking\.{next(iter(values))}"):
        build_sections({"tracking": values}, [TrackingOptions])


def test_runs_of_several_threads_do_not_mix(lake):
    tracker = Tracker(lake)

    def job(number):
        with tracker.run(f"job{number}", params={"number": number}) as run:
            run.curve([{"iteration": step, "rmse": number + step} for step in range(5)])

    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = runs_of(tracker)
    for number in range(4):
        run = runs[f"job{number}"]
        assert (run.info.status, run.data.params, run.data.metrics) == (
            "FINISHED",
            {"number": str(number)},
            {"rmse": number + 4},
        )


def test_disabled_tracking_keeps_nothing(tmp_path, scorer):
    lake = Lake(str(tmp_path / "lake"))
    run = report_everything(Tracker(lake, TrackingOptions(enabled=False)), scorer)
    assert run.id is None
    assert not (tmp_path / "lake").exists()


def test_a_missing_file_is_the_callers_error_not_the_stores(lake, caplog):
    with pytest.raises(RecsparkError, match="nowhere.txt does not exist"), Tracker(lake).run("train") as run:
        run.file("/nowhere.txt")
    assert warnings_in(caplog) == []


@pytest.mark.slow
def test_a_first_run_in_a_fresh_lake_is_silent_and_stays_in_the_lake(tmp_path, scorer):
    script = """
        import logging, os, socket, sys
        logging.basicConfig(level=logging.INFO)
        connect, levels = socket.socket.connect, lambda: logging.getLogger("mlflow").level
        socket.socket.connect = lambda *arguments: os._exit(99)
        import pandas as pd
        from recspark.lake.lake import Lake
        from recspark.tracking import Tracker
        assert "mlflow" not in sys.modules
        from offset_scorer import Offset
        before = dict(os.environ)
        with Tracker(Lake("lake")).run("train", params={"rank": 8}) as run:
            run.metrics({"rmse": 0.8})
            example = pd.DataFrame({"user_id": [1], "item_id": [2]})
            run.model(Offset, sys.argv[1], example, code_paths=[sys.argv[2]])
        assert dict(os.environ) == before
        assert levels() == logging.INFO
        print(run.id)
    """
    folder, (code,) = scorer[1:]
    path = os.pathsep.join([str(REPOSITORY), str(Path(code).parent)])
    work = tmp_path / "work"
    work.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": path}
    command = [sys.executable, "-c", textwrap.dedent(script), folder, code]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.strip()) == 32
    assert os.listdir(work) == ["lake"]
    assert sorted(os.listdir(work / "lake")) == ["mlartifacts", "mlflow.db"]
    assert [path for path in home.rglob("*") if path.is_file() and "mlflow" in str(path)] == []


def test_what_the_user_has_set_in_the_environment_stays(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with quiet_mlflow(3):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
