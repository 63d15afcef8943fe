"""The audit: features are made again from changed copies of the ratings, to find leaks.

A feature that changes although it must not has leaked.

=======================  =====================================================================
copy                     how it differs
=======================  =====================================================================
ratings reversed         every rating, of train and test rows, becomes its negative
ratings drawn            every rating becomes a random number
test removed             no test row is left
test thinned             a random half of the test rows is left
test changed             all test rows have one item, a later time and another rating
later rows ... removed   no training row of the same user (item) at or after the watched row
later rows ... changed   these rows have another item and a later time
all rows ... removed     no training row of anyone at or after one moment
=======================  =====================================================================

The first five must change no feature, level or moment. They fit again: it is also a leak if a level or a mean
depends on a test row. The last three must not change groups of scope past (of all rows, up to that moment).
They keep the fitted layout, which is of all training rows for any scope, and give it other histories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.data.splitting.rules import draw
from recspark.features.feature_set import FeatureSet
from recspark.features.layout import Block, Layout

#: makes features from training rows and held-out rows
Fit = Callable[[DataFrame, DataFrame], FeatureSet]
#: positions and values of the features, by watched row and group
Snapshot = dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]

_WATCHED = "_watched"
_TEN_YEARS = 10 * 365 * 86_400


@dataclass(frozen=True)
class Finding:
    """A group that a perturbation changed although it must not.

    ``rows`` is the number of watched rows that changed, ``example`` one of them. They are 0 and empty if the
    group's levels or moments changed.
    """

    perturbation: str
    group: str
    rows: int
    example: dict[str, object]

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.perturbation}: the levels or moments of group {self.group!r} changed"
        row = ", ".join(f"{key} {value}" for key, value in self.example.items())
        return (
            f"{self.perturbation}: group {self.group!r} changed in {self.rows} of the watched rows, such as "
            f"{row}"
        )


@dataclass(frozen=True)
class Report:
    """The result of an audit: the groups, the number of watched rows, the perturbations, and the findings."""

    groups: list[str]
    rows: int
    perturbations: list[str]
    findings: list[Finding]


def audit(fit: Fit, train: DataFrame, test: DataFrame, rows: int = 200, seed: int = 42) -> Report:
    """Look for leaks with the data at hand.

    Parameters
    ----------
    fit
        Makes the features from training rows and held-out rows. An honest one does not use the latter.
    train, test : DataFrame
        user_id, item_id, rating, timestamp and the columns that ``ratings.COLUMN`` groups name; `test` has
        all held-out rows. Both are read about ten times.
    rows : int
        Number of rows of each that are watched, drawn by a hash.
    seed : int
        Seed of the draws.
    """
    watched = _watch(train, test, rows, seed)
    spark = train.sparkSession
    features = fit(train, test)
    before = _snapshot(features, spark.createDataFrame(watched))
    findings, names = [], []
    for name, new_train, new_test, new_watched in _refitted(
        train, test, spark.createDataFrame(watched), seed
    ):
        names.append(name)
        again = fit(new_train, new_test)
        changed = _changed_blocks(features.layout, again.layout)
        findings += [Finding(name, group, 0, {}) for group in changed]
        groups = [block.name for block in features.layout if block.name not in changed]
        findings += _changed(name, groups, before, _snapshot(again, new_watched), watched)
    for name, new_train, part, groups in _later(features.layout, train, watched):
        names.append(name)
        tables = features.bound()
        again = features.bind(new_train, tables.users, tables.items)
        findings += _changed(name, groups, before, _snapshot(again, spark.createDataFrame(part)), watched)
    return Report([block.name for block in features.layout], len(watched), names, findings)


def _watch(train: DataFrame, test: DataFrame, rows: int, seed: int) -> pa.Table:
    order = draw(seed, "audit", "user_id", "item_id")
    drawn = [part.orderBy(order, "user_id", "item_id").limit(rows).toArrow() for part in (train, test)]
    watched = pa.concat_tables([drawn[0], drawn[1].select(drawn[0].column_names)])
    return watched.append_column(_WATCHED, pa.array(np.arange(len(watched), dtype=np.int32)))


def _refitted(
    train: DataFrame, test: DataFrame, watched: DataFrame, seed: int
) -> Iterator[tuple[str, DataFrame, DataFrame, DataFrame]]:
    """Name, training rows, test rows and watched rows of the perturbations that no feature may show."""
    rating, by = F.col("rating"), ("user_id", "item_id")
    for name, value in (
        ("ratings reversed", -rating),
        ("ratings drawn", draw(seed, "audit rating", *by).cast("float")),
    ):
        yield name, *(rows.withColumn("rating", value) for rows in (train, test, watched))
    yield "test removed", train, test.limit(0), watched
    yield "test thinned", train, test.where(draw(seed, "audit test", *by) < 0.5), watched
    yield (
        "test changed",
        train,
        _elsewhere(test, F.lit(True), watched.first()["item_id"]).withColumn("rating", -rating),
        watched,
    )


def _later(
    layout: Layout, train: DataFrame, watched: pa.Table
) -> Iterator[tuple[str, DataFrame, pa.Table, list[str]]]:
    """Perturbations that only a look ahead can show: name, training rows, watched rows and groups."""
    past = [block.group for block in layout if block.group.scope == "past"]
    watched = watched.filter(pc.is_valid(watched["timestamp"])) if past else watched.slice(0, 0)
    if not len(watched):
        return
    item = watched["item_id"][0].as_py()
    for key in sorted({group.key for group in past if group.key}):
        groups = [group.name for group in past if group.key == key]
        cuts = watched.group_by(key).aggregate([("timestamp", "max")]).select([key, "timestamp_max"])
        joined = train.join(F.broadcast(train.sparkSession.createDataFrame(cuts)), key, "left")
        later = F.coalesce(F.col("timestamp") >= F.col("timestamp_max"), F.lit(False))
        yield (
            f"later rows of the same {key} removed",
            joined.where(~later).select(train.columns),
            watched,
            groups,
        )
        yield (
            f"later rows of the same {key} changed",
            _elsewhere(joined, later, item).select(train.columns),
            watched,
            groups,
        )
    moment = sorted(watched["timestamp"].to_pylist())[len(watched) // 2]
    until = watched.filter(pc.less_equal(watched["timestamp"], moment))
    yield (
        "all rows after a moment removed",
        train.where(F.col("timestamp") < moment),
        until,
        [group.name for group in past],
    )


def _elsewhere(rows: DataFrame, which: Column, item: object) -> DataFrame:
    """`rows` in which those of `which` have another item, ten years later."""
    later = F.col("timestamp") + F.when(which, _TEN_YEARS).otherwise(0)
    changed = F.when(which, F.lit(item)).otherwise(F.col("item_id"))
    return rows.withColumns({"item_id": changed, "timestamp": later})


def _snapshot(features: FeatureSet, watched: DataFrame) -> Snapshot:
    table = features.rows(watched).select(_WATCHED, "columns", "values").toArrow()
    found = {}
    for row, columns, values in zip(
        *(table[name].to_numpy() for name in (_WATCHED, "columns", "values")), strict=True
    ):
        for block in features.layout:
            first = features.layout.starts[block.group.side] + block.offset
            here = slice(*np.searchsorted(columns, [first, first + block.size]))
            found[int(row), block.name] = columns[here] - first, values[here]
    return found


def _changed_blocks(before: Layout, after: Layout) -> list[str]:
    """The groups whose levels or moments differ."""

    def same(one: Block, other: Block) -> bool:
        return one.levels == other.levels and np.allclose([one.mean, one.stdev], [other.mean, other.stdev])

    return [one.name for one, other in zip(before, after, strict=True) if not same(one, other)]


def _changed(
    perturbation: str, groups: Iterable[str], before: Snapshot, after: Snapshot, watched: pa.Table
) -> Iterator[Finding]:
    rows = sorted({row for row, _ in after})
    for group in groups:
        changed = [row for row in rows if not _same(before[row, group], after[row, group])]
        if changed:
            example = watched.select(["user_id", "item_id", "timestamp"]).slice(changed[0], 1).to_pylist()[0]
            yield Finding(perturbation, group, len(changed), example)


def _same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return np.array_equal(one[0], other[0]) and np.allclose(one[1], other[1], rtol=1e-5)
