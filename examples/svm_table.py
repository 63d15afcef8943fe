"""Linear and polynomial support vector machines beside a factorization machine, on the same sparse rows: one
table.

    python examples/svm_table.py --source ml-100k.zip --lake lake/svm

ML-100K, split u1; needs scikit-learn. A polynomial SVM has one weight for each pair of features, and learns
it only from training rows that have the pair. No test row has a pair (user, item) of a training row, so the
polynomial SVM learns no more than the linear one. An FM has a vector for each feature, and so a product for
every pair (Rendle 2010, section 4). Both SVMs are fitted on all rows in their primal form: the polynomial one
with kernel (<x, z> + 1)^2 is a linear one on `pairs(x)`. Prints RMSE, and the share of the feature pairs of
test rows that training rows have.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from lake_runs import LakeRuns, markdown
from pyspark.sql import DataFrame, SparkSession
from scipy.sparse import csr_matrix, hstack
from sklearn.svm import LinearSVR

from recspark.engine.spark.session import session
from recspark.features.feature_set import FeatureSet
from recspark.features.groups import parse_groups
from recspark.features.options import read_tables
from recspark.lake.lake import Lake
from recspark.models import FMRegressor

CONF = Path(__file__).parents[1] / "conf" / "ladder" / "ml-100k.toml"
SETS = {
    "user, item": ["user", "item"],
    "+ side features": ["user", "item", "age_decade", "gender", "occupation", "zip1", "year", "genres"],
    "+ last item rated": ["user", "item", "last"],
}
#: costs of errors that an SVM is tried with, on a tenth of the training rows
COSTS = np.geomspace(0.003, 3, 7)
#: errors that cost nothing, in rating units
TOLERANCE = 0.1


def matrix(features: FeatureSet, df: DataFrame) -> tuple[csr_matrix, np.ndarray]:
    """Sparse rows and ratings."""
    table = features.rows(df).select("columns", "values", "rating").toArrow().combine_chunks()
    columns, values = (table[name].chunk(0) for name in ("columns", "values"))
    indptr = np.concatenate([[0], np.cumsum(columns.value_lengths().to_numpy())])
    rows = csr_matrix(
        (values.flatten().to_numpy(), columns.flatten().to_numpy(), indptr),
        (len(table), features.layout.size),
    )
    return rows, table["rating"].to_numpy().astype(np.float64)


def pairs(x: csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The products that (<x, z> + 1)^2 adds to the linear part: rows, pairs ``i * columns + j`` (i <= j),
    values.

    ``sqrt(2) x_i x_j`` for i < j, and ``x_i^2``: their products for two rows sum up to ``<x, z>^2``.
    """
    found: list[tuple[np.ndarray, ...]] = []
    lengths = np.diff(x.indptr)
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        places = x.indptr[rows][:, None] + np.arange(length)
        columns, values = x.indices[places].astype(np.int64), x.data[places].astype(np.float64)
        i, j = np.triu_indices(length)
        scale = np.where(i == j, 1.0, np.sqrt(2))
        of_rows = (columns[:, i] * x.shape[1] + columns[:, j], values[:, i] * values[:, j] * scale)
        found.append((np.repeat(rows, len(i)), *(part.ravel() for part in of_rows)))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def with_pairs(train: csr_matrix, *others: csr_matrix) -> Iterator[csr_matrix]:
    """Matrices with a column for each pair of features that a row of `train` has; what else `others` have
    would get no weight.
    """
    known = np.unique(pairs(train)[1])
    for x in (train, *others):
        rows, found, values = pairs(x)
        places = np.minimum(np.searchsorted(known, found), len(known) - 1)
        inside = known[places] == found
        products = csr_matrix(
            (values[inside], (rows[inside], places[inside].astype(np.int32))), (x.shape[0], len(known))
        )
        yield hstack([np.sqrt(2) * x, products], "csr")


def seen_share(train: csr_matrix, test: csr_matrix) -> float:
    """The share of pairs of two features in test rows that a training row has as well."""
    of_train, of_test = (_different(pairs(x)[1], x.shape[1]) for x in (train, test))
    return float(np.isin(of_test, of_train).mean())


def _different(found: np.ndarray, columns: int) -> np.ndarray:
    return found[found // columns != found % columns]


def svm(train: csr_matrix, ratings: np.ndarray, cost: float) -> LinearSVR:
    """Squared errors beyond a tolerance, and the square of the weights: the SVM that suits an RMSE."""
    return LinearSVR(
        C=cost, epsilon=TOLERANCE, loss="squared_epsilon_insensitive", dual=False, max_iter=10_000
    ).fit(train, ratings)


def rmse(predicted: np.ndarray, ratings: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.clip(predicted, 1, 5) - ratings) ** 2)))


def svm_rmse(train: csr_matrix, ratings: np.ndarray, test: csr_matrix, answers: np.ndarray) -> float:
    """Test RMSE with the cost that is best for a tenth of the training rows."""
    held_out = np.random.default_rng(0).random(len(ratings)) < 0.1
    # the intercept is penalised: what is left of the mean is small
    mean = ratings.mean()
    score = partial(_held_out_rmse, train, ratings - mean, held_out)
    best = min(COSTS, key=score)
    return rmse(svm(train, ratings - mean, best).predict(test) + mean, answers)


def _held_out_rmse(x: csr_matrix, ratings: np.ndarray, held_out: np.ndarray, cost: float) -> float:
    fitted = svm(x[~held_out], ratings[~held_out], cost)
    return float(np.sqrt(np.mean((fitted.predict(x[held_out]) - ratings[held_out]) ** 2)))


def fm_rmse(features: FeatureSet, train: DataFrame, test: DataFrame) -> float:
    """Test RMSE of an FM on the same vectors."""
    model = FMRegressor(labelCol="rating", factorSize=10, maxIter=200).fit(features.assemble(train))
    predicted = model.transform(features.assemble(test)).select("rating", "prediction").toPandas()
    return rmse(predicted["prediction"].to_numpy(), predicted["rating"].to_numpy())


def column(spark: SparkSession, lake: str, groups: list[str]) -> dict[str, str]:
    """The cells of one feature set."""
    train, test = (spark.read.parquet(f"{lake}/splits/u1/{part}").cache() for part in ("train", "test"))
    features = FeatureSet.fit(parse_groups(groups), train, *read_tables(spark, Lake(lake)))
    (x, ratings), (x_test, answers) = matrix(features, train), matrix(features, test)
    found = {"linear SVM": svm_rmse(x, ratings, x_test, answers)}
    wide, wide_test = with_pairs(x, x_test)
    found["polynomial SVM, degree 2"] = svm_rmse(wide, ratings, wide_test, answers)
    found["factorization machine, 10 factors"] = fm_rmse(features, train, test)
    return {name: f"{value:.4f}" for name, value in found.items()} | {
        "pairs of test rows seen in training": f"{seen_share(x, x_test):.0%}"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", required=True, help="ml-100k.zip")
    parser.add_argument("--lake", required=True, help="folder for all that is made")
    given = parser.parse_args()
    with session("SVM table") as spark:
        LakeRuns(CONF, given.lake).prepare(given.source)
        table = pd.DataFrame({name: column(spark, given.lake, groups) for name, groups in SETS.items()})
    print(
        markdown(
            ["RMSE", *table.columns],
            [[name, *cells] for name, cells in zip(table.index, table.to_numpy(), strict=True)],
        )
    )


if __name__ == "__main__":
    main()
