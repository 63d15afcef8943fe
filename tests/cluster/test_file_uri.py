"""A lake by its URI is the lake at its path: all jobs in one go on file://."""

import json

import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.lake.lake import Lake


@pytest.mark.long
def test_jobs_on_a_file_uri(spark, tmp_path, capsys):
    write_movielens(generate(SyntheticOptions(users=60, items=50, ratings=1500)), tmp_path / "source")
    settings = [
        f"paths.lake=file://{tmp_path}/lake",
        f"data.source=file://{tmp_path}/source",
        "split.testFraction=0.2",
    ]
    settings += ["split.name=one", "model.rank=4", "model.maxIter=3", "tracking.logModel=false"]
    words = [word for setting in settings for word in ("--set", setting)]
    for job in ("pipeline", "evaluate", "recommend"):
        assert main([job, *words]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert summary["lake"] == f"file://{tmp_path}/lake"
    lake = Lake(str(tmp_path / "lake"))
    assert lake.read_json("recommendations/als/manifest.json")["counts"]["users"] == 60
    assert (tmp_path / "lake" / "mlflow.db").exists()
