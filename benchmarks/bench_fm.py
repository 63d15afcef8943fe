"""Factorization machines side by side: recspark and myFM by Gibbs sampling, recspark and MLlib on vectors; alternating, a process a fit.

    RECSPARK_DATA=... python benchmarks/bench_fm.py [--rounds 3] [--only NAME ...]

Writes benchmarks/results/fm.json and the table between the marks in README.md. A ratio is the peer's seconds over recspark's in one round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

from report import keep, kept, run_contender, show


@dataclass(frozen=True)
class Race:
    """recspark against `peer` at `work`; `measure` is what is compared."""

    text: str
    peer: str
    work: str
    measure: str
    target: float


RACES = {
    "mcmc": Race("Gibbs sampling, ML-1M 90/10, flipped features, rank 16, an iteration", "myfm", "groups", "per_iteration", 3),
    "vectors": Race("one-hot vectors, ML-100K u1, rank 8, whole fit to RMSE 1.03", "mllib", "vectors", "to_rmse", 20),
    "longest": Race("one-hot vectors, ML-100K u1, rank 8, 200 iterations", "mllib", "vectors", "longest", 5),
}


def run_work(work: str, peer: str, rounds: int) -> list[dict[str, object]]:
    pairs = []
    for number in range(rounds):
        order = ("recspark", peer) if number % 2 == 0 else (peer, "recspark")
        pairs.append({engine: run_contender("fm_contender.py", f"{engine}-{work}") for engine in order})
    return pairs


def summary(race: Race, pairs: list[dict[str, object]]) -> dict[str, object]:
    ratios = [pair[race.peer][race.measure] / pair["recspark"][race.measure] for pair in pairs]
    middle = {
        engine: {key: statistics.median(pair[engine][key] for pair in pairs) for key in (race.measure, "rmse")} for engine in pairs[0]
    }
    facts = {"text": race.text, "peer": race.peer, "measure": race.measure, "target": race.target, "date": time.strftime("%Y-%m-%d")}
    return facts | {"median": middle, "ratio": statistics.median(ratios), "ratios": ratios, "pairs": pairs}


def table(results: dict[str, dict[str, object]]) -> str:
    lines = [
        "| work | peer | recspark s | peer s | ratio (median, range) | to reach | test RMSE recspark / peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results.values():
        ours, peer = row["median"]["recspark"], row["median"][row["peer"]]
        ratios, measure = row["ratios"], row["measure"]
        lines.append(
            f"| {row['text']} | {row['peer']} | {ours[measure]:.3g} | {peer[measure]:.3g} | **{row['ratio']:.1f}** "
            f"({min(ratios):.1f}-{max(ratios):.1f}) | {row['target']:g} | {ours['rmse']:.4f} / {peer['rmse']:.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=("groups", "vectors"), default=["groups", "vectors"])
    options = parser.parse_args()
    results = kept("fm")
    for work in options.only:
        races = {name: race for name, race in RACES.items() if race.work == work}
        pairs = run_work(work, next(iter(races.values())).peer, options.rounds)
        results |= {name: summary(race, pairs) for name, race in races.items()}
        keep("fm", results)
    show("fm", table({name: results[name] for name in RACES if name in results}))


if __name__ == "__main__":
    main()
