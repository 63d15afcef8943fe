import pytest

from recspark.data.lake import Lake
from recspark.errors import ConfigError, RecsparkError
from recspark.tracking import Tracker, TrackingOptions
from recspark.tracking.store import Store
from tests.tracking.reports import UNREACHABLE, assert_everything, report_everything, warnings_in


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
