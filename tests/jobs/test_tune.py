"""The job `tune`, as users start it."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from recspark.config import read_conf
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.errors import ConfigError
from recspark.pipeline.tuning import trials

ROOT = Path(__file__).parents[2]
SPACE = "tune.space={regParam = {low = 0.01, high = 3.0, log = true}, rank = {low = 2, high = 8, step = 2}}"


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A lake, and beside it the source of its ratings."""
    folder = tmp_path_factory.mktemp("tuning")
    write_movielens(generate(SyntheticOptions(users=80, items=60, ratings=2500)), folder / "ml-1m")
    return folder / "lake"


@pytest.fixture
def tune(command, lake):
    """Tune a model; exit code, summary, and what stderr got."""

    def run(model, *settings, job="tune"):
        usual = [
            f"paths.lake={lake}",
            f"data.source={lake.parent / 'ml-1m'}",
            "split.validationFraction=0.2",
            "tracking.logModel=false",
        ]
        usual += [
            f"model.name={model}",
            "model.maxIter=3",
            SPACE,
            "tune.trials=3",
            "evaluation.ranking=false",
        ]
        return command(job, *usual, *settings)

    return run


def trials_of(summary):
    from mlflow.tracking import MlflowClient

    run = MlflowClient(f"sqlite:///{summary['lake']}/mlflow.db").get_run(summary["run_id"])
    return pd.read_csv(f"{run.info.artifact_uri}/trials.csv"), run


@pytest.mark.slow
def test_the_winner_is_trained_on_all_and_measured_once(tune, lake):
    code, summary, err = tune("als", "model.regParam=0.5", "model.rank=4")
    assert code == 0, err
    table, run = trials_of(summary)
    assert table["state"].tolist() == ["complete"] * 3
    # the first trial is what the conf says
    assert table.loc[0, ["regParam", "rank"]].tolist() == [0.5, 4]
    best = table.loc[table["value"].idxmin()]
    assert summary["validation_rmse"] == pytest.approx(best["value"]) and summary["trial"] == best["number"]
    assert summary["best"] == {"regParam": pytest.approx(best["regParam"]), "rank": best["rank"]}

    whole = json.loads((lake / "splits/default-full/manifest.json").read_text())["counts"]
    before = json.loads((lake / "splits/default/manifest.json").read_text())["counts"]
    assert whole == {"train": before["train"] + before["validation"], "validation": 0, "test": before["test"]}
    model = json.loads((lake / "models/als/manifest.json").read_text())
    assert model["split"] == "splits/default-full" and model["params"] | summary["best"] == model["params"]
    assert model["params"]["maxIter"] == best["iterations"]
    assert json.loads((lake / "metrics/als.json").read_text())["rmse"] == pytest.approx(summary["rmse"])
    assert not list((lake / "work").glob("als-trial*"))
    assert "trial 2: rmse" in err and "iteration 1:" not in err.partition("the best, trial")[0]
    check_runs(run, table, summary)

    # the same command again: no trial is left to make, and the result is the same
    code, again, _ = tune("als", "model.regParam=0.5", "model.rank=4")
    assert code == 0 and (again["rmse"], again["best"]) == (summary["rmse"], summary["best"])


def check_runs(parent, table, summary):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{summary['lake']}/mlflow.db")
    nested = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    by_name = {run.info.run_name: run for run in nested}
    assert by_name.keys() == {
        "ingest",
        "index",
        "split",
        "winner",
        *(f"trial {number}" for number in range(3)),
    }
    for row in table.itertuples():
        trial = by_name[f"trial {row.number}"]
        assert trial.info.run_id == row.run_id and trial.info.status == "FINISHED"
        assert float(trial.data.params["model.regParam"]) == pytest.approx(row.regParam)
        assert trial.data.metrics["rmse"] == pytest.approx(row.value)
    figures = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert {
        "figures/history.png",
        "figures/slices.png",
        "figures/parallel_coordinates.png",
        "figures/importances.png",
    } == figures
    assert parent.data.metrics["rmse"] == pytest.approx(summary["rmse"])
    [toml] = [Path(f"{parent.info.artifact_uri}/best.toml")]
    assert read_conf(str(toml))["model"]["rank"] == summary["best"]["rank"]


@pytest.mark.slow
def test_trials_never_read_the_test_rows(tune, lake, monkeypatch):
    split = "split.name=hidden"
    assert [tune("hidden", split, job=job)[0] for job in ("ingest", "index", "split")] == [0, 0, 0]
    shutil.rmtree(lake / "splits/hidden/test")
    seen = []

    def without_full(job, product):
        # what the winner needs is not there while trials run
        seen.append((lake / "splits/hidden-full").exists())
        return full_split(job, product)

    from recspark.pipeline.stages import full_split

    monkeypatch.setattr("recspark.pipeline.stages.full_split", without_full)
    code, summary, err = tune("hidden", split, "tune.trials=2")
    assert code == 0, err
    assert seen == [False] and summary["trials"] == 2 and summary["rmse"] > 0


