"""ALS side by side: recspark, MLlib and implicit, alternating, each fit in a process of its own.

    RECSPARK_DATA=... python benchmarks/bench_als.py [--rounds 3] [--only NAME ...]

Writes benchmarks/results/als.json and the table between the marks in README.md. Figures are medians over the
rounds; a ratio is the peer's seconds over recspark's, pair by pair within a round.
"""

from __future__ import annotations

import argparse
import ctypes.util
import statistics
import sys
import time
from dataclasses import dataclass

from report import keep, kept, run_contender, show
from standalone import cluster


@dataclass(frozen=True)
class Race:
    """Two contenders on the same work; `measure` is what is compared."""

    text: str
    peer: str
    measure: str
    arguments: tuple[str, ...]
    cluster: bool = False
    target: float = 1.0
    #: whether MLlib's JVM must find a native BLAS here; None: it does not matter
    native_blas: bool | None = None


RACES = {
    "explicit-s10m": Race(
        "explicit, s10m, rank 64, an iteration; MLlib without native BLAS",
        "mllib",
        "per_iteration",
        ("--data", "s10m", "--iterations", "1", "3"),
        target=35,
        native_blas=False,
    ),
    "explicit-s10m-blas": Race(
        "explicit, s10m, rank 64, an iteration; MLlib with native BLAS (Debian's libopenblas0)",
        "mllib",
        "per_iteration",
        ("--data", "s10m", "--iterations", "1", "3"),
        target=18,
        native_blas=True,
    ),
    "explicit-ml1m": Race(
        "explicit, ML-1M, rank 10, 10 iterations, whole fit",
        "mllib",
        "fit_seconds",
        ("--data", "ml-1m", "--rank", "10", "--reg", "0.1", "--iterations", "2", "10", "--blocks", "2"),
        target=6,
    ),
    "explicit-ml100k": Race(
        "explicit, ML-100K, rank 10, 10 iterations, whole fit",
        "mllib",
        "fit_seconds",
        ("--data", "ml-100k", "--rank", "10", "--reg", "0.1", "--iterations", "2", "10", "--blocks", "2"),
    ),
    "explicit-ml100k-blocks": Race(
        "the same with 10 x 10 blocks by MLlib's names",
        "mllib",
        "fit_seconds",
        ("--data", "ml-100k", "--rank", "10", "--reg", "0.1", "--iterations", "2", "10", "--blocks", "10"),
    ),
    "cluster-ml1m": Race(
        "explicit, ML-1M, rank 10, 10 iterations, whole fit, standalone cluster 2 x 1 core",
        "mllib",
        "fit_seconds",
        ("--data", "ml-1m", "--rank", "10", "--reg", "0.1", "--iterations", "2", "10", "--blocks", "2"),
        cluster=True,
        target=7,
    ),
    "cluster-s10m": Race(
        "explicit, s10m, rank 64, an iteration, standalone cluster 2 x 1 core; MLlib without native BLAS",
        "mllib",
        "per_iteration",
        ("--data", "s10m", "--iterations", "1", "3"),
        cluster=True,
        target=18,
        native_blas=False,
    ),
    "implicit-s10m": Race(
        "implicit, s10m, rank 64, an iteration",
        "implicit",
        "per_iteration",
        ("--data", "s10m", "--implicit", "--reg", "1.0", "--iterations", "1", "6"),
        target=2.5,
    ),
}


def run_race(race: Race, rounds: int) -> dict[str, object]:
    """`rounds` pairs, alternating who goes first."""
    pairs = []
    for number in range(rounds):
        order = ("recspark", race.peer) if number % 2 == 0 else (race.peer, "recspark")
        pair = {}
        for engine in order:
            command = ("als_contender.py", engine, *race.arguments, "--master")
            if race.cluster:
                with cluster(workers=2, cores=1, memory="6g") as running:
                    pair[engine] = run_contender(*command, running.master)
            else:
                pair[engine] = run_contender(*command, "local[2]")
        pairs.append({"ours": pair["recspark"], "peer": pair[race.peer]})
        print(
            f"  {pairs[-1]['ours'][race.measure]:.3f} s against {pairs[-1]['peer'][race.measure]:.3f} s",
            file=sys.stderr,
        )
    ratios = [pair["peer"][race.measure] / pair["ours"][race.measure] for pair in pairs]
    median = {who: statistics.median(pair[who][race.measure] for pair in pairs) for who in ("ours", "peer")}
    losses = {who: pairs[-1][who]["loss"] for who in ("ours", "peer")}
    return {
        "peer": race.peer,
        "seconds": median,
        "loss": losses,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "pairs": pairs,
        "date": time.strftime("%Y-%m-%d"),
        "measured": measured(race, rounds),
    }


def measured(race: Race, rounds: int) -> str:
    """Rounds, and for the time of an iteration the order of the fits whose difference it is."""
    order = ", few-many-many-few" if race.measure == "per_iteration" else ""
    return f"{rounds} round{'s' if rounds > 1 else ''}{order}"


def can_run(race: Race) -> bool:
    """Whether this machine has the native BLAS that `race` asks for, or not."""
    return race.native_blas in (None, ctypes.util.find_library("blas") is not None)


def table(results: dict[str, dict[str, object]]) -> str:
    lines = [
        "| work | peer | recspark s | peer s | ratio (median, range) | to reach | loss recspark / peer | "
        "measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        ratios, seconds, loss = row["ratios"], row["seconds"], row["loss"]
        spread = f" ({min(ratios):.1f}-{max(ratios):.1f})" if len(ratios) > 1 else ""
        lines.append(
            f"| {RACES[name].text} | {row['peer']} | {seconds['ours']:.3g} | {seconds['peer']:.3g} "
            f"| **{row['ratio']:.1f}**{spread} | {RACES[name].target:g} "
            f"| {loss['ours']:.5g} / {loss['peer']:.5g} | {row['measured']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=RACES, default=list(RACES))
    options = parser.parse_args()
    results = kept("als")
    for name in options.only:
        if not can_run(RACES[name]):
            print(f"{RACES[name].text}: not on this machine", file=sys.stderr)
            continue
        print(RACES[name].text, file=sys.stderr)
        results[name] = run_race(RACES[name], options.rounds)
        keep("als", results)
    show("als", table({name: results[name] for name in RACES if name in results}))


if __name__ == "__main__":
    main()
