import os
import threading
import time

import pandas as pd

from recspark.data.lake import Lake
from recspark.tracking import Tracker, TrackingOptions
from tests.tracking.mlflow_server import free_port, start_server, stop
from tests.tracking.reports import UNREACHABLE, assert_everything, client_of, report_everything, runs_of, warnings_in


def test_a_store_that_cannot_be_reached_costs_one_warning_and_loses_nothing(lake, scorer, tmp_path, caplog):
    began = time.monotonic()
    offline = Tracker(lake, TrackingOptions(uri=UNREACHABLE))
    run = report_everything(offline, scorer)
    assert time.monotonic() - began < 20
    (warning,) = warnings_in(caplog)
    assert "127.0.0.1:9 can't be used" in warning and "tracking-spool until `recspark sync`" in warning
    assert runs_of(Tracker(lake)) == {}

    tracker = Tracker(lake)
    assert tracker.sync() == 2
    assert_everything(tracker, tmp_path / "downloaded")
    assert runs_of(tracker)["pipeline"].data.tags["recspark.spooled_as"] == run.id
    assert os.listdir(lake.path("tracking-spool")) == []
    assert tracker.sync() == 0


def test_without_store_and_spool_the_training_still_goes_on(tmp_path, scorer, caplog):
    (tmp_path / "tracking-spool").write_text("a file where the folder should be")
    run = report_everything(Tracker(Lake(str(tmp_path)), TrackingOptions(uri=UNREACHABLE)), scorer)
    assert run.id is None
    assert len(warnings_in(caplog)) == 2 and "not tracked any more" in caplog.text


def test_a_broken_database_is_noticed_at_once(tmp_path, caplog):
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
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
    assert f"{uri} can't be used" in warning

    tracker = Tracker(lake)  # the database that the server had
    half = runs_of(tracker)["pipeline"]
    assert (half.info.status, half.data.metrics) == ("RUNNING", {"rmse": 0.9})
    assert tracker.sync() == 2
    whole = runs_of(tracker)["pipeline"]
    assert (whole.info.run_id, whole.info.status, whole.data.metrics) == (run.id, "FINISHED", {"rmse": 0.8})
    assert runs_of(tracker)["train"].data.tags["mlflow.parentRunId"] == run.id
    assert {file.path for file in client_of(tracker).list_artifacts(run.id)} == {"before.txt", "after.txt"}
