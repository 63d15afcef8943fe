"""The jobs `compare` and `promote`, as users start them."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    """A lake with evaluated models: ``good``, its twins ``same`` and ``close``, ``bad``, and ``elsewhere``,
    which is of another split.
    """
    folder = tmp_path_factory.mktemp("gate")
    write_movielens(generate(SyntheticOptions(users=120, items=80, ratings=4000)), folder / "ml-1m")
    lake = folder / "lake"
    usual = [f"paths.lake={lake}", "tracking.logModel=false", "model.maxIter=2", "split.testFraction=0.3"]
    tables = ["ingest", f"data.source={folder / 'ml-1m'}"]
    for job, *settings in (tables, ["index"], ["split"], ["split", "split.name=other", "split.seed=1"]):
        assert start(job, *usual, *settings) == 0
    # biases, and biases that are damped away
    for name, damping in (("good", 5.0), ("bad", 500.0)):
        for job in ("train", "evaluate"):
            assert (
                start(job, *usual, "model.type=baseline", f"model.regParam={damping}", f"model.name={name}")
                == 0
            )
    for twin in ("same", "close", "elsewhere"):
        copy(lake, "good", twin)
    assert start("evaluate", *usual, "model.name=elsewhere", "split.name=other") == 0
    return lake


def copy(lake, name, twin):
    """A model that is another one, although it predicts the same."""
    for product in ("models", "predictions", "metrics"):
        shutil.copytree(lake / product / name, lake / product / twin)
    shutil.copy(lake / f"metrics/{name}.json", lake / f"metrics/{twin}.json")
    change(lake / f"models/{twin}/model.json", stamp=twin)
    change(lake / f"models/{twin}/manifest.json", params={"type": "baseline", "name": twin})


def change(path, **facts):
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def start(job, *settings):
    return main([job, *(word for setting in settings for word in ("--set", setting))])


@pytest.fixture
def call(command, lake):
    return lambda *words, settings=(): command(*words, f"paths.lake={lake}", *settings)


def client(lake):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{lake}/mlflow.db")


@pytest.mark.slow
def test_compare_prints_a_table_and_keeps_it(call, lake):
    code, summary, err = call("compare", "good", "same", "bad")
    assert code == 0 and summary["reference"] == "good" and summary["users"] <= 150
    rmse = {name: json.loads((lake / f"metrics/{name}.json").read_text())["rmse"] for name in ("good", "bad")}
    found = summary["models"]
    assert {name: found[name]["value"] for name in rmse} == pytest.approx(rmse)
    assert found["good"] == {
        "value": found["good"]["value"],
        "difference": None,
        "low": None,
        "high": None,
        "p": None,
    }
    assert (found["same"]["difference"], found["same"]["low"], found["same"]["high"], found["same"]["p"]) == (
        0,
        0,
        0,
        1,
    )
    assert 0 < found["bad"]["low"] < found["bad"]["difference"] < found["bad"]["high"]
    assert found["bad"]["difference"] == pytest.approx(rmse["bad"] - rmse["good"])
    assert f"same   {rmse['good']:>12.4f}     +0.0000    +0.0000 .. +0.0000    1.0000" in err
    run = client(lake).get_run(summary["run_id"])
    table = pd.read_csv(f"{run.info.artifact_uri}/comparison.csv", index_col="model")
    assert table.loc["bad", "difference"] == pytest.approx(found["bad"]["difference"])
    assert Path(f"{run.info.artifact_uri}/figures/differences.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_compare_by_a_ranking_metric(call):
    code, summary, _ = call("compare", "bad", "good", settings=["compare.metric=ndcg_at_10"])
    assert (
        code == 0
        and summary["models"]["good"]["low"]
        < summary["models"]["good"]["difference"]
        < summary["models"]["good"]["high"]
    )


@pytest.mark.slow
def test_compare_takes_runs_that_lead_to_models(call, lake):
    found = client(lake).search_runs(
        ["1"], "tags.`recspark.job` = 'evaluate' and params.`model.name` = 'good'"
    )
    code, summary, _ = call("compare", found[0].info.run_id, "bad")
    assert code == 0 and summary["reference"] == "good"
    code, _, err = call("compare", "0" * 32, "bad")
    assert code == 1 and f"{'0' * 32}" in err and "Traceback" not in err


@pytest.mark.slow
def test_promotion(call, lake):
    """From no champion to the gate's refusal: the order of the steps is the order of a lake's life."""
    gate = ["promote.candidate=close"]
    code, first, err = call("promote", settings=gate)
    assert code == 0 and first["passed"] and first["version"] == 1 and first["previous"] is None, err
    assert "recspark has no champion yet: promoted" in err
    assert aliases(lake) == {"champion": 1} and (lake / "models/recspark-champion/manifest.json").exists()

    code, again, err = call("promote", settings=gate)
    assert code == 0 and again["unchanged"] and again["version"] == 1 and "is the champion already" in err
    assert len(client(lake).search_model_versions("name = 'recspark'")) == 1

    code, summary, err = call("promote", settings=["promote.candidate=bad"])
    assert (code, summary) == (4, None) and "models/bad: rmse" in err
    assert " worse (confidence 0.95), and 0.005 worse is allowed: refused" in err
    report = json.loads((lake / "metrics/promotion-bad.json").read_text())
    assert (
        report["passed"] is False
        and report["largest_loss"] > report["margin"] == 0.005
        and report["reason"] in err
    )
    assert (
        report["interval"][0]
        < report["difference"]
        < report["interval"][1]
        == pytest.approx(report["largest_loss"])
    )
    assert aliases(lake) == {"champion": 1}

    code, summary, err = call("promote", settings=["promote.candidate=good", "promote.margin=0.1"])
    assert code == 0 and (summary["version"], summary["previous"]) == (2, 1), err
    assert aliases(lake) == {"champion": 2, "previous": 1}
    kept = {
        alias: json.loads((lake / f"models/recspark-{alias}/manifest.json").read_text())
        for alias in ("champion", "previous")
    }
    assert kept["champion"]["params"]["name"] == "good" and kept["previous"]["params"]["name"] == "close"
    assert kept["champion"]["registered"]["version"] == 2
    check_the_champion_answers(lake)
    check_the_way_back(call, lake)


def aliases(lake):
    return {
        alias: int(version)
        for alias, version in client(lake).get_registered_model("recspark").aliases.items()
    }


def check_the_champion_answers(lake):
    import mlflow

    # not set_tracking_uri, which is for the whole process
    version = client(lake).get_model_version_by_alias("recspark", "champion")
    champion = mlflow.pyfunc.load_model(
        client(lake).get_model_version_download_uri("recspark", version.version)
    )
    rows = pd.read_parquet(lake / "predictions/good/test").head(20)
    answered = champion.predict(rows[["user_id", "item_id"]])["prediction"]
    assert answered.tolist() == pytest.approx(rows["prediction"].tolist(), rel=1e-5)


def check_the_way_back(call, lake):
    """The alias is moved by hand; the job puts the lake in order."""
    code, _, err = call("promote", settings=["promote.candidate=recspark-previous"])
    assert code == 2 and "to go back to it run `recspark rollback`" in err
    client(lake).set_registered_model_alias("recspark", "champion", "1")
    code, summary, _ = call("promote", settings=["promote.candidate=recspark-previous"])
    assert code == 0 and summary["unchanged"] and summary["version"] == 1
    assert (
        json.loads((lake / "models/recspark-champion/manifest.json").read_text())["params"]["name"] == "close"
    )


@pytest.mark.slow
def test_the_champion_is_measured_on_the_rows_of_the_candidate(call, lake):
    named = ["promote.registered=sliding"]
    assert call("promote", settings=["promote.candidate=elsewhere", *named])[0] == 0
    code, summary, err = call("promote", settings=["promote.candidate=good", *named, "promote.margin=1.0"])
    assert code == 0 and "the champion is measured on the test rows of splits/default" in err
    predictions = json.loads((lake / "predictions/sliding-champion/manifest.json").read_text())
    assert predictions["split"] == "splits/default"
    assert math.isfinite(summary["champion_value"]) and summary["champion_version"] == 1


@pytest.mark.slow
def test_a_killed_promotion_is_finished_by_the_next(call, lake, monkeypatch):
    from recspark.tracking import Registry

    named = ["promote.registered=killed", "promote.margin=1.0"]
    assert call("promote", settings=["promote.candidate=bad", *named])[0] == 0
    assign = Registry.assign

    def killed(self, version, alias):
        if alias == "champion":
            raise KeyboardInterrupt
        assign(self, version, alias)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "assign", killed)
        assert call("promote", settings=["promote.candidate=good", *named])[0] == 130
    code, summary, _ = call("promote", settings=["promote.candidate=good", *named])
    assert code == 0 and (summary["version"], summary["previous"]) == (2, 1)
    assert len(client(lake).search_model_versions("name = 'killed'")) == 2
    assert json.loads((lake / "models/killed-previous/manifest.json").read_text())["params"]["name"] == "bad"


@pytest.mark.slow
def test_a_champion_of_another_lake_is_refused(call, lake):
    named = ["promote.registered=foreign"]
    assert call("promote", settings=["promote.candidate=good", *named])[0] == 0
    client(lake).set_model_version_tag("foreign", "1", "recspark.identity", "of another lake")
    code, _, err = call("promote", settings=["promote.candidate=bad", *named])
    assert code == 1 and "version 1 of foreign, which is the champion, is not in this lake" in err


@pytest.mark.parametrize(
    ("words", "settings", "code", "message"),
    [
        (["compare"], [], 2, "compare.models is not set: name the models, as in `recspark compare als mf`"),
        (["compare", "good"], [], 2, "compare.models = ['good'] is not allowed"),
        (
            ["compare", "good", "nothing"],
            [],
            5,
            "predictions/nothing does not exist: run `recspark evaluate` first",
        ),
        (["compare", "good", "elsewhere"], [], 1, "(good on splits/default, elsewhere on splits/other)"),
        (
            ["compare", "good", "bad"],
            ["compare.metric=ndcg_at_7"],
            2,
            "compare.metric = 'ndcg_at_7' is not allowed",
        ),
        (["compare", "good", "bad"], ["compare.metric=r2"], 2, "it orders models as rmse does"),
        (["promote"], [], 2, "promote.candidate is not set"),
        (
            ["promote"],
            ["promote.candidate=nothing"],
            5,
            "models/nothing does not exist: run `recspark train` first",
        ),
        (
            ["promote"],
            ["promote.candidate=good", "tracking.enabled=false"],
            2,
            "tracking.enabled = False is not allowed with promote",
        ),
        (
            ["promote"],
            ["promote.candidate=good", "promote.level=0.7"],
            2,
            "promote.level = 0.7 is not allowed",
        ),
    ],
)
@pytest.mark.slow
def test_mistakes(call, words, settings, code, message):
    found, _, err = call(*words, settings=settings)
    assert found == code and message in err


@pytest.mark.slow
def test_a_candidate_that_changed_since_its_evaluation_is_refused(call, lake):
    copy(lake, "good", "changed")
    change(lake / "predictions/changed/manifest.json", model="another")
    code, _, err = call("promote", settings=["promote.candidate=changed"])
    assert (
        code == 1
        and "models/changed has changed since it was evaluated: run `recspark evaluate` first" in err
    )
