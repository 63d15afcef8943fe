import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import recspark
from recspark.config import build_sections
from recspark.data.lake import Lake
from recspark.errors import ConfigError, RecsparkError
from recspark.tracking import Tracker, TrackingOptions, provenance
from recspark.tracking.provenance import flatten, redact
from recspark.tracking.store import Store, quiet_mlflow

UNREACHABLE = "http://127.0.0.1:9"  # the discard port: refused at once
REPOSITORY = Path(recspark.__file__).parents[1]

SCORER = """
import json

import numpy as np


class Offset:
    def __init__(self, offset):
        self.offset = offset

    @classmethod
    def load(cls, folder):
        with open(f"{folder}/offset.json") as file:
            return cls(json.load(file))

    def predict(self, user_ids, item_ids):
        return (np.array([len(str(user)) for user in user_ids]) + self.offset).astype(np.float32)
"""


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """An MLflow data base without experiments: its 60 migrations take seconds, so they run once."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store = Store(f"sqlite:///{path}", "unused", "unused", 10)
    with quiet_mlflow(10):
        store._client  # noqa: B018
    return path


@pytest.fixture
def lake(tmp_path, empty_store):
    root = tmp_path / "a lake, 100% local"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return Lake(str(root))


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    """A scorer class in a module of its own, and the folder that it loads."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "offset_scorer.py").write_text(SCORER)
    (tmp_path / "als").mkdir()
    (tmp_path / "als" / "offset.json").write_text("0.5")
    monkeypatch.syspath_prepend(tmp_path / "code")
    import offset_scorer

    yield offset_scorer.Offset, str(tmp_path / "als"), [str(tmp_path / "code" / "offset_scorer.py")]
    del sys.modules["offset_scorer"]


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


def report_everything(tracker, scorer):
    """Every method of Run once, in a run "pipeline" with a child "train"."""
    cls, folder, code = scorer
    with tracker.run("pipeline", params={"als": {"rank": 8, "tol": None}}, tags={"data": "ml"}) as run:
        with run.child("train") as train:
            train.curve([{"iteration": 1, "train_rmse": 0.9, "seconds": 0.1}, {"iteration": 2, "train_rmse": 0.8, "seconds": None}])
            train.dataset("ratings", "/lake/tables/ratings", "0123456789abcdef" * 4, rows=100)
            train.model(cls, folder, pd.DataFrame({"user_id": [1, 22], "item_id": [3, 4]}), code_paths=code)
        figure = Figure()
        figure.subplots().plot([1, 2, 3])
        run.figure(figure, "figures/curve.png")
        run.text("some words", "notes/words.txt")
        run.json({"rmse": 0.8}, "summary.json")
        run.file(folder, "files")
        run.metrics({"rmse": 0.8, "ndcg@10": 0.25, "auc": None})
        return run


def assert_everything(tracker, tmp_path):
    client, runs = client_of(tracker), runs_of(tracker)
    run, train = runs["pipeline"], runs["train"]
    assert set(runs) == {"pipeline", "train"}
    assert run.info.status == train.info.status == "FINISHED"
    assert train.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert run.data.params == {"als.rank": "8"}
    assert run.data.metrics == {"rmse": 0.8, "ndcg_at_10": 0.25}
    assert run.data.tags["data"] == "ml" and run.data.tags["recspark.job"] == "pipeline"
    assert run.data.tags["recspark.version"] == recspark.__version__
    assert [(m.step, m.value) for m in client.get_metric_history(train.info.run_id, "train_rmse")] == [(1, 0.9), (2, 0.8)]
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


def test_a_run_holds_all_that_a_job_reports(lake, scorer, tmp_path):
    tracker = Tracker(lake)
    run = report_everything(tracker, scorer)
    assert_everything(tracker, tmp_path)
    assert tracker.uri == f"sqlite:///{lake.root}/mlflow.db"
    assert runs_of(tracker)["pipeline"].info.run_id == run.id
    assert Path(lake.path("mlartifacts"), run.id).is_dir()
    assert not lake.exists("tracking-spool")


def test_a_model_logged_by_mlflow_itself_has_the_same_fields(lake, scorer, tmp_path):
    tracker = Tracker(lake)
    report_everything(tracker, scorer)
    model = client_of(tracker).get_logged_model(assert_everything(tracker, tmp_path))
    from mlflow.models import Model

    described = Model.load(model.artifact_location)
    assert (described.model_id, described.run_id) == (model.model_id, model.source_run_id)
    assert described.artifact_path == model.artifact_location
    assert not list(Path(model.artifact_location).rglob("__pycache__"))


