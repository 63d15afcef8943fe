"""The processes of runs: hosts that run commands, what has grown below them, and their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: seconds that a run may take
TIMEOUT = 300


class Host:
    """A process that runs commands in a Spark session of its own (`tests.faults.host`)."""

    def __init__(self, master: str, log: Path) -> None:
        variables = os.environ | {
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }
        # many small queries run once: to compile them well takes longer than to run them
        variables |= {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
        command = [sys.executable, "-m", "tests.faults.host", master]
        self.log, self._code = log, log
        with log.open("ab") as out:
            # a session of its own, so that whatever is left of it can be found and ended
            self.process = subprocess.Popen(
                command, env=variables, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )

    def begin(self, arguments: list[str], code: Path) -> None:
        """Start a command, whose exit code will stand in the file `code`."""
        self._code = code
        self.process.stdin.write(json.dumps({"arguments": arguments, "code": str(code)}).encode() + b"\n")
        self.process.stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether the command is over, or its process is."""
        return self._code.exists() or self.process.poll() is not None

    def result(self) -> int:
        """The exit code of the command; -9 where its process was killed."""
        deadline = time.monotonic() + TIMEOUT
        while not self.ended:
            assert time.monotonic() < deadline, f"the run did not end within {TIMEOUT} s: {self.tail()}"
            time.sleep(0.02)
        return int(self._code.read_text()) if self._code.exists() else self.process.wait()

    def tail(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text("utf-8", "replace")[-4000:]

    def close(self) -> None:
        """End it, and what is left of its session."""
        self.process.kill()
        self.process.communicate()
        end_session(self.process.pid)


def processes() -> Iterator[tuple[int, int, int, str]]:
    """Id, parent, session and command line of every process that can be seen."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                yield (
                    int(folder.name),
                    int(fields[1]),
                    int(fields[3]),
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"),
                )
            except (OSError, IndexError):
                continue


def descendants(pid: int, mark: str) -> list[int]:
    """The processes below `pid` whose command line holds `mark`."""
    found, family = list(processes()), {pid}
    for _ in found:
        grown = family | {child for child, parent, _, _ in found if parent in family}
        if grown == family:
            break
        family = grown
    return sorted(
        child for child, _, _, command in found if child in family and child != pid and mark in command
    )


def end_session(leader: int) -> None:
    """End what is left of the session that a run was started in."""
    for pid, _, session, _ in list(processes()):
        if session == leader:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
