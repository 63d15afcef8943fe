"""The job `recommend`: the best items of users, as a table in the lake or, for one user, on the screen."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from functools import reduce
from typing import TypedDict

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from recspark.data.catalogue import described
from recspark.data.lakehouse.publish import write_table
from recspark.engine.spark.jvm import SPARK_ERRORS, reason_of
from recspark.errors import ConfigError, InputMissing, RecsparkError
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import ListsManifest, Manifest, ModelManifest, SplitManifest
from recspark.models.factors.model import FactorModel
from recspark.models.saving import load_model
from recspark.pipeline.conf.sections import ALL
from recspark.pipeline.context import Context
from recspark.pipeline.estimators import labelled
from recspark.pipeline.gate.versions import factor_manifest, pairs_of, rated_tables, require_ability
from recspark.pipeline.lists.list_files import list_names, writing

log = logging.getLogger("recspark")


#: number of parts of a score that are shown for an item
REASONS = 3


class Reason(TypedDict, total=False):
    """One part of the score of an item; the last four keys are those of a part that comes from a rating."""

    part: str
    value: float
    item_id: object
    rating: float | None
    title: str | None
    year: int | None


class Entry(TypedDict, total=False):
    """One item on the list of a user; items of tables without titles have the first three keys only.

    Lists that are explained have the last.
    """

    rank: int
    item_id: int | str
    rating: float
    title: str | None
    year: int | None
    genres: list[str] | None
    because: list[Reason]


def recommend(job: Context) -> dict[str, object]:
    """models/NAME -> recommendations/NAME/lists (user_id, rank, item_id, rating, cold).

    For one user, the list itself is returned.
    """
    with job.lake.reading(f"models/{job.sections.model.product}"):
        return _recommend(job)


def _recommend(job: Context) -> dict[str, object]:
    options, name = job.sections.recommend, job.sections.model.product
    if options.explain and options.user is None:
        raise ConfigError(
            "recommend.explain = true is not allowed without recommend.user: only the list of one user is "
            "explained, such as by --user 200 --explain"
        )
    manifest = factor_manifest(job.lake, name)
    if options.explain:
        require_ability(job.lake, name, "explain", "model.name")
    if options.user is not None:
        model = load_model(job.lake.path(f"models/{name}"))
        return {"model": name, "user": options.user, **_shown(job, model, manifest)}
    with job.running("recommend", "recommend", about=name) as run:
        started = time.perf_counter()
        counts = write_lists(job, name, name)
        summary = counts | {"recommend_seconds": time.perf_counter() - started}
        run.dataset(
            f"models/{name}", job.lake.path(f"models/{name}"), manifest.fingerprint, context="recommend"
        )
        run.metrics(summary)
        return {"model": name, "product": f"recommendations/{name}", **summary}


def write_lists(job: Context, name: str, target: str) -> dict[str, int]:
    """Publish recommendations/TARGET: the lists of models/NAME by the options of ``[recommend]``.

    Returns their counts.
    """
    options, manifest = job.sections.recommend, factor_manifest(job.lake, name)
    model = load_model(job.lake.path(f"models/{name}"))
    chosen = None if options.users == ALL else _ids(job, model, "users")
    users = None if chosen is None else chosen.distinct()
    table = _table(_lists(job, model, manifest, users))
    names = list_names(job.lake, table.columns) if options.columns == "source" else table.columns
    lists_fingerprint = fingerprint(manifest.fingerprint, options.as_dict())
    with job.lake.publish(f"recommendations/{target}", lists_fingerprint) as publication:
        with writing(table, publication, options.format, names) as written:
            counts = _counts(written, model.userBiases if users is None else users)
            if options.table:
                key = names[0] if options.tableMode == "merge" else None
                write_table(written.toDF(*names), "recommend.table", options.table, key)
        publication.manifest = ListsManifest(
            fingerprint=lists_fingerprint, model=target, options=options.as_dict(), counts=counts
        )
    return counts


def _lists(job: Context, model: FactorModel, manifest: ModelManifest, users: DataFrame | None) -> DataFrame:
    """Lists of `users`, None for all that the model knows: user_id, recommendations, cold."""
    options = job.sections.recommend
    tables = _rated(job, manifest) if options.excludeSeen else []
    limits = {"candidates": _candidates(job, model), "blocked": _ids(job, model, "blocked")}
    if users is None:
        paths = [job.lake.path(table) for table in tables]
        return model.recommendForAllUsers(options.n, seen=paths or None, **limits).withColumn(
            "cold", F.lit(False)
        )
    seen = pairs_of(job, tables) if tables else None
    if seen is not None and (options.user is not None or isinstance(options.users, list)):
        # few users: most rows need not go to the workers
        seen = seen.filter(F.col("user_id").isin([row.user_id for row in users.collect()]))
    return model.recommendForUserSubset(users, options.n, seen=seen, fallback=True, **limits)


def _table(lists: DataFrame) -> DataFrame:
    """One row per entry; rank 1 is the best."""
    entries = lists.select("user_id", "cold", F.posexplode("recommendations").alias("place", "entry"))
    return entries.select(
        "user_id", (F.col("place") + 1).alias("rank"), "entry.item_id", "entry.rating", "cold"
    )


def _counts(table: DataFrame, asked: DataFrame) -> dict[str, int]:
    """Counts of the lists.

    They are rows, users with a list, cold users among them, distinct items on the lists, and users for whom
    no item was left.
    """
    cold = F.count_distinct(F.when(F.col("cold"), F.col("user_id")))
    measures = {
        "rows": F.count("*"),
        "users": F.count_distinct("user_id"),
        "cold_users": cold,
        "items": F.count_distinct("item_id"),
    }
    counts = table.agg(*(measure.alias(name) for name, measure in measures.items())).first().asDict()
    return counts | {"users_without_list": asked.count() - counts["users"]}


def _rated(job: Context, manifest: ModelManifest) -> list[str]:
    """The tables of known ratings: those of the model's split except test, and those that updated it."""
    product = manifest.split
    counts = job.lake.require(product, SplitManifest, "split").counts
    return rated_tables(
        manifest, *(f"{product}/{part}" for part, rows in counts.items() if rows and part != "test")
    )


