"""Peak memory of the Python workers of a fit on s10m, phase by phase, beside the formulas of
docs/architecture.md.

    python benchmarks/peak_memory.py --blocks 4

Prints one JSON line: MB of one worker above an idle one, private pages and pages of mapped files apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from als_contender import dataframe, load, spark_session

from recspark.engine.encode import PART_ROWS
from recspark.models import ALS

KINDS = {"private": "RssAnon", "mapped": "RssFile"}


def phase_of(work: Path) -> str:
    """What a fit in the work folder is doing, by the files that it has written."""
    fits = list(work.glob("fit-*"))
    if not fits:
        return "encode"
    return "steps" if any((fit / "prepared.json").exists() for fit in fits) else "build"


def sample(stop: threading.Event, work: Path, peaks: dict[str, dict[str, float]]) -> None:
    """Keep the largest size that any pyspark worker has had in each phase, until told to stop."""
    while not stop.wait(0.01):
        at = peaks.setdefault(phase_of(work), {})
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if b"pyspark.daemon" not in status.with_name("cmdline").read_bytes():
                    continue
                fields = dict(
                    line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
                )
            except OSError:
                continue
            for kind, field in KINDS.items():
                at[kind] = max(at.get(kind, 0.0), int(fields[field].split()[0]) / 1024)


def watch(work: Path, action) -> dict[str, dict[str, float]]:
    stop, peaks = threading.Event(), {}
    sampler = threading.Thread(target=sample, args=(stop, work, peaks))
    sampler.start()
    action()
    stop.set()
    sampler.join()
    return peaks


def formulas(
    users: int, items: int, ratings: int, rank: int, blocks: int, partitions: int
) -> dict[str, float]:
    """MB by docs/architecture.md: one part; one block's coordinates and copies; block, all source rows and
    result twice.
    """
    sides = [(users, items), (items, users)]
    step = max(
        8 * (own / blocks + 1) + 8 * ratings / blocks + 4 * (rank + 1) * (other + 2 * own / blocks)
        for own, other in sides
    )
    part = min(PART_ROWS, ratings / partitions)
    return {"encode": 60 * part / 2**20, "build": 60 * ratings / blocks / 2**20, "steps": step / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rank", type=int, default=64)
    options = parser.parse_args()
    ratings = load("s10m")
    spark = spark_session("local[2]")
    frame = dataframe(spark, ratings)
    work = Path(tempfile.mkdtemp())
    layout = {"userBlocks": options.blocks, "itemBlocks": options.blocks, "tasks": "blocks", "threads": 1}
    # start the workers and load the kernels: what they weigh then is Python, numpy and numba
    ALS(rank=options.rank, maxIter=1, **layout).fit(frame.limit(1000))
    idle = watch(work, lambda: time.sleep(1))["encode"]
    peaks = watch(work, lambda: ALS(rank=options.rank, maxIter=2, workDir=str(work), **layout).fit(frame))
    users, items = (len(np.unique(column)) for column in ratings[:2])
    measured = {
        phase: {kind: round(size - idle[kind]) for kind, size in at.items()} for phase, at in peaks.items()
    }
    formula = formulas(
        users, items, len(ratings[0]), options.rank, options.blocks, frame.rdd.getNumPartitions()
    )
    print(
        json.dumps(
            {
                "blocks": options.blocks,
                "measured_MB": measured,
                "formula_MB": {key: round(size) for key, size in formula.items()},
            }
        )
    )
    spark.stop()


if __name__ == "__main__":
    main()