@pytest.mark.parametrize("error, status", [(ValueError("rank too large"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_an_exception_ends_the_run_and_goes_on(lake, error, status):
    tracker = Tracker(lake)
    with pytest.raises(type(error)), tracker.run("train") as run, run.child("fit"):
        raise error
    runs = runs_of(tracker)
    assert {run.info.status for run in runs.values()} == {status}
    assert runs["fit"].data.tags.get("recspark.error") == ("ValueError: rank too large" if status == "FAILED" else None)


def test_long_values_and_long_curves_are_cut_to_what_mlflow_takes(lake):
    tracker = Tracker(lake)
    with tracker.run("train", params={f"p{n}": n for n in range(250)} | {"long": "x" * 10_000}, tags={"long": "y" * 10_000}) as run:
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
    conf.write_text('[data]\nsource = "s3a://key:hidden@bucket/ml-1m.zip"\n[store]\npassword = "hidden"\n[als]\nrank = 8\n')
    tracker = Tracker(lake)
    with tracker.run("train", conf_file=str(conf), params={"store": {"password": "hidden"}, "rank": 8}) as run:
        pass
    kept = Path(client_of(tracker).download_artifacts(run.id, "conf/als.toml", str(tmp_path / "mlartifacts"))).read_text()
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


@pytest.mark.parametrize("values", [{"timeoutSeconds": 0}, {"experiment": " "}, {"url": "http://x"}, {"enabled": "no"}])
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
        assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"number": str(number)}, {"rmse": number + 4})


def test_disabled_tracking_keeps_nothing(tmp_path, scorer):
    lake = Lake(str(tmp_path / "lake"))
    run = report_everything(Tracker(lake, TrackingOptions(enabled=False)), scorer)
    assert run.id is None
    assert not (tmp_path / "lake").exists()


def test_a_missing_file_is_the_callers_error_not_the_stores(lake, caplog):
    with pytest.raises(RecsparkError, match="nowhere.txt does not exist"), Tracker(lake).run("train") as run:
        run.file("/nowhere.txt")
    assert warnings_in(caplog) == []


def test_a_model_that_cannot_be_written_costs_a_warning(lake, scorer, caplog):
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        run.model(scorer[0], "/nowhere/als", pd.DataFrame({"user_id": [1], "item_id": [1]}), code_paths=scorer[2])
    assert len(warnings_in(caplog)) == 1 and "model model is not logged" in caplog.text
    assert runs_of(tracker)["train"].info.status == "FINISHED"


# a store that fails


def test_a_store_that_cannot_be_reached_costs_one_warning_and_loses_nothing(lake, scorer, tmp_path, caplog):
    began = time.monotonic()
    offline = Tracker(lake, TrackingOptions(uri=UNREACHABLE))
    run = report_everything(offline, scorer)
    assert time.monotonic() - began < 20
    (warning,) = warnings_in(caplog)
    assert "127.0.0.1:9 can't be reached" in warning and "tracking-spool until `recspark sync`" in warning
    assert runs_of(Tracker(lake)) == {}

    tracker = Tracker(lake)
    assert tracker.sync() == 2
    assert_everything(tracker, tmp_path / "downloaded")
    assert runs_of(tracker)["pipeline"].data.tags["recspark.spooled_as"] == run.id
    assert os.listdir(lake.path("tracking-spool")) == []
    assert tracker.sync() == 0


def test_a_sync_that_stops_halfway_goes_on_where_it_was(lake, scorer, tmp_path, monkeypatch):
    report_everything(Tracker(lake, TrackingOptions(uri=UNREACHABLE)), scorer)
    tracker, sent, send = Tracker(lake), [], Store.send

    def stop_after_five(store, run_id, op, args):
        if len(sent) == 5:
            raise OSError("cut off")
        sent.append(op)
        return send(store, run_id, op, args)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "send", stop_after_five)
        with pytest.raises(RecsparkError, match=r"can't be reached \(cut off\)"):
            tracker.sync()
    assert Tracker(lake).sync() == 2
    assert_everything(tracker, tmp_path / "downloaded")


def test_sync_needs_a_store_that_answers(lake):
    with Tracker(lake, TrackingOptions(uri=UNREACHABLE)).run("train"):
        pass
    with pytest.raises(RecsparkError, match="127.0.0.1:9 can't be reached"):
        Tracker(lake, TrackingOptions(uri=UNREACHABLE)).sync()


def test_a_remote_lake_without_a_uri_goes_to_the_spool(scorer, caplog):
    lake = Lake("mock:///bucket/lake")
    report_everything(Tracker(lake), scorer)
    (warning,) = warnings_in(caplog)
    assert "mock:///bucket/lake can hold no MLflow data base: set tracking.uri" in warning
    with pytest.raises(ConfigError, match="tracking.uri is not set"):
        Tracker(lake).sync()
    assert lake.exists("tracking-spool")


def test_the_spool_of_a_remote_lake_can_be_sent(lake, scorer, tmp_path):
    remote = Lake("mock:///bucket/lake")
    report_everything(Tracker(remote, TrackingOptions(uri=UNREACHABLE)), scorer)
    tracker = Tracker(remote, TrackingOptions(uri=f"sqlite:///{lake.root}/mlflow.db"))
    tracker._store._artifacts = lake.path("mlartifacts")
    assert tracker.sync() == 2
    assert_everything(tracker, tmp_path / "downloaded")


def test_without_store_and_spool_the_training_still_goes_on(tmp_path, scorer, caplog):
    (tmp_path / "tracking-spool").write_text("a file where the folder should be")
    run = report_everything(Tracker(Lake(str(tmp_path)), TrackingOptions(uri=UNREACHABLE)), scorer)
    assert run.id is None
    assert len(warnings_in(caplog)) == 2 and "not tracked any more" in caplog.text


def test_a_broken_data_base_is_noticed_at_once(tmp_path, caplog):
    (tmp_path / "mlflow.db").write_text("not a data base" * 100)
    began = time.monotonic()
    with Tracker(Lake(str(tmp_path))).run("train"):
        pass
    assert time.monotonic() - began < 10  # MLflow alone tries for 100 seconds
    assert len(warnings_in(caplog)) == 1 and "not a database" in caplog.text


def test_threads_that_meet_a_dead_store_together_warn_once(lake, caplog):
    tracker = Tracker(lake, TrackingOptions(uri=UNREACHABLE))

    def job():
        with tracker.run("job"):
            pass

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings_in(caplog)) == 1
    assert len(os.listdir(lake.path("tracking-spool"))) == 4


