"""The pipeline on a standalone cluster whose Python has no recspark: from the archive of `make dist`, with a
worker that dies, and across network namespaces; always the same bits as undisturbed."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyspark
import pytest

from benchmarks.standalone import Host, cluster
from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens

ROOT = Path(__file__).parents[2]
MODEL = ("type=als", "name=als", "rank=16", "maxIter=12", "center=true", "biases=true", "threads=1")
LAYOUT = ("userBlocks=2", "itemBlocks=2", "tasks=blocks")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder that `make dist` fills: RECSPARK_DIST where it is set, else made here."""
    if made := os.environ.get("RECSPARK_DIST"):
        return Path(made)
    folder = tmp_path_factory.mktemp("dist")
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYSPARK_"))
    }
    done = subprocess.run(
        ["make", "dist", f"DIST={folder}"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def environment(dist, tmp_path_factory):
    """The archive unpacked, for the driver; workers get theirs from Spark."""
    folder = tmp_path_factory.mktemp("driver") / "environment"
    with tarfile.open(dist / "environment.tar.gz") as archive:
        archive.extractall(folder, filter="fully_trusted")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=300, items=200, ratings=20_000)), folder)
    return folder


def pipeline_settings(lake):
    """The same ones for all runs."""
    words = [
        f"paths.lake={lake}",
        "split.testFraction=0.2",
        "evaluation.ranking=false",
        "tracking.logModel=false",
    ]
    return [*words, *(f"model.{word}" for word in MODEL + LAYOUT)]


def submit(master, job, lake, dist, environment, *settings, address="127.0.0.1", options=()):
    """spark-submit of a job that finds recspark in the archive and nowhere else."""
    command = [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        "--master",
        master,
        "--driver-memory",
        "1g",
    ]
    command += [
        "--conf",
        "spark.executor.memory=1g",
        "--conf",
        "spark.pyspark.python=./environment/bin/python",
    ]
    command += [
        "--conf",
        f"spark.pyspark.driver.python={environment}/bin/python",
        "--conf",
        f"spark.driver.host={address}",
    ]
    command += [
        "--conf",
        "spark.log.level=ERROR",
        "--archives",
        f"{dist}/environment.tar.gz#environment",
        *options,
    ]
    command.append(str(ROOT / "jobs" / f"{job}.py"))
    command += [word for each in (*pipeline_settings(lake), *settings) for word in ("--set", each)]
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYSPARK_"))
    }
    variables |= {"SPARK_LOCAL_IP": address, "SPARK_HOME": str(Path(pyspark.__file__).parent)}
    # away from the repository, whose folder would be on the path
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # a group of its own: the JVM and the driver's Python end together
    return subprocess.Popen(command, cwd=lake.parent, env=variables, start_new_session=True, **pipes)


def finish(process):
    try:
        out, err = process.communicate(timeout=900)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 0, err[-4000:]
    return json.loads(out.splitlines()[-1])


def factors(lake):
    """The tables of the model, by id."""
    tables = {
        side: pq.read_table(lake / "models" / "als" / side).sort_by("id") for side in ("users", "items")
    }
    return {
        side: np.stack(table["features"].to_numpy(zero_copy_only=False)) for side, table in tables.items()
    }


def assert_same_bits(found, expected):
    for side in ("users", "items"):
        np.testing.assert_array_equal(found[side].view(np.uint32), expected[side].view(np.uint32))


@pytest.mark.long
def test_the_python_of_this_test_has_no_recspark(environment):
    home = next(
        line.partition("=")[2].strip()
        for line in (environment / "pyvenv.cfg").read_text().splitlines()
        if line.startswith("home")
    )
    done = subprocess.run(
        [f"{home}/python3", "-I", "-c", "import recspark"], capture_output=True, text=True, cwd="/"
    )
    assert "No module named 'recspark'" in done.stderr


@pytest.fixture(scope="module")
def undisturbed(spark, source, tmp_path_factory):
    """The lake after a whole pipeline in this process, by the recspark of this test."""
    lake = tmp_path_factory.mktemp("undisturbed") / "lake"
    words = [*pipeline_settings(lake), f"data.source={source}", "tracking.enabled=false"]
    assert main(["pipeline", *(word for each in words for word in ("--set", each))]) == 0
    return lake


