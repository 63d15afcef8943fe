import pytest

from recspark.errors import ConfigError, RecsparkError
from recspark.lake.lake import Lake
from recspark.tracking import Tracker, TrackingOptions
from recspark.tracking.spool import Spool
from recspark.tracking.store import Store
from tests.tracking.reports import (
    UNREACHABLE,
    assert_everything,
    client_of,
    report_everything,
    runs_of,
    warnings_in,
)


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
        with pytest.raises(RecsparkError, match=r"can't be used \(cut off\)"):
            tracker.sync()
    assert Tracker(lake).sync() == 2
    assert_everything(tracker, tmp_path / "downloaded")


def test_sync_needs_a_store_that_answers(lake):
    with Tracker(lake, TrackingOptions(uri=UNREACHABLE)).run("train"):
        pass
    with pytest.raises(RecsparkError, match="127.0.0.1:9 can't be used"):
        Tracker(lake, TrackingOptions(uri=UNREACHABLE)).sync()


def test_a_remote_lake_without_a_uri_goes_to_the_spool(scorer, caplog):
    lake = Lake("mock:///bucket/lake")
    report_everything(Tracker(lake), scorer)
    (warning,) = warnings_in(caplog)
    assert "mock:///bucket/lake can hold no MLflow database: set tracking.uri" in warning
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


def test_what_a_job_keeps_while_it_is_sent_stays_for_the_next_sync(lake, monkeypatch):
    job, tracker, send = Tracker(lake, TrackingOptions(uri=UNREACHABLE)), Tracker(lake), Store.send
    with job.run("train") as run:
        run.metrics({"rmse": 0.9}, step=1)

        def send_and_go_on(store, run_id, op, args):
            if op == "metrics":
                run.text("late", "late.txt")
            return send(store, run_id, op, args)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "send", send_and_go_on)
            assert tracker.sync() == 1
        assert runs_of(tracker)["train"].info.status == "RUNNING"
    assert tracker.sync() == 1
    finished = runs_of(tracker)["train"]
    assert (finished.info.status, finished.data.metrics) == ("FINISHED", {"rmse": 0.9})
    assert [file.path for file in client_of(tracker).list_artifacts(finished.info.run_id)] == ["late.txt"]


def test_records_of_a_run_that_the_store_does_not_know_are_kept(lake, caplog):
    spool = Spool(lake)
    spool.send("0" * 32, "metrics", {"points": [("rmse", 0.5, 0, 1)]})
    with Tracker(lake, TrackingOptions(uri=UNREACHABLE)).run("train"):
        pass
    caplog.clear()
    assert Tracker(lake).sync() == 1
    (warning,) = warnings_in(caplog)
    assert f"has no run {'0' * 32}" in warning
    assert spool.runs() == ["0" * 32]


def test_a_model_that_was_cut_off_is_sent_once(lake, scorer, monkeypatch):
    from mlflow import MlflowClient

    report_everything(Tracker(lake, TrackingOptions(uri=UNREACHABLE, registeredModel="nightly")), scorer)
    tracker = Tracker(lake)
    for method in ("log_model_artifacts", "log_outputs"):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, lambda *_: 1 / 0)
            with pytest.raises(RecsparkError, match="division by zero"):
                tracker.sync()
    assert tracker.sync() == 1
    assert [version.version for version in tracker.registry.versions("nightly")] == [1]
    train = runs_of(tracker)["train"]
    assert (
        len(client_of(tracker).search_logged_models([train.info.experiment_id]))
        == len(train.outputs.model_outputs)
        == 1
    )
