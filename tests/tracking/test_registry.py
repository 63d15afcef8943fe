import pytest

from recspark.config import build_sections
from recspark.errors import ConfigError, RecsparkError
from recspark.tracking import Tracker, TrackingOptions
from tests.tracking.reports import UNREACHABLE, client_of, report_everything, runs_of


def test_versions_and_aliases(lake, scorer):
    tracker = Tracker(lake)
    registry = tracker.registry
    assert registry.versions("ratings") == [] and registry.find("ratings", "champion") is None
    outer = report_everything(tracker, scorer)
    train = runs_of(tracker)["train"]

    first = registry.register("ratings", train.info.run_id, {"rmse": 0.8})
    assert (first.name, first.version, first.run_id, first.tags) == (
        "ratings",
        1,
        train.info.run_id,
        {"rmse": "0.8"},
    )
    assert first.uri == "models:/ratings/1"
    first = registry.register("ratings", outer.id, {"rmse": 0.7, "of": "ml"})
    assert (first.version, first.tags) == (1, {"rmse": "0.7", "of": "ml"}), (
        "the same model, found in the nested run"
    )
    second = registry.register("ratings", report_everything(tracker, scorer).id)
    assert (
        [version.version for version in registry.versions("ratings")]
        == [2, 1]
        == [second.version, first.version]
    )

    assert registry.find("ratings", "champion") is None
    registry.assign(first, "champion")
    assert registry.find("ratings", "champion") == first
    registry.assign(second, "champion")
    assert registry.find("ratings", "champion") == second
    [(logged, older)] = [client_of(tracker).search_logged_models(["1"])]
    assert (logged.artifact_location, older.artifact_location) == (second.source, first.source)
    assert logged.tags["mlflow.modelVersions"] == '[{"name": "ratings", "version": 2}]'


def test_a_trained_model_becomes_a_version_where_the_options_say_so(lake, scorer):
    tracker = Tracker(lake, TrackingOptions(registeredModel="nightly"))
    report_everything(tracker, scorer)
    (version,) = tracker.registry.versions("nightly")
    assert version.run_id == runs_of(tracker)["train"].info.run_id


def test_one_of_several_models_must_be_named(lake, scorer):
    tracker = Tracker(lake)
    with tracker.run("demo") as run:
        with pytest.raises(RecsparkError, match=f"run {run.id} has logged no model"):
            tracker.registry.register("ratings", run.id)
        for name in ("a", "b"):
            with run.child(name) as child:
                child.model(*scorer[:2], example(), code_paths=scorer[2])
    with pytest.raises(
        RecsparkError, match="has logged 2 models: name one of the runs [0-9a-f]{32}, [0-9a-f]{32}$"
    ):
        tracker.registry.register("ratings", run.id)


def example():
    import pandas as pd

    return pd.DataFrame({"user_id": [1], "item_id": [1]})


def test_a_registry_that_is_away_is_an_error(lake):
    away = Tracker(lake, TrackingOptions(uri=UNREACHABLE)).registry
    with pytest.raises(RecsparkError, match="registry of tracking store http://127.0.0.1:9 can't be used"):
        away.find("ratings", "champion")
    with pytest.raises(RecsparkError, match="registry of .* can't be used: .*not found"):
        Tracker(lake).registry.register("ratings", "0" * 32)


def test_names_that_mlflow_does_not_take_are_refused():
    with pytest.raises(ConfigError, match="tracking.registeredModel = 'a/b' is not allowed"):
        build_sections({"tracking": {"registeredModel": "a/b"}}, [TrackingOptions])
