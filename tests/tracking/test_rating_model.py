import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.ids import TEXT, WHOLE
from recspark.models.folder import FactorFacts, write_facts
from recspark.tracking import Tracker
from recspark.tracking.model_files import REQUIREMENTS
from tests.tracking.reports import assert_everything, client_of, report_everything, runs_of, warnings_in


@pytest.mark.slow
def test_the_logged_model_knows_its_id_and_its_run(lake, scorer, tmp_path):
    tracker = Tracker(lake)
    report_everything(tracker, scorer)
    model = client_of(tracker).get_logged_model(assert_everything(tracker, tmp_path))
    from mlflow.models import Model

    described = Model.load(model.artifact_location)
    assert (described.model_id, described.run_id) == (model.model_id, model.source_run_id)
    assert described.artifact_path == model.artifact_location
    assert not list(Path(model.artifact_location).rglob("__pycache__"))


def test_a_model_that_cannot_be_written_costs_a_warning(lake, scorer, caplog):
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        run.model(
            scorer[0], "/nowhere/als", pd.DataFrame({"user_id": [1], "item_id": [1]}), code_paths=scorer[2]
        )
    assert len(warnings_in(caplog)) == 1 and "model model is not logged" in caplog.text
    assert runs_of(tracker)["train"].info.status == "FINISHED"


@pytest.mark.parametrize(
    "example, requests",
    [
        (
            {"user_id": np.int32([1, 22]), "item_id": np.int64([3, 4])},
            {"user_id": np.int32([7, 333]), "item_id": np.int64([1, 1])},
        ),
        ({"user_id": ["a", "bb"], "item_id": ["x", "y"]}, {"user_id": ["u", "uuu"], "item_id": ["x", "new"]}),
    ],
)
def test_the_model_answers_without_spark(lake, scorer, tmp_path, example, requests):
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        began = time.process_time()
        run.model(scorer[0], scorer[1], pd.DataFrame(example), code_paths=scorer[2])
        assert time.process_time() - began < 3
    (output,) = runs_of(tracker)["train"].outputs.model_outputs
    model = client_of(tracker).get_logged_model(output.model_id).artifact_location
    pd.DataFrame(requests).to_pickle(tmp_path / "requests.pkl")
    assert load_elsewhere(model, tmp_path / "requests.pkl") == {
        "inputs": ["user_id", "item_id"],
        "columns": ["prediction"],
        "type": "float32",
        "predictions": [1.5, 3.5],
    }


@pytest.mark.slow
def test_a_real_model_brings_recspark_along(lake, tmp_path):
    """The default code is the package itself: its scorer is found in the model's folder, and works without
    Spark.
    """
    from recspark.models.serving.scorer import Scorer

    write_factors(Path(lake.path("models/als")))
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        run.model(Scorer, lake.path("models/als"), pd.DataFrame({"user_id": [10, 20], "item_id": [1, 1]}))
    (output,) = runs_of(tracker)["train"].outputs.model_outputs
    model = client_of(tracker).get_logged_model(output.model_id).artifact_location
    pd.DataFrame({"user_id": np.int32([10, 20, 99]), "item_id": np.int32([1, 1, 1])}).to_pickle(
        tmp_path / "requests.pkl"
    )
    assert load_elsewhere(model, tmp_path / "requests.pkl") == {
        "inputs": ["user_id", "item_id"],
        "columns": ["prediction"],
        "type": "float32",
        "predictions": [5.0, 9.0, 3.0],  # 3 + 1 * 2, 3 + 3 * 2, and the mean for a user that is not known
    }
    assert "pyspark" not in Path(model, "requirements.txt").read_text()


@pytest.mark.parametrize("kind", ["object", "float64", "Int64", "string"])
def test_a_missing_id_is_one_that_is_not_known(lake, tmp_path, kind):
    from mlflow import pyfunc

    from recspark.models.serving.scorer import Scorer

    text = kind == "string"
    write_factors(Path(lake.path("models/als")), text)
    ids = [["10", None, "20"], ["1", "1", None]] if text else [[10, None, 20], [1, 1, None]]
    requests = pd.DataFrame(
        {name: pd.array(column, kind) for name, column in zip(("user_id", "item_id"), ids, strict=True)}
    )
    tracker = Tracker(lake)
    with tracker.run("train") as run:
        run.model(Scorer, lake.path("models/als"), requests.head(1))
    (output,) = runs_of(tracker)["train"].outputs.model_outputs
    model = pyfunc.load_model(client_of(tracker).get_logged_model(output.model_id).artifact_location)
    assert model.predict(requests)["prediction"].tolist() == [5.0, 3.0, 3.0]
    nothing = requests.iloc[[1]].assign(item_id=pd.array([None], kind))
    assert model.predict(nothing)["prediction"].tolist() == [3.0]


def test_the_requirements_name_all_that_a_scorer_imports():
    script = """
        import ast, pathlib, sys
        import recspark.models.serving.scorer
        for name in [name for name in sys.modules if name.partition(".")[0] == "recspark"]:
            for node in ast.parse(pathlib.Path(sys.modules[name].__file__).read_text()).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                print(*(name.partition(".")[0] for name in names))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert set(done.stdout.split()) - sys.stdlib_module_names - {"recspark"} <= set(REQUIREMENTS)


def write_factors(folder, text=False):
    for side, ids, factors in (("users", [10, 20], [[1.0], [3.0]]), ("items", [1], [[2.0]])):
        (folder / side).mkdir(parents=True)
        table = pa.table(
            {
                "id": pa.array(ids, pa.int64()).cast(pa.string() if text else pa.int64()),
                "features": pa.array(factors, pa.list_(pa.float32())),
                "count": pa.array([1] * len(ids), pa.int64()),
                "bias": pa.array([0.0] * len(ids), pa.float32()),
                "deviation": pa.array([0.0] * len(ids), pa.float32()),
            }
        )
        pq.write_table(table, folder / side / "part-0.parquet")
    kinds = dict.fromkeys(("users", "items"), TEXT if text else WHOLE)
    write_facts(
        str(folder),
        FactorFacts(kind="als", can=("serve",), rank=1, mean=3.0, level=3.0, biased=False, id_kinds=kinds),
    )


def load_elsewhere(model, requests):
    """Load `model` in a new Python that has neither Spark nor recspark, and predict."""
    script = """
        import json, sys
        sys.modules["pyspark"] = None
        import mlflow, pandas as pd
        model = mlflow.pyfunc.load_model(sys.argv[1])
        answer = model.predict(pd.read_pickle(sys.argv[2]))
        inputs = model.metadata.signature.inputs.input_names()
        column = answer["prediction"]
        seen = {"inputs": inputs, "columns": list(answer), "type": str(column.dtype)}
        print(json.dumps({**seen, "predictions": column.tolist()}))
    """
    # a recspark that is installed must not be the one that answers: the script's own folder has a broken one,
    # behind the model's
    elsewhere = requests.parent / "elsewhere"
    (elsewhere / "recspark").mkdir(parents=True)
    (elsewhere / "recspark/__init__.py").write_text("raise ImportError('not the recspark of the model')")
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(elsewhere)}
    command = [sys.executable, "-c", textwrap.dedent(script), model, str(requests)]
    done = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
