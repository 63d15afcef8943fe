"""One contender of bench_implicit.py in a process of its own: fit, time, rank, print one JSON line.

    python benchmarks/implicit_contender.py recspark als --data gowalla --rank 256 --master local[2]

Recall and NDCG at 20 are means over users with test items, by full ranking without the items that the user
has in train. The recspark package is needed for its own contenders alone: RecTools has a Python of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

#: parts that the final fits of docs/topn.md train on
TRAIN = {"gowalla": ("train", "valid"), "ml-1m-m1": ("train",), "lastfm": ("train",)}
K = 20
Scores = Callable[[slice], np.ndarray]


def load(name: str) -> tuple[csr_matrix, csr_matrix]:
    """Train and test (users, items) of a zip of adjacency lists in RECSPARK_DATA/topn."""
    parts = {}
    with zipfile.ZipFile(Path(os.environ["RECSPARK_DATA"]) / f"topn/{name}.zip") as archive:
        for part in (*TRAIN[name], "test"):
            lines = [line.split() for line in archive.read(f"{part}.txt").decode().splitlines()]
            parts[part] = np.array([(int(line[0]), int(item)) for line in lines for item in line[1:]])
    shape = np.max([pairs.max(axis=0) for pairs in parts.values()], axis=0) + 1
    train = np.concatenate([parts[part] for part in TRAIN[name]])
    return tuple(csr_matrix((np.ones(len(p), np.float32), p.T), shape) for p in (train, parts["test"]))


def measured(scores: Scores, train: csr_matrix, test: csr_matrix, height: int = 512) -> dict[str, float]:
    """Recall and NDCG at K."""
    gain = 1 / np.log2(np.arange(K) + 2)
    ideal, found = np.cumsum(gain), []
    for low in range(0, test.shape[0], height):
        part = slice(low, low + height)
        score = np.array(scores(part), np.float32)
        score[train[part].nonzero()] = -np.inf
        best = np.argpartition(-score, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(score, best, 1), axis=1, kind="stable")
        hits = np.take_along_axis(test[part].toarray(), np.take_along_axis(best, order, 1), 1) > 0
        wanted = np.diff(test[part].indptr)
        users = wanted > 0
        recall, gained = hits.sum(1)[users] / wanted[users], (hits @ gain)[users]
        found.append(np.stack([recall, gained / ideal[np.minimum(wanted[users], K) - 1]]))
    recall, ndcg = np.concatenate(found, axis=1).mean(axis=1)
    return {"recall": float(recall), "ndcg": float(ndcg)}


def by_recspark(options: argparse.Namespace, train: csr_matrix) -> tuple[list[float], Scores]:
    """ALS, BPR and EASE of recspark on a cached DataFrame, and their scores by the model's own scorer."""
    import pandas as pd

    from recspark.engine.spark.session import build_session
    from recspark.models import ALS, EASE, MatrixFactorization
    from recspark.models.folder import read_facts

    spark = build_session("bench-implicit", {"spark.master": options.master, "spark.driver.memory": "8g"})
    users, items = train.nonzero()
    table = pd.DataFrame({"user": users.astype(np.int32), "item": items.astype(np.int32), "rating": 1.0})
    frame = spark.createDataFrame(table).repartition(options.threads).cache()
    frame.count()
    shared = {"userCol": "user", "itemCol": "item", "ratingCol": "rating"}
    tuned = json.loads(options.params)
    made = {
        "als": lambda n: ALS(
            **shared, **{"regPower": 0.0, "regParam": options.reg} | tuned, implicitPrefs=True,
            alpha=options.alpha, rank=options.rank, maxIter=n, threads=options.threads, seed=7,
        ),
        "bpr": lambda n: MatrixFactorization(
            **shared, loss="bpr", rank=options.rank, maxIter=n, stepSize=options.rate,
            regParam=options.reg, threads=options.threads, seed=7,
        ),
        "ease": lambda n: EASE(**shared, **tuned, regParam=options.reg),
    }[options.model]  # fmt: skip
    made(1).fit(frame)
    seconds = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        model = made(options.iterations).fit(frame)
        seconds.append(time.perf_counter() - started)
    folder = model.folder
    scorer = read_facts(folder).find_scorer().load(folder)
    of_user, of_item = (scorer_side.index.positions(np.arange(n)) for scorer_side, n in
                        zip((scorer.users, scorer.items), train.shape, strict=True))  # fmt: skip

    def scores(part: slice) -> np.ndarray:
        found = scorer.scores(np.maximum(of_user[part], 0).astype(np.int32))
        return np.where(of_item >= 0, found[:, np.maximum(of_item, 0)], -np.inf)

    return seconds, scores


def by_implicit(options: argparse.Namespace, train: csr_matrix) -> tuple[list[float], Scores]:
    """ALS by conjugate gradient and BPR of the package implicit."""
    import threadpoolctl
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    threadpoolctl.threadpool_limits(1, "blas")
    shared = {"factors": options.rank, "num_threads": options.threads, "random_state": 7}
    seconds = []
    for _ in range(options.rounds):
        if options.model == "als":
            model = AlternatingLeastSquares(
                **shared, regularization=options.reg, alpha=1.0, iterations=options.iterations
            )
            matrix = (1 + options.alpha) * train
        else:
            model = BayesianPersonalizedRanking(
                **shared,
                regularization=options.reg,
                learning_rate=options.rate,
                iterations=options.iterations,
            )
            matrix = train
        started = time.perf_counter()
        model.fit(matrix, show_progress=False)
        seconds.append(time.perf_counter() - started)
    return seconds, lambda part: model.user_factors[part] @ model.item_factors.T


def by_rectools(options: argparse.Namespace, train: csr_matrix) -> tuple[list[float], Scores]:
    """EASE of RecTools."""
    import pandas as pd
    from rectools.dataset import Dataset
    from rectools.models import EASEModel

    users, items = train.nonzero()
    rows = pd.DataFrame({"user_id": users, "item_id": items, "weight": 1.0, "datetime": "2020-01-01"})
    dataset, seconds = Dataset.construct(rows), []
    for _ in range(options.rounds):
        model = EASEModel(regularization=options.reg)
        started = time.perf_counter()
        model.fit(dataset)
        seconds.append(time.perf_counter() - started)
    weights = np.zeros((train.shape[1], train.shape[1]), np.float32)
    places = dataset.item_id_map.convert_to_external(np.arange(len(model.weight)))
    weights[np.ix_(places, places)] = model.weight
    return seconds, lambda part: train[part] @ weights


ENGINES = {"recspark": by_recspark, "implicit": by_implicit, "rectools": by_rectools}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", choices=("als", "bpr", "ease"))
    parser.add_argument("--data", default="gowalla", choices=TRAIN)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--reg", type=float, default=10.0)
    parser.add_argument("--alpha", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--params", default="{}", help="more Params of recspark, as JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    train, test = load(options.data)
    seconds, scores = ENGINES[options.engine](options, train)
    print(json.dumps({"seconds": min(seconds), **measured(scores, train, test)}))


if __name__ == "__main__":
    main()
