"""The limit to the address space of Spark's workers: one sentence, or a fit; never a wait."""

import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from recspark.engine.spark import memory
from recspark.errors import ConfigError, RecsparkError
from recspark.kernels import threads

GIB = 1 << 30


def session(**settings):
    values = {f"spark.executor.{key.replace('_', '.')}": value for key, value in settings.items()}
    return SimpleNamespace(conf=SimpleNamespace(get=lambda key, default: values.get(key, default)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"pyspark_memory": "3g"}, {"pyspark_memory": "2560"}, {"pyspark_memory": "12gb", "cores": "4"}],
)
def test_enough(settings):
    memory.require_worker_memory(session(**settings))


@pytest.mark.parametrize(
    ("settings", "given", "needed"),
    [
        ({"pyspark_memory": "512m"}, 512, "2560m"),
        ({"pyspark_memory": "1g"}, 1024, "2560m"),
        ({"pyspark_memory": "2048"}, 2048, "2560m"),
        ({"pyspark_memory": "8g", "cores": "4"}, 2048, "10240m"),
    ],
)
def test_too_little_is_refused_in_one_sentence(settings, given, needed):
    message = (
        rf"spark.executor.pyspark.memory = .* {given} MiB .* needs 2560 MiB .* set it to {needed} or more"
    )
    with pytest.raises(ConfigError, match=message):
        memory.require_worker_memory(session(**settings))


def test_memory_that_ends_under_a_limit_names_the_setting(monkeypatch):
    def greedy():
        raise MemoryError

    with pytest.raises(MemoryError):
        memory.within_memory(greedy)
    monkeypatch.setattr(memory, "address_space", lambda: threads.AddressSpace(3 * GIB, 2 * GIB))
    with pytest.raises(RecsparkError, match=r"spark.executor.pyspark.memory limits it to 3072 MiB"):
        memory.within_memory(greedy)


def test_threads_that_have_no_room_are_not_started(monkeypatch):
    assert threads.affordable(64) == 64 or resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    for used, wanted, number in ((1, 8, 4), (1.9, 8, 1), (2.5, 8, 1), (1, 2, 2)):
        monkeypatch.setattr(
            threads, "address_space", lambda used=used: threads.AddressSpace(2 * GIB, int(used * GIB))
        )
        assert threads.affordable(wanted) == number
        assert threads.in_threads(lambda n: n * n, range(9), wanted) == [n * n for n in range(9)]


def test_the_address_space_is_that_of_the_process():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); "
        "from recspark.kernels.threads import address_space as space; print(*space())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    limit, used = map(int, done.stdout.split())
    assert limit == 4 * GIB and 100 << 20 < used < limit


FIT = """
import sys
from pyspark.sql import SparkSession
from recspark.errors import RecsparkError
from recspark.models import ALS, MatrixFactorization
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
spark = spark.config("spark.executor.pyspark.memory", sys.argv[1])
spark = spark.config("spark.sql.shuffle.partitions", "2")
spark = spark.config("spark.python.worker.reuse", sys.argv[2]).getOrCreate()
rows = [(n % 40, n * 7 % 31, float(n % 5)) for n in range(800)]
rows = spark.createDataFrame(rows, "user int, item int, rating double")
try:
    model = ALS(rank=4, maxIter=2).fit(rows)
    print("predicted", model.transform(rows).count(), model.recommendForAllUsers(2).count())
except RecsparkError as error:
    print("refused", error)
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "reuse", "outcome"),
    [
        ("512m", "true", "refused spark.executor.pyspark.memory = 512m gives"),
        ("2560m", "true", "predicted 800 40"),
        pytest.param("3g", "false", "predicted 800 40", marks=pytest.mark.long),
    ],
)
def test_a_fit_under_a_limit_ends(limit, reuse, outcome):
    done = subprocess.run(
        [sys.executable, "-c", FIT, limit, reuse],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ,
    )
    assert outcome in done.stdout, done.stderr[-2000:]
