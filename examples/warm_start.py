"""A fit that starts from another trainer's embeddings beside one that starts cold: RMSE of every epoch, in
one figure and one table.

    python examples/warm_start.py --source ml-100k.zip --lake lake/warm

Ingests and splits, trains LightGCN on the training rows (`lightgcn.py`), and then the model of
conf/recipes/warm-start.toml twice. Writes LAKE/warm_start.png and prints the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightgcn
import numpy as np
import pandas as pd
from lake_runs import LakeRuns, markdown

from recspark.engine.spark.session import session
from recspark.evaluation.plots import plot_curves
from recspark.lake.lake import Lake
from recspark.lake.manifests import ModelManifest

CONF = Path(__file__).parents[1] / "conf" / "recipes" / "warm-start.toml"
#: LightGCN's products order items, on a scale of their own: times the square of this they are about as large
#: as ratings' deviations
SCALE = 0.3


def embeddings(lake: str) -> str:
    """The file of LightGCN's embeddings."""
    path = f"{lake}/lightgcn.npz"
    users, items = lightgcn.train(
        *lightgcn.read_likes(lake, "default", least=4), rank=64, steps=150, rate=0.02, reg=1e-6, seed=42
    )
    np.savez(path, users_emb=users, items_emb=items)
    return path


def curves(lake: str, models: dict[str, str]) -> pd.DataFrame:
    """Rows (run, epoch, train_rmse, test_rmse) of models by the name that the figure gives them."""
    histories = {
        run: Lake(lake).require(f"models/{model}", ModelManifest, "train").history
        for run, model in models.items()
    }
    rows = [
        row | {"run": run, "epoch": row["iteration"]} for run, history in histories.items() for row in history
    ]
    return pd.DataFrame(rows)[["run", "epoch", "train_rmse", "test_rmse"]]


def table(rows: pd.DataFrame) -> str:
    """Test RMSE by epoch, a column a run, and each run's best."""
    wide = rows.pivot(index="epoch", columns="run", values="test_rmse")[list(dict.fromkeys(rows["run"]))]
    shown = [epoch for epoch in (1, 2, 3, 5, 8, 10, 15, 20, 30, 40) if epoch in wide.index]
    cells = [[str(epoch), *(f"{value:.4f}" for value in wide.loc[epoch])] for epoch in shown]
    cells.append(["best (epoch)", *(f"{wide[run].min():.4f} ({wide[run].idxmin()})" for run in wide)])
    return markdown(["epoch", *wide.columns], cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", required=True, help="ml-100k.zip")
    parser.add_argument("--lake", required=True, help="folder for all that is made")
    given = parser.parse_args()
    runs = LakeRuns(CONF, given.lake)
    with session("warm start"):
        runs.prepare(given.source)
        runs.job("train")
        start = [
            f"model.initialModel={embeddings(given.lake)}",
            f"model.initialIndex={given.lake}/index",
            f"model.initialScale={SCALE}",
        ]
        runs.job("train", "model.name=mf-warm", *start)
    rows = curves(given.lake, {"cold": "mf-cold", "from LightGCN": "mf-warm"})
    plot_curves(rows).savefig(f"{given.lake}/warm_start.png")
    print(table(rows))


if __name__ == "__main__":
    main()
