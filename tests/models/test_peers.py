"""The recipes of conf/recipes against the PyPI package matrix-factorization, on ML-100K with 20 % new users.

Both fit the known users, then take in half of the new users' ratings, then predict the other half.
"""

import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matrix_factorization import BaselineModel, KernelMF

from recspark.models import Baseline, MatrixFactorization
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.models.serving.scorer import Scorer

pytestmark = pytest.mark.slow

KERNEL_MF = {
    "rank": 100,
    "maxIter": 20,
    "stepSize": 0.001,
    "regParam": 0.005,
    "biasRegParam": 0.005,
    "clip": True,
}


@pytest.fixture(scope="module")
def parts(movielens):
    """Ratings of known users; the first and the second half of those of new ones."""
    with zipfile.ZipFile(movielens / "ml-100k.zip").open("ml-100k/u.data") as file:
        rows = pd.read_csv(file, sep="\t", names=["user_id", "item_id", "rating", "timestamp"])
    rng = np.random.default_rng(4)
    new = rows["user_id"].isin(rng.choice(rows["user_id"].unique(), 188, replace=False))
    update = rng.random(len(rows)) < 0.5
    return rows[~new], rows[new & update], rows[new & ~update]


def rmse_of_peer(peer, parts, rate):
    train, update, test = parts
    columns = ["user_id", "item_id"]
    peer.fit(train[columns], train["rating"])
    peer.update_users(update[columns], update["rating"], lr=rate, n_epochs=20, verbose=0)
    return np.sqrt(np.mean((test["rating"] - np.array(peer.predict(test[columns]))) ** 2))


def rmse_of_ours(spark, estimator, parts, rate, folder):
    train, update, test = parts
    model = estimator.setParams(userCol="user_id", itemCol="item_id").fit(spark.createDataFrame(train))
    model.write().save(str(folder / "model"))
    folded, counts = fold_in(
        FactorTables.read(str(folder / "model")),
        pa.Table.from_pandas(update, preserve_index=False),
        epochs=20,
        rate=rate,
    )
    assert counts["new_users"] == update["user_id"].nunique()
    folded.write(str(folder / "folded"))
    prediction = Scorer.load(str(folder / "folded")).predict(
        test["user_id"].to_numpy(), test["item_id"].to_numpy()
    )
    return np.sqrt(np.mean((test["rating"] - prediction) ** 2))


@pytest.mark.filterwarnings("ignore")  # the peer's own
@pytest.mark.parametrize("kernel", ["linear", "sigmoid", "rbf"])
def test_kernel_mf(spark, parts, tmp_path, kernel):
    np.random.seed(0)  # noqa: NPY002  (the peer draws from it)
    peer = rmse_of_peer(
        KernelMF(
            n_factors=100,
            n_epochs=20,
            kernel=kernel,
            lr=0.001,
            reg=0.005,
            min_rating=1,
            max_rating=5,
            verbose=0,
        ),
        parts,
        0.001,
    )
    ours = rmse_of_ours(spark, MatrixFactorization(kernel=kernel, **KERNEL_MF), parts, 0.001, tmp_path)
    print(f"{kernel}: ours {ours:.4f}, matrix-factorization {peer:.4f}")
    assert ours < peer + 0.005


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("method", "options"), [("sgd", {"regParam": 0.005, "stepSize": 0.01}), ("als", {"regParam": 0.5})]
)
def test_baseline(spark, parts, tmp_path, method, options):
    peer = rmse_of_peer(
        BaselineModel(
            method=method,
            n_epochs=20,
            reg=options["regParam"],
            lr=0.01,
            min_rating=1,
            max_rating=5,
            verbose=0,
        ),
        parts,
        0.01,
    )
    ours = rmse_of_ours(
        spark, Baseline(solver=method, maxIter=20, clip=True, **options), parts, 0.01, tmp_path
    )
    print(f"{method}: ours {ours:.4f}, matrix-factorization {peer:.4f}")
    assert ours < peer + 0.005
