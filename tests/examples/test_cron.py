"""The nightly script: what it starts, what it makes of exit codes, that it runs once at a time; and the whole
of it on a small lake.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.lake.lake import Lake

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "cron" / "nightly.sh"
#: ends with the next code of the file CODES, and notes its arguments
STUB = """#!/usr/bin/env bash
echo "$@" >> "$CALLS"
read -r code < "$CODES"
sed -i 1d "$CODES"
echo "the job's own words" >&2
exit "${code:-0}"
"""


@pytest.fixture
def night(tmp_path):
    """Run the script with a spark-submit that ends with the given codes; gives its exit code, its stderr and
    the calls.
    """
    stub = tmp_path / "spark-submit"
    stub.write_text(STUB)
    stub.chmod(0o755)
    calls, codes = tmp_path / "calls", tmp_path / "codes"

    def run(*given, **variables):
        calls.write_text("")
        codes.write_text("".join(f"{code}\n" for code in given))
        settings = {
            "LAKE": "/lake",
            "SOURCE": "/in/{day}.csv",
            "CONF": "mine.toml",
            "DAY": "2026-11-22",
            "LOGS": str(tmp_path / "logs"),
        }
        settings |= {
            "SPARK_SUBMIT": f"{stub} --master local[2]",
            "PAUSE": "0",
            "CALLS": str(calls),
            "CODES": str(codes),
        } | variables
        done = subprocess.run([SCRIPT], env=os.environ | settings, capture_output=True, text=True, timeout=60)
        assert done.stdout == ""
        return done.returncode, done.stderr, calls.read_text().splitlines()

    return run


def test_a_good_night_runs_every_step_and_says_nothing(night, tmp_path):
    code, err, calls = night()
    assert (code, err) == (0, "")
    settings = "--conf-file mine.toml --set paths.lake=/lake --set data.source=/in/2026-11-22.csv --set"
    jobs = {
        "pipeline": "model.name=nightly",
        "promote": "promote.candidate=nightly",
        "recommend": "model.name=recspark-champion",
    }
    assert calls == [
        f"--master local[2] {ROOT}/jobs/{job}.py {settings} {setting}" for job, setting in jobs.items()
    ]
    log = (tmp_path / "logs" / "nightly-2026-11-22.log").read_text()
    assert log.count("ended with exit code 0") == 3 and "the job's own words" in log


@pytest.mark.parametrize(
    ("code", "words"), [(2, "the conf"), (3, "data were rejected"), (4, "gate was not passed")]
)
def test_a_failure_that_no_try_would_change_ends_the_night_with_its_code(night, code, words):
    found, err, calls = night(0, code)
    assert found == code and len(calls) == 2
    assert words in err and "the job's own words" in err


def test_any_other_failure_is_tried_again(night):
    assert night(137)[0] == 0
    code, err, calls = night(137, 1)
    assert (code, len(calls)) == (1, 2)
    assert "pipeline: it failed 2 times" in err


def test_input_that_is_not_there_yet_is_waited_for(night):
    code, err, calls = night(5, 1, 5, WINDOW="60")
    assert (code, err) == (0, "")
    jobs = [call.split("/jobs/")[1].split(".py")[0] for call in calls]
    assert jobs == ["pipeline"] * 4 + ["promote", "recommend"]


@pytest.mark.parametrize(
    ("window", "codes", "job", "n_calls"), [("0", [5], "pipeline", 1), ("60", [0, 5], "promote", 2)]
)
def test_input_that_does_not_come_ends_the_night(night, window, codes, job, n_calls):
    """Only the first step waits: what later ones read, nobody else makes."""
    code, err, calls = night(*codes, WINDOW=window)
    assert (code, len(calls)) == (5, n_calls) and f"{job}: the input is not there" in err


def test_a_second_start_says_so_and_starts_nothing(night, tmp_path):
    (tmp_path / "logs").mkdir()
    with open(tmp_path / "logs" / "nightly.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, err, calls = night()
    assert (code, calls) == (75, [])
    assert "another run holds" in err
    assert night()[0] == 0


def test_what_is_missing_is_named(night):
    code, err, calls = night(LAKE="")
    assert (code, calls) == (2, []) and "LAKE is not set" in err


def test_old_logs_go(night, tmp_path):
    old = tmp_path / "logs" / "nightly-2025-01-01.log"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))
    night()
    assert not old.exists()


CONF = """
[split]
testFraction = 0.2
name = "nightly"

