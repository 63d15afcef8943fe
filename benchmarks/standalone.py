"""A Spark standalone cluster from the installed pyspark: on loopback, or on hosts of its own (network
namespaces).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

#: seconds that a master or all workers may take to be there
PATIENCE = 60


@dataclass(frozen=True)
class Host:
    """Where a process runs: the address that it listens on, and the words in front of its command line."""

    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """A running cluster: the master's URL and the processes of its workers."""

    master: str
    workers: list[subprocess.Popen[bytes]]

    def kill(self, worker: int) -> None:
        """End a worker and its executors at once, as a host that loses its power would."""
        os.killpg(self.workers[worker].pid, signal.SIGKILL)


@contextmanager
def cluster(
    workers: int,
    cores: int,
    memory: str,
    hosts: Sequence[Host] = (Host(),),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """Start a master on the first of `hosts` and workers on the others in turn, all on the one where there is
    one; stop them at the end.

    `variables` are set in the environment of workers, so of executors.
    """
    first, *others = hosts
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        try:
            port, ui = _free_port(), _free_port()
            started.append(_start(first, "master", {}, "--port", str(port), "--webui-port", str(ui)))
            _wait_for(f"http://{first.address}:{ui}/json/", 0)
            for number in range(workers):
                host = (others or hosts)[number % len(others or hosts)]
                place = (
                    "-c",
                    str(cores),
                    "-m",
                    memory,
                    "--work-dir",
                    f"{scratch}/{number}",
                    "--webui-port",
                    "0",
                )
                started.append(
                    _start(host, "worker", variables or {}, *place, f"spark://{first.address}:{port}")
                )
            _wait_for(f"http://{first.address}:{ui}/json/", workers)
            yield Cluster(f"spark://{first.address}:{port}", started[1:])
        finally:
            for process in reversed(started):
                _stop(process)


def _start(host: Host, kind: str, variables: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    home = Path(pyspark.__file__).parent
    environment = os.environ | {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": host.address, **variables}
    command = [
        *host.prefix,
        str(home / "bin" / "spark-class"),
        f"org.apache.spark.deploy.{kind}.{kind.capitalize()}",
    ]
    # a session of its own: a worker and its executors can be stopped, or killed, together
    return subprocess.Popen(
        [*command, "--host", host.address, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started; one that does not end in time is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=20)
        except ProcessLookupError:
            process.wait(timeout=20)
            return
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(status: str, workers: int) -> None:
    """Until the master answers with so many workers alive."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(status, timeout=5) as answer:
                if json.load(answer)["aliveworkers"] >= workers:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{status} does not show {workers} workers after {PATIENCE} s")
