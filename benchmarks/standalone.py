"""A Spark standalone cluster on loopback, from the installed pyspark."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark


@contextmanager
def cluster(workers: int, cores: int, memory: str) -> Iterator[str]:
    """Start a master and its workers; yields the master's URL, stops them all at the end."""
    home = Path(pyspark.__file__).parent
    port, ui = _free_port(), _free_port()
    variables = os.environ | {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *arguments: str) -> None:
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}.{kind.capitalize()}", *arguments]
        started.append(subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    with tempfile.TemporaryDirectory() as scratch:
        try:
            start("master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(ui))
            _wait_for(port)
            for number in range(workers):
                place = ("--work-dir", f"{scratch}/{number}", "--host", "127.0.0.1", "--webui-port", str(_free_port()))
                start("worker", "-c", str(cores), "-m", memory, *place, f"spark://127.0.0.1:{port}")
            time.sleep(3)
            yield f"spark://127.0.0.1:{port}"
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port} after {seconds:g} s")
