"""The DAG in a real Airflow with a spark-submit that only ends with an exit code: what is started, and what
each code makes of a run.

`make airflow` runs the same DAG with real jobs.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "examples" / "airflow"
PYTHON = ROOT / ".venv-airflow" / "bin" / "python"
#: writes the metrics that `best` reads, notes what it was asked for, and ends with the code that CODES has
#: for the job: of several ("ingest=5,0") with the first, then the second
STUB = """#!/bin/bash
for word; do case $word in --set=paths.lake=*) lake=${word#*lake=} ;; --set=model.name=*) model=${word#*name=} ;; */jobs/*.py) job=$(basename "$word" .py) ;; esac; done
mkdir -p "$lake/metrics"
echo "{\\"rmse\\": 0.${#model}}" > "$lake/metrics/$model.json"
echo "$job $*" >> "$CALLS"
codes=$(grep -oP "(?<=$job=)[\\d,]+" <<< "$CODES" || echo 0)
exit "$(cut -s -d, -f"$(grep -c "^$job " "$CALLS")" <<< "$codes," | grep . || echo "$codes")"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="`make airflow` makes the environment .venv-airflow"),
]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Call Airflow's command line, in a home of its own."""
    home = tmp_path_factory.mktemp("airflow")
    stub = home / "bin" / "spark-submit"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    settings |= {"RECSPARK_WINDOW": "60", "RECSPARK_PAUSE": "2"}
    settings |= {
        "AIRFLOW_CONN_SPARK_DEFAULT": '{"conn_type": "spark", "host": "local[2]"}',
        "PATH": f"{stub.parent}:{os.environ['PATH']}",
    }

    def call(*words, **variables):
        command = [str(PYTHON), "-m", "airflow", *words]
        return subprocess.run(
            command, env=os.environ | settings | variables, capture_output=True, text=True, timeout=1200
        )

    for words in (("db", "migrate"), ("dags", "reserialize")):
        done = call(*words)
        assert done.returncode == 0, done.stderr[-3000:]
    return call


@pytest.fixture
def night(airflow, tmp_path):
    """Run the DAG once, jobs ending with `codes`; gives the exit code of the run and the jobs that were
    started, with their words.
    """

    def run(codes="", **variables):
        (tmp_path / "2026-11-22.zip").touch()
        calls = tmp_path / "calls"
        conf = {"lake": str(tmp_path / "lake"), "source": str(tmp_path / "{ds}.zip")}
        words = ("dags", "test", "recspark_nightly", "2026-11-22", "--conf", json.dumps(conf))
        done = airflow(*words, CALLS=str(calls), CODES=codes, **variables)
        return done.returncode, [line.split(" ", 1) for line in calls.read_text().splitlines()]

    return run


@pytest.mark.long
def test_all_jobs_run_in_their_order_for_the_date(night, tmp_path):
    code, calls = night()
    jobs = [job for job, _ in calls]
    assert code == 0
    assert jobs[:3] == ["ingest", "index", "split"] and jobs[-2:] == ["promote", "recommend"]
    assert sorted(jobs[3:-2]) == ["evaluate"] * 3 + ["train"] * 3
    assert all(f"--set=data.source={tmp_path}/2026-11-22.zip" in words for _, words in calls)
    # the lowest RMSE of the stub is that of the shortest name
    assert (
        "--set=promote.candidate=mf" in calls[-2][1] and "--set=model.name=recspark-champion" in calls[-1][1]
    )


def test_a_gate_that_is_not_passed_skips_the_lists_and_is_no_failure(night):
    code, calls = night("promote=4")
    assert (code, calls[-1][0]) == (0, "promote")


def test_data_that_are_rejected_end_the_run_without_another_try(night):
    code, calls = night("ingest=3")
    assert code != 0 and [job for job, _ in calls] == ["ingest"]


def test_input_that_is_not_whole_yet_is_waited_for(night):
    code, calls = night("ingest=5,5,0")
    assert code == 0 and [job for job, _ in calls][:4] == ["ingest", "ingest", "ingest", "index"]


@pytest.mark.long
def test_input_that_does_not_come_ends_the_run(night):
    code, calls = night("ingest=5", RECSPARK_WINDOW="1")
    assert code != 0 and [job for job, _ in calls] == ["ingest"]
