"""Peak memory of the Python workers of a fit on s10m, beside the formula of docs/architecture.md.

    python benchmarks/peak_memory.py --blocks 4
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np
from als_contender import dataframe, load, spark_session

from recspark.models import ALS


def worker_peaks(stop: threading.Event, peaks: dict[str, float]) -> None:
    """Sample the memory of every pyspark worker: private pages, and with the mapped files."""
    while not stop.wait(0.02):
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if b"pyspark.daemon" not in status.with_name("cmdline").read_bytes():
                    continue
                fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            except OSError:
                continue
            for key in ("RssAnon", "VmRSS"):
                peaks[key] = max(peaks.get(key, 0), int(fields[key].split()[0]) / 1024)


def step_formula(users: int, items: int, ratings: int, rank: int, blocks: int) -> float:
    """MB of the largest step: block, source rows, result twice; sides cut into `blocks` of equal work, all source rows needed."""
    sides = [(users, items), (items, users)]
    return max(8 * (own / blocks + 1) + 8 * ratings / blocks + 4 * (rank + 1) * (other + 2 * own / blocks) for own, other in sides) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rank", type=int, default=64)
    options = parser.parse_args()
    ratings = load("s10m")
    spark = spark_session("local[2]")
    frame = dataframe(spark, ratings)
    layout = {"userBlocks": options.blocks, "itemBlocks": options.blocks}
    # start a worker and load the kernels: what it weighs then is Python, numpy and numba
    ALS(rank=options.rank, maxIter=1).fit(frame.limit(1000))
    peaks: dict[str, dict[str, float]] = {"idle": {}, "fit": {}}
    for name, work in (("idle", lambda: time.sleep(1)), ("fit", lambda: ALS(rank=options.rank, maxIter=2, **layout).fit(frame))):
        stop = threading.Event()
        sampler = threading.Thread(target=worker_peaks, args=(stop, peaks[name]))
        sampler.start()
        work()
        stop.set()
        sampler.join()
    users, items = (len(np.unique(column)) for column in ratings[:2])
    formula = step_formula(users, items, len(ratings[0]), options.rank, options.blocks)
    print(json.dumps({"blocks": options.blocks, "worker_MB": peaks, "step_formula_MB": round(formula, 1)}))
    spark.stop()


if __name__ == "__main__":
    main()
