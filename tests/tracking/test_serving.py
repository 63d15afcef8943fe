"""What the jobs register answers in a Python that knows nothing of Spark, and over HTTP."""

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recspark.lake.lake import Lake
from recspark.models import ALS, FMRegressor, MatrixFactorization
from recspark.models.serving.scorer import Scorer
from recspark.tracking import Tracker
from tests.tracking.mlflow_server import free_port, stop, wait_for

COLUMNS = {"userCol": "user_id", "itemCol": "item_id"}
MODELS = {
    "als": (ALS, COLUMNS | {"ratingCol": "rating", "rank": 4, "maxIter": 3, "center": True, "biases": True}),
    "mf": (
        MatrixFactorization,
        COLUMNS | {"ratingCol": "rating", "rank": 4, "maxIter": 3, "kernel": "sigmoid"},
    ),
    "fm": (
        FMRegressor,
        {"groups": ["user", "item"], "labelCol": "rating", "factorSize": 4, "maxIter": 6, "ordered": True},
    ),
}

#: a Python without Spark: importing it, or an installed recspark, is an error
SCRIPT = """
    import json, sys, time

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("pyspark", "py4j"):
                raise ImportError(f"{name} is not here")

    sys.meta_path.insert(0, Refuse())
    import mlflow, pandas as pd
    answers = {}
    for uri in sys.argv[2:]:
        pairs = pd.read_parquet(sys.argv[1])
        began = time.perf_counter()
        model = mlflow.pyfunc.load_model(uri)
        loaded = time.perf_counter()
        predictions = model.predict(pairs)["prediction"]
        answers[uri] = [loaded - began, time.perf_counter() - loaded, predictions.tolist()]
    assert not any(name.startswith(("pyspark", "py4j")) for name in sys.modules)
    print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def pairs():
    """1,000 pairs; one in ten with a user, one in ten with an item, and one with both that no model has seen;
    some ids are missing.
    """
    rng = np.random.default_rng(1)
    pairs = pd.DataFrame({"user_id": rng.integers(0, 80, 1000), "item_id": rng.integers(100, 150, 1000)})
    pairs.loc[::10, "user_id"] = 10_000
    pairs.loc[5::10, "item_id"] = 20_000
    pairs.loc[0, "item_id"] = 20_000
    pairs = pairs.astype("Int64")
    pairs.loc[1::50, "user_id"] = pairs.loc[2::50, "item_id"] = pd.NA
    pairs.loc[3] = pd.NA
    return pairs


@pytest.fixture(scope="module")
def registered(spark, pairs, tmp_path_factory):
    """A lake whose registry has the models, and what each of them predicts in Spark."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"user_id": np.repeat(np.arange(80), 20), "item_id": 100 + rng.integers(0, 50, 1600)}
    ).drop_duplicates()
    frame["rating"] = rng.integers(1, 6, len(frame)).astype(float)
    ratings, asked = spark.createDataFrame(frame), spark.createDataFrame(pairs.assign(n=range(len(pairs))))
    lake = Lake(str(tmp_path_factory.mktemp("serving")))
    tracker, expected = Tracker(lake), {}
    for name, (estimator, params) in MODELS.items():
        model = estimator(**params, seed=3).fit(ratings)
        model.write().save(lake.path(f"models/{name}"))
        with tracker.run("train") as run:
            run.model(Scorer, lake.path(f"models/{name}"), frame.head(3))
        tracker.registry.assign(tracker.registry.register(name, run.id), "champion")
        expected[name] = model.transform(asked).orderBy("n").toPandas()["prediction"].to_numpy()
    return tracker, expected


def ask(python, uri, models, pairs, folder):
    """Seconds to load, seconds to score and predictions of each model, in a new process without Spark."""
    pairs.to_parquet(folder / "pairs.parquet")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SPARK_HOME")}
    environment |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [python, "-c", textwrap.dedent(SCRIPT), str(folder / "pairs.parquet"), *models]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(answers, expected):
    for uri, (load, score, predictions) in answers.items():
        name = uri.split("/")[1].partition("@")[0]
        print(f"{name}: loaded in {load:.2f} s, 1,000 pairs in {score:.3f} s")
        assert score < 1
        assert np.isfinite(predictions).all()
        # an FM answers by its mean score and biases, Spark by the mean over its samples
        close = np.isclose(predictions, expected[name], rtol=0, atol=0.15 if name == "fm" else 1e-5)
        assert close.all(), np.abs(predictions - expected[name])[~close]


@pytest.mark.slow
def test_a_python_without_spark_scores_a_thousand_pairs_in_a_second(registered, pairs, tmp_path):
    tracker, expected = registered
    answers = ask(
        sys.executable, tracker.uri, [f"models:/{name}@champion" for name in MODELS], pairs, tmp_path
    )
    assert len(answers) == 3
    check(answers, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_spark_udf_predicts_as_transform_does(spark, registered, pairs, name):
    import mlflow

    tracker, expected = registered
    predict = mlflow.pyfunc.spark_udf(
        spark, tracker.registry.find(name, "champion").source, env_manager="local"
    )
    asked = spark.createDataFrame(pairs.assign(n=range(len(pairs))))
    found = (
        asked.withColumn("prediction", predict("user_id", "item_id")).orderBy("n").toPandas()["prediction"]
    )
    np.testing.assert_allclose(found, expected[name], rtol=0, atol=0.15 if name == "fm" else 1e-5)


@pytest.mark.long
def test_the_requirements_of_a_model_are_all_that_it_needs(registered, pairs, tmp_path):
    tracker, expected = registered
    needed = Path(requirements(tracker, "als")).read_text()
    assert "pyspark" not in needed and "recspark" not in needed
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        requirements(tracker, "als"),
    ]
    subprocess.run(install, check=True, timeout=600)
    check(
        ask(python, tracker.uri, [f"models:/{name}@champion" for name in MODELS], pairs, tmp_path), expected
    )


def requirements(tracker, name):
    return f"{tracker.registry.find(name, 'champion').source}/requirements.txt"


@pytest.mark.slow
def test_mlflow_serves_a_model(registered, tmp_path):
    tracker, _ = registered
    port = free_port()
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracker.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "models:/als@champion",
        "--env-manager",
        "local",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # `serve` starts its server by the name of the program
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **quiet)
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server)
        rows = {"columns": ["user_id", "item_id"], "data": [[3, 110], [10_000, 110], [10_000, 20_000]]}
        body = json.dumps({"dataframe_split": rows}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            predictions = [row["prediction"] for row in json.load(answer)["predictions"]]
    finally:
        stop(server)
    assert len(predictions) == 3 and all(1 <= value <= 5 for value in predictions)
