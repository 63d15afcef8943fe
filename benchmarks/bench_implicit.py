"""Models for lists side by side: recspark, implicit and RecTools, each in a process of its own.

    python benchmarks/bench_implicit.py [--only als-64 ease] [--rectools .venv-rectools/bin/python]

Both engines minimise the same objective with the same iterations and threads; the seconds are those of a
whole fit, warm, the better of two. Recall and NDCG at 20 are on the test rows of the fixed splits that
docs/topn.md describes, in RECSPARK_DATA/topn. The Params are the same for both, so these figures compare
engines; tuned ones are in docs/topn.md. Writes benchmarks/results/implicit.json and the table between the
marks in README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from report import HERE, keep, kept, show

#: RecTools needs an older numpy
RECTOOLS = ".venv-rectools/bin/python"


class Work(NamedTuple):
    """One line of the table: what is fitted, by which peer, with which options for both."""

    title: str
    model: str
    peer: str
    options: tuple[str, ...]


ALS = ("--data", "gowalla", "--alpha", "20", "--reg", "20", "--iterations", "10")
WORKS = {
    **{
        f"als-{rank}": Work(f"ALS, Gowalla, rank {rank}", "als", "implicit", (*ALS, "--rank", str(rank)))
        for rank in (64, 256, 512)
    },
    "bpr": Work(
        "BPR, ML-1M, rank 64, 50 epochs",
        "bpr",
        "implicit",
        ("--data", "ml-1m-m1", "--rank", "64", "--iterations", "50", "--reg", "0.01", "--rate", "0.05"),
    ),
    "ease": Work("EASE, ML-1M", "ease", "rectools", ("--data", "ml-1m-m1", "--reg", "500")),
}


def contend(python: str, engine: str, work: Work) -> dict[str, float]:
    """The JSON line of a contender."""
    command = [python, str(HERE / "implicit_contender.py"), engine, work.model, *work.options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The works that have results, as Markdown."""
    rows = ["| work | peer | seconds, recspark | peer | ratio | NDCG@20, recspark | peer |", "|" + "---|" * 7]
    for name, work in WORKS.items():
        if name in results:
            ours, peer = results[name]["recspark"], results[name]["peer"]
            rows.append(
                f"| {work.title} | {work.peer} | {ours['seconds']:.1f} | {peer['seconds']:.1f} | "
                f"**{peer['seconds'] / ours['seconds']:.1f}** | {ours['ndcg']:.4f} | {peer['ndcg']:.4f} |"
            )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--rectools", default=RECTOOLS, help="the Python that has RecTools")
    options = parser.parse_args()
    results = kept("implicit")
    for name in options.only:
        work = WORKS[name]
        python = options.rectools if work.peer == "rectools" else sys.executable
        if not Path(python).exists():
            sys.exit(f"{python} is missing: `make bench-implicit` makes it")
        found = {
            "recspark": contend(sys.executable, "recspark", work),
            "peer": contend(python, work.peer, work),
        }
        results[name] = found
        print(name, json.dumps(found), flush=True)
        keep("implicit", results)
    show("implicit", table(results))


if __name__ == "__main__":
    main()
