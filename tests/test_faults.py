"""Faults of the machine around whole jobs: a full disk, kill -9, two runs at once."""

import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from recspark.cli.failures import explained, is_full
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.errors import DataRejected, RecsparkError
from recspark.lake.lake import Lake
from tests.faults import kills

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated") / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=100, items=80, ratings=4000)), folder)
    return folder


@pytest.fixture
def call(command):
    return lambda job, *settings: command(job, "tracking.enabled=false", *settings)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, text=True
        )
        if shutil.which("mount")
        else None
    )
    if mounted is None or mounted.returncode:
        pytest.skip(
            "no file system may be mounted here: "
            f"{mounted.stderr.strip() if mounted else 'there is no mount'}"
        )
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk, free):
    """Leave so many bytes free."""
    with (disk / "filler").open("wb") as file:
        file.truncate(0)
        usage = os.statvfs(disk)
        file.write(bytes(max(usage.f_bavail * usage.f_bsize - free, 0)))


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


@pytest.mark.slow
def test_on_a_full_disk_every_job_says_so_and_leaves_what_there_was(call, source, small_disk, tmp_path):
    lake = small_disk / "lake"
    settings = [f"paths.lake={lake}", "model.rank=4", "model.maxIter=2", "evaluation.ranking=false"]
    code, _, err = call("pipeline", *settings, f"data.source={source}")
    assert code == 0, err
    before = content(lake)
    larger = tmp_path / "larger" / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=200, items=120, ratings=9000)), larger)
    for job, free, more in [
        ("ingest", 30_000, [f"data.source={larger}"]),
        ("ingest", 0, [f"data.source={larger}"]),
        ("split", 20_000, ["split.seed=7"]),
        ("train", 8_000, ["model.maxIter=3"]),
        ("train", 0, ["model.maxIter=3"]),
        ("evaluate", 4_000, []),
        ("recommend", 4_000, []),
    ]:
        fill(small_disk, free)
        code, _, err = call(job, *settings, *more)
        assert code == 1 and "Traceback" not in err, (job, free, err[-3000:])
        assert f"no space is left for a file: {lake} has 0 MB free of 8 MB" in err, (job, free, err[-3000:])
        (small_disk / "filler").unlink()
        # a task that had not ended yet may leave a file for the next run to delete, where no reader looks
        whole = {
            name: data for name, data in content(lake).items() if not name.startswith(("work/", ".staging/"))
        }
        assert whole == before, (job, free)
    code, _, err = call("pipeline", *settings, f"data.source={source}")
    assert code == 0, err


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    """For machines where nothing may be mounted: no file may be larger than 40 kB."""
    source, lake = tmp_path / "ml-1m", tmp_path / "lake"
    write_movielens(generate(SyntheticOptions(users=300, items=200, ratings=20_000)), source)
    settings = [f"paths.lake={lake}", f"data.source={source}", "tracking.enabled=false"]
    command = [
        sys.executable,
        str(ROOT / "jobs" / "ingest.py"),
        *(word for setting in settings for word in ("--set", setting)),
    ]
    limit = (40_000, resource.RLIM_INFINITY)
    variables = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        command,
        env=variables,
        capture_output=True,
        text=True,
        timeout=200,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-3000:]
    assert "no space is left for a file" in done.stderr and str(lake) in done.stderr
    assert not (lake / "tables").exists() and not list((lake / ".staging").iterdir())


def test_what_tells_of_a_full_disk(tmp_path):
    lake = Lake(str(tmp_path))
    spark = RuntimeError(
        "An error occurred while calling o1.parquet: java.io.IOException: No space left on device"
    )
    for error in (OSError(28, "x"), OSError(122, "x"), OSError(27, "x"), spark):
        with (
            pytest.raises(RecsparkError, match=f"no space is left for a file: .*{tmp_path} has"),
            explained(lake),
        ):
            raise ValueError from error
    with pytest.raises(RecsparkError, match=r"Permission denied: '/x'") as plain, explained(lake):
        raise PermissionError(13, "Permission denied", "/x")
    assert plain.value.exit_code == 1
    for error in (ValueError("x"), DataRejected("no space left"), OSError(5, "Input/output error")):
        assert not is_full(error)
        with pytest.raises(type(error)), explained(lake):
            raise error


@pytest.mark.slow
def test_a_second_run_says_who_holds_the_output_and_others_go_on(call, source, tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    settings = [
        f"paths.lake={lake.root}",
        f"data.source={source}",
        "paths.waitSeconds=0",
        "model.rank=2",
        "model.maxIter=1",
    ]
    with elsewhere(lake.writing("tables")):
        code, _, err = call("ingest", *settings)
        assert (
            code == 1 and f"in use by a writer (process {os.getpid()} on " in err and "Traceback" not in err
        )
    assert call("ingest", *settings)[0] == call("split", *settings)[0] == 0
    with elsewhere(lake.writing("models/als")), elsewhere(lake.reading("splits/default")):
        code, _, err = call("train", *settings)
        assert code == 1 and "models/als is in use by a writer" in err
        code, _, err = call("train", *settings, "model.name=other")
        assert code == 0, err
        code, _, err = call("split", *settings, "split.seed=3")
        assert code == 1 and "splits/default is in use by a reader" in err


@contextmanager
def elsewhere(lock):
    """Hold `lock` in another thread, which shares no locks with this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lock.__enter__).result()
        yield
        thread.submit(lock.__exit__, None, None, None).result()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")
@pytest.mark.parametrize(
    ("times", "seed", "victims"),
    # the driver in training; an executor in ingest, the driver in block building and a Python worker in
    # training
    [(1, 49, ("driver",)), pytest.param(3, 42, tuple(kills.VICTIMS), marks=pytest.mark.long)],
)
def test_killed_pipelines_run_again_to_the_same_lake(tmp_path, times, seed, victims):
    results = list(kills.run(times, seed, victims, tmp_path))
    assert all(isinstance(result, kills.Result) for result in results), results
    assert {result.kill.victim for result in results} == set(victims)
    assert any(result.reached != "over" for result in results)
