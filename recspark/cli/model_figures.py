"""What a trained model looks like, for its MLflow run: its curve, its biases, and what it holds to be alike."""

from __future__ import annotations

import pandas as pd
from pyspark.sql import functions as F

from recspark.cli.context import Context
from recspark.evaluation import plots
from recspark.models.factor_model import FactorModel, Summary
from recspark.tracking import Run

#: popular items whose neighbours are shown, and how many of them
SHOWN_ITEMS, NEIGHBOURS = 10, 5


def log_figures(job: Context, run: Run, model: FactorModel, summary: Summary, name: str) -> None:
    """Log ``figures/rmse_by_epoch.png``, ``figures/biases.png`` and ``similar_items.csv``, each where the model has what it shows."""
    curve = summary.curve
    if any(column.endswith("_rmse") for column in curve):
        run.figure(plots.plot_curves(curve.rename(columns={"iteration": "epoch"}).assign(run=name)), "figures/rmse_by_epoch.png")
    if model.is_biased:
        run.figure(plots.plot_biases(bias_histogram(model)), "figures/biases.png")
    if model.rank:
        run.text(similar_items(job, model).to_csv(index=False), "similar_items.csv")


def bias_histogram(model: FactorModel) -> pd.DataFrame:
    """How many users and items have which bias: side, bias (the middle of a bin of a tenth), n."""
    tables = {"users": model.userBiases, "items": model.itemBiases}
    counted = [table.groupBy(F.round("bias", 1).alias("bias")).agg(F.count(F.lit(1)).alias("n")).toPandas().assign(side=side) for side, table in tables.items()]
    return pd.concat(counted).sort_values(["side", "bias"])


def similar_items(job: Context, model: FactorModel) -> pd.DataFrame:
    """The items most like the most rated ones by cosine, a row a pair: item, similar item, similarity; titles where the lake has them."""
    popular = model.itemBiases.orderBy(F.desc("count"), "id").limit(SHOWN_ITEMS).toPandas()
    column = model.getItemCol()
    pairs = model.similarItems(popular["id"].tolist(), NEIGHBOURS).select(column, F.inline("similar").alias("like", "similarity")).toPandas()
    rows = pairs.set_axis(["item_id", "like_id", "similarity"], axis=1).merge(popular[["id", "count"]], left_on="item_id", right_on="id")
    rows = rows.sort_values(["count", "item_id", "similarity"], ascending=[False, True, False])[["item_id", "like_id", "similarity"]]
    if job.lake.exists("tables/items"):
        titles = job.read("tables/items").filter(F.col("item_id").isin([*set(rows["item_id"]) | set(rows["like_id"])])).toPandas()
        names = titles.set_index("item_id")["title"] if "title" in titles else pd.Series(dtype=object)
        rows = rows.assign(title=rows["item_id"].map(names), like_title=rows["like_id"].map(names))
    return rows