def test_a_refused_record_does_not_end_the_tracking(lake, caplog):
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        run.params({"rank": 8})
        run.params({"rank": 9})
        run.metrics({"rmse": 0.8})
    (warning,) = warnings_in(caplog)
    assert "refused the params" in warning
    data = runs_of(tracker)["train"].data
    assert (data.params, data.metrics) == ({"rank": "8"}, {"rmse": 0.8})


def test_a_server_that_dies_in_mid_run(lake, scorer, tmp_path, caplog):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    tracker = Tracker(lake, TrackingOptions(uri=uri, timeoutSeconds=5))
    with start_server(lake, port) as server:
        with tracker.run("pipeline") as run:
            run.metrics({"rmse": 0.9}, step=1)
            run.text("before", "before.txt")
            stop(server)
            began = time.monotonic()
            run.metrics({"rmse": 0.8}, step=2)
            run.text("after", "after.txt")
            with run.child("train") as train:
                train.model(scorer[0], scorer[1], pd.DataFrame({"user_id": ["a"], "item_id": ["b"]}), code_paths=scorer[2])
            assert time.monotonic() - began < 15
    (warning,) = warnings_in(caplog)
    assert f"{uri} can't be reached" in warning

    tracker = Tracker(lake)  # the data base that the server had
    half = runs_of(tracker)["pipeline"]
    assert (half.info.status, half.data.metrics) == ("RUNNING", {"rmse": 0.9})
    assert tracker.sync() == 2
    whole = runs_of(tracker)["pipeline"]
    assert (whole.info.run_id, whole.info.status, whole.data.metrics) == (run.id, "FINISHED", {"rmse": 0.8})
    assert runs_of(tracker)["train"].data.tags["mlflow.parentRunId"] == run.id
    assert {file.path for file in client_of(tracker).list_artifacts(run.id)} == {"before.txt", "after.txt"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class start_server:
    """A real ``mlflow server`` over the data base of `lake`."""

    def __init__(self, lake, port):
        store, artifacts = f"sqlite:///{lake.root}/mlflow.db", lake.path("mlartifacts")
        options = ["--backend-store-uri", store, "--default-artifact-root", artifacts, "--host", "127.0.0.1", "--port", str(port)]
        self.command = [sys.executable, "-m", "mlflow", "server", *options, "--workers", "1"]
        self.health = f"http://127.0.0.1:{port}/health"

    def __enter__(self):
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, env=environment, start_new_session=True, **quiet)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(self.health, timeout=1):
                    return self.process
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise AssertionError("mlflow server did not start within 120 s")

    def __exit__(self, *_):
        stop(self.process)


