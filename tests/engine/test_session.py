"""The session of a job: in the suite's own Spark, in a process of its own, and under spark-submit."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from recspark.config import build_sections
from recspark.engine.spark import jvm
from recspark.engine.spark.remote import remote_session, server_url
from recspark.engine.spark.session import SparkOptions, build_session, default_threads, is_running, session
from recspark.errors import ConfigError, RecsparkError

SPARK_SUBMIT = Path(pyspark.__file__).parent / "bin" / "spark-submit"
REPORT = """
import json, os, sys
from recspark.engine.spark.session import SparkOptions, default_threads, is_running, session

OPTIONS = SparkOptions(master="local[2]", driverMemory="700m", shufflePartitions=5)
with session("a-job", OPTIONS) as spark:
    print("progress", file=sys.stderr)
    context = spark.sparkContext
    seen = lambda _: [sys.executable, os.environ["OPENBLAS_NUM_THREADS"]]
    worker = context.parallelize([0], 1).map(seen).first()
    report = {
        "name": context.appName,
        "master": context.master,
        "heap": round(context._jvm.java.lang.Runtime.getRuntime().maxMemory() / 2**20, -2),
        "partitions": spark.conf.get("spark.sql.shuffle.partitions"),
        "zone": spark.conf.get("spark.sql.session.timeZone"),
        "ui": context.uiWebUrl,
        "threads": default_threads(spark),
        "worker": worker,
        "left in environment": os.environ.get("SPARK_DRIVER_MEMORY"),
    }
print(json.dumps(report | {"running": is_running()}))
"""


def run_report(tmp_path, *command):
    """Run REPORT by `command` away from the settings of this process: what it printed, and its stderr."""
    script = tmp_path / "report.py"
    script.write_text(REPORT)
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SPARK_", "PYSPARK_")) and key != "MASTER"
    }
    environment["PYTHONPATH"] = str(Path(jvm.__file__).parents[3])
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_started_by_python(tmp_path):
    report, stderr = run_report(tmp_path, sys.executable)
    assert report == {
        "name": "a-job",
        "master": "local[2]",
        "heap": 700.0,
        "partitions": "5",
        "zone": "UTC",
        "ui": None,
        "threads": 2,
        "worker": [sys.executable, "1"],
        "left in environment": None,
        "running": False,
    }
    assert stderr == "progress\n"


@pytest.mark.slow
def test_spark_submit_has_the_last_word(tmp_path):
    environment = ["env", f"PYSPARK_DRIVER_PYTHON={sys.executable}"]
    settings = {"spark.sql.shuffle.partitions": 3, "spark.sql.session.timeZone": "Europe/Amsterdam"}
    conf = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    report, stderr = run_report(
        tmp_path, *environment, SPARK_SUBMIT, "--master", "local[1]", "--name", "nightly", *conf
    )
    assert report["name"] == "nightly"
    assert report["master"] == "local[1]"
    assert report["partitions"] == "3"
    assert report["zone"] == "Europe/Amsterdam"
    assert report["threads"] == 1
    assert report["worker"] == [sys.executable, "1"]
    assert "\nprogress\n" in stderr
    assert "spark.master = local[2] is not used: Spark was started with local[1]" in stderr
    assert "spark.driver.memory = 700m is not used: Spark was started with its default" in stderr


def test_a_running_session_is_used_and_left_running(spark):
    with session("another") as found:
        assert found.sparkContext is spark.sparkContext
        assert (
            build_session("a third", {"spark.sql.shuffle.partitions": "99"}).conf.get(
                "spark.sql.shuffle.partitions"
            )
            == "4"
        )
    assert is_running()
    assert spark.range(3).count() == 3


@pytest.mark.parametrize(
    ("variables", "master", "url"),
    [
        ({}, None, None),
        ({}, "local[2]", None),
        ({"SPARK_REMOTE": "sc://host"}, None, "sc://host"),
        ({"SPARK_REMOTE": "sc://host"}, "sc://other", "sc://host"),
        ({"MASTER": "sc://host"}, None, "sc://host"),
        ({"MASTER": "local[2]"}, "sc://other:1", "sc://other:1"),
        ({"SPARK_API_MODE": "connect"}, "local[2]", None),
    ],
)
def test_the_server_that_is_asked_for(monkeypatch, variables, master, url):
    for name in ("SPARK_REMOTE", "MASTER", "SPARK_API_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert server_url(SparkOptions(master=master).as_conf()) == url


def test_a_remote_that_is_no_server_is_refused(monkeypatch):
    monkeypatch.setenv("SPARK_REMOTE", "local[2]")
    with pytest.raises(ConfigError, match=r"^SPARK_REMOTE = 'local\[2\]' is not allowed: it must be sc://"):
        server_url({})


def test_a_server_that_is_not_there_is_named_at_once():
    pytest.importorskip("grpc", reason="the extra connect has what Spark Connect's client needs")
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"sc://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            RecsparkError, match=rf"^no Spark Connect server answers at {url} \(Connection ref"
        ):
            remote_session(f"{url}/;token=secret", "a job", {})


def test_threads_of_a_local_master(spark):
    assert default_threads(spark) == 2


def test_options_become_sparks_settings():
    conf = build_sections({"spark": {"driverMemory": "3g", "shufflePartitions": 8}}, [SparkOptions])[
        "spark"
    ].as_conf()
    assert conf == {"spark.driver.memory": "3g", "spark.sql.shuffle.partitions": "8"}
    others = {"spark.jars": "a.jar", "spark.ui.enabled": False, "spark.sql.shuffle.partitions": 3}
    assert SparkOptions(conf=others).as_conf() == {
        "spark.jars": "a.jar",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "3",
    }
    assert SparkOptions(conf=others, shufflePartitions=8).as_conf()["spark.sql.shuffle.partitions"] == "8"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("driverMemory", "4"),
        ("driverMemory", "0g"),
        ("shufflePartitions", 0),
        ("conf", {"jars": "a.jar"}),
        ("conf", {"spark.jars": ["a.jar"]}),
    ],
)
def test_options_out_of_range(key, value):
    with pytest.raises(ConfigError, match=rf"spark\.{key} = .* is not allowed: it must be "):
        SparkOptions(**{key: value})