@pytest.mark.long
def test_a_worker_that_is_killed_in_training_changes_no_bit(undisturbed, dist, environment, source, tmp_path):
    lake = tmp_path / "lake"
    with cluster(workers=2, cores=1, memory="2g") as running:
        job = submit(
            running.master,
            "pipeline",
            lake,
            dist,
            environment,
            f"data.source={source}",
            "tracking.enabled=false",
        )
        killed = threading.Thread(target=kill_in_training, args=(running, lake, job))
        killed.start()
        summary = finish(job)
        killed.join()
        assert running.workers[0].poll() is not None
    assert summary["resumed_at"] == 0 and summary["iterations"] == 12 and summary["rmse"] < 1.1
    assert_same_bits(factors(lake), factors(undisturbed))


def kill_in_training(running, lake, job):
    """Kill the first worker once the third iteration is written."""
    while job.poll() is None:
        if any(lake.glob("work/als/fit-*/iterations/00003.json")):
            running.kill(0)
            return
        time.sleep(0.02)


@pytest.mark.long
def test_newer_code_goes_over_the_archive(undisturbed, dist, environment, source, tmp_path):
    with zipfile.ZipFile(dist / "recspark.zip") as old, zipfile.ZipFile(tmp_path / "newer.zip", "w") as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, text + b'\n__version__ = "9.9"\n' if name == "recspark/__init__.py" else text)
    lake = tmp_path / "lake"
    with cluster(workers=1, cores=2, memory="2g") as running:
        options = ("--py-files", str(tmp_path / "newer.zip"))
        finish(
            submit(
                running.master, "pipeline", lake, dist, environment, f"data.source={source}", options=options
            )
        )
        assert (
            finish(submit(running.master, "recommend", lake, dist, environment, options=options))["users"]
            == 300
        )
    assert_same_bits(factors(lake), factors(undisturbed))
    with sqlite3.connect(lake / "mlflow.db") as runs:
        assert set(runs.execute("select value from tags where key = 'recspark.version'")) == {("9.9",)}


@pytest.fixture
def two_hosts():
    """Two network namespaces that see this machine and each other by a bridge, as hosts on a network
    would.
    """
    ip = shutil.which("ip")
    if ip is None or os.geteuid() != 0:
        pytest.skip("network namespaces need the command ip and root")
    names, bridge, net = (
        [f"recspark{number}-{os.getpid()}" for number in (1, 2)],
        f"rs{os.getpid()}"[:15],
        "10.213.77",
    )

    def run(*words):
        return subprocess.run([ip, *words], capture_output=True, text=True)

    made = [
        run("link", "add", bridge, "type", "bridge"),
        run("addr", "add", f"{net}.1/24", "dev", bridge),
        run("link", "set", bridge, "up"),
    ]
    for number, name in enumerate(names, start=2):
        inside, outside = f"rsi{number}-{os.getpid()}"[:15], f"rso{number}-{os.getpid()}"[:15]
        made += [
            run("netns", "add", name),
            run("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name),
        ]
        made += [
            run("link", "set", outside, "master", bridge, "up"),
            run("-n", name, "addr", "add", f"{net}.{number}/24", "dev", inside),
        ]
        made += [run("-n", name, "link", "set", inside, "up"), run("-n", name, "link", "set", "lo", "up")]
    try:
        if failed := [step for step in made if step.returncode]:
            pytest.skip(f"network namespaces are not permitted here: {failed[0].stderr.strip()}")
        first = Host(f"{net}.1")
        yield (
            first,
            *(
                Host(f"{net}.{number}", (ip, "netns", "exec", name))
                for number, name in enumerate(names, start=2)
            ),
        )
    finally:
        for name in names:
            run("netns", "delete", name)
        run("link", "delete", bridge)


@pytest.mark.long
def test_hosts_with_networks_of_their_own(undisturbed, two_hosts, dist, environment, source, tmp_path):
    lake = tmp_path / "lake"
    with cluster(workers=2, cores=1, memory="2g", hosts=two_hosts) as running:
        job = submit(
            running.master,
            "pipeline",
            lake,
            dist,
            environment,
            f"data.source={source}",
            address=two_hosts[0].address,
        )
        summary = finish(job)
    assert summary["iterations"] == 12
    assert_same_bits(factors(lake), factors(undisturbed))
