"""A factorization machine on 500 users of ML-1M with 2 to 40 factors, without and with what is known of users and movies: one table, one figure.

    python examples/factor_sweep.py --source ml-1m.zip --lake lake/users-500

The conf is conf/recipes/users-500.toml: user, movie, other movies rated (those of the training rows), month, last movie rated. Each of the ten models
is a run in MLflow and a model of the lake. Writes LAKE/factor_sweep.png and prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from recspark.cli import main as recspark
from recspark.data.lake import Lake
from recspark.engine.session import session
from recspark.evaluation.plots import BLUE, VERMILION

CONF = Path(__file__).parents[1] / "conf" / "recipes" / "users-500.toml"
FACTORS = (2, 5, 10, 20, 40)
BASE = ["user", "item", {"group": "rated", "scale": "linear"}, "month", "last"]
SIDE = ["gender", "age", "occupation", "zip1", "zip2", "genres"]
SETS = {"ids, set, month, last": BASE, "+ user and movie data": BASE + SIDE}


def job(name: str, lake: str, *settings: str) -> None:
    """Run one job on the lake; its failure ends this program."""
    words = [word for each in (f"paths.lake={lake}", *settings) for word in ("--set", each)]
    if code := recspark([name, "--conf-file", str(CONF), *words]):
        sys.exit(code)


def toml(groups: list) -> str:
    """The groups as a TOML value."""
    inline = [json.dumps(each) if isinstance(each, str) else "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in each.items()) + "}" for each in groups]
    return f"[{', '.join(inline)}]"


def measured(lake: str, features: str, factors: int) -> dict[str, object]:
    """Train and evaluate one model."""
    name = f"fm-{factors}-{'side' if features != next(iter(SETS)) else 'base'}"
    settings = (f"features.groups={toml(SETS[features])}", f"model.factorSize={factors}", f"model.name={name}")
    for stage in ("train", "evaluate"):
        job(stage, lake, *settings)
    return {"features": features, "factors": factors, "rmse": Lake(lake).read_json(f"metrics/{name}.json")["rmse"]}


def figure(rows: pd.DataFrame) -> Figure:
    """RMSE by number of factors, a line a feature set."""
    drawn = Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawn.subplots()
    for (features, part), colour in zip(rows.groupby("features", sort=False), (BLUE, VERMILION), strict=True):
        axes.plot(part["factors"], part["rmse"], marker="o", color=colour, label=features)
    axes.set_xscale("log")
    axes.set_xticks(FACTORS, [str(number) for number in FACTORS])
    axes.minorticks_off()
    axes.set(title="FM on 500 users of ML-1M", xlabel="factors", ylabel="test RMSE (rating units)")
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", required=True, help="ml-1m.zip")
    parser.add_argument("--lake", required=True, help="folder for all that is made")
    given = parser.parse_args()
    with session("factor sweep"):
        for stage in ("ingest", "index", "split"):
            job(stage, given.lake, f"data.source={given.source}")
        rows = pd.DataFrame([measured(given.lake, features, factors) for features in SETS for factors in FACTORS])
    figure(rows).savefig(f"{given.lake}/factor_sweep.png", dpi=120)
    wide = rows.pivot(index="factors", columns="features", values="rmse")[list(SETS)]
    print("\n".join(f"| {line} |" for line in [" | ".join(["factors", *wide.columns]), "--- | --- | ---", *(" | ".join([str(k), *(f"{v:.4f}" for v in row)]) for k, row in wide.iterrows())]))


if __name__ == "__main__":
    main()