@pytest.mark.slow
def test_a_killed_job_goes_on(tune, monkeypatch):
    whole, _ = trials_of(tune("whole")[1])
    judged, measure = [], trials.evaluate

    def interrupted(*args, **kwargs):
        judged.append(1)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return measure(*args, **kwargs)

    monkeypatch.setattr(trials, "evaluate", interrupted)
    assert tune("cut")[0] == 130
    code, summary, err = tune("cut")
    assert code == 0 and "trial 2 was interrupted: it is tried again" in err
    found, _ = trials_of(summary)
    assert found["state"].tolist() == ["complete", "complete", "interrupted", "complete"]
    found = found[found["state"] == "complete"].reset_index()
    pd.testing.assert_frame_equal(found[["value", "regParam", "rank"]], whole[["value", "regParam", "rank"]])
    assert len(judged) == 4


@pytest.mark.slow
def test_failed_trials_are_recorded_and_others_go_on(tune, lake, monkeypatch):
    judged, measure = [], trials.evaluate

    def failing(*args, **kwargs):
        judged.append(1)
        if len(judged) in failures:
            raise FloatingPointError("no numbers left")
        return measure(*args, **kwargs)

    failures = {2}
    monkeypatch.setattr(trials, "evaluate", failing)
    code, summary, err = tune("one")
    assert code == 0 and "trial 1 failed" in err and "no numbers left" in err
    assert trials_of(summary)[0]["state"].tolist() == ["complete", "failed", "complete"]
    failures = set(range(100))
    code, _, err = tune("none", "tune.trials=2")
    assert (
        code == 1
        and "none of 2 trials was completed" in err
        and "the first that failed: no numbers left" in err
    )
    assert not (lake / "models/none").exists()


@pytest.mark.slow
def test_a_diverging_fit_is_a_failed_trial(tune):
    space = "tune.space={stepSize = {choices = [0.01, 1000.0]}}"
    code, summary, err = tune("diverging", space, "model.type=mf", "model.rank=2", "tune.sampler=grid")
    assert code == 0, err
    table, _ = trials_of(summary)
    assert (
        sorted(table["state"]) == ["complete", "failed"]
        and "diverged" in table.loc[table["state"] == "failed", "reason"].iloc[0]
    )
    assert summary["best"] == {"stepSize": 0.01}


@pytest.mark.slow
def test_pruned_trials_end_by_their_curve(tune):
    space = "tune.space={seed = {choices = [1, 2, 3, 4, 5, 6, 7]}, stepSize = {choices = [0.05, 0.0001]}}"
    model = ["model.type=mf", "model.rank=2", "model.maxIter=8"]
    code, summary, err = tune(
        "pruned",
        space,
        *model,
        "tune.pruner=median",
        "tune.warmup=2",
        "tune.trials=10",
        "tune.sampler=random",
    )
    assert code == 0, err
    table, _ = trials_of(summary)
    pruned = table[table["state"] == "pruned"]
    assert len(pruned) and (pruned["stepSize"] == 0.0001).all() and summary["best"]["stepSize"] == 0.05
    assert "pruned (" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "bad"),
    [
        (["model.type=als", "model.implicitPrefs=true"], "regParam = {choices = [1.0, 1e9]}"),
        (["model.type=mf", "model.loss=bpr"], "stepSize = {choices = [0.05, 1e-7]}"),
    ],
)
def test_trials_of_preferences_are_pruned_by_their_auc(tune, model, bad):
    name, param = model[0].partition("=")[2], bad.partition(" ")[0]
    code, summary, err = tune(
        f"ranks-{name}",
        f"tune.space={{seed = {{choices = [1, 2, 3, 4, 5, 6, 7]}}, {bad}}}",
        *model,
        "model.rank=4",
        "model.maxIter=8",
        "evaluation.ranking=true",
        "evaluation.ks=[20]",
        "tune.metric=ndcg_at_20",
        "tune.pruner=median",
        "tune.warmup=2",
        "tune.trials=10",
        "tune.sampler=random",
    )
    assert code == 0, err
    table, _ = trials_of(summary)
    pruned, complete = (table[table["state"] == state] for state in ("pruned", "complete"))
    assert len(pruned) and pruned["value"].isna().all() and "pruned (" in err
    assert (pruned[param] == table[param].agg("max" if name == "als" else "min")).all()
    assert summary["validation_ndcg_at_20"] == complete["value"].max()