def _candidates(job: Context, model: FactorModel) -> DataFrame | None:
    """Items that may be on a list, by their ids and by the columns of tables/items; None: all."""
    options, chosen = job.sections.recommend, _ids(job, model, "candidates")
    conditions = {
        "genre": lambda genre: F.array_contains("genres", genre),
        "minYear": lambda year: F.col("year") >= year,
        "maxYear": lambda year: F.col("year") <= year,
    }
    given = {key: getattr(options, key) for key in conditions if getattr(options, key) is not None}
    if not given:
        return chosen
    job.lake.require("tables", Manifest, "ingest")
    items = described(job.read("tables/items"))
    kept = reduce(DataFrame.filter, (conditions[key](value) for key, value in given.items()), items).select(
        "item_id"
    )
    if kept.isEmpty():
        genres = sorted(row[0] for row in items.select(F.explode("genres")).distinct().collect())
        what = ", ".join(f"recommend.{key} = {value!r}" for key, value in given.items())
        known = ", ".join(genres) or "not known"
        raise ConfigError(
            f"{what} is not allowed: it must leave an item of tables/items, whose genres are {known}"
        )
    return kept if chosen is None else kept.join(chosen, "item_id", "left_semi")


def _ids(job: Context, model: FactorModel, option: str) -> DataFrame | None:
    """The ids that `option` names, as user_id or item_id; None if it is not set."""
    value = getattr(job.sections.recommend, option)
    column, known = (
        ("user_id", model.userFactors) if option.startswith("user") else ("item_id", model.itemFactors)
    )
    if value is None:
        return None
    if isinstance(value, str) and option != "user":
        try:
            table = job.spark.read.parquet(value).select(column)
            _ = table.schema  # over Spark Connect nothing before looks for the table
            return table
        except SPARK_ERRORS as error:
            cause = reason_of(error)
            if cause == "PATH_NOT_FOUND":
                raise InputMissing(
                    f"recommend.{option} = {value!r} does not exist: it must be a Parquet table with {column}"
                ) from None
            reason = f"it must be a Parquet table with {column} ({cause})"
            raise ConfigError(f"recommend.{option} = {value!r} is not allowed: {reason}") from None
    kind = known.schema["id"].dataType
    convert = str if isinstance(kind, StringType) else int
    try:
        rows = [(convert(id),) for id in (value if isinstance(value, list) else [value])]
    except ValueError:
        raise ConfigError(
            f"recommend.{option} = {value!r} is not allowed: ids of this model are whole numbers"
        ) from None
    return job.spark.createDataFrame(rows, StructType([StructField(column, kind)]))


