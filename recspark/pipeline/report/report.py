"""The contents of a report, read from the lake: data, curve, errors, lists of three users, settings."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from functools import reduce
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from recspark.config import brief
from recspark.data.catalogue import titles_of
from recspark.data.quality import REASONS
from recspark.errors import RecsparkError
from recspark.evaluation import plots
from recspark.lake.lake import Lake
from recspark.lake.manifests import LINKS, ModelManifest, PredictionsManifest, SplitManifest, TablesManifest
from recspark.models.factors.model import FactorModel
from recspark.models.saving import load_model
from recspark.pipeline.context import Context
from recspark.pipeline.report import figures
from recspark.pipeline.report.page import (
    Block,
    Part,
    Picture,
    Side,
    Table,
    Text,
    Tiles,
    cell,
    page,
    picture,
    settings,
)
from recspark.redaction import redact
from recspark.tracking import Run
from recspark.tracking.provenance import flatten, one_line

log = logging.getLogger("recspark")

#: length of a list, and most rows shown of the training ratings of its user
SHOWN = 10
#: quarantined rows shown for each reason
EXAMPLES = 3
#: most levels of a rating scale; a scale with more is cut into as many bins
LEVELS = 40
#: models that others are shown beside, by their usual names
YARDSTICKS = ("baseline", "popularity")
#: tiles of the first part by metric
HEADLINES = {"rmse": "RMSE", "mae": "MAE", "roc_auc": "ROC AUC", "log_loss": "log-loss"}
SLICES = {
    "warmth": "By what training knows of the pair",
    "user_activity": "By training ratings of the user",
    "item_popularity": "By training ratings of the item",
    "rating": "By rating",
}

Metrics: TypeAlias = Mapping[str, float | None]


def write_report(job: Context, run: Run, seconds: Mapping[str, float]) -> str | None:
    """Write ``reports/NAME.html`` and the artifact ``report.html``; returns the path in the lake.

    `seconds` are those of each stage. The job has done its work: if the report fails, a warning says why, and
    the path is None.
    """
    place = f"reports/{job.sections.model.product}.html"
    try:
        html = make_report(job, seconds)
    except Exception as error:
        log.warning("%s is not written: %s", job.lake.path(place), one_line(error))
        job.lake.delete(place)
        return None
    job.lake.write_bytes(place, html.encode())
    run.text(html, "report.html")
    return job.lake.path(place)


def make_report(job: Context, seconds: Mapping[str, float]) -> str:
    """The HTML of the report of the model of `job`, which has been evaluated."""
    name, lake = job.sections.model.product, job.lake
    model = lake.require(f"models/{name}", ModelManifest, "train")
    tables = lake.require("tables", TablesManifest, "ingest")
    title = f"{name} on {tables.dataset}, split {model.split.removeprefix('splits/')}"
    parts = [
        _headline(job, model),
        Part("data", "Data", _data(job, tables, model)),
        Part("curve", "Training", _curve(model)),
        Part("errors", "Errors", _errors(lake, name)),
        Part("lists", "Lists of three users", _lists(job, model)),
        Part("settings", "Settings", [_settings(job, tables)]),
        Part("origin", "How it was made", _origin(job, seconds)),
    ]
    return page(title, parts)


def stage_seconds(lake: Lake, name: str) -> dict[str, float]:
    """The seconds of each stage of the last pipeline of models/NAME; empty if there was none."""
    with suppress(RecsparkError):  # a damaged file: the time left is not known
        found = lake.read_json(f"reports/{name}.json")
        if isinstance(found, dict):
            return {kind: value for kind, value in found.items() if isinstance(value, (int, float))}
    return {}


def keep_stage_seconds(lake: Lake, name: str, seconds: Mapping[str, float]) -> None:
    """Keep the seconds for the next pipeline, whose time left they tell."""
    lake.write_json(f"reports/{name}.json", {kind: round(value, 3) for kind, value in seconds.items()})


def _headline(job: Context, model: ModelManifest) -> Part:
    name = job.sections.model.product
    metrics = _metrics(job.lake, name)
    k = job.sections.evaluation.ks[0]
    shown = HEADLINES | {f"ndcg_at_{k}": f"NDCG@{k}", f"recall_at_{k}": f"recall@{k}", "auc": "AUC of lists"}
    values = [(title, cell(metrics[key])) for key, title in shown.items() if key in metrics]
    columns: dict[str, Metrics] = {name: metrics}
    for other in YARDSTICKS:
        if other != name and _is_of(job.lake, other, model.split_fingerprint):
            columns[other] = _metrics(job.lake, other)
    rmse, r2 = metrics.get("rmse"), metrics.get("r2")
    if rmse is not None and r2 is not None and r2 < 1:
        columns["mean rating"] = {"rmse": rmse / (1 - r2) ** 0.5, "r2": 0.0, "bias": 0.0}
    # those of the tiles first
    names = [key for key in (*shown, *sorted(metrics.keys() - shown.keys())) if key in metrics]
    rows = [
        [key.replace("_at_", "@"), *(column.get(key) for column in columns.values())]
        for key in names
        if not _is_count(key)
    ]
    table = Table(("metric on test rows", *columns), rows)
    counts = [f"{key.replace('_', ' ')} {metrics[key] or 0:,.0f}" for key in names if _is_count(key)]
    notes = [f"Counts: {', '.join(counts)}. docs/metrics.md defines every metric."]
    if "mean rating" in columns:
        notes.append("Mean rating: the mean of the test rows is the prediction for each of them.")
    rest = [other for other in YARDSTICKS if other != name and other not in columns]
    if rest:
        notes.append(f"No metrics of these models on this split are in the lake: {', '.join(rest)}.")
    return Part("result", "", [Tiles(values), table, *map(Text, notes)])


def _is_count(metric: str) -> bool:
    return metric.endswith("_rows") or "users" in metric


def _metrics(lake: Lake, name: str) -> Metrics:
    return lake.read_json(f"metrics/{name}.json") or {}


def _is_of(lake: Lake, name: str, split_fingerprint: str | None) -> bool:
    """Whether models/NAME was evaluated on the test rows of that split."""
    made = lake.manifest(f"predictions/{name}", PredictionsManifest)
    return made is not None and made.split_fingerprint == split_fingerprint is not None


def _data(job: Context, tables: TablesManifest, model: ModelManifest) -> list[Block]:
    split = job.lake.require(model.split, SplitManifest, "split")
    counts = [
        [name, facts.rows, facts.read, facts.quarantined, facts.merged]
        for name, facts in tables.tables.items()
        if name not in ("quarantine", LINKS) and (not name.startswith("given/") or facts.quarantined)
    ]
    parts = Table(("part of the split", "rows"), list(split.counts.items()))
    cold = f"{split.cold.share:.1%} of the test rows have a user or an item that no training row has."
    dropped = split.overlap.get("dropped", 0)
    return [
        Text(f"Read from {redact(tables.source)}."),
        Side([Table(("table", "rows", "rows read", "quarantined", "merged"), counts), parts]),
        Text(cold),
        *([Text(f"Left out, as pairs in several parts: {dropped} rows.")] if dropped else []),
        *_quarantine(job.lake, tables),
        *_distributions(job),
    ]


def _quarantine(lake: Lake, tables: TablesManifest) -> list[Block]:
    found = [
        (table, reason, count)
        for table, facts in tables.tables.items()
        for reason, count in (facts.reasons or {}).items()
        if count
    ]
    if not found:
        return [Text("Quarantine: no row.")]
    rows = ds.dataset(lake.at("tables/quarantine"), filesystem=lake.fs, format="parquet")
    shown: list[list[object]] = []
    for table, reason, count in found:
        condition = (pc.field("table") == table) & (pc.field("reason") == reason)
        examples = rows.scanner(filter=condition).head(EXAMPLES).to_pylist()
        texts = [f"{row['file']} line {row['line']}: {brief(row['text'], 80)}" for row in examples]
        shown.append([table, f"{reason}: {REASONS.get(reason, '')}", count, "\n".join(texts)])
    return [Table(("table", "reason", "rows", "the first of them"), shown, "Quarantine")]


def _distributions(job: Context) -> list[Block]:
    sides = {side: _counts(job.lake, side) for side in ("items", "users")}
    shares = {side: figures.head_share(rows) for side, rows in sides.items()}
    ratings = _ratings(job.read("tables/ratings"))
    words = (
        f"The long tail: the {figures.HEAD:.0%} of items with the most ratings have {shares['items']:.0%} of "
        f"all ratings, the {figures.HEAD:.0%} of users with the most {shares['users']:.0%}."
    )
    tail = picture(figures.plot_long_tail(sides), "Number of ratings of users and items by their rank")
    levels = picture(figures.plot_ratings(ratings), "Share of all ratings by level")
    return [Text(words), Side([tail, levels])]


def _counts(lake: Lake, side: str) -> pd.DataFrame:
    """The number of ids (n) by number of ratings (count), from 1, of the index: batch by batch."""
    index = ds.dataset(lake.at(f"index/{side}"), filesystem=lake.fs, format="parquet")
    found: Counter[int] = Counter()
    for batch in index.to_batches(columns=["count"]):
        for value in pc.value_counts(batch["count"]).to_pylist():
            found[value["values"]] += value["counts"]
    rows = sorted((count, n) for count, n in found.items() if count)
    return pd.DataFrame(rows, columns=["count", "n"])


def _ratings(ratings: DataFrame) -> pd.DataFrame:
    """The number of ratings by level, or by bin of equal width: rating, n, width (0 of a level).

    Ratings of a scale without levels are rounded to three digits first: the driver gets few rows.
    """
    value = F.col("rating").cast("double")
    unit = F.pow(10.0, F.floor(F.log10(F.abs(value))) - 2)
    rounded = F.when(value == 0, value).otherwise(F.round(value / unit) * unit)
    rows = ratings.groupBy(F.round(rounded, 9).alias("rating")).agg(F.count("*").alias("n")).toPandas()
    rows = rows.sort_values("rating", ignore_index=True)
    if len(rows) <= LEVELS:
        return rows.assign(width=0.0)
    n, edges = np.histogram(rows["rating"], LEVELS, weights=rows["n"])
    return pd.DataFrame({"rating": edges[:-1], "n": n, "width": edges[1] - edges[0]})


def _curve(model: ModelManifest) -> list[Block]:
    history = pd.DataFrame(model.history)
    figure = figures.plot_history(history) if len(history) > 1 else None
    if figure is None:
        return [Text("No curve: this model was not fitted by iterations.")]
    text = (
        f"{len(history)} iterations in {model.fit_seconds or 0:.1f} s; the model is from iteration "
        f"{model.best_iteration}."
    )
    return [Text(text), picture(figure, "Curve of the training by iteration")]


def _errors(lake: Lake, name: str) -> list[Block]:
    slices, histogram = (_measured(lake, name, table) for table in ("slices", "histogram"))
    if slices is None or histogram is None:
        return [Text("No errors by slice: the predictions of this model are not measured as ratings.")]
    tables: list[Text | Picture | Table] = []
    for slice_, title in SLICES.items():
        rows = slices[slices["slice"] == slice_]
        if len(rows) > LEVELS:
            tables.append(Text(f"{title}: {len(rows)} levels, see metrics/{name}/slices.parquet."))
        else:
            shown = rows[["level", "n", "rmse", "mae", "bias"]].astype(object)
            tables.append(Table(("level", "rows", "RMSE", "MAE", "bias"), shown.to_numpy().tolist(), title))
    return [
        Text("Bias is the mean of prediction - rating. The errors are of the test rows."),
        picture(plots.plot_residuals(slices), "Errors by rating and by item popularity", wide=True),
        Side(tables),
        picture(plots.plot_distribution(histogram), "Distribution of predicted and actual ratings"),
    ]


def _measured(lake: Lake, name: str, table: str) -> pd.DataFrame | None:
    place = f"metrics/{name}/{table}.parquet"
    if not lake.exists(place):
        return None
    return ds.dataset(lake.at(place), filesystem=lake.fs, format="parquet").to_table().to_pandas()


def _lists(job: Context, manifest: ModelManifest) -> list[Block]:
    model = load_model(job.lake.path(f"models/{job.sections.model.product}"))
    if "lists" not in model.can:
        return [Text("No lists: this model predicts ratings of pairs, and has no lists of items.")]
    users = _three_users(model)
    ids = [user.id for user in users]
    columns = ("user_id", "item_id", "rating")
    parts = [
        job.read(f"{manifest.split}/{part}").select(*columns, F.lit(part).alias("part"))
        for part in ("train", "validation", "test")
    ]
    chosen = reduce(DataFrame.unionByName, parts).where(F.col("user_id").isin(ids))
    # few rows, which the lists need as well
    known = chosen.collect()
    seen = [(row.user_id, row.item_id) for row in known if row.part != "test"]
    rows = pd.DataFrame(known, columns=chosen.columns)
    types = chosen.select("user_id", "item_id").schema
    asked = job.spark.createDataFrame([(id,) for id in ids], chosen.select("user_id").schema)
    lists = model.recommendForUserSubset(asked, SHOWN, seen=job.spark.createDataFrame(seen, types))
    recommended = lists.select("user_id", F.inline("recommendations").alias("item_id", "score")).toPandas()
    shown = {*recommended["item_id"], *rows["item_id"]}
    names = titles_of(job.read("tables/items"), shown) if job.lake.exists("tables/items") else {}
    blocks: list[Block] = [
        Text(
            f"Users with many, a middling number of, and few training ratings. A list has the best {SHOWN} "
            'of the items that the user has not rated in training. "In test": a test row has this pair.'
        )
    ]
    for user in users:
        blocks += _one_user(user, rows[rows["user_id"] == user.id], recommended, names)
    return blocks


def _three_users(model: FactorModel) -> list[Row]:
    """Rows (id, count) of users at the first hundredth, the middle and the last hundredth by their number of
    training ratings; fewer if there are fewer users.
    """
    counts = model.userBiases.where("count > 0").groupBy("count")
    found = counts.agg(F.count("*").alias("n"), F.min("id").alias("low"), F.max("id").alias("high"))
    rows = found.orderBy(F.desc("count")).collect()
    last = list(accumulate(row.n for row in rows))
    users: dict[object, Row] = {}
    for share in (0.01, 0.5, 0.99):
        row = next(row for row, rank in zip(rows, last, strict=True) if rank >= share * last[-1])
        id = row.low if row.low not in users else row.high
        users.setdefault(id, Row(id=id, count=row["count"]))
    return list(users.values())


def _one_user(user: Row, rows: pd.DataFrame, lists: pd.DataFrame, names: Mapping[object, str]) -> list[Block]:
    def named(item: object) -> str:
        return names.get(item) or str(item)

    known = rows[rows["part"] != "test"].sort_values(["rating", "item_id"], ascending=[False, True])
    test = {*rows.loc[rows["part"] == "test", "item_id"]}
    best = [
        [named(item), Decimal(f"{rating:g}")]
        for item, rating in zip(known["item_id"].head(SHOWN), known["rating"], strict=False)
    ]
    chosen = lists[lists["user_id"] == user["id"]]
    found = [
        [rank, named(item), Decimal(f"{score:.3f}"), "yes" if item in test else ""]
        for rank, (item, score) in enumerate(zip(chosen["item_id"], chosen["score"], strict=True), start=1)
    ]
    return [
        Text(f"User {user['id']}: {user['count']:,} training ratings, {len(test):,} test rows", "heading"),
        Side(
            [
                Table(("", "item", "score", "in test"), found, "Recommended"),
                Table(("item", "rating"), best, "Rated highest before"),
            ]
        ),
    ]


def _settings(job: Context, tables: TablesManifest) -> Table:
    sections = job.sections
    values: dict[str, object] = {
        "model": sections.model.as_dict(),
        "features": sections.features.as_dict(),
        "split": sections.split.as_dict(),
        "evaluation": sections.evaluation.as_dict(),
        "data": {"dataset": tables.dataset, **tables.options},
    }
    return settings(dict(flatten(values)), ("option", "value"))


def _origin(job: Context, seconds: Mapping[str, float]) -> list[Block]:
    facts = dict(job.tracker.provenance)
    command = facts.pop("recspark.command")
    names = {
        "recspark.version": "recspark",
        "spark.version": "Spark",
        "python.version": "Python",
        "mlflow.source.git.commit": "commit of recspark",
    }
    values = {
        "made": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "lake": redact(job.lake.root),
        "MLflow run": job.run_id or "not tracked",
        **{shown: facts[name] for name, shown in names.items() if name in facts},
        "seconds": ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items()),
    }
    return [Text(command, "code"), settings(values, ("", ""))]
