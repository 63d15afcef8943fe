"""The tests of this folder run on a card, or in numba's simulator: `make test-gpu-simulated`."""

import sys
from pathlib import Path

import pytest
from numba import cuda
from numba.core import config

from recspark.kernels.cuda import simulator

SIMULATED = bool(config.ENABLE_CUDASIM)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if item.get_closest_marker("gpu") and SIMULATED:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA card, not the simulator"))
        elif not SIMULATED and not cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA card, or make test-gpu-simulated"))


@pytest.fixture(scope="session", autouse=True)
def prepared():
    """See `recspark.kernels.cuda.simulator`."""
    interval = sys.getswitchinterval()
    if SIMULATED:
        simulator.prepare()
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def card():
    from recspark.kernels.cuda.card import Card

    return Card(0)