def _shown(job: Context, model: FactorModel, manifest: ModelManifest) -> dict[str, object]:
    """The list of one user with titles, also as text on the log."""
    table = _table(_lists(job, model, manifest, _ids(job, model, "user")))
    if job.lake.manifest("tables", Manifest) is not None:
        table = table.join(described(job.read("tables/items")), "item_id", "left")
    rows = [row.asDict() for row in table.orderBy("rank").collect()]
    if not rows:
        raise RecsparkError(
            f"nothing is left to recommend to user {job.sections.recommend.user}: all candidates are seen or "
            "blocked"
        )
    cold = rows[0]["cold"]
    if cold and job.sections.recommend.explain:
        log.warning("the model knows nothing of a new user, so the list can't be explained")
    elif job.sections.recommend.explain:
        _explain_inplace(job, model, manifest, rows)
    log.info("%suser %s\n%s", "new " if cold else "", job.sections.recommend.user, as_text(rows))
    return {
        "cold": cold,
        "recommendations": [
            {key: value for key, value in row.items() if key not in ("user_id", "cold")} for row in rows
        ],
    }


def _explain_inplace(
    job: Context, model: FactorModel, manifest: ModelManifest, rows: list[dict[str, object]]
) -> None:
    """Add the key ``because`` to the rows of a list: the parts that lift the item most."""
    trained = labelled(job.read(f"{manifest.split}/train"), manifest.positive_from)
    ratings = [trained, *(job.read(table) for table in rated_tables(manifest))]
    found = model.explain_list(rows[0]["user_id"], [row["item_id"] for row in rows], ratings)
    reasons = [explanation.reasons(REASONS) for explanation in found]
    titles = _titles(job, {part.item for parts in reasons for part in parts if part.item is not None})
    for row, parts in zip(rows, reasons, strict=True):
        row["because"] = [
            {"part": part.name, "value": part.value}
            | (
                {}
                if part.item is None
                else {"item_id": part.item, "rating": part.rating, **titles.get(part.item, {})}
            )
            for part in parts
        ]


def _titles(job: Context, items: Collection[object]) -> dict[object, dict[str, object]]:
    """Title and year of `items`, if the lake's table of items has them."""
    if not items or job.lake.manifest("tables", Manifest) is None:
        return {}
    table = described(job.read("tables/items")).filter(F.col("item_id").isin(list(items)))
    return {row.item_id: {"title": row.title, "year": row.year} for row in table.collect()}


def as_text(rows: Sequence[Entry]) -> str:
    """A list as a table to read; an item without a title is shown by its id.

    >>> heat = {"title": "Heat", "year": 1995, "genres": ["Action", "Crime"]}
    >>> heat |= {"rank": 1, "rating": 4.25, "item_id": 6}
    >>> heat["because"] = [{"part": "item bias", "value": 0.5}]
    >>> print(as_text([heat, {"rank": 2, "rating": 4.0, "item_id": 7}]))
    rank  rating  item         genres
       1    4.25  Heat (1995)  Action, Crime
                  +0.500  item bias
       2    4.00  7
    """
    shown = [_shown_item(row) for row in rows]
    width = max(map(len, [*shown, "item"]))
    lines = []
    for row, item in zip(rows, shown, strict=True):
        genres = ", ".join(row.get("genres") or ())
        lines.append(f"{row['rank']:>4}  {row['rating']:>6.2f}  {item:<{width}}  {genres}".rstrip())
        lines += [f"{'':>14}{_shown_reason(reason)}" for reason in row.get("because", ())]
    return "\n".join([f"rank  rating  {'item':<{width}}  genres", *lines])


def _shown_item(row: Entry | Reason) -> str:
    return f"{row['title']} ({row['year']})" if row.get("year") else row.get("title") or str(row["item_id"])


def _shown_reason(reason: Reason) -> str:
    """A part of a score as text.

    >>> _shown_reason({"part": "item bias", "value": 0.25})
    '+0.250  item bias'
    >>> heat = {"item_id": 6, "title": "Heat", "year": 1995}
    >>> _shown_reason({"part": "rating", "value": 0.031, "rating": 4.0, **heat})
    '+0.031  Heat (1995), rated 4'
    """
    name = reason["part"]
    if "item_id" in reason:
        rating = reason["rating"]
        name = _shown_item(reason) if rating is None else f"{_shown_item(reason)}, rated {rating:g}"
    return f"{reason['value']:+.3f}  {name}"
