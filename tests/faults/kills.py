"""Pipelines that are killed at random moments, and run again:
``python -m tests.faults.kills --kills 30 --seed 1``.

Each try runs ``recspark pipeline`` on a new lake, kills one process of it with SIGKILL in the middle of a
phase, waits for what becomes of the run, and where that failed runs the same command again. Then the lake
must be whole and hold what an undisturbed run made. Where the driver is killed the run has a process and a
JVM of its own; runs whose workers or executors are killed share a session. Prints a table in Markdown; the
exit code is 1 where a try ended otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from tests.faults.processes import Host, descendants

#: what a run is at, by the last of these patterns that its lake has a file for; the first is there before
#: there is any
PHASES = {
    "start": "",
    "ingest": ".staging/tables-*",
    "index": ".staging/index-*",
    "split": ".staging/splits-*",
    "block building": "work/als/*",
    "training": "work/als/fit-*/iterations/00002.json",
    "writing": ".staging/models-*",
    "evaluation": ".staging/predictions-*",
}
#: what is killed, and the master that the run has for it: an executor is a process of its own only where
#: there is a cluster
VICTIMS = {
    "driver": "local[2]",
    "python worker": "local-cluster[2,1,1024]",
    "executor": "local-cluster[2,1,1024]",
}
#: what a process of that kind has in its command line
MARKS = {"python worker": "pyspark.daemon", "executor": "CoarseGrainedExecutorBackend"}


@dataclass(frozen=True)
class Kill:
    """What is killed when: `share` of the time that an undisturbed run takes for `phase` after it has
    begun.
    """

    seed: int
    victim: str
    phase: str
    share: float


@dataclass(frozen=True)
class Result:
    """What came of a try: `survived` (the run ended well all the same), or it was run again; `reached`: the
    phase that it was killed in.
    """

    kill: Kill
    reached: str
    survived: bool
    seconds: float


def planned(seed: int, victims: tuple[str, ...]) -> Kill:
    rng = random.Random(seed)
    victim = rng.choice(victims)
    phases = [phase for phase in PHASES if victim == "driver" or phase != "start"]
    return Kill(seed, victim, rng.choice(phases), rng.random())


class Pipelines:
    """The command on one source; `folder` holds source and lakes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.durations: dict[str, dict[str, float]] = {}
        self.hosts: dict[str, Host] = {}
        write_movielens(generate(SyntheticOptions(users=300, items=200, ratings=15_000)), folder / "ml-1m")

    def host(self, master: str) -> Host:
        """The lasting host of that master."""
        if master not in self.hosts or self.hosts[master].process.poll() is not None:
            self.hosts[master] = Host(master, self.folder / f"{master.partition('[')[0]}.log")
        return self.hosts[master]

    def begin(self, host: Host, lake: Path) -> None:
        """Start the pipeline on `lake`."""
        settings = {
            "paths.lake": lake,
            "data.source": self.folder / "ml-1m",
            "split.validationFraction": 0.1,
            "model.rank": 8,
            "model.maxIter": 6,
            "model.userBlocks": 2,
            "model.itemBlocks": 2,
            "model.tasks": "blocks",
            "evaluation.ranking": "false",
            "tracking.enabled": "false",
        }
        code = lake.with_suffix(f".{time.monotonic_ns()}.code")
        host.begin(
            ["pipeline", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))],
            code,
        )

    def undisturbed(self, master: str) -> Path:
        """The lake of a run that nothing disturbs; the first run on a host and a later one, whose phases are
        timed.
        """
        for kind in ("cold", "warm"):
            lake, host, begun = self.folder / f"{kind}-{master.partition('[')[0]}", self.host(master), {}
            self.begin(host, lake)
            while not host.ended:
                begun.setdefault(phase_of(lake), time.monotonic())
                time.sleep(0.02)
            assert host.result() == 0, host.tail()
            ends = [*list(begun.values())[1:], time.monotonic()]
            self.durations[f"{kind} {master}"] = {
                phase: end - begin for (phase, begin), end in zip(begun.items(), ends, strict=True)
            }
        compare(lake, self.folder / f"cold-{master.partition('[')[0]}")
        return lake

    def attempt(self, kill: Kill, expected: Path) -> Result:
        """Run, kill, run again where that was needed; AssertionError where the lake is not what `expected`
        is.
        """
        started = time.monotonic()
        lake, master = self.folder / f"lake-{kill.seed}", VICTIMS[kill.victim]
        alone = kill.victim == "driver"
        host = Host(master, self.folder / f"lake-{kill.seed}.log") if alone else self.host(master)
        self.begin(host, lake)
        duration = self.durations[f"{'cold' if alone else 'warm'} {master}"].get(kill.phase, 0.5)
        reached = strike(host, lake, kill, duration)
        survived = host.result() == 0
        if not survived:
            again = self.host(master)
            self.begin(again, lake)
            assert again.result() == 0, again.tail()
        if alone:
            host.close()
        compare(lake, expected)
        shutil.rmtree(lake)
        return Result(kill, reached, survived, time.monotonic() - started)

    def close(self) -> None:
        """End all hosts."""
        for host in self.hosts.values():
            host.close()


