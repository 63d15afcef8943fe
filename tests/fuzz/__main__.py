"""How many tries, and what came of them: ``python -m tests.fuzz --tries 300 --seed 1``; with RECSPARK_DATA
also on real files.

Prints a table in Markdown; a try that ends otherwise than it may is printed with its seed, and the exit code
is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.fuzz.attempts import Outcome, text_file
from tests.fuzz.others import archive, conf, embeddings
from tests.fuzz.parquet import parquet_file
from tests.fuzz.sources import made, real

KINDS = ("kept", "quarantined", "rejected", "refused")
ROOT = Path(__file__).parents[2]


def readers(data: Path | None) -> dict[str, Callable[[random.Random, Path], Outcome]]:
    """What is tried, by name: every format, also cut out of the archives in the folder `data`."""
    samples = [*made(), *(real(data) if data else ())]
    latest = next(sample for sample in samples if sample.name == "ml-latest")
    confs = [path.read_bytes() for path in sorted((ROOT / "conf").rglob("*.toml"))]
    return {sample.name: partial(text_file, sample) for sample in samples} | {
        "parquet": parquet_file,
        "zip, gz, bz2": partial(archive, latest),
        "embeddings": embeddings,
        "conf and --set": partial(conf, confs),
    }


def tried(reader: Callable[[random.Random, Path], Outcome], seed: int, scratch: Path) -> Outcome:
    """One try; an exception that may not be carries the seed."""
    try:
        return reader(random.Random(seed), scratch)
    except Exception as error:
        error.add_note(f"seed {seed}")
        raise


def main() -> int:
    """Run the tries that are asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--tries", type=int, default=100, help="tries for each reader")
    parser.add_argument("--seed", type=int, default=0, help="of the first try; each has its own")
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--examples", type=int, default=0, help="messages to show for each reader")
    options = parser.parse_args()
    data = os.environ.get("RECSPARK_DATA")
    failed = 0
    print(
        f"| reader (seeds {options.seed} to {options.seed + options.tries - 1}) | tries | all rows kept | "
        "some in quarantine | "
        "rejected (3) | refused (2) | anything else | rows | slowest try, s "
        "|\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, reader in readers(Path(data) if data else None).items():
        if options.only not in name:
            continue
        outcomes, errors = [], 0
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            for seed in range(options.seed, options.seed + options.tries):
                try:
                    outcomes.append(tried(reader, seed, Path(scratch)))
                except Exception:
                    errors += 1
                    print(f"{name}:\n{traceback.format_exc(limit=-4)}", file=sys.stderr)
        counts = Counter(outcome.kind for outcome in outcomes)
        rows, slowest = (
            sum(outcome.rows for outcome in outcomes),
            max((outcome.seconds for outcome in outcomes), default=0),
        )
        print(
            f"| {name} | {options.tries} | {' | '.join(str(counts[kind]) for kind in KINDS)} | {errors} | "
            f"{rows} | {slowest:.1f} |",
            flush=True,
        )
        for message in sorted({outcome.detail for outcome in outcomes if outcome.detail}, key=len)[
            -options.examples or len(outcomes) :
        ]:
            print(f"    {message[:300]}", file=sys.stderr)
        failed += errors
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
