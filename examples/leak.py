"""What a set of "other movies rated" that knows too much does to a test RMSE, and why it is worth nothing:
one table.

    recspark pipeline --conf-file conf/recipes/users-500.toml \\
        --set data.source=ml-1m.zip --set paths.lake=lake/users-500
    python examples/leak.py --lake lake/users-500

For a row of a user with n ratings the leaking set has rating / (n - 1) at each *other* movie that the user
rated, test rows included. The row's own rating is not in it, and yet it is: what a user's ratings add up to
is the same in all rows, so the set of a row falls as its own rating rises. A linear model by least squares,
with a weight for each user, movie and member of the set, finds that in the training rows, and reads the
ratings of test rows from their sets; a product of each user with the set, which is what a factorization
machine adds, finds more. No service has those ratings: they are what it is asked for. The honest set has 1 /
n at each movie of the user's training rows.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from lake_runs import markdown
from scipy.linalg import solve
from scipy.sparse import csr_matrix, diags, hstack

from recspark.lake.lake import Lake

PENALTIES = (3.0, 1e-3, 1e-4, 1e-5)


def rows(lake: Lake) -> tuple[pd.DataFrame, np.ndarray]:
    """All rows of the split, with user and item as codes, and which are of the test part."""
    parts = [
        pd.read_parquet(lake.path(f"splits/users-500/{part}"), columns=["user_id", "item_id", "rating"])
        for part in ("train", "test")
    ]
    both = pd.concat(parts, ignore_index=True)
    codes = {side: pd.factorize(both[f"{side}_id"], sort=True)[0] for side in ("user", "item")}
    return both.assign(**codes), np.repeat([False, True], [len(part) for part in parts])


def one_hot(codes: pd.Series) -> csr_matrix:
    """A row with a 1 in the column of each code."""
    return csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))


def leaking_set(table: pd.DataFrame) -> csr_matrix:
    """For each row the ratings of the other rows of its user, over their number."""
    rating, user, item = (table[name].to_numpy() for name in ("rating", "user", "item"))
    by_user = csr_matrix((rating, (user, item)))
    own = csr_matrix((rating, (np.arange(len(table)), item)), shape=(len(table), by_user.shape[1]))
    return diags(1 / np.maximum(np.bincount(user)[user] - 1, 1)) @ (by_user[user] - own)


def honest_set(table: pd.DataFrame, test: np.ndarray) -> csr_matrix:
    """For each row the movies of its user's training rows, over their number."""
    user, item = (table[name].to_numpy() for name in ("user", "item"))
    shape = user.max() + 1, item.max() + 1
    by_user = csr_matrix((np.ones((~test).sum()), (user[~test], item[~test])), shape=shape)
    return (diags(1 / np.maximum(by_user.sum(axis=1).A1, 1)) @ by_user)[user]


def errors(x: csr_matrix, rating: np.ndarray, test: np.ndarray) -> list[float]:
    """Test RMSE of ridge regression by penalty; predictions are cut to 1 ... 5."""
    train, mean = x[~test], rating[~test].mean()
    products, right = (train.T @ train).toarray(), train.T @ (rating[~test] - mean)
    found = []
    for penalty in PENALTIES:
        weights = solve(products + penalty * np.eye(len(products)), right, assume_a="pos")
        found.append(float(np.sqrt(np.mean((np.clip(mean + x[test] @ weights, 1, 5) - rating[test]) ** 2))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lake", required=True, help="folder with the split users-500")
    table, test = rows(Lake(parser.parse_args().lake))
    ids = hstack([one_hot(table["user"]), one_hot(table["item"])]).tocsr()
    leaking = leaking_set(table)
    sets = {
        "user, movie": ids,
        "+ honest set": hstack([ids, honest_set(table, test)]),
        "+ leaking set": hstack([ids, leaking]),
    }
    sets["+ leaking set, times user"] = hstack(
        [ids, leaking, diags(leaking.sum(axis=1).A1) @ one_hot(table["user"])]
    )
    cells = [
        [name, *(f"{rmse:.4f}" for rmse in errors(x.tocsr(), table["rating"].to_numpy(float), test))]
        for name, x in sets.items()
    ]
    print(markdown(["features", *(f"penalty {penalty:g}" for penalty in PENALTIES)], cells))


if __name__ == "__main__":
    main()
