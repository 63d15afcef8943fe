"""ALS on a CUDA card: milliseconds of an iteration, one line of JSON per work.

    python benchmarks/bench_gpu.py [--quick]

It needs numpy, numba and numba-cuda, and this checkout: no Spark, no install, no data. Without a card it
prints "no CUDA device" and ends. It is made to end within 90 seconds on an H100, which nobody has tried: a
work that would begin too late is left out, and its line says so.

The ratings of the two sides are drawn by the same law, each for itself, which is quicker than to sort them.
So an iteration costs what it costs on real data, and its error means nothing. Three rows are compared with
numpy's solution in float64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

#: seconds after which no further work begins
LATEST = 50.0
REG = 0.05


class Work(NamedTuple):
    """A size of data and of model."""

    name: str
    users: int
    items: int
    ratings: int
    rank: int


WORKS = (
    Work("s10m", 69_878, 10_677, 10_000_000, 64),
    Work("ml-20m's shape", 138_493, 26_744, 20_000_263, 128),
    Work("100 M ratings", 700_000, 107_000, 100_000_000, 64),
)


def side(n: int, spread: float, n_source: int, source_spread: float, ratings: int, seed: int):
    """Entries of one side: numbers of ratings per row are lognormal, and so are weights of source rows."""
    from recspark.kernels.arrays.csr import Entries

    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0, spread, n)
    counts = np.clip(np.floor(weight / weight.sum() * ratings), 1, n_source).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    weight = np.cumsum(rng.lognormal(0, source_spread, n_source))
    table = np.searchsorted(weight / weight[-1], (np.arange(1 << 20) + 0.5) / (1 << 20)).astype(np.int32)
    indices = table[rng.integers(0, 1 << 20, indptr[-1], np.uint32)]
    values = rng.standard_normal(indptr[-1], np.float32)
    return Entries(indptr, indices, values, np.empty(0, np.float32))


def error_of(entries, source: np.ndarray, solved: np.ndarray) -> float:
    """The largest relative error of three rows: the longest, the shortest and the middle one."""
    worst, by_length = 0.0, np.argsort(np.diff(entries.indptr))
    for row in by_length[[0, len(by_length) // 2, -1]]:
        lo, hi = entries.indptr[row : row + 2]
        y = source[entries.indices[lo:hi]].astype(np.float64)
        matrix = y.T @ y + REG * (hi - lo) * np.eye(source.shape[1])
        x = np.linalg.solve(matrix, y.T @ entries.values[lo:hi].astype(np.float64))
        worst = max(worst, float(np.abs(x - solved[row]).max() / np.abs(x).max()))
    return worst


def measure(work: Work, iterations: int) -> dict[str, object]:
    """Time half steps of a work; the first iteration compiles and sends, and is not counted."""
    from numba import cuda

    from recspark.kernels import als
    from recspark.kernels.cuda import als as kernels
    from recspark.kernels.cuda.card import Card

    started = time.perf_counter()
    users = side(work.users, 1.2, work.items, 1.9, work.ratings, 1)
    items = side(work.items, 1.9, work.users, 1.2, work.ratings, 2)
    made = time.perf_counter() - started
    card, penalty = Card(0), als.Penalty(np.float32(0), REG, 0.0, 1.0)
    rng = np.random.default_rng(0)
    sides = {
        name: als.Side(
            (rng.standard_normal((n, work.rank)) / np.sqrt(work.rank)).astype(np.float32),
            np.zeros(n, np.float32),
        )
        for name, n in (("users", work.users), ("items", work.items))
    }
    seconds: dict[str, list[float]] = {"items": [], "users": []}
    for _ in range(iterations + 1):
        for name, entries, source in (("items", items, "users"), ("users", users, "items")):
            cuda.synchronize()
            started = time.perf_counter()
            read = als.Source(*sides[source], np.zeros((0, 0), np.float32))
            sides[name], _ = kernels.solve_rows(card, entries, read, sides[name], penalty, False)
            cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    error = error_of(users, np.asarray(sides["items"].factors), np.asarray(sides["users"].factors))
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    ratings = len(users.values) + len(items.values)
    return {
        "work": work.name,
        "users": work.users,
        "items": work.items,
        "ratings": [len(users.values), len(items.values)],
        "rank": work.rank,
        "users_ms": round(1e3 * median["users"], 2),
        "items_ms": round(1e3 * median["items"], 2),
        "iteration_ms": round(1e3 * sum(median.values()), 2),
        "first_iteration_s": round(sum(times[0] for times in seconds.values()), 2),
        "make_data_s": round(made, 2),
        "gram_tflops": round(ratings * work.rank * (work.rank + 1) / sum(median.values()) / 1e12, 2),
        "row_error": float(f"{error:.1e}"),
    }


def has_card() -> bool:
    """Whether numba finds a card; its simulator is none."""
    try:
        from numba import cuda
        from numba.core import config
    except ImportError:
        return False
    return not config.ENABLE_CUDASIM and cuda.is_available()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the ratings, three iterations")
    options = parser.parse_args()
    if not has_card():
        print("no CUDA device")
        return
    from numba import cuda

    started, name = time.perf_counter(), cuda.get_current_device().name
    device = name.decode() if isinstance(name, bytes) else name
    for work in WORKS:
        if options.quick:
            work = work._replace(users=work.users // 10, ratings=work.ratings // 10)
        if time.perf_counter() - started > LATEST:
            print(json.dumps({"work": work.name, "left_out": f"after {LATEST:.0f} s no further work begins"}))
            continue
        print(json.dumps({"device": device, **measure(work, 3 if options.quick else 8)}), flush=True)


if __name__ == "__main__":
    main()
