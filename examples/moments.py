"""How long a user's mood lasts: correlation of the errors of two ratings of one user, by the time between
them.

    # docs/fm.md has the whole command, for a model without moments
    recspark crossvalidate --conf-file conf/ml-100k-fm-mcmc.toml ... --set model.name=fm-days
    python examples/moments.py --lake lake/ml-100k \\
        fm-days-u1 fm-days-u2 fm-days-u3 fm-days-u4 fm-days-u5

Reads predictions of test rows, of the folds of one model together or of any one model; prints a table. All
pairs of a user count.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from lake_runs import markdown

from recspark.lake.lake import Lake
from recspark.lake.manifests import Manifest

#: seconds between two ratings: the upper ends of the table's columns
ENDS = {
    "< 1 s": 1,
    "1 to 10 s": 10,
    "10 to 60 s": 60,
    "1 to 5 min": 300,
    "5 to 60 min": 3600,
    "an hour to a day": 86_400,
    "more": np.inf,
}


def read(lake: Lake, name: str) -> pd.DataFrame:
    """user_id, timestamp (seconds) and error of the test rows that a model of the lake has predicted."""
    lake.require(f"predictions/{name}", Manifest, "evaluate")
    files = ds.dataset(lake.at(f"predictions/{name}/test"), filesystem=lake.fs, format="parquet")
    rows = files.to_table(columns=["user_id", "timestamp", "rating", "prediction"]).to_pandas()
    return rows.assign(error=rows["rating"] - rows["prediction"])


def correlations(rows: pd.DataFrame) -> list[tuple[int, float]]:
    """(pairs, correlation) for each of ENDS: ``sum e f / sqrt(sum e^2 sum f^2)`` over the pairs of errors e,
    f of one user.
    """
    sums = np.zeros((len(ENDS), 3))
    for _, own in rows.groupby("user_id"):
        time, error = own["timestamp"].to_numpy(np.int64), own["error"].to_numpy(np.float64)
        first, second = np.triu_indices(len(own), 1)
        place = np.searchsorted(list(ENDS.values()), np.abs(time[first] - time[second]), side="right")
        for column, values in enumerate(
            (np.ones(len(first)), error[first] * error[second], (error[first] ** 2 + error[second] ** 2) / 2)
        ):
            sums[:, column] += np.bincount(place, values, len(ENDS))
    return [(int(pairs), product / square if pairs else float("nan")) for pairs, product, square in sums]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names under predictions/ of the lake")
    parser.add_argument("--lake", required=True)
    given = parser.parse_args()
    rows = pd.concat([read(Lake(given.lake), name) for name in given.models])
    found = zip(ENDS, correlations(rows), strict=True)
    print(
        markdown(
            ["apart", "pairs", "correlation"],
            [[text, f"{pairs}", f"{value:.3f}"] for text, (pairs, value) in found],
        )
    )


if __name__ == "__main__":
    main()
