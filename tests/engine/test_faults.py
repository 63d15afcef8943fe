"""Fits that are killed, and fits on several processes: always the same bits as undisturbed on one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("fit_job.py")


def start(*arguments):
    # its own process group, so that a kill takes the whole driver and nothing else
    return subprocess.Popen([sys.executable, str(SCRIPT), *map(str, arguments)], start_new_session=True, stderr=subprocess.PIPE)


def finish(*arguments):
    process = start(*arguments)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()[-3000:]


def run(tmp_path, name, master, blocks, max_iter, *sabotage):
    finish(master, tmp_path / f"work-{name}", tmp_path / f"{name}.npz", blocks, max_iter, *sabotage)
    return dict(np.load(tmp_path / f"{name}.npz"))


def assert_same_bits(found, expected):
    for side in ("users", "items"):
        np.testing.assert_array_equal(found[side].view(np.uint32), expected[side].view(np.uint32))


def wait_for(pattern, folder, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read().decode()[-3000:]
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.005)


@pytest.mark.parametrize(("blocks", "max_iter", "killed_at"), [(1, 150, 20), (2, 6, 2)])
def test_a_fit_whose_driver_is_killed_goes_on_to_the_same_bits(tmp_path, blocks, max_iter, killed_at):
    expected = run(tmp_path, "undisturbed", "local[2]", blocks, max_iter)
    work = tmp_path / "work-killed"
    process = start("local[2]", work, tmp_path / "killed.npz", blocks, max_iter)
    wait_for(f"fit-*/iterations/{killed_at:05d}.json", work, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed.npz").exists()
    resumed = run(tmp_path, "killed", "local[2]", blocks, max_iter)
    assert killed_at <= resumed["resumed_at"] < max_iter
    assert_same_bits(resumed, expected)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_killed_python_worker_is_replaced(tmp_path, blocks):
    expected = run(tmp_path, "undisturbed", "local[2]", blocks, 4)
    marker = tmp_path / "died"
    found = run(tmp_path, "sabotaged", "local[2,4]", blocks, 4, marker)
    assert marker.exists()
    assert_same_bits(found, expected)


def test_a_cluster_of_processes_gives_the_same_model(tmp_path):
    expected = run(tmp_path, "local", "local[2]", 2, 3)
    assert_same_bits(run(tmp_path, "cluster", "local-cluster[2,1,2048]", 2, 3), expected)
