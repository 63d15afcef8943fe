"""A real ``mlflow server`` on a free port, to be used, stopped and killed."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class start_server:
    """A real ``mlflow server`` over the database of `lake`; with `artifacts`, files go through the server
    into that folder.
    """

    def __init__(self, lake, port, artifacts=None):
        store = [
            "--backend-store-uri",
            f"sqlite:///{lake.root}/mlflow.db",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ]
        files = (
            ["--artifacts-destination", artifacts]
            if artifacts
            else ["--default-artifact-root", lake.path("mlartifacts")]
        )
        self.command = [sys.executable, "-m", "mlflow", "server", *store, *files]
        self.health = f"http://127.0.0.1:{port}/health"

    def __enter__(self):
        environment = os.environ | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, env=environment, start_new_session=True, **quiet)
        try:
            wait_for(self.health, self.process)
        except BaseException:
            stop(self.process)
            raise
        return self.process

    def __exit__(self, *_):
        stop(self.process)


def wait_for(address, process, seconds=120):
    """Wait until `address` answers; an error where `process` ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the server of {address} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{address} did not answer within {seconds} s")


def stop(server):
    """Kill the server and its workers, which are a session of their own; stopped ones, too."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)
