"""A real ``mlflow server`` on a free port, to be killed."""

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
    """A real ``mlflow server`` over the database of `lake`."""

    def __init__(self, lake, port):
        store, artifacts = f"sqlite:///{lake.root}/mlflow.db", lake.path("mlartifacts")
        options = ["--backend-store-uri", store, "--default-artifact-root", artifacts, "--host", "127.0.0.1", "--port", str(port)]
        self.command = [sys.executable, "-m", "mlflow", "server", *options, "--workers", "1"]
        self.health = f"http://127.0.0.1:{port}/health"

    def __enter__(self):
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, env=environment, start_new_session=True, **quiet)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(self.health, timeout=1):
                    return self.process
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise AssertionError("mlflow server did not start within 120 s")

    def __exit__(self, *_):
        stop(self.process)


def stop(server):
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)  # its own session: the server and its workers
        server.wait(10)
