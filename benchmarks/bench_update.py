"""Seconds of an update without Spark: read a model, fold new users in, write it.

python benchmarks/bench_update.py [--users 70000] [--items 10000] [--rank 64]
                                  [--new 10000] [--ratings 20] [--threads 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from recspark.algorithms.als import ALSSolver
from recspark.ids import WHOLE
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.models.folder import FactorFacts, ModelTable

MEAN = 3.5


def facts(rank: int) -> FactorFacts:
    """Of a model that ALS fitted with a mean and biases."""
    reg = {"users": 0.05, "items": 0.05}
    solver = ALSSolver(
        rank=rank,
        reg=reg,
        bias_reg=reg,
        reg_power={"users": 1.0, "items": 1.0},
        mean=MEAN,
        level=MEAN,
        targets=0.0,
        biased=True,
        nonnegative=False,
        implicit=False,
        cg_steps=0,
        clip=(0.5, 5.0),
        seed=1,
    )
    rows = {"kind": "als", "settings": asdict(solver), "alpha": 1.0, "weights": False}
    kinds = dict.fromkeys(("users", "items"), WHOLE)
    return FactorFacts(
        kind="als",
        can=("update",),
        rank=rank,
        mean=MEAN,
        level=MEAN,
        biased=True,
        id_kinds=kinds,
        solver=rows,
    )


def made_model(n_users: int, n_items: int, rank: int) -> FactorTables:
    """Random factors, ids from 0 on."""
    rng = np.random.default_rng(0)

    def table(n: int) -> ModelTable:
        factors = (rng.standard_normal((n, rank)) / np.sqrt(rank)).astype(np.float32)
        bias = rng.standard_normal(n).astype(np.float32)
        return ModelTable(pa.array(np.arange(n)), np.full(n, 100), factors, bias, bias.copy())

    return FactorTables({"users": table(n_users), "items": table(n_items)}, facts(rank))


def made_batch(first_user: int, n_users: int, n_items: int, per_user: int) -> pa.Table:
    """New users with as many ratings each, of different items."""
    rng = np.random.default_rng(1)
    items = (
        rng.integers(0, n_items, (n_users, 1))
        + rng.integers(1, n_items // per_user, (n_users, per_user)).cumsum(axis=1)
    ) % n_items
    users = np.repeat(np.arange(first_user, first_user + n_users), per_user)
    return pa.table(
        {
            "user_id": users,
            "item_id": items.ravel(),
            "rating": rng.integers(1, 6, users.size).astype(np.float32),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {
        "users": 70_000,
        "items": 10_000,
        "rank": 64,
        "new": 10_000,
        "ratings": 20,
        "threads": 2,
        "rounds": 3,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    batch = made_batch(options.users, options.new, options.items, options.ratings)
    # compiles the kernels
    fold_in(
        made_model(100, options.items, options.rank),
        batch.slice(0, 10 * options.ratings),
        threads=options.threads,
    )
    print("| round | read s | fold in s | write s | all s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        made_model(options.users, options.items, options.rank).write(f"{folder}/model")
        for number in range(options.rounds):
            at = [time.perf_counter()]
            model = FactorTables.read(f"{folder}/model")
            at.append(time.perf_counter())
            folded, report = fold_in(model, batch, threads=options.threads)
            at.append(time.perf_counter())
            folded.write(f"{folder}/updated")
            at.append(time.perf_counter())
            assert report["new_users"] == options.new
            print(
                "|".join(
                    [
                        "",
                        f" {number + 1} ",
                        *(f" {seconds:.2f} " for seconds in (*np.diff(at), at[-1] - at[0])),
                        "",
                    ]
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
