import os
import signal
import socket
import threading
import time

import pytest

from recspark.errors import RecsparkError
from recspark.lake.lake import Lake
from recspark.tracking import Tracker, TrackingOptions
from recspark.tracking.store import Store
from tests.tracking.mlflow_server import free_port, start_server, stop, wait_for
from tests.tracking.reports import (
    UNREACHABLE,
    assert_everything,
    client_of,
    report_everything,
    runs_of,
    warnings_in,
)


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
    assert runs_of(tracker)["pipeline"].data.tags["recspark.key"] == run.id
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


@pytest.mark.slow
def test_a_server_that_hangs_costs_a_stated_time_once(lake, scorer, caplog):
    with socket.create_server(
        ("127.0.0.1", 0), backlog=100
    ) as listener:  # it takes connections and never answers
        tracker = Tracker(
            lake, TrackingOptions(uri=f"http://127.0.0.1:{listener.getsockname()[1]}", timeoutSeconds=3)
        )
        began = time.monotonic()
        with tracker.run("train") as run:
            first = time.monotonic() - began
            run.metrics({"rmse": 0.8})
            run.text("words", "words.txt")
        assert 3 < first < 2 * 3 + 15  # two waits, and the import of MLflow where this test is the first
        assert time.monotonic() - began - first < 3
    (warning,) = warnings_in(caplog)
    assert "timed out" in warning.lower()
    assert Tracker(lake).sync() == 1
    assert runs_of(Tracker(lake))["train"].data.metrics == {"rmse": 0.8}


@pytest.mark.slow
def test_threads_wait_together_for_a_server_that_hangs(lake, caplog):
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        tracker = Tracker(
            lake, TrackingOptions(uri=f"http://127.0.0.1:{listener.getsockname()[1]}", timeoutSeconds=3)
        )

        def job():
            with tracker.run("trial"):
                pass

        began = time.monotonic()
        threads = [threading.Thread(target=job) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 2 * 1 + 6
    assert len(warnings_in(caplog)) == 1
    assert Tracker(lake).sync() == 5


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_run(lake, scorer, tmp_path, caplog):
    port = free_port()
    options = TrackingOptions(uri=f"http://127.0.0.1:{port}", timeoutSeconds=5)
    with start_server(lake, port, str(tmp_path / "artifacts")) as server:
        began = []
        run = report_everything(
            Tracker(lake, options), scorer, lambda: began.append(time.monotonic()) or stop(server)
        )
        assert time.monotonic() - began[0] < 15
    (warning,) = warnings_in(caplog)
    assert f"{options.uri} can't be used" in warning
    with pytest.raises(RecsparkError, match="can't be used"):
        Tracker(lake, options).sync()

    with start_server(lake, port, str(tmp_path / "artifacts")):
        tracker = Tracker(lake, options)
        half = runs_of(tracker)
        assert {name: run.info.status for name, run in half.items()} == {
            "pipeline": "RUNNING",
            "train": "RUNNING",
        }
        assert half["train"].data.metrics == {"train_rmse": 0.8, "seconds": 0.1}
        assert tracker.sync() == 2
        assert_everything(tracker, tmp_path / "downloaded")
        whole = runs_of(tracker)
        assert whole["pipeline"].info.run_id == run.id
        assert tracker.sync() == 0
        assert {name: run.to_dictionary() for name, run in runs_of(tracker).items()} == {
            name: run.to_dictionary() for name, run in whole.items()
        }


@pytest.mark.slow
def test_a_server_that_stops_answering_in_mid_run(lake, caplog):
    port = free_port()
    with start_server(lake, port) as server:
        tracker = Tracker(lake, TrackingOptions(uri=f"http://127.0.0.1:{port}", timeoutSeconds=2))
        with tracker.run("pipeline") as run:
            os.killpg(server.pid, signal.SIGSTOP)  # its connections are still taken, by the kernel
            began = time.monotonic()
            with run.child("train") as train:
                train.metrics({"rmse": 0.8})
            assert time.monotonic() - began < 2 * 2 + 5
        assert len(warnings_in(caplog)) == 1
        os.killpg(server.pid, signal.SIGCONT)
        wait_for(f"http://127.0.0.1:{port}/health", server)
        assert Tracker(lake, tracker.options).sync() == 2
        (train,) = client_of(tracker).search_runs(["1"], "run_name = 'train'")
        assert (train.info.status, train.data.metrics) == ("FINISHED", {"rmse": 0.8})


def test_a_start_whose_answer_is_lost_is_not_sent_twice(lake, monkeypatch):
    start = Store._start

    def lost(*arguments, **named):
        start(*arguments, **named)
        start(*arguments, **named)  # MLflow's client has sent it again
        raise ConnectionError("the answer is lost")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_start", lost)
        with Tracker(lake).run("train") as run:
            run.metrics({"rmse": 0.8})
    assert Tracker(lake).sync() == 1
    (train,) = client_of(Tracker(lake)).search_runs(["1"])
    assert (train.info.status, train.data.metrics, train.data.tags["recspark.key"]) == (
        "FINISHED",
        {"rmse": 0.8},
        run.id,
    )
