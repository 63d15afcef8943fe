"""LightGCN in numpy: embeddings of users and items from who liked what, as a trainer that knows nothing of
recspark leaves them.

    python examples/lightgcn.py --lake lake/ml-100k --split default --out lightgcn.npz

It reads the training rows of a split. Final embeddings are the mean of E, A E, A A E, A A A E, where A is the
graph of likes, every edge (u, i) of weight 1 / sqrt(d_u d_i); E is learned from the BPR loss of pairs (liked,
not liked), by Adam. Written are the arrays ``users_emb`` and ``items_emb``, row p for position p of the
lake's index.

He, Deng, Wang, Li, Zhang, Wang 2020, "LightGCN: simplifying and powering graph convolution network for
recommendation".
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

LAYERS = 3
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8


def read_likes(lake: str, split: str, least: float) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Positions of users and of items of the training ratings of at least `least`, and how many users and
    items there are.
    """
    index = {
        side: pd.read_parquet(f"{lake}/index/{side}").set_index("id")["position"]
        for side in ("users", "items")
    }
    train = pd.read_parquet(f"{lake}/splits/{split}/train", columns=["user_id", "item_id", "rating"])
    liked = train[train["rating"] >= least]
    user, item = (
        index["users"].loc[liked["user_id"]].to_numpy(),
        index["items"].loc[liked["item_id"]].to_numpy(),
    )
    return user, item, len(index["users"]), len(index["items"])


def graph(user: np.ndarray, item: np.ndarray, n_users: int, n_items: int) -> csr_array:
    """The normalised adjacency matrix of users and items, users first."""
    rows, columns = np.r_[user, n_users + item], np.r_[n_users + item, user]
    degree = np.bincount(rows, minlength=n_users + n_items)
    weight = (1 / np.sqrt(degree[rows] * degree[columns])).astype(np.float32)
    return csr_array((weight, (rows, columns)), shape=(n_users + n_items,) * 2)


def propagate(adjacency: csr_array, embeddings: np.ndarray) -> np.ndarray:
    """The mean over the layers; the map is symmetric, so it takes gradients back as well."""
    total, layer = embeddings.copy(), embeddings
    for _ in range(LAYERS):
        layer = adjacency @ layer
        total += layer
    return total / (LAYERS + 1)


def bpr_gradient(
    embeddings: np.ndarray, user: np.ndarray, liked: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Of the mean of ``-log sigmoid(<x_u, y_liked - y_other>)``."""
    difference = embeddings[liked] - embeddings[other]
    slope = -1 / (1 + np.exp(np.einsum("ij,ij->i", embeddings[user], difference))) / len(user)
    rows = np.r_[user, liked, other]
    values = slope[:, None] * np.concatenate([difference, embeddings[user], -embeddings[user]]).reshape(
        3, len(user), -1
    )
    picked = csr_array(
        (np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), shape=(len(embeddings), len(rows))
    )
    return picked @ values.reshape(len(rows), -1)


def train(
    user: np.ndarray,
    item: np.ndarray,
    n_users: int,
    n_items: int,
    rank: int,
    steps: int,
    rate: float,
    reg: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n_users, rank) and (n_items, rank), float32; each step takes every like once, with an item
    drawn at random.
    """
    draw = np.random.default_rng(seed)
    adjacency = graph(user, item, n_users, n_items)
    embeddings = (0.1 * draw.standard_normal((n_users + n_items, rank))).astype(np.float32)
    first, second = np.zeros_like(embeddings), np.zeros_like(embeddings)
    for step in range(1, steps + 1):
        other = draw.integers(n_items, size=len(user))
        final = propagate(adjacency, embeddings)
        gradient = (
            propagate(adjacency, bpr_gradient(final, user, n_users + item, n_users + other))
            + reg * embeddings
        )
        first += (1 - BETA1) * (gradient - first)
        second += (1 - BETA2) * (gradient**2 - second)
        embeddings -= rate * (first / (1 - BETA1**step)) / (np.sqrt(second / (1 - BETA2**step)) + TINY)
    final = propagate(adjacency, embeddings)
    return final[:n_users], final[n_users:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lake", required=True)
    parser.add_argument("--split", default="default")
    parser.add_argument("--out", required=True, help="the .npz file to write")
    parser.add_argument("--least", type=float, default=4, help="lowest rating of a like")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=0.02, help="of Adam")
    parser.add_argument("--reg", type=float, default=1e-6, help="L2 penalty")
    parser.add_argument("--seed", type=int, default=42)
    given = vars(parser.parse_args())
    lake, split, out, least = (given.pop(name) for name in ("lake", "split", "out", "least"))
    users, items = train(*read_likes(lake, split, least), **given)
    np.savez(out, users_emb=users, items_emb=items)


if __name__ == "__main__":
    main()
