"""The Param `device` on a machine without a card; tests/gpu has fits on one."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark import TaskContext

from recspark.algorithms import devices
from recspark.algorithms.devices import cuda
from recspark.algorithms.devices.cpu import Cpu
from recspark.engine.spark.runner import _Task
from recspark.errors import ConfigError, RecsparkError
from recspark.models import ALS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_card(monkeypatch):
    from numba import cuda as target

    monkeypatch.setattr(target, "is_available", lambda: False)


@pytest.fixture
def two_cards(monkeypatch):
    monkeypatch.setattr(cuda, "_cards", lambda: 2)
    monkeypatch.setattr(cuda, "_opened", lambda number: f"card {number}")


@pytest.fixture(autouse=True)
def nothing_granted():
    yield
    devices.grant(None)


@pytest.fixture
def ratings(spark):
    rows = [(user, item, float(1 + (user + item) % 5)) for user in range(6) for item in range(4)]
    return spark.createDataFrame(rows, "user int, item int, rating float").coalesce(1)


def test_a_card_that_is_not_there_is_one_sentence(ratings, no_card):
    with pytest.raises(RecsparkError) as caught:
        ALS(device="cuda", rank=2, maxIter=1).fit(ratings)
    message = str(caught.value)
    assert message.startswith("device = 'cuda' finds no card: ") and "\n" not in message
    assert "'cpu'" in message and "'auto'" in message and "cuda12" in message


def test_auto_is_the_processor_without_a_card(ratings, no_card):
    histories = [
        ALS(device=device, rank=2, maxIter=2).fit(ratings).summary.history for device in ("auto", "cpu")
    ]
    objectives = [[row["objective"] for row in history] for history in histories]
    assert objectives[0] == objectives[1]


def test_the_processor_is_the_default():
    assert ALS().getDevice() == "cpu"
    with pytest.raises(ConfigError, match="device.*one of cpu, cuda, auto"):
        ALS(device="gpu")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"nonnegative": True}, "nonnegative = True"),
        ({"implicitPrefs": True, "solver": "cg"}, "solver = 'cg'"),
        ({"rank": 769}, "rank = 769"),
    ],
)
def test_a_card_refuses_what_it_can_not_do(ratings, settings, named):
    with pytest.raises(ConfigError, match=f"device = 'cuda' is not allowed with {named}"):
        ALS(device="cuda", **settings).fit(ratings)


def test_a_model_does_not_know_the_device(ratings, no_card):
    facts = [ALS(device=device, rank=2, maxIter=1).fit(ratings)._facts for device in ("auto", "cpu")]
    assert facts[0].solver == facts[1].solver and "device" not in facts[0].solver["settings"]


def test_a_task_takes_the_card_that_it_was_given(two_cards):
    devices.grant(["1"])
    assert devices.find("cuda") == devices.find("auto") == "card 1"
    devices.grant(None)
    assert devices.find("auto") == "card 0"
    assert isinstance(devices.find("cpu"), Cpu)


@pytest.mark.parametrize("addresses", [[], ["2"], ["GPU-5a"]])
def test_a_task_without_a_card_of_its_own(two_cards, addresses):
    devices.grant(addresses)
    assert isinstance(devices.find("auto"), Cpu)
    with pytest.raises(RecsparkError, match="spark.task.resource.gpu.amount|Spark gave this task card"):
        devices.find("cuda")


@pytest.mark.parametrize(
    ("resources", "any_card", "granted"),
    [
        ({"gpu": SimpleNamespace(addresses=["1"])}, False, ["1"]),
        ({"gpu": SimpleNamespace(addresses=["1"])}, True, ["1"]),
        ({}, False, []),
        ({}, True, None),
    ],
)
def test_a_worker_passes_on_the_card_of_its_task(monkeypatch, resources, any_card, granted):
    context = SimpleNamespace(resources=lambda: resources)
    monkeypatch.setattr(TaskContext, "get", lambda: context)
    list(_Task(len, "unused", [], any_card)(iter([])))
    assert devices._granted == granted


def test_the_benchmark_says_that_there_is_no_card():
    """In the simulator, which is not a card, so that the test can run on a machine with one."""
    done = subprocess.run(
        [sys.executable, "benchmarks/bench_gpu.py", "--quick"],
        cwd=ROOT,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "no CUDA device\n", "")
