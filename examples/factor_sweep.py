"""A factorization machine on 500 users of ML-1M with 2 to 40 factors, without and with what is known of users
and movies.

    python examples/factor_sweep.py --source ml-1m.zip --lake lake/users-500

The conf is conf/recipes/users-500.toml: user, movie, other movies rated (those of the training rows), month,
last movie rated. Each of the ten models is a run in MLflow and a model of the lake; what the lake has is not
trained again. Writes LAKE/factor_sweep.png and prints one table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from lake_runs import LakeRuns, markdown, toml
from matplotlib.figure import Figure

from recspark.engine.spark.session import session
from recspark.evaluation.plots import BLUE, VERMILION

CONF = Path(__file__).parents[1] / "conf" / "recipes" / "users-500.toml"
FACTORS = (2, 5, 10, 20, 40)
BASE = ["user", "item", {"group": "rated", "scale": "linear"}, "month", "last"]
SIDE = ["gender", "age", "occupation", "zip1", "zip2", "genres"]
#: name of a feature set in the figure -> what its models are called by, its groups
SETS = {"ids, set, month, last": ("base", BASE), "+ user and movie data": ("side", BASE + SIDE)}


def measured(runs: LakeRuns, features: str, factors: int) -> dict[str, object]:
    """The test RMSE of one model."""
    name, groups = SETS[features]
    metrics = runs.measure(
        f"fm-{factors}-{name}", f"features.groups={toml(groups)}", f"model.factorSize={factors}"
    )
    return {"features": features, "factors": factors, "rmse": metrics["rmse"]}


def figure(rows: pd.DataFrame) -> Figure:
    """RMSE by number of factors, a line a feature set."""
    drawn = Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawn.subplots()
    for (features, part), colour, marker in zip(
        rows.groupby("features", sort=False), (BLUE, VERMILION), "os", strict=True
    ):
        axes.plot(part["factors"], part["rmse"], marker=marker, color=colour, label=features)
    axes.set_xscale("log")
    axes.set_xticks(FACTORS, [str(number) for number in FACTORS])
    axes.minorticks_off()
    axes.set(title="FM on 500 users of ML-1M", xlabel="factors", ylabel="test RMSE (rating units)")
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn


def table(rows: pd.DataFrame) -> str:
    """RMSE by number of factors, a column a feature set."""
    wide = rows.pivot(index="factors", columns="features", values="rmse")[list(SETS)]
    return markdown(
        ["factors", *wide.columns],
        [[str(factors), *(f"{rmse:.4f}" for rmse in row)] for factors, row in wide.iterrows()],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", required=True, help="ml-1m.zip")
    parser.add_argument("--lake", required=True, help="folder for all that is made")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="overrides the conf of all models",
    )
    given = parser.parse_args()
    runs = LakeRuns(CONF, given.lake, tuple(given.set))
    with session("factor sweep"):
        runs.prepare(given.source)
        rows = pd.DataFrame([measured(runs, features, factors) for features in SETS for factors in FACTORS])
    figure(rows).savefig(f"{given.lake}/factor_sweep.png", dpi=120)
    print(table(rows))


if __name__ == "__main__":
    main()
