"""The kernels alone on s10m, without Spark: seconds, and how far the ALS steps are from the machine's sgemm.

    python benchmarks/bench_kernels.py [--threads 2] [--rank 64]

The bound is that of docs/architecture.md: nnz * rank^2 * 2 operations a side at the speed of a large float32
matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import threadpoolctl
from als_contender import load
from scipy.linalg import blas, lapack

from recspark.kernels import als
from recspark.kernels.arrays.csr import Entries, csr_from_coo
from recspark.kernels.linalg import add_gram_inplace, cholesky_inplace
from recspark.kernels.threads import over_rows

#: bytes that any core's second-level cache holds
NEAR = 1 << 17
NO_WEIGHTS, NO_GRAM = np.empty(0, np.float32), np.zeros((0, 0), np.float32)


def seconds_of(call: Callable[[], object], rounds: int = 5) -> float:
    """The least of a few runs, after one that compiles."""
    call()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def report(text: str, seconds: float, note: str = "") -> None:
    print(f"| {text} | {seconds * 1e3:.4g} | {note} |", flush=True)


def sides(threads: int, rank: int) -> None:
    """CSR, exact solve and squared error of both sides of s10m."""
    users, items, ratings = load("s10m")
    n_users, n_items = users.max() + 1, items.max() + 1
    rng = np.random.default_rng(0)
    sgemm = np.ones((4096, 4096), np.float32)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        peak = 2 * 4096**3 / seconds_of(lambda: sgemm @ sgemm)
    bound = len(ratings) * rank**2 * 2 / peak
    report(
        f"sgemm 4096, {threads} threads",
        2 * 4096**3 / peak,
        f"{peak / 1e9:.0f} GFLOP/s; bound of a side {bound * 1e3:.0f} ms",
    )
    for name, dst, src, n_dst, n_src in (
        ("users", users, items, n_users, n_items),
        ("items", items, users, n_items, n_users),
    ):
        report(
            f"CSR of {name}, 1 thread",
            seconds_of(lambda: csr_from_coo(dst, src, ratings, NO_WEIGHTS, n_dst, n_src), 2),
        )
        entries = csr_from_coo(dst, src, ratings, NO_WEIGHTS, n_dst, n_src)
        work = np.diff(entries[0]) + 32
        source = als.padded_rows(rng.standard_normal((n_src, rank)).astype(np.float32))
        out, bias, source_bias = (
            np.zeros((n_dst, rank), np.float32),
            np.zeros(n_dst, np.float32),
            np.zeros(n_src, np.float32),
        )
        system = (
            als.Source(source, source_bias, NO_GRAM),
            als.Side(out, bias),
            als.Penalty(np.float32(3.5), 0.05, 0.05, 1.0),
            False,
            False,
        )
        seconds = seconds_of(lambda: over_rows(als.solve_rows, work, threads, entries, *system))
        report(
            f"solve {name}, rank {rank}, {threads} threads", seconds, f"{seconds / bound:.2f} times the bound"
        )
        near = entries._replace(indices=entries.indices % np.int32(NEAR // source[0].nbytes))
        report(
            f"the same, all rows of the source in {NEAR >> 10} KB",
            seconds_of(lambda: over_rows(als.solve_rows, work, threads, near, *system)),
        )
        first = entries.indptr[:-1][np.diff(entries.indptr) > 0]
        alone = Entries(np.arange(len(first) + 1), entries.indices[first], entries.values[first], NO_WEIGHTS)
        report(
            "the same, one rating per row",
            seconds_of(lambda: over_rows(als.solve_rows, work[: len(first)], threads, alone, *system)),
        )
        model = (
            als.Side(source[:, :rank].copy(), source_bias),
            als.Side(out, bias),
            np.float32(3.5),
            np.float32(0),
            np.float32(5),
        )
        report(
            f"squared error over {name}, {threads} threads",
            seconds_of(lambda: over_rows(als.squared_error, work, threads, entries, *model)),
        )


def matrices(rank: int) -> None:
    """Gram matrix of 144 rows and a Cholesky factor: the register tile against BLAS and LAPACK, one
    thread.
    """
    times, order = 2000, als.padded_rows(np.zeros((1, rank), np.float32)).shape[1]
    panel = np.random.default_rng(1).standard_normal((144, order)).astype(np.float32)
    product = (panel.T @ panel + np.eye(order, dtype=np.float32)).astype(np.float32)
    out = np.zeros((order, order), np.float32)

    def factor() -> None:
        copy = product.copy()
        cholesky_inplace(copy, order)

    with threadpoolctl.threadpool_limits(1, "blas"):
        calls = {
            "Gram by register tile": lambda: add_gram_inplace(panel, 144, out),
            "Gram by sgemm": lambda: blas.sgemm(1.0, panel.T, panel.T, trans_b=True),
            "Gram by ssyrk": lambda: blas.ssyrk(1.0, panel.T),
            "Cholesky by register tile": factor,
            "Cholesky by LAPACK": lambda: lapack.spotrf(product),
        }
        for name, call in calls.items():
            report(
                f"{name}, order {order}, 1 thread",
                seconds_of(lambda call=call: [call() for _ in range(times)]) / times,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rank", type=int, default=64)
    options = parser.parse_args()
    print("| work | ms | |\n|---|---|---|")
    matrices(options.rank)
    sides(options.threads, options.rank)


if __name__ == "__main__":
    main()
