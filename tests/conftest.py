"""One Spark session for the whole suite, and the folder of real data."""

import json
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
# for this process and those that tests start: a query runs once, so quick compiling beats good compiling
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from pyspark.sql import SparkSession

    warehouse = tmp_path_factory.mktemp("warehouse")
    session = (
        SparkSession.builder.master("local[2]")
        .appName("recspark-tests")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.memory", "2g")
        # no Java code per query either: compiling it takes longer than the query
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.warehouse.dir", str(warehouse))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.python.sql.dataFrameDebugging.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture
def command(spark, capsys):
    """Run a command on the suite's session: ``command("train", "model.rank=4")``, words with "=" being
    settings. Gives the exit code, the summary (None where stdout is empty) and what stderr got."""
    from recspark.cli import main

    def run(*words):
        capsys.readouterr()  # what others have said
        code = main([part for word in words for part in (["--set", word] if "=" in word else [word])])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return run


@pytest.fixture(scope="session")
def movielens():
    """The folder of real MovieLens archives (RECSPARK_DATA); tests that need it are skipped where it is not
    set.
    """
    folder = os.environ.get("RECSPARK_DATA")
    if not folder:
        pytest.skip(
            "RECSPARK_DATA is not set: point it at a folder with ml-100k.zip, ml-1m.zip, ml-latest-small.zip"
        )
    return Path(folder).absolute()