def stop(server):
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)  # its own session: the server and its workers
        server.wait(10)


# quiet, and nothing left behind


def test_a_first_run_in_a_fresh_lake_is_silent_and_stays_in_the_lake(tmp_path, scorer):
    script = """
        import logging, os, socket, sys
        logging.basicConfig(level=logging.INFO)
        connect, levels = socket.socket.connect, lambda: logging.getLogger("mlflow").level
        socket.socket.connect = lambda *arguments: os._exit(99)
        import pandas as pd
        from recspark.data.lake import Lake
        from recspark.tracking import Tracker
        assert "mlflow" not in sys.modules
        from offset_scorer import Offset
        before = dict(os.environ)
        with Tracker(Lake("lake")).run("train", params={"rank": 8}) as run:
            run.metrics({"rmse": 0.8})
            run.model(Offset, sys.argv[1], pd.DataFrame({"user_id": [1], "item_id": [2]}), code_paths=[sys.argv[2]])
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


# the model


@pytest.mark.parametrize(
    "example, requests, kind",
    [
        ({"user_id": np.int32([1, 22]), "item_id": np.int64([3, 4])}, {"user_id": np.int32([7, 333]), "item_id": np.int64([1, 1])}, "long"),
        ({"user_id": ["a", "bb"], "item_id": ["x", "y"]}, {"user_id": ["u", "uuu"], "item_id": ["x", "new"]}, "string"),
    ],
)
def test_the_model_answers_without_spark(lake, scorer, tmp_path, example, requests, kind):
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        began = time.monotonic()
        run.model(scorer[0], scorer[1], pd.DataFrame(example), code_paths=scorer[2])
        assert time.monotonic() - began < 5
    (output,) = runs_of(tracker)["train"].outputs.model_outputs
    model = client_of(tracker).get_logged_model(output.model_id).artifact_location
    pd.DataFrame(requests).to_pickle(tmp_path / "requests.pkl")
    assert load_elsewhere(model, tmp_path / "requests.pkl") == {
        "inputs": [kind, kind],
        "columns": ["prediction"],
        "type": "float32",
        "predictions": [1.5, 3.5],
    }


def test_a_real_model_brings_recspark_along(lake, tmp_path):
    """The default code is the package itself: its scorer is found in the model's folder, and works without Spark."""
    from recspark.models.scorer import Scorer

    write_factors(Path(lake.path("models/als")))
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        run.model(Scorer, lake.path("models/als"), pd.DataFrame({"user_id": [10, 20], "item_id": [1, 1]}))
    (output,) = runs_of(tracker)["train"].outputs.model_outputs
    model = client_of(tracker).get_logged_model(output.model_id).artifact_location
    pd.DataFrame({"user_id": np.int32([10, 20, 99]), "item_id": np.int32([1, 1, 1])}).to_pickle(tmp_path / "requests.pkl")
    assert load_elsewhere(model, tmp_path / "requests.pkl") == {
        "inputs": ["long", "long"],
        "columns": ["prediction"],
        "type": "float32",
        "predictions": [5.0, 9.0, 3.0],  # 3 + 1 * 2, 3 + 3 * 2, and the mean for a user that is not known
    }
    assert "pyspark" not in Path(model, "requirements.txt").read_text()


def write_factors(folder):
    for side, ids, factors in (("users", [10, 20], [[1.0], [3.0]]), ("items", [1], [[2.0]])):
        (folder / side).mkdir(parents=True)
        table = pa.table({
            "id": pa.array(ids, pa.int64()),
            "features": pa.array(factors, pa.list_(pa.float32())),
            "bias": pa.array([0.0] * len(ids), pa.float32()),
        })
        pq.write_table(table, folder / side / "part-0.parquet")
    facts = {"mean": 3.0, "level": 3.0, "biased": False, "clip": None, "cold": "mean"}
    (folder / "scorer.json").write_text(json.dumps(facts))


