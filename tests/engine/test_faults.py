"""Fits that are killed, and fits on several processes: always the same bits as undisturbed in one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fit_job import fit

SCRIPT = Path(__file__).with_name("fit_job.py")

pytestmark = pytest.mark.slow


def start(*arguments):
    # its own process group, so that a kill takes the whole driver and nothing else
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)], start_new_session=True, stderr=subprocess.PIPE
    )


def finish(tmp_path, master, work, blocks, max_iter, *sabotage):
    process = start(master, tmp_path / work, tmp_path / "out.npz", blocks, max_iter, *sabotage)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()[-3000:]
    return dict(np.load(tmp_path / "out.npz"))


def assert_same_bits(found, expected):
    for side in ("users", "items"):
        np.testing.assert_array_equal(found[side].view(np.uint32), expected[side].view(np.uint32))


def wait_for(pattern, folder, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read().decode()[-3000:]
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("blocks", "max_iter", "killed_at"), [pytest.param(1, 700, 20, marks=pytest.mark.long), (2, 6, 2)]
)
def test_a_fit_whose_driver_is_killed_goes_on_to_the_same_bits(spark, tmp_path, blocks, max_iter, killed_at):
    process = start("local[2]", tmp_path / "work", tmp_path / "out.npz", blocks, max_iter)
    wait_for(f"fit-*/iterations/{killed_at:05d}.json", tmp_path / "work", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out.npz").exists()
    resumed = finish(tmp_path, "local[2]", "work", blocks, max_iter)
    assert killed_at <= resumed["resumed_at"] < max_iter
    assert_same_bits(resumed, fit(spark, tmp_path / "undisturbed", blocks, max_iter))


@pytest.mark.parametrize("blocks", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_killed_python_worker_is_replaced(spark, tmp_path, blocks):
    found = finish(tmp_path, "local[2,4]", "work", blocks, 4, tmp_path / "died")
    assert (tmp_path / "died").exists()
    assert_same_bits(found, fit(spark, tmp_path / "undisturbed", blocks, 4))


def test_a_cluster_of_processes_gives_the_same_model(spark, tmp_path):
    found = finish(tmp_path, "local-cluster[2,1,2048]", "work", 2, 3)
    assert_same_bits(found, fit(spark, tmp_path / "undisturbed", 2, 3))