def phase_of(lake: Path) -> str:
    """The last phase that has left a trace."""
    return [phase for phase, pattern in PHASES.items() if not pattern or any(lake.glob(pattern))][-1]


def strike(host: Host, lake: Path, kill: Kill, duration: float) -> str:
    """Wait for the moment and kill; returns the phase that the run was in, "over" where it was too late."""
    names = list(PHASES)
    while not host.ended and names.index(phase_of(lake)) < names.index(kill.phase):
        time.sleep(0.01)
    time.sleep(kill.share * duration)
    while not host.ended:
        victims = (
            [host.process.pid]
            if kill.victim == "driver"
            else descendants(host.process.pid, MARKS[kill.victim])
        )
        if victims:
            reached = phase_of(lake)
            os.kill(random.Random(kill.seed).choice(victims), signal.SIGKILL)
            return reached
        # a worker or executor may not have started yet
        time.sleep(0.02)
    return "over"


def compare(lake: Path, expected: Path) -> None:
    """The same tables, index, split, factors to the bit, predictions and metrics; and nothing that was half
    done is left.
    """
    for product in ("tables", "index", "splits/default", "models/als"):
        found, wanted = (
            json.loads((root / product / "manifest.json").read_text()) for root in (lake, expected)
        )
        assert found["fingerprint"] == wanted["fingerprint"], product
    facts = [
        json.loads((root / "tables" / "manifest.json").read_text())["tables"] for root in (lake, expected)
    ]
    assert facts[0] == facts[1]
    for table, key in TABLES.items():
        pd.testing.assert_frame_equal(rows(lake / table, key), rows(expected / table, key), obj=table)
    for side in ("users", "items"):
        factors = [
            np.stack(rows(root / "models" / "als" / side, ["id"])["features"]).view(np.uint32)
            for root in (lake, expected)
        ]
        np.testing.assert_array_equal(*factors)
    metrics = [json.loads((root / "metrics" / "als.json").read_text()) for root in (lake, expected)]
    assert metrics[0].keys() == metrics[1].keys()
    np.testing.assert_allclose(
        *([value for value in found.values() if value is not None] for found in metrics), rtol=1e-9
    )
    left = [path.name for path in (lake / ".staging").iterdir()]
    assert not left and not (lake / "work" / "als").exists(), left


TABLES = {
    **{f"index/{side}": ["id"] for side in ("users", "items")},
    **{f"splits/default/{part}": ["user_id", "item_id"] for part in ("train", "validation", "test")},
    "predictions/als/test": ["user_id", "item_id"],
}


def rows(table: Path, key: list[str]) -> pd.DataFrame:
    return pd.read_parquet(table).sort_values(key, ignore_index=True)


def run(kills: int, seed: int, victims: tuple[str, ...], folder: Path) -> Iterator[Result | tuple[Kill, str]]:
    """Try after try; one that ends otherwise than it may as (kill, why)."""
    pipelines, expected = Pipelines(folder), {}
    try:
        for number in range(seed, seed + kills):
            kill = planned(number, victims)
            master = VICTIMS[kill.victim]
            if master not in expected:
                expected[master] = pipelines.undisturbed(master)
            try:
                yield pipelines.attempt(kill, expected[master])
            except AssertionError as error:
                yield kill, str(error)[-3000:]
    finally:
        pipelines.close()


def main() -> int:
    """Run the tries that are asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1, help="of the first try; each has its own")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    options = parser.parse_args()
    results, failed = [], 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for result in run(options.kills, options.seed, tuple(options.victims), Path(folder)):
            if isinstance(result, Result):
                results.append(result)
                what = "went on" if result.survived else "was run again"
                print(
                    f"seed {result.kill.seed}: {result.kill.victim} killed in {result.reached}, {what}: "
                    f"equal, {result.seconds:.0f} s",
                    file=sys.stderr,
                )
            else:
                failed += 1
                print(f"seed {result[0].seed}: {result[0]} FAILED: {result[1]}", file=sys.stderr)
    print(
        "| killed | in | times | went on by itself | run again | whole and equal |\n|---|---|---|---|---|---|"
    )
    groups = Counter((result.kill.victim, result.reached) for result in results)
    for (victim, phase), times in sorted(groups.items()):
        survived = sum(
            result.survived for result in results if (result.kill.victim, result.reached) == (victim, phase)
        )
        print(f"| {victim} | {phase} | {times} | {survived} | {times - survived} | {times} |")
    print(
        f"\n{len(results)} of {options.kills} whole and equal, {failed} not; seeds {options.seed} to "
        f"{options.seed + options.kills - 1}."
    )
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