[evaluation]
ranking = false

[promote]
margin = 0.2

[recommend]
format = "csv"

[model]
type = "als"
maxIter = 5
"""
GOOD, BETTER, BAD = (
    "rank = 4\nbiases = true\ncenter = true",
    "rank = 8\nbiases = true\ncenter = true",
    "regParam = 1000.0",
)


@pytest.fixture
def lived(tmp_path):
    """Run the script for a day, with a model, on real jobs; gives its exit code, its stderr and the summaries
    of the jobs.
    """
    spark_submit = f"{Path(sys.executable).with_name('spark-submit')} --master local[2] --driver-memory 1g"
    settings = {
        "LAKE": str(tmp_path / "lake"),
        "SOURCE": str(tmp_path / "in"),
        "LOGS": str(tmp_path / "logs"),
        "WINDOW": "400",
    }
    settings |= {
        "SPARK_SUBMIT": spark_submit,
        "PYSPARK_PYTHON": sys.executable,
        "PAUSE": "1",
        "CONF": str(tmp_path / "mine.toml"),
    }

    def run(day, model, **variables):
        (tmp_path / "mine.toml").write_text(CONF + model)
        done = subprocess.run(
            [SCRIPT],
            env=os.environ | settings | {"DAY": day} | variables,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.stdout == ""
        log = (tmp_path / "logs" / f"nightly-{day}.log").read_text()
        return (
            done.returncode,
            done.stderr,
            [json.loads(line) for line in log.splitlines() if line.startswith('{"job"')],
        )

    return run


@pytest.mark.long
def test_three_nights_and_a_rollback(lived, tmp_path):
    """Late input, a bad model, a good one; then the model of the first night serves again."""
    lake, lists = (
        Lake(str(tmp_path / "lake")),
        tmp_path / "lake" / "recommendations" / "recspark-champion" / "lists.csv",
    )
    upload = threading.Thread(target=late, args=(tmp_path,))
    upload.start()
    code, err, summaries = lived("2026-11-22", GOOD)
    upload.join()
    assert (code, err, [summary["job"] for summary in summaries]) == (
        0,
        "",
        ["pipeline", "promote", "recommend"],
    )
    assert lake.read_json("recommendations/recspark-champion/manifest.json")["counts"]["users"] == 80
    first = lists.read_bytes()

    code, err, summaries = lived("2026-11-23", BAD)
    assert (
        code == 4
        and "the gate was not passed: the champion and its lists stay" in err
        and " worse is allowed: refused" in err
    )
    assert [summary["job"] for summary in summaries] == ["pipeline"] and lists.read_bytes() == first

    code, err, summaries = lived("2026-11-24", BETTER)
    assert (code, err) == (0, "") and summaries[1]["version"] == 2 and lists.read_bytes() != first

    code, err, summaries = lived("2026-11-25", BETTER, STEPS="rollback")
    assert (code, err) == (0, "") and (summaries[0]["version"], summaries[0]["withdrawn"]) == (
        1,
        "recspark-withdrawn",
    )
    assert lists.read_bytes() == first
    assert lake.read_json("models/recspark-champion/manifest.json")["params"]["rank"] == 4


def late(folder):
    """Bring the ratings of the day once the script has looked for them in vain."""
    log = folder / "logs" / "nightly-2026-11-22.log"
    while not (log.exists() and "pipeline ended with exit code 5" in log.read_text()):
        time.sleep(0.2)
    write_movielens(generate(SyntheticOptions(users=80, items=60, ratings=2400)), folder / "in.part")
    (folder / "in.part").rename(folder / "in")
