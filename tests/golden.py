"""What fits of every algorithm predict, kept from one commit to the next: a change that only moves code
changes no bit.

    python tests/golden.py FILE      # fit, and write the predictions; run it before a change and after
    python tests/golden.py A B       # compare two such files: prints what differs; ends with 1 where they do

Bits differ between processors, so the files stay on the machine that made them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator

import numpy as np
import pandas as pd

from recspark.data.generated.synthetic import SyntheticOptions, generate
from recspark.engine.spark.session import build_session
from recspark.models import (
    ALS,
    Baseline,
    FMClassifier,
    FMRanker,
    FMRegressor,
    MatrixFactorization,
    Popularity,
)

BLOCKS = {"1": {"userBlocks": 1, "itemBlocks": 1}, "3": {"userBlocks": 3, "itemBlocks": 3, "tasks": "blocks"}}
IDS = {"userCol": "user_id", "itemCol": "item_id"}
ITERATIONS = {"rank": 6, "maxIter": 4, "seed": 3, **IDS}
MADE = SyntheticOptions(users=300, items=200, ratings=12_000)


def fits() -> Iterator[tuple[str, object]]:
    """Estimators by name, on 1 and on 3 blocks where they have blocks."""
    for number, blocks in BLOCKS.items():
        factors = {**ITERATIONS, **blocks}
        yield f"als {number}", ALS(regParam=0.1, **factors)
        yield f"als biased {number}", ALS(regParam=5.0, biases=True, **factors)
        yield f"als nonnegative {number}", ALS(regParam=0.1, nonnegative=True, **factors)
        yield f"als implicit {number}", ALS(regParam=0.1, implicitPrefs=True, **factors)
        yield f"sgd {number}", MatrixFactorization(**factors)
        yield f"baseline {number}", Baseline(**IDS, **blocks)
        yield f"popularity {number}", Popularity(**IDS, **blocks)
        groups = {"groups": ["user", "item"], "factorSize": 4, "maxIter": 6, "seed": 3, **blocks}
        yield f"fm gibbs {number}", FMRegressor(**groups)
        yield f"fm ordered {number}", FMRegressor(ordered=True, **groups)
        yield f"fm classes {number}", FMClassifier(labelCol="liked", **groups)
    yield "fm sgd", FMRegressor(solver="sgd", groups=["user", "item"], factorSize=4, maxIter=4, seed=3)
    yield "fm ranks", FMRanker(groups=["user", "item"], factorSize=4, maxIter=4, seed=3)
    for solver in ("adamW", "gd", "mcmc"):
        yield (
            f"fm vectors {solver}",
            FMRegressor(featuresCol="features", solver=solver, factorSize=4, maxIter=4, seed=3),
        )


def main(path: str) -> None:
    """Fit each on the same rows, and write its predictions of those rows to `path`."""
    rows = generate(MADE)["ratings"]
    rows["liked"] = (rows["rating"] >= 4).astype(float)
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        build_session("golden", {"spark.master": "local[2]"}) as spark,
    ):
        rows.to_parquet(f"{folder}/rows.parquet")
        data = _with_vectors(spark.read.parquet(f"{folder}/rows.parquet"))
        for name, estimator in fits():
            if estimator.hasParam("labelCol") and not estimator.isSet("labelCol"):
                estimator.setLabelCol("rating")
            given = estimator.fit(data).transform(data).select(*IDS.values(), "prediction").toPandas()
            found[name] = given.sort_values([*IDS.values()])["prediction"].to_numpy()
            print(f"{name}: mean {found[name].mean():.6f}", flush=True)
    np.savez(path, **found)


def _with_vectors(data):
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import OneHotEncoder, VectorAssembler

    hot = OneHotEncoder(inputCols=[*IDS.values()], outputCols=["u", "i"])
    return (
        Pipeline(stages=[hot, VectorAssembler(inputCols=["u", "i"], outputCol="features")])
        .fit(data)
        .transform(data)
        .drop("u", "i")
    )


def compare(one: str, other: str) -> int:
    """Print what differs between two files."""
    a, b = np.load(one), np.load(other)
    differ = {
        name: np.abs(a[name] - b[name]).max() if name in a and name in b else np.nan for name in {*a, *b}
    }
    table = pd.Series({name: value for name, value in differ.items() if value != 0}).sort_index()
    print(table.to_string() if len(table) else f"{len(differ)} fits are equal to the bit")
    return int(len(table) > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 2 else compare(*sys.argv[1:]))