def load_elsewhere(model, requests):
    """Load `model` in a new Python that has neither Spark nor recspark, and predict."""
    script = """
        import json, sys
        sys.modules["pyspark"] = None
        import mlflow, pandas as pd
        model = mlflow.pyfunc.load_model(sys.argv[1])
        answer = model.predict(pd.read_pickle(sys.argv[2]))
        inputs = [column.type.name for column in model.metadata.signature.inputs.inputs]
        column = answer["prediction"]
        print(json.dumps({"inputs": inputs, "columns": list(answer), "type": str(column.dtype), "predictions": column.tolist()}))
    """
    # a recspark that is installed must not be the one that answers: the script's own folder has a broken one, behind the model's
    elsewhere = requests.parent / "elsewhere"
    (elsewhere / "recspark").mkdir(parents=True)
    (elsewhere / "recspark/__init__.py").write_text("raise ImportError('not the recspark of the model')")
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(elsewhere)}
    command = [sys.executable, "-c", textwrap.dedent(script), model, str(requests)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# provenance and secrets


@pytest.mark.parametrize(
    "text, expected",
    [
        ("s3a://key:pass@bucket/path", "s3a://***@bucket/path"),
        ("https://token@host/repo", "https://***@host/repo"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
        ("https://h/x?sv=1&sig=abc%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("--set store.password=x --set als.rank=8", "--set store.password=*** --set als.rank=8"),
        ("--api-key abc --rank 8", "--api-key *** --rank 8"),
        ("--store-token=abc {'password': 'x y'}", "--store-token=*** {'password': ***}"),
        ('spark.hadoop.fs.s3a.secret.key = "a b" # why', "spark.hadoop.fs.s3a.secret.key = *** # why"),
        ("userCol=user_id sigma=3 hdfs://host:8020/x", "userCol=user_id sigma=3 hdfs://host:8020/x"),
    ],
)
def test_redact(text, expected):
    assert redact(text) == expected


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(st.characters(categories=["L", "N"]), min_size=12), st.sampled_from(["postgresql", "https", "s3a"]))
def test_a_password_in_a_uri_never_survives(password, scheme):
    assert password not in redact(f"failed to open {scheme}://someone:{password}@host:5432/mlflow (timeout)")


@pytest.mark.parametrize("word", ["x", "a.", "token", "--sig-", "a://", "--token ", "key = ", "'"])
def test_redact_takes_no_longer_than_the_text_is_long(word):
    began = time.monotonic()
    redact(word * 20_000)
    assert time.monotonic() - began < 2


def test_flatten_hides_by_name_and_leaves_out_what_is_not_set():
    nested = {"als": {"rank": 8, "tol": None, "deep": {"x": [1, 2]}}, "aws": {"secretKey": "abc"}}
    assert dict(flatten(nested)) == {"als.rank": "8", "als.deep.x": "[1, 2]", "aws.secretKey": "***"}


def test_the_commit_is_that_of_the_code_and_of_no_other_project(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    package = tmp_path / "recspark"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "_CODE", package)
    assert provenance._commit() == {}
    git("init", "--quiet")
    (tmp_path / "other.txt").write_text("")
    git("add", "other.txt")
    git("commit", "--quiet", "-m", "another project")
    assert provenance._commit() == {}
    git("add", ".")
    git("commit", "--quiet", "-m", "ours")
    commit = git("rev-parse", "HEAD")
    assert provenance._commit() == {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": "false"}
    (package / "__init__.py").write_text("changed = True")
    assert provenance._commit()["mlflow.source.git.dirty"] == "true"
    monkeypatch.setenv("PATH", "")
    assert provenance._commit() == {}


def test_provenance_tells_command_and_versions(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/somewhere/bin/recspark", "train", "--set", "data.source=s3a://k:hidden@b/x"])
    tags = provenance.provenance()
    assert tags["recspark.command"] == "recspark train --set data.source=s3a://***@b/x"
    assert tags["mlflow.source.name"] == "recspark" and tags["mlflow.source.type"] == "JOB"
    assert tags["recspark.version"] == recspark.__version__
