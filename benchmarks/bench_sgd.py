"""SGD side by side: recspark's MatrixFactorization and LIBMF, alternating, each in a process of its own.

    python benchmarks/bench_sgd.py [--rounds 3]

LIBMF (Chin et al. 2015) is compiled for this machine when `make bench-sgd` installs it: without -DUSEAVX it
takes six times as long. Writes benchmarks/results/sgd.json and the table between the marks in README.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from report import keep, run_contender, show

TARGET = 3.5


def table(result: dict[str, object]) -> str:
    seconds, ratios, rmse = result["seconds"], result["ratios"], result["rmse"]
    return "\n".join(
        (
            "| work | peer | recspark s | peer s | ratio (median, range) | to reach | test RMSE recspark / "
            "peer |",
            "|---|---|---|---|---|---|---|",
            f"| SGD, s10m (9 M to train), rank 64, an epoch | LIBMF | {seconds['recspark']:.3g} | "
            f"{seconds['libmf']:.3g} "
            f"| **{result['ratio']:.1f}** ({min(ratios):.1f}-{max(ratios):.1f}) | {TARGET} "
            f"| {rmse['recspark']:.4f} / {rmse['libmf']:.4f} after {result['epochs']} |",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options, arguments = parser.parse_known_args()
    pairs = []
    for number in range(options.rounds):
        order = ("recspark", "libmf") if number % 2 == 0 else ("libmf", "recspark")
        pairs.append({engine: run_contender("sgd_contender.py", engine, *arguments) for engine in order})
        print(
            {
                engine: (round(pair["per_epoch"], 3), round(pair["rmse"], 4))
                for engine, pair in pairs[-1].items()
            },
            file=sys.stderr,
        )
    ratios = [pair["libmf"]["per_epoch"] / pair["recspark"]["per_epoch"] for pair in pairs]
    seconds = {
        engine: statistics.median(pair[engine]["per_epoch"] for pair in pairs)
        for engine in ("recspark", "libmf")
    }
    rmse = {engine: statistics.median(pair[engine]["rmse"] for pair in pairs) for engine in seconds}
    result = {
        "seconds": seconds,
        "rmse": rmse,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "epochs": pairs[0]["recspark"]["epochs"],
        "pairs": pairs,
        "date": time.strftime("%Y-%m-%d"),
    }
    keep("sgd", result)
    show("sgd", table(result))


if __name__ == "__main__":
    main()
