"""What Spark's JVM is started with, and what becomes of its words; test_session.py starts it."""

import os
import threading

import pytest

from recspark.engine.spark import jvm
from recspark.errors import RecsparkError


@pytest.mark.parametrize(
    ("master", "local"),
    [
        ("local", True),
        ("local[*]", True),
        ("local[4,2]", True),
        ("local-cluster[2,1,1024]", False),
        ("spark://h:7077", False),
    ],
)
def test_local_masters(master, local):
    assert jvm.is_local(master) is local


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    for key in (
        "MASTER",
        "SPARK_DRIVER_MEMORY",
        "SPARK_SUBMIT_OPTS",
        "SPARK_LOCAL_IP",
        "PYSPARK_SUBMIT_ARGS",
    ):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))


@pytest.mark.usefixtures("bare_environment")
def test_launch_variables_yield_to_the_users(monkeypatch):
    variables = jvm._launch_variables({})
    assert variables["MASTER"] == "local[*,4]"
    assert variables["SPARK_LOCAL_IP"] == "127.0.0.1"
    for key, value in {
        "MASTER": "local[7]",
        "SPARK_DRIVER_MEMORY": "5g",
        "SPARK_LOCAL_IP": "10.0.0.1",
    }.items():
        monkeypatch.setenv(key, value)
        assert jvm._launch_variables({"spark.driver.memory": "1g"})[key] == value
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Dmine=1")
    assert jvm._launch_variables({})["SPARK_SUBMIT_OPTS"].endswith(" -Dmine=1")


@pytest.mark.usefixtures("bare_environment")
def test_loopback_only_where_the_master_is_surely_local(monkeypatch, tmp_path):
    assert "SPARK_LOCAL_IP" not in jvm._launch_variables({"spark.master": "spark://host:7077"})
    (tmp_path / "spark-defaults.conf").write_text("spark.master yarn\n")
    assert "SPARK_LOCAL_IP" not in jvm._launch_variables({})


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        (jvm.INCUBATOR + b"\nWARN one\nWARN two", b"WARN one\nWARN two"),
        (b"Error: no memory\n" + jvm.INCUBATOR, b"Error: no memory\n" + jvm.INCUBATOR),
        (jvm.INCUBATOR + b"\n", b""),
        (b"", b""),
    ],
)
def test_the_jvms_words_are_passed_on(capfdbinary, said, passed_on):
    read_end, write_end = os.pipe()
    os.write(write_end, said)
    os.close(write_end)
    jvm._relay(read_end)
    assert capfdbinary.readouterr().err == passed_on


@pytest.mark.parametrize(("pages", "gib"), [(2**17, 1), (2**21, 4), (2**26, 8)])
def test_half_of_memory(monkeypatch, pages, gib):
    monkeypatch.setattr(jvm.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": pages}.get)
    monkeypatch.setattr(jvm.Path, "read_text", lambda path: "max\n")
    assert jvm._half_of_memory() == gib


def test_half_of_a_containers_memory(monkeypatch):
    monkeypatch.setattr(jvm.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**26}.get)
    monkeypatch.setattr(jvm.Path, "read_text", lambda path: f"{6 * 2**30}\n")
    assert jvm._half_of_memory() == 3


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_jvm_that_does_not_start_is_an_error_with_its_own_words(monkeypatch, tmp_path, capfd):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'Error: no room for the heap' >&2\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setattr(jvm, "ensure_java", lambda: str(tmp_path))
    with pytest.raises(RecsparkError, match=f"did not start on the Java in {tmp_path}"):
        jvm._launch({})
    for thread in threading.enumerate():
        if thread.name == "spark-stderr":
            thread.join(10)
    assert "Error: no room for the heap" in capfd.readouterr().err
    assert os.environ.get("JAVA_HOME") != str(tmp_path)
