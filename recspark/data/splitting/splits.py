"""Splits of the ratings into training, validation and test rows.

docs/splits.md defines each kind and its guarantees.
"""

from __future__ import annotations

import logging
from typing import NotRequired, TypedDict

import msgspec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.config import Check, Option, Section, at_least, one_of, shown, strictly_between
from recspark.data.schemas import PART, PARTS
from recspark.data.splitting.given import given_rows
from recspark.data.splitting.parts import COLUMN, OwnParts
from recspark.data.splitting.rules import FOLDED, RULES, draw
from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.lake.fingerprints import fingerprint
from recspark.lake.lake import FILE_NAME, Lake
from recspark.lake.manifests import ColdRows, Manifest, SplitManifest

log = logging.getLogger(__name__)


class _Text(Option):
    """A string that may look like a number: ``--set split.fold=1`` needs no quotes."""

    def parse(self, key: str, value: object) -> object:
        return super().parse(key, str(value) if type(value) is int else value)


_NAMED = Check(bool, "not empty")
_SHARE_OR_NONE = Check(lambda value: 0 <= value < 1, "at least 0 and less than 1")


class SplitOptions(Section):
    """The rules of the split; an option that the kind has no use for must not be set."""

    name = "split"
    kind = Option(str, "random", "rule that chooses the test rows", one_of("given", *RULES))
    testFraction = Option(
        float,
        0.1,
        "share of the rows (new_users: of the users) in test; folds or n replace it",
        strictly_between(0, 1),
    )
    validationFraction = Option(
        float, 0.0, "share of the rows outside test that validate; 0: none", _SHARE_OR_NONE
    )
    n = Option(
        int, None, "last: newest ratings of each user that are test, in place of testFraction", at_least(1)
    )
    folds = Option(
        int,
        None,
        "random, stratified, new_users: number of folds to cut into, in place of testFraction",
        at_least(2),
    )
    fold = _Text(
        str, None, "the fold that is test: 1 .. folds; given: the name of a split of the data set, such as u1"
    )
    train = Option(
        str,
        None,
        "given: the train rows, a file or folder inside data.source; without data.source a path, URI or "
        "table:NAME of their own",
        _NAMED,
    )
    validation = Option(
        str,
        None,
        "given: the validation rows, as train; not set: validationFraction of the train rows",
        _NAMED,
    )
    test = Option(str, None, "given: the test rows, as train", _NAMED)
    partColumn = Option(
        str,
        None,
        "given: the column of data.source that says train, validation (valid, val, dev) or test",
        _NAMED,
    )
    overlap = Option(
        str,
        "refuse",
        "given: pairs in several parts: refuse the split; dropTrain: the row stays in the latest of train, "
        "validation and test; dropTest: in the earliest",
        one_of("refuse", "dropTrain", "dropTest"),
    )
    trainOnValidation = Option(
        bool, False, "whether validation rows, as the split chooses them, are put into train, for a last fit"
    )
    sample = Option(int, None, "ratings to use, drawn by a hash; not set: all", at_least(1))
    sampleUsers = Option(int, None, "users whose ratings to use, drawn by a hash; not set: all", at_least(1))
    seed = Option(int, 42, "seed of every draw")

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        fold_names = [str(fold + 1) for fold in range(self.folds or 0)]
        if self.folds and self.kind not in FOLDED:
            raise _useless("folds", self.folds, self.kind, " or ".join(FOLDED))
        if self.n and self.kind != "last":
            raise _useless("n", self.n, self.kind, "last")
        self._check_parts()
        if self.folds and self.fold is not None and self.fold not in fold_names:
            raise self._wrong_fold()
        if self.kind == "given" and self.fold is not None and not FILE_NAME.holds(self.fold):
            raise self._wrong_fold()
        if self.fold and self.kind != "given" and not self.folds:
            raise _useless("fold", self.fold, self.kind, "given, or set split.folds")
        for key in ("sample", "sampleUsers"):
            if getattr(self, key) and self.kind == "given":
                raise _useless(key, getattr(self, key), self.kind, "random")

    def _check_parts(self) -> None:
        """Raise ConfigError for parts of one's own that contradict each other or other options."""
        parts = self.own_parts
        for key in (*PARTS, COLUMN, *(["overlap"] if self.overlap != "refuse" else [])):
            if getattr(self, key) is not None and self.kind != "given":
                raise _useless(key, getattr(self, key), self.kind, "given")
        if parts is None:
            return
        if self.fold is not None:
            raise ConfigError(
                f"split.fold = {shown(self.fold)} is not allowed with {parts.in_words()}: a split is one of "
                "the data set or one's own"
            )
        if parts.column and any(getattr(self, part) is not None for part in PARTS):
            raise ConfigError(
                f"{parts.in_words()} is not allowed with split.train, split.validation and split.test: the "
                "column says it, or the files"
            )
        if missing := [part for part in ("train", "test") if not parts.column and part not in parts.places]:
            raise ConfigError(
                f"split.{missing[0]} is not set, but {parts.in_words()}: a split of one's own needs both "
                "split.train and split.test"
            )
        if self.validation is not None and self.validationFraction:
            raise ConfigError(
                f"split.validationFraction = {self.validationFraction:g} is not allowed with "
                f"split.validation = {shown(self.validation)}: leave one of them out"
            )

    @property
    def own_parts(self) -> OwnParts | None:
        """The parts of a split of one's own; None for any other split."""
        places = {part: place for part in PARTS if (place := getattr(self, part)) is not None}
        return OwnParts(places, self.partColumn) if places or self.partColumn is not None else None

    def require_fold(self) -> None:
        """Raise ConfigError if one split can't be made because no fold is named.

        A cross-validation names the folds itself.
        """
        if self.fold is None and (self.folds or (self.kind == "given" and not self.own_parts)):
            raise self._wrong_fold()

    def _wrong_fold(self) -> ConfigError:
        needed = (
            f"with split.folds = {self.folds} it must be 1 to {self.folds}"
            if self.folds
            else "split.kind = 'given' needs the name of a split, such as u1, or split.train and split.test, "
            "or split.partColumn"
        )
        return ConfigError(f"split.fold = {shown(self.fold)} is not allowed: {needed}")


