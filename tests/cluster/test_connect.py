"""recspark over Spark Connect: a server on loopback, client processes that have no JVM of their own."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyspark
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens

pytest.importorskip("grpc", reason="the extra connect has what Spark Connect's client needs")

ROOT = Path(__file__).parents[2]
CLIENT, JOBS = (Path(__file__).with_name(f"connect_{name}.py") for name in ("client", "jobs"))

pytestmark = pytest.mark.slow


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of a Connect server with two cores."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        "--master",
        "local[2]",
        "--driver-memory",
        "1g",
    ]
    command += [
        "--conf",
        f"spark.connect.grpc.binding.port={port}",
        "--conf",
        "spark.connect.grpc.binding.address=127.0.0.1",
    ]
    command += [
        "--conf",
        "spark.ui.enabled=false",
        "--class",
        "org.apache.spark.sql.connect.service.SparkConnectServer",
        "spark-internal",
    ]
    variables = os.environ | {
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as words:
        process = subprocess.Popen(command, env=variables, stdout=words, stderr=words, cwd=log.parent)
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.3)
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def client(work, *command, **options):
    """The JSON report of a process that has no JVM."""
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_"))
    } | {"PYTHONPATH": str(ROOT)}
    variables |= options.pop("variables", {})
    done = subprocess.run(
        [sys.executable, *command],
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=work,
        **options,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def report(server, tmp_path_factory):
    """What the client did: a result, or the error, by the name of what was tried."""
    work = tmp_path_factory.mktemp("work")
    return client(work, CLIENT, server, work)


@pytest.fixture(scope="module")
def jobs(server, tmp_path_factory):
    """Run jobs one after the other in one client process; their exit codes, summaries and stderr."""
    work = tmp_path_factory.mktemp("jobs")

    def run(*commands, **variables):
        lines = [json.dumps(arguments(words)) for words in commands]
        found = client(work, JOBS, input="\n".join(lines), variables={"SPARK_REMOTE": server} | variables)
        assert not found["jvm"]
        return found["jobs"]

    return run


def arguments(words):
    """``["train", "model.rank=4"]`` as on the command line: words with "=" are settings."""
    return [part for word in words for part in (["--set", word] if "=" in word else [word])]


@pytest.mark.parametrize("model", ["als", "als-2x2", "mf", "baseline", "fm"])
def test_estimators_fit_and_predict(report, model):
    assert report[model]["rows"] == 2000
    # the ratings are drawn at random: their deviation is 1.41
    assert report[model]["rmse"] < 1.4


def test_what_is_no_rating_is_counted(report):
    assert report["popularity"]["rows"] == 2000


def test_what_was_saved_is_read_and_recommends(report):
    assert report["saved"]["users"] == 80 and report["saved"]["length"] == 5
    assert report["saved"]["same"]


def test_stages_are_overwritten(report):
    assert report["overwritten"] == [True] * 4 + [2, False]


def test_a_fit_without_a_work_folder_says_what_is_missing(report):
    assert report["no work folder"].startswith(
        "ConfigError: workDir is not set, and Spark Connect's workers need"
    )


def test_a_server_of_another_python_is_said(report):
    said = (
        "RecsparkError: the Python of the Spark Connect server's workers is Python {}.{}, and this is 3.8: "
        "install recspark"
    )
    assert report["another python"].startswith(said.format(*sys.version_info))


def test_cores_of_the_server_are_known(report):
    assert report["cores"] == 2


FM = ["model.maxIter=8", "model.chains=1", "model.noisyChains=0", "evaluation.ranking=false"]


@pytest.mark.parametrize(("conf", "settings"), [("als", ["model.maxIter=6"]), ("fm-mcmc", FM)])
def test_the_pipeline_measures_what_it_does_on_a_classic_session(
    jobs, command, movielens, tmp_path, conf, settings
):
    usual = [
        "pipeline",
        "--conf-file",
        str(ROOT / f"conf/ml-100k-{conf}.toml"),
        f"data.source={movielens / 'ml-100k.zip'}",
        "tracking.enabled=false",
        *settings,
    ]
    lists = [
        "recommend",
        f"paths.lake={tmp_path / 'connect'}",
        f"model.name={conf}",
        "tracking.enabled=false",
    ]
    found, recommended = jobs([*usual, f"paths.lake={tmp_path / 'connect'}"], lists)
    code, expected, err = command(*usual, f"paths.lake={tmp_path / 'classic'}")
    assert found["code"] == recommended["code"] == code == 0, found["err"] + recommended["err"] + err
    assert found["summary"]["rmse"] == pytest.approx(expected["rmse"], abs=1e-4)
    assert found["summary"]["rows_train"] == expected["rows_train"] == 80_000
    assert recommended["summary"]["users"] == 943


@pytest.fixture(scope="module")
def lake(jobs, tmp_path_factory):
    """A lake that a Connect session has filled: tables, a split, models ``als`` and ``base``."""
    folder = tmp_path_factory.mktemp("lake")
    write_movielens(generate(SyntheticOptions(users=100, items=60, ratings=3000)), folder / "ml-1m")
    usual = [f"paths.lake={folder / 'lake'}", *QUICK]
    als, base = (["model.name=als", "model.rank=3"], ["model.name=base", "model.type=baseline"])
    commands = [
        ["ingest", f"data.source={folder / 'ml-1m'}", *usual],
        *([job, *usual] for job in ("index", "split")),
        ["audit", *usual, 'features.groups=["user", "item", "users.age"]'],
        *([job, *usual, *model] for model in (als, base) for job in ("train", "evaluate")),
    ]
    for words, done in zip(commands, jobs(*commands), strict=True):
        assert done["code"] == 0, (words[0], done["err"])
    return folder / "lake"


QUICK = [
    "tracking.enabled=false",
    "split.validationFraction=0.2",
    "split.testFraction=0.2",
    "model.maxIter=3",
]


def test_every_job_of_a_lake_runs(jobs, lake):
    usual = [f"paths.lake={lake}", *QUICK]
    new = lake.parent / "new.csv"
    new.write_text(
        "user_id,item_id,rating,timestamp\n" + "".join(f"9001,{i},4,978300000\n" for i in range(1, 6))
    )
    space = "tune.space={rank = {low = 2, high = 4}}"
    commands = [
        ["compare", "als", "base", *usual],
        ["promote", "als", *usual, "tracking.enabled=true"],
        ["blend", "als", "base", *usual, "evaluation.ranking=false"],
        ["update", "als", f"update.source={new}", *usual],
        ["recommend", "als", "--user", "9001", *usual],
        [
            "tune",
            f"data.source={lake.parent / 'ml-1m'}",
            *usual,
            "model.name=tuned",
            space,
            "tune.trials=2",
            "tune.concurrent=2",
            "evaluation.ranking=false",
        ],
    ]
    done = jobs(*commands)
    for words, found in zip(commands, done, strict=True):
        assert found["code"] == 0, (words[0], found["err"])
    compared, promoted, blended, updated, listed, tuned = (found["summary"] for found in done)
    assert set(compared["models"]) == {"als", "base"}
    assert promoted["passed"] and len(blended["weights"]) == 2
    assert (updated["ratings"], updated["new_users"]) == (5, 1)
    assert not listed["cold"] and len(listed["recommendations"]) > 0
    assert tuned["best"]["rank"] in (2, 3, 4)


def test_what_connect_can_not_do_ends_in_one_sentence(jobs, server, lake, tmp_path):
    usual = [f"paths.lake={lake}", *QUICK]
    [hadoop, listed, seen] = jobs(
        ["ingest", "data.source=http://127.0.0.1:9/ratings.csv", *usual],
        ["recommend", "als", *usual, f"recommend.users={tmp_path / 'none'}"],
        ["warm"],
    )
    assert hadoop["code"] == 1 and "over Spark Connect only what Arrow can read" in hadoop["err"]
    assert listed["code"] == 5 and "does not exist: it must be a Parquet table with user_id" in listed["err"]
    assert seen["code"] == 2 and "warm compiles on its own machine" in seen["err"]
    for found in (hadoop, listed, seen):
        assert "Traceback" not in found["err"] and "JVM stacktrace" not in found["err"]


def test_a_lake_that_the_server_does_not_see_is_refused(jobs, lake):
    # for every process this is another folder
    place = "/proc/self/cwd/lake"
    [found] = jobs(["ingest", f"data.source={lake.parent / 'ml-1m'}", f"paths.lake={place}"])
    assert found["code"] == 2 and f"the Spark Connect server can't use {place} (" in found["err"], found[
        "err"
    ]
