"""Factorization machines side by side: myFM by Gibbs sampling, and MLlib on vectors.

The two sides alternate, in one process per fit.

    RECSPARK_DATA=... python benchmarks/bench_fm.py [--rounds 3] [--only NAME ...]

Writes benchmarks/results/fm.json and the table between the marks in README.md. A ratio is the peer's seconds
over recspark's in one round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass

from report import keep, kept, run_contender, show


@dataclass(frozen=True)
class Work:
    """What both contenders of `fm_contender.py` do; `peer_options` are for the peer."""

    contender: str
    peer: str
    peer_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Race:
    """recspark against the peer at `work`; `measure` is what is compared, with `peer_measure` of the peer
    where that is another.
    """

    text: str
    work: str
    measure: str
    target: float
    peer_measure: str | None = None

    def of(self, engine: str) -> str:
        """What is measured of a contender."""
        return self.measure if engine == "recspark" else self.peer_measure or self.measure


WORKS = {
    "groups": Work("groups", "myfm"),
    "vectors": Work("vectors", "mllib"),
    "nearest": Work("vectors", "mllib", ("--step", "0.03", "--reg", "0")),
    "soonest": Work("vectors", "mllib", ("--step", "0.3", "--reg", "0.1")),
    "defaults": Work("vectors", "mllib", ("--step", "1", "--reg", "0")),
}
RACES = {
    "mcmc": Race(
        "Gibbs sampling, ML-1M 90/10, flipped features, rank 16, an iteration",
        "groups",
        "per_iteration",
        11.2,
    ),
    "vectors": Race(
        "one-hot vectors, ML-100K u1, rank 8, whole fit to RMSE 1.03; MLlib's step .01, penalty 0",
        "vectors",
        "to_rmse",
        40,
    ),
    "better": Race(
        "the same to RMSE .93, which MLlib's 200 iterations don't reach: against these",
        "vectors",
        "to_better",
        8,
        "longest",
    ),
    "longest": Race("the same, 200 iterations of each", "vectors", "longest", 8),
    "nearest": Race("to RMSE 1.03; MLlib's step .03, penalty 0", "nearest", "to_rmse", 40),
    "soonest": Race("to RMSE 1.03; MLlib's step .3, penalty .1", "soonest", "to_rmse", 40),
    "defaults": Race(
        "to RMSE 1.03; MLlib's step and penalty where none are given", "defaults", "to_rmse", 40
    ),
}


def run_work(work: Work, rounds: int) -> list[dict[str, object]]:
    pairs = []
    for number in range(rounds):
        order = ("recspark", work.peer) if number % 2 == 0 else (work.peer, "recspark")
        options = {"recspark": (), work.peer: work.peer_options}
        pairs.append(
            {
                engine: run_contender("fm_contender.py", f"{engine}-{work.contender}", *options[engine])
                for engine in order
            }
        )
    return pairs


def summary(race: Race, pairs: list[dict[str, object]]) -> dict[str, object]:
    peer = WORKS[race.work].peer
    ratios = [pair[peer][race.of(peer)] / pair["recspark"][race.measure] for pair in pairs]
    middle = {}
    for engine in pairs[0]:
        seconds, rmse = ([pair[engine][key] for pair in pairs] for key in (race.of(engine), "rmse"))
        middle[engine] = {"seconds": statistics.median(seconds), "rmse": statistics.median(rmse)}
    facts = {"peer": peer, "date": time.strftime("%Y-%m-%d")}
    return facts | {"median": middle, "ratio": statistics.median(ratios), "ratios": ratios, "pairs": pairs}


def table(results: dict[str, dict[str, object]]) -> str:
    lines = [
        "| work | peer | recspark s | peer s | ratio (median, range) | to reach | test RMSE recspark / peer "
        "|",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        ours, peer = row["median"]["recspark"], row["median"][row["peer"]]
        ratios = row["ratios"]
        theirs, ratio = (
            f"{peer['seconds']:.3g}",
            f"**{row['ratio']:.1f}** ({min(ratios):.1f}-{max(ratios):.1f})",
        )
        if math.isinf(peer["seconds"]):
            theirs = ratio = "never"
        lines.append(
            f"| {RACES[name].text} | {row['peer']} | {ours['seconds']:.3g} | {theirs} | {ratio} "
            f"| {RACES[name].target:g} | {ours['rmse']:.4f} / {peer['rmse']:.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=WORKS, default=list(WORKS))
    options = parser.parse_args()
    results = kept("fm")
    for work in options.only:
        races = {name: race for name, race in RACES.items() if race.work == work}
        pairs = run_work(WORKS[work], options.rounds)
        results |= {name: summary(race, pairs) for name, race in races.items()}
        keep("fm", results)
    show("fm", table({name: results[name] for name in RACES if name in results}))


if __name__ == "__main__":
    main()