# an option called `name` can't be a class attribute, which names the section itself; it goes last because
# messages need the latter
SplitOptions.options["name"] = _Text(str, "default", "the split is published as splits/NAME", FILE_NAME)


def _useless(key: str, value: object, kind: str, useful: str) -> ConfigError:
    return ConfigError(
        f"split.{key} = {shown(value)} is not allowed with split.kind = {kind!r}: leave it out, or use kind "
        f"{useful}"
    )


def part_names(options: SplitOptions) -> tuple[str, ...]:
    """The names of the tables of a split."""
    return ("train", "validation", "test", *(["update"] if options.kind == "new_users" else []))


def split(df: DataFrame, options: SplitOptions) -> dict[str, DataFrame]:
    """Cut ratings into ``{"train", "validation", "test"}``, with kind new_users also ``"update"``.

    The tables are lazy, with the columns of `df`.

    Parameters
    ----------
    df : DataFrame
        user_id, item_id, timestamp and any other columns; (user_id, item_id) unique, timestamp null if
        unknown.

    Raises
    ------
    ConfigError
        With kind given, whose rows come from files (see :func:`split_stage`).
    DataRejected
        With kind temporal, if a timestamp is null.
    """
    if options.kind == "given":
        raise ConfigError(
            "split.kind = 'given' is not a rule for one table of ratings: its rows come from the tables that "
            "ingest wrote"
        )
    options.require_fold()
    return _parts(RULES[options.kind](df, options), options)


class SplitSummary(TypedDict):
    """The outcome of a split.

    product, kind
        The product in the lake and the rule that chose the test rows.
    unchanged
        Whether nothing had to be done.
    counts
        Rows by part.
    cold
        Test rows with ids that no training row has (:func:`cold_report`).
    overlap
        Of a given split: rows whose pair is in another part, too, and the rows left out for it.
    """

    product: str
    kind: str
    unchanged: bool
    counts: dict[str, int]
    cold: dict[str, float]
    overlap: NotRequired[dict[str, int]]


