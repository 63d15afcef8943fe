"""The Python of Spark's workers: chosen by an import, checked once per session, complained about in one
sentence.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark import cloudpickle

import recspark
from recspark.engine.spark import session, workers
from recspark.engine.spark.session import check_workers
from recspark.errors import RecsparkError

ROOT = Path(recspark.__file__).parents[1]
GOOD = {"python": "/p", "version": "1", "missing": [], "cold": False}


def variables_after(code, **environment):
    """The environment of a bare process after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, os; print(json.dumps(dict(os.environ)))"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "code", ["import recspark.models", "from recspark.models.serving import scorer", "import recspark"]
)
def test_an_import_names_this_python(code):
    assert variables_after(code)["PYSPARK_PYTHON"] == sys.executable


def test_the_package_alone_imports_neither_spark_nor_numba():
    check = (
        "import sys, recspark.models; assert not {'pyspark', 'numba', 'numpy', 'pandas'} & set(sys.modules)"
    )
    assert variables_after(check)


def test_the_users_choice_stays():
    assert (
        variables_after("import recspark.models", PYSPARK_PYTHON="/other/python")["PYSPARK_PYTHON"]
        == "/other/python"
    )


def test_a_user_id_without_a_name_gets_one(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "user_has_name", lambda: False)
    monkeypatch.setattr(
        workers.os, "environ", environment := {"HOME": str(tmp_path), "SPARK_SUBMIT_OPTS": "-Da=b"}
    )
    workers.prepare_environment()
    assert environment["SPARK_USER"] == f"uid{os.geteuid()}"
    assert environment["USER"] == f"uid{os.geteuid()}" and environment["HOME"] == str(tmp_path)
    assert environment["SPARK_SUBMIT_OPTS"] == f"-Duser.home={tmp_path} -Da=b"


def test_a_user_id_without_a_name_and_a_home_gets_both(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "user_has_name", lambda: False)
    monkeypatch.setattr(workers.os, "environ", environment := {})
    monkeypatch.setattr(
        workers.os.path, "expanduser", lambda path: path
    )  # what it does where it knows no home
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    workers.prepare_environment()
    assert environment["HOME"] == str(tmp_path / f"recspark-home-{os.geteuid()}")


def test_an_unnamed_user_can_open_files(spark, monkeypatch, tmp_path):
    from recspark.engine.spark import jvm

    user = spark._jvm.org.apache.hadoop.security.UserGroupInformation
    before = user.getLoginUser()
    monkeypatch.setattr(jvm, "user_has_name", lambda: False)
    try:
        jvm.name_nameless_user(spark._jvm)
        assert user.getLoginUser().getShortUserName() == f"uid{os.geteuid()}"
        spark.range(1).write.parquet(str(tmp_path / "table"))
    finally:
        user.setLoginUser(before)


def test_a_look_needs_no_recspark_to_travel():
    look = f"""
import sys
sys.modules["recspark"] = None  # to import it fails
from pyspark import cloudpickle
print(cloudpickle.loads({cloudpickle.dumps(workers.look)!r})()["version"])
"""
    assert (
        subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60).stdout
        == "None\n"
    )
    assert workers.look()["version"] == recspark.__version__


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"version": None}, "run /p, which finds no recspark: do this"),
        ({"version": "0"}, "run /p with recspark 0, and this process has 1: do this"),
        ({"missing": ["numba", "scipy"]}, "run /p, which lacks numba, scipy: do this"),
    ],
)
def test_complaints(found, said):
    assert workers.complaint(GOOD | found, "1", "do this") == f"Spark's workers {said}"
    assert workers.complaint(GOOD, "1", "do this") is None


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(session, "_checked", set())


@pytest.fixture
def python(spark, unchecked, monkeypatch, tmp_path):
    """Make a shell script the Python of the workers."""

    def give(text):
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setattr(spark.sparkContext, "pythonExec", str(script))
        return script

    return give


def test_workers_without_packages(spark, python):
    script = python(f'exec {sys.executable} -S "$@"')  # without site-packages
    with pytest.raises(
        RecsparkError,
        match=f"Spark's workers run .*: stop this session, set PYSPARK_PYTHON={sys.executable}, and",
    ):
        check_workers(spark)
    assert script.exists()


def test_workers_of_another_python(spark, python):
    script = python("echo 3.8")
    with pytest.raises(
        RecsparkError,
        match=f"^the Python of Spark's workers, {script}, is Python 3.8, and this is .*: stop this session",
    ):
        check_workers(spark)


def test_workers_whose_python_is_not_there(spark, unchecked, monkeypatch):
    monkeypatch.setattr(spark.sparkContext, "pythonExec", "no-such-python")
    with pytest.raises(
        RecsparkError,
        match=r"^the Python of Spark's workers, no-such-python, does not run: stop this session",
    ):
        check_workers(spark)


def test_every_entry_looks_first(spark, python, tmp_path):
    from recspark.models import ALS, FMRegressor

    rows = spark.createDataFrame([(1, 1, 1.0), (1, 2, 2.0), (2, 1, 3.0)], "user int, item int, rating double")
    model = ALS(rank=2, maxIter=1).fit(rows)
    python("echo 3.8")
    session._checked.clear()
    for entry in (
        lambda: ALS(rank=2, maxIter=1).fit(rows),
        lambda: FMRegressor(groups=["user", "item"], labelCol="rating").fit(rows),
        lambda: model.transform(rows),
        lambda: model.recommendForAllUsers(1),
        lambda: model.similarItems(None, 1),
    ):
        with pytest.raises(RecsparkError, match="is Python 3.8, and this is"):
            entry()


def test_a_session_is_looked_at_once(spark, unchecked, monkeypatch):
    check_workers(spark)
    monkeypatch.setattr(session, "_look", None)
    check_workers(spark)


def test_compiling_is_announced_once(spark, unchecked, monkeypatch, caplog):
    monkeypatch.setattr(
        session, "_look", lambda spark: GOOD | {"version": recspark.__version__, "cold": True}
    )
    with caplog.at_level(logging.WARNING):
        check_workers(spark)
        check_workers(spark)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "compiling for the first time after an install"
    ]


@pytest.mark.parametrize(
    ("trace", "fault"),
    [
        (
            'An error\n at x\nCaused by: Cannot run program "/p": error=2\n at',
            'does not run recspark (Cannot run program "/p": error=2)',
        ),
        (
            "x\nException: [PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12 than that "
            "in driver: 3.11, PySpark cannot run with different minor versions.\nx",
            "is Python 3.12, and this is 3.11",
        ),
        (
            "x\nModuleNotFoundError: No module named 'pyspark'\n\tat",
            "does not run recspark (ModuleNotFoundError: No module named 'pyspark')",
        ),
        ("only this\nline", "does not run recspark (only this)"),
    ],
)
def test_faults(trace, fault):
    assert session._fault(trace) == fault
