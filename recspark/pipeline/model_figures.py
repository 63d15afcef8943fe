"""Figures of a trained model for its MLflow run: its curve, its biases, and similar items."""

from __future__ import annotations

import pandas as pd
from pyspark.sql import functions as F

from recspark.data.catalogue import titles_of
from recspark.evaluation import plots
from recspark.models.factors.model import FactorModel, Summary
from recspark.pipeline.context import Context
from recspark.tracking import Run

#: number of popular items, number of neighbours shown for each, number of neighbours considered, and the
#: least number of ratings of a neighbour
SHOWN_ITEMS, NEIGHBOURS, LOOKED_AT, LEAST_RATINGS = 10, 5, 100, 20


def log_figures(job: Context, run: Run, model: FactorModel, summary: Summary) -> None:
    """Log ``figures/rmse_by_epoch.png``, ``figures/biases.png`` and ``similar_items.csv``.

    Each is made if the model has the numbers for it.
    """
    curve = summary.curve.rename(columns={"iteration": "epoch"})
    has_rmse = any(column.endswith("_rmse") for column in curve)
    if has_rmse:
        unit = "rating units" if job.sections.model.positiveFrom is None else "preferences, 0 or 1"
        run.figure(plots.plot_curves(curve, unit), "figures/rmse_by_epoch.png")
    if "lists" not in model.can:  # users and items have no vectors and no biases of their own
        return
    # counts, which took no iteration, were not learned
    if model.is_biased and summary.history:
        run.figure(
            plots.plot_biases(bias_histogram(model), "rating units" if has_rmse else "score units"),
            "figures/biases.png",
        )
    if model.rank:
        run.text(similar_items(job, model).to_csv(index=False), "similar_items.csv")


def bias_histogram(model: FactorModel) -> pd.DataFrame:
    """The number of users and items by bias: side, bias (the middle of a bin of a tenth), n.

    There is an empty bin at both ends.
    """
    number = F.count(F.lit(1)).alias("n")
    sides = []
    for side, table in (("items", model.itemBiases), ("users", model.userBiases)):
        counts = (
            table.groupBy(F.round(F.col("bias") * 10).cast("int").alias("bin"))
            .agg(number)
            .toPandas()
            .set_index("bin")["n"]
        )
        counts = counts.reindex(range(counts.index.min() - 1, counts.index.max() + 2), fill_value=0)
        sides.append(pd.DataFrame({"side": side, "bias": counts.index / 10, "n": counts.to_numpy()}))
    return pd.concat(sides, ignore_index=True)


def similar_items(job: Context, model: FactorModel) -> pd.DataFrame:
    """The items most similar to the most rated ones by cosine: item_id, like_id, similarity.

    There is one row per pair, with titles if the lake has them. Items with fewer than `LEAST_RATINGS`
    ratings, which are similar by chance, are left out.
    """
    popular = [row.id for row in model.itemBiases.orderBy(F.desc("count"), "id").limit(SHOWN_ITEMS).collect()]
    similar = model.similarItems(popular, LOOKED_AT)
    pairs = similar.select(model.getItemCol(), F.inline("similar").alias("like_id", "similarity")).toPandas()
    pairs.columns = ["item_id", "like_id", "similarity"]
    found = (F.col("count") >= LEAST_RATINGS) & F.col("id").isin(pairs["like_id"].unique().tolist())
    known = [row.id for row in model.itemBiases.filter(found).collect()]
    rows = pairs[pairs["like_id"].isin(known)].groupby("item_id", sort=False).head(NEIGHBOURS)
    rows = rows.sort_values("item_id", key=lambda ids: ids.map(popular.index), kind="stable")
    shown = {*rows["item_id"], *rows["like_id"]}
    titles = titles_of(job.read("tables/items"), shown) if job.lake.exists("tables/items") else {}
    columns = {"item_id": rows["item_id"], "title": rows["item_id"].map(titles), "like_id": rows["like_id"]}
    return pd.DataFrame(
        columns | {"like_title": rows["like_id"].map(titles), "similarity": rows["similarity"].round(3)}
    )