@pytest.mark.slow
def test_several_trials_at_once_and_a_ranking_metric(tune):
    # of the same values: each has a folder of its own
    code, summary, err = tune(
        "ranked",
        "tune.space={rank={choices=[2]}}",
        "tune.concurrent=2",
        "tune.metric=ndcg_at_5",
        "evaluation.ks=[5]",
        "evaluation.ranking=true",
    )
    assert code == 0, err
    table, _ = trials_of(summary)
    assert (table["state"] == "complete").all() and len(table) == 3
    assert table["value"].nunique() == 1
    assert summary["validation_ndcg_at_5"] == pytest.approx(table["value"].max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["split.validationFraction=0", "split.name=bare"],
            "splits/bare has no validation rows, which trials are judged by: set split.",
        ),
        (
            ["tune.space={rnak = {low = 1, high = 2}}"],
            "unknown key tune.space.rnak: did you mean tune.space.rank?",
        ),
        (["tune.metric=ndcg_at_7"], "tune.metric = 'ndcg_at_7' is not allowed"),
        (
            ["tune.metric=auc", "evaluation.ranking=true", "tune.pruner=median"],
            "tune.pruner = 'median' is not allowed here",
        ),
        (
            ["model.implicitPrefs=true", "tune.pruner=median"],
            "tune.pruner = 'median' is not allowed here",
        ),
        (
            ["evaluation.ratings=false", "evaluation.ranking=true"],
            "tune.metric = 'rmse' is not allowed with evaluation.ratings = false",
        ),
        (["tune.trials=0"], "tune.trials = 0 is not allowed"),
        (
            ["tune.space={alpha = {low = 1, high = 2}}"],
            "tune.space.alpha is not allowed: model.type = 'als' does not read it",
        ),
    ],
)
def test_mistakes_end_before_any_trial(tune, lake, settings, words):
    code, _, err = tune("mistaken", "tracking.enabled=false", *settings)
    assert code == 2 and words in err and not (lake / "tuning/mistaken.db").exists()


@pytest.mark.parametrize(
    ("model", "space", "unread"),
    [
        ({"type": "fm"}, {"regParam": {"choices": [0.1, 1.0]}}, "regParam"),
        ({"type": "fm", "solver": "als"}, {"regParam": {"choices": [0.1, 1.0]}}, None),
        # one of the solvers reads it
        ({"type": "fm"}, {"regParam": {"choices": [0.1, 1.0]}, "solver": {"choices": ["mcmc", "als"]}}, None),
        ({"type": "fm", "solver": "sgd"}, {"samples": {"low": 1, "high": 4}}, "samples"),
        ({"type": "mf"}, {"decay": {"low": 0.1, "high": 0.2}}, "decay"),
        (
            {"type": "mf"},
            {"decay": {"low": 0.1, "high": 0.2}, "schedule": {"choices": ["constant", "inverse"]}},
            None,
        ),
        (
            {"type": "als"},
            {name: {"low": 0.1, "high": 1.0} for name in ("regParam", "userRegParam", "itemRegParam")},
            "regParam",
        ),
        ({"type": "als"}, {"patience": {"low": 1, "high": 3}}, None),
        ({"type": "baseline"}, {"stepSize": {"low": 0.1, "high": 0.2}}, "stepSize"),
    ],
)
def test_a_param_that_no_trial_reads_is_refused(model, space, unread):
    from recspark.pipeline.conf.model_section import ModelSection
    from recspark.pipeline.tuning.tune import searched

    refused = pytest.raises(
        ConfigError, match=f"tune.space.{unread} is not allowed: model.type = .* does not read it"
    )
    with refused if unread else nullcontext():
        searched(ModelSection(**model), space)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ({"type": "als"}, {"rank", "regParam", "standardize"}),
        ({"type": "als", "implicitPrefs": True}, {"rank", "regParam"}),
        ({"type": "als", "standardize": False}, {"rank", "regParam"}),
        ({"type": "als", "userRegParam": 0.1, "itemRegParam": 0.1}, {"rank", "standardize"}),
        ({"type": "mf", "loss": "bpr"}, {"rank", "regParam", "stepSize"}),
        ({"type": "baseline"}, {"regParam"}),
        ({"type": "fm"}, {"factorSize"}),
    ],
)
def test_usual_ranges_leave_out_what_no_trial_reads(model, names):
    from recspark.pipeline.conf.model_section import ModelSection
    from recspark.pipeline.tuning.tune import searched

    assert searched(ModelSection(**model), None).keys() == names


def test_conf_files_are_valid():
    from recspark.pipeline.conf.sections import validated
    from recspark.pipeline.tuning.search_space import start_of
    from recspark.pipeline.tuning.tune import searched

    confs = list((ROOT / "conf" / "tune").glob("*.toml"))
    assert confs
    for conf in confs:
        sections = validated(read_conf(str(conf)))
        space = searched(sections.model, sections.tune.space)
        assert sections.split.validationFraction > 0 or sections.split.validation
        assert start_of(sections.model, space), f"{conf}: what it says today is not in its own space"
