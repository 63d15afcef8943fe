"""recspark over Spark Connect: a server on loopback, a client process that has no JVM of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyspark
import pytest

pytest.importorskip("grpc", reason="the extra connect has what Spark Connect's client needs")

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).with_name("connect_client.py")

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


@pytest.fixture(scope="module")
def report(server, tmp_path_factory):
    """What the client did: a result, or the error, by the name of what was tried."""
    work = tmp_path_factory.mktemp("work")
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_"))
    } | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, CLIENT, server, work],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=work,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


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
    said = "RecsparkError: the Python of Spark's workers is Python {}.{}, and this is 3.8: install recspark"
    assert report["another python"].startswith(said.format(*sys.version_info))


def test_cores_of_the_server_are_known(report):
    assert report["cores"] == 2