def split_stage(spark: SparkSession, lake: Lake, options: SplitOptions) -> SplitSummary:
    """Publish ``splits/NAME/{train,validation,test}`` from the product tables, unless it is current.

    Returns
    -------
    SplitSummary

    Raises
    ------
    ConfigError
        If `options` name no fold, although there are folds to choose from.
    DataRejected
        If no row is left for train or for test, or a pair is in several parts of a given split.
    """
    options.require_fold()
    product = f"splits/{options.name}"
    with lake.reading("tables"), lake.writing(product):
        source = lake.require("tables", Manifest, "ingest").fingerprint
        split_fingerprint = fingerprint("split", source, options.as_dict())
        if unchanged := lake.is_current(product, split_fingerprint):
            log.info("%s is up to date", product)
        else:
            _publish(spark, lake, options, product, source, split_fingerprint)
        return _summary(product, lake.require(product, SplitManifest, "split"), unchanged)


def _publish(
    spark: SparkSession, lake: Lake, options: SplitOptions, product: str, source: str, split_fingerprint: str
) -> None:
    with lake.publish(product, split_fingerprint) as publication:
        if options.kind == "given":
            rows, n_rows, overlap = given_rows(spark, lake, options)
        else:
            sample = _sampled(spark.read.parquet(lake.path("tables/ratings")), options)
            rows, n_rows, overlap = RULES[options.kind](sample, options), sample.count(), {}
        if options.trainOnValidation:
            rows = rows.withColumn(PART, F.when(F.col(PART) == "validation", "train").otherwise(F.col(PART)))
        labelled = rows.persist()
        try:
            for part, table in _parts(labelled, options).items():
                table.write.parquet(publication.path(part))
        finally:
            labelled.unpersist()
        written = {part: spark.read.parquet(publication.path(part)) for part in part_names(options)}
        publication.manifest = SplitManifest(
            fingerprint=split_fingerprint,
            source=source,
            options=options.as_dict(),
            counts=_checked_counts(written, n_rows, product),
            cold=msgspec.convert(cold_report(written["train"], written["test"]), ColdRows),
            overlap=overlap,
        )


def cold_report(train: DataFrame, test: DataFrame) -> dict[str, float]:
    """The number of test rows that have a user, an item, or both, that no training row has.

    Returns ``{rows, user, item, both, share}``: rows of test; rows with an unseen user, an unseen item
    (either way, a row with both counts in both) and with both; share of the rows with either.
    """
    for column in ("user_id", "item_id"):
        test = test.join(train.select(column, F.lit(1).alias(f"{column}_seen")).distinct(), column, "left")
    user, item = F.col("user_id_seen").isNull(), F.col("item_id_seen").isNull()
    rows, *cold = test.agg(
        F.count(F.lit(1)), *(F.count_if(which) for which in (user, item, user & item))
    ).first()
    return dict(zip(("rows", "user", "item", "both"), (rows, *cold), strict=True)) | {
        "share": (cold[0] + cold[1] - cold[2]) / max(rows, 1)
    }


def _parts(labelled: DataFrame, options: SplitOptions) -> dict[str, DataFrame]:
    return {part: labelled.where(F.col(PART) == part).drop(PART) for part in part_names(options)}


def _sampled(table: DataFrame, options: SplitOptions) -> DataFrame:
    """The users, then the rows, with the lowest draws, ties by the ids.

    They are the same for any order and partitioning.
    """
    if options.sampleUsers:
        users = (
            table.select("user_id")
            .distinct()
            .orderBy(draw(options.seed, "sample users", "user_id"), "user_id")
        )
        users = users.limit(options.sampleUsers)
        table = table.join(users, "user_id", "left_semi")
    if options.sample is None:
        return table
    return table.orderBy(draw(options.seed, "sample", "user_id", "item_id"), "user_id", "item_id").limit(
        options.sample
    )


def _checked_counts(parts: dict[str, DataFrame], rows: int, product: str) -> dict[str, int]:
    counts = {part: table.count() for part, table in parts.items()}
    if sum(counts.values()) != rows:
        raise RecsparkError(f"{product}: {rows} rows went in, but {counts} came out")
    for part in ("train", "test"):
        if counts[part] == 0:
            raise DataRejected(f"{product}: no row of {rows} is left for {part} ({counts})")
    return counts


def _summary(product: str, manifest: SplitManifest, unchanged: bool) -> SplitSummary:
    return {
        "product": product,
        "kind": str(manifest.options["kind"]),
        "unchanged": unchanged,
        "counts": manifest.counts,
        "cold": msgspec.structs.asdict(manifest.cold),
        **({"overlap": manifest.overlap} if manifest.overlap else {}),  # type: ignore[typeddict-item]
    }
