"""The command line and the jobs, as users start them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import recspark
from recspark.cli.main import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.pipeline.jobs import JOBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated") / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=150, items=100, ratings=6000)), folder)
    return folder


def test_pipeline_prints_one_line_and_leaves_the_lake(command, source, tmp_path):
    settings = [
        f"paths.lake={tmp_path}",
        f"data.source={source}",
        "model.maxIter=3",
        "model.rank=4",
        "split.validationFraction=0.1",
    ]
    code, summary, err = command("pipeline", *settings)
    assert code == 0 and summary["job"] == "pipeline"
    assert {"rmse", "mae", "fit_seconds", "iterations", "model", "run_id", "ndcg_at_10"} <= summary.keys()
    assert 0.5 < summary["rmse"] < 2 and summary["iterations"] == 3
    assert (
        summary["ratings"] == 6000 == sum(summary[f"rows_{part}"] for part in ("train", "validation", "test"))
    )
    for product in ("tables", "index", "splits/default", "models/als", "predictions/als", "metrics/als"):
        assert (tmp_path / product / "manifest.json").exists(), product
    assert json.loads((tmp_path / "metrics" / "als.json").read_text())["rmse"] == pytest.approx(
        summary["rmse"]
    )
    assert not (tmp_path / "work" / "als").exists()
    assert "iteration 3: " in err and "validation_rmse" in err

    code, again, _ = command("train", *settings)
    assert code == 0 and again["test_rmse"] == summary["test_rmse"]
    code, again, _ = command("evaluate", *settings)
    assert code == 0 and again["rmse"] == summary["rmse"]


@pytest.mark.slow
def test_pipeline_is_one_mlflow_run_with_its_stages_nested(command, source, tmp_path):
    from mlflow import pyfunc
    from mlflow.tracking import MlflowClient

    _, summary, _ = command(
        "pipeline", f"paths.lake={tmp_path}", f"data.source={source}", "model.maxIter=2", "model.rank=4"
    )
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    parent = client.get_run(summary["run_id"])
    runs = client.search_runs([parent.info.experiment_id])
    nested = {
        run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == summary["run_id"]
    }
    assert nested.keys() == {"ingest", "index", "split", "train", "evaluate"}
    assert all(run.info.status == "FINISHED" for run in runs)
    train = nested["train"]
    assert train.data.params["model.rank"] == "4" and train.data.params["estimator.maxIter"] == "2"
    assert [point.step for point in client.get_metric_history(train.info.run_id, "train_rmse")][:2] == [1, 2]
    assert train.inputs.dataset_inputs[0].dataset.name == "splits/default"
    assert parent.data.metrics["rmse"] == pytest.approx(summary["rmse"])
    figures = {
        file.path
        for name in ("train", "evaluate")
        for file in client.list_artifacts(nested[name].info.run_id, "figures")
    }
    assert figures == {
        "figures/rmse_by_epoch.png",
        "figures/predicted_vs_actual.png",
        "figures/residuals.png",
    }

    similar = pd.read_csv(f"{train.info.artifact_uri}/similar_items.csv")
    assert similar.columns.tolist() == ["item_id", "title", "like_id", "like_title", "similarity"]
    assert (
        similar.groupby("item_id").size().tolist() == [5] * 10
        and (similar["item_id"] != similar["like_id"]).all()
    )
    assert similar["title"].str.contains(r" \(\d{4}\)$").all() and similar["similarity"].between(-1, 1).all()

    predicted = pd.read_parquet(tmp_path / "predictions" / "als" / "test").head(50)
    [model] = client.search_logged_models([parent.info.experiment_id])
    answered = pyfunc.load_model(model.artifact_location).predict(predicted[["user_id", "item_id"]])
    pd.testing.assert_series_equal(
        answered["prediction"], predicted["prediction"], check_exact=False, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (["model.rank=-1"], 2, "model.rank = -1 is not allowed: it must be a whole number, at least 1"),
        (["model.rnak=3"], 2, "unknown key model.rnak: did you mean model.rank?"),
        (["model.type=svd"], 2, "model.type = 'svd' is not allowed"),
        (["nonsense.key=1"], 2, "unknown key nonsense"),
        (["rank=1"], 2, "it must be section.key=value"),
    ],
)
def test_mistakes_end_with_exit_code_2_and_one_clear_line(command, tmp_path, settings, code, words):
    found, summary, err = command("pipeline", f"paths.lake={tmp_path}", "tracking.enabled=false", *settings)
    assert (found, summary) == (code, None)
    assert words in err and "Traceback" not in err


WORDS = {"compare": ["als", "mf"], "blend": ["als", "mf"], "curves": ["als"]}


@pytest.mark.parametrize(
    "job", sorted(name for name, job in JOBS.items() if not job.begins and name != "warm")
)
def test_a_job_before_ingest_names_that_and_leaves_no_lake(command, tmp_path, job):
    code, summary, err = command(job, *WORDS.get(job, []), f"paths.lake={tmp_path / 'lake'}")
    assert (
        (code, summary) == (5, None)
        and "the input is not there (yet): " in err
        and "run `recspark ingest` first" in err
    ), err
    assert not (tmp_path / "lake").exists()


def test_the_first_job_that_is_missing_is_named(command, tmp_path):
    (tmp_path / "mlflow.db").touch()  # a lake in which nothing was made yet
    settings = [f"paths.lake={tmp_path}", "tracking.enabled=false"]
    for made, job in (
        (None, "ingest"),
        ("tables", "split"),
        ("splits/other", "train"),
        ("models/other", "evaluate"),
    ):
        if made:
            (tmp_path / made).mkdir(parents=True)
        code, _, err = command("compare", "als", "mf", *settings)
        assert code == 5 and f"predictions/als does not exist: run `recspark {job}` first" in err


@pytest.mark.parametrize("job", ["ingest", "pipeline", "crossvalidate", "tune", "update"])
@pytest.mark.parametrize("source", ["nowhere.zip", "file://{}/nowhere.csv", "folder", "empty.csv"])
def test_a_source_that_is_not_there_leaves_no_lake(command, tmp_path, job, source):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.csv").touch()
    place = source.format(tmp_path) if "{}" in source else tmp_path / source
    section = "update" if job == "update" else "data"
    if job == "update":
        (tmp_path / "lake").mkdir()
    code, summary, err = command(
        job, f"paths.lake={tmp_path / 'lake'}", f"{section}.source={place}", "split.folds=2"
    )
    assert (
        (code, summary) == (5, None)
        and "the input is not there (yet): data.source = " in err
        and source.split("/")[-1] in err
    )
    assert not any((tmp_path / "lake").glob("*"))


@pytest.mark.parametrize("option", ["users", "items"])
def test_a_table_of_ones_own_that_is_not_there_leaves_no_lake(command, tmp_path, option):
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating\n1,1,3\n")
    settings = [
        f"paths.lake={tmp_path / 'lake'}",
        f"data.source={tmp_path / 'ratings.csv'}",
        f"data.{option}={tmp_path / 'late.csv'}",
    ]
    code, summary, err = command("ingest", *settings)
    assert (code, summary) == (5, None) and f"the input is not there (yet): data.{option} = " in err
    assert not any((tmp_path / "lake").glob("*"))


def test_a_conf_file_that_is_not_there_is_a_mistake(capsys):
    assert main(["train", "--conf-file", "/does/not/exist.toml"]) == 2
    assert "conf file /does/not/exist.toml" in capsys.readouterr().err


def test_bad_data_end_with_exit_code_3(command, tmp_path):
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating,timestamp\n1,1,nothing,1\n")
    code, _, err = command(
        "ingest",
        f"paths.lake={tmp_path / 'lake'}",
        f"data.source={tmp_path / 'ratings.csv'}",
        "tracking.enabled=false",
    )
    assert code == 3 and not (tmp_path / "lake" / "tables").exists(), err


@pytest.mark.parametrize("job", ["demo", "train"])
def test_a_spark_connect_server_that_is_not_there_is_named_in_one_line(tmp_path, job):
    words = [
        sys.executable,
        "-c",
        "import sys; from recspark.cli import main; sys.exit(main())",
        job,
        "--set",
        f"paths.lake={tmp_path}",
    ]
    variables = os.environ | {"SPARK_REMOTE": "sc://nobody:15002", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, env=variables)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "no Spark Connect server answers at sc://nobody:15002 (" in line


def test_version_and_help(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0 and capsys.readouterr().out == f"recspark {recspark.__version__}\n"
    for job in JOBS:
        with pytest.raises(SystemExit):
            main([job, "--help"])
        assert "\n[paths]\n  paths.lake\n" in capsys.readouterr().out


def test_every_job_has_a_file_for_spark_submit():
    assert {path.stem for path in (ROOT / "jobs").glob("*.py")} == set(JOBS) - {"demo", "sync", "warm"}


def test_conf_files_are_valid():
    from recspark.config import read_conf
    from recspark.pipeline.conf.sections import validated

    confs = list((ROOT / "conf").glob("*.toml"))
    assert confs
    for conf in confs:
        assert validated(read_conf(str(conf))).model.estimator


@pytest.mark.slow
def test_spark_submit_prints_the_same_line(source, tmp_path):
    command = [
        str(Path(sys.executable).with_name("spark-submit")),
        "--master",
        "local[2]",
        str(ROOT / "jobs" / "ingest.py"),
    ]
    command += ["--set", f"paths.lake={tmp_path}", "--set", f"data.source={source}"]
    variables = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["ratings"] == 6000


@pytest.mark.long
def test_demo_compares_models_with_the_noise_floor(command, tmp_path):
    settings = ["synthetic.users=150", "synthetic.items=100", "synthetic.ratings=6000"]
    code, summary, err = command("demo", f"paths.lake={tmp_path}", *settings)
    assert code == 0
    floor, models = summary["noise_floor"], summary["models"]
    # the floor is of all 6,000 ratings; 600 test ratings tell an RMSE to .025, one standard error
    assert floor - 0.05 < models["als-biased"]["rmse"] < models["als-mllib"]["rmse"]
    assert "noise floor" in err
    assert f"mlflow server --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in err
    assert f"parentRunId%20%3D%20%27{summary['run_id']}%27" in err
