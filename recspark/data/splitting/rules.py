"""The rules that choose a part for each rating: pure functions of the set of rows.

Order and partitioning don't matter. A rule takes ratings (user_id, item_id, timestamp and any other columns;
pairs unique) and adds column PART.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recspark.data.schemas import PART
from recspark.errors import DataRejected

if TYPE_CHECKING:
    from recspark.data.splitting.splits import SplitOptions

# a time is searched first among spans of 2^16 seconds, then within one of them
_SPAN_BITS = 16


def draw(seed: int, purpose: str, *columns: str) -> Column:
    """A number in [0, 1) that depends on the seed, the purpose and the text of these columns only.

    Ids are hashed as text: 1 as int, as bigint and as string give the same number.
    """
    bits = F.xxhash64(F.lit(f"{seed}/{purpose}"), *(F.col(column).cast("string") for column in columns))
    return F.shiftrightunsigned(bits, 11) * F.lit(2.0**-53)


def in_validation(options: SplitOptions) -> Column:
    """Whether a row that is not in test is drawn for validation."""
    return draw(options.seed, "validation", "user_id", "item_id") < options.validationFraction


def random(df: DataFrame, options: SplitOptions) -> DataFrame:
    """Each row is drawn by itself: for one of K folds, or for test with probability testFraction."""
    test = _held_out(draw(options.seed, "row", "user_id", "item_id"), options)
    return df.withColumn(
        PART, F.when(test, "test").when(in_validation(options), "validation").otherwise("train")
    )


def stratified(df: DataFrame, options: SplitOptions) -> DataFrame:
    """As `random`, with the rows of each item spread evenly: test has its share of each item.

    Items with too few rows for that only train.
    """
    item = Window.partitionBy("item_id")
    place = F.row_number().over(item.orderBy(draw(options.seed, "row", "user_id", "item_id"), "user_id")) - 1
    count = F.count(F.lit(1)).over(item)
    # every item has its own offset: rows that don't divide evenly fall to another fold each time
    spread = (place + draw(options.seed, "offset", "item_id")) / count
    test = (count >= (options.folds or 1 / options.testFraction)) & _held_out(spread, options)
    return df.withColumn(
        PART, F.when(test, "test").when(in_validation(options), "validation").otherwise("train")
    )


def new_users(df: DataFrame, options: SplitOptions) -> DataFrame:
    """Users are drawn; a drawn user's older ratings go to update, the newer to test.

    They are halves; the older one is larger if their number is odd.
    """
    held_out = _held_out(draw(options.seed, "user", "user_id"), options)
    age, count = _newest_first(options)
    known = F.when(in_validation(options), "validation").otherwise("train")
    new = F.when(age <= F.floor(count / 2), "test").otherwise("update")
    return df.withColumn(PART, F.when(held_out, new).otherwise(known))


def temporal(df: DataFrame, options: SplitOptions) -> DataFrame:
    """Rows after one moment are test, rows after an earlier one validation; equal times stay together."""
    test_from = time_at(df, 1 - options.testFraction)
    part = F.when(F.col("timestamp") > test_from, "test")
    if options.validationFraction > 0:
        before = df.where(F.col("timestamp") <= test_from)
        part = part.when(F.col("timestamp") > time_at(before, 1 - options.validationFraction), "validation")
    return df.withColumn(PART, part.otherwise("train"))


def last(df: DataFrame, options: SplitOptions) -> DataFrame:
    """Each user's newest n, or testFraction, are test, those before them validation.

    At least one row stays in train.
    """
    return _last(df, options, options.n)


def leave_one_out(df: DataFrame, options: SplitOptions) -> DataFrame:
    """Each user's newest row is test, the one before it validation; at least one row stays in train."""
    return _last(df, options, 1)


#: every rule that needs only the ratings, by the name of its kind
RULES: dict[str, Callable[[DataFrame, SplitOptions], DataFrame]] = {
    rule.__name__: rule for rule in (random, stratified, temporal, last, leave_one_out, new_users)
}
#: the kinds that can be cut into K folds
FOLDED = ("random", "stratified", "new_users")


def time_at(df: DataFrame, share: float) -> int:
    """The earliest time with at least `share` of the rows (rounded to a whole number) at or before it.

    It is exact, and takes two counts.
    """
    time = F.col("timestamp")
    span = F.shiftright(time, _SPAN_BITS)
    spans, untimed = _histogram(df, span)
    rows = sum(spans.values()) + untimed
    if untimed:
        raise DataRejected(
            f"split.kind = 'temporal' needs times, but {untimed} of {rows} ratings have none: use kind "
            "'random'"
        )
    rank = max(1, round(share * rows))
    found, below = _locate(spans, rank)
    return _locate(_histogram(df.where(span == found), time)[0], rank - below)[0]


def _histogram(df: DataFrame, key: Column) -> tuple[dict[int, int], int]:
    """The number of rows of each key, and of those whose key is null."""
    counts = dict(df.groupBy(key.alias("key")).count().collect())
    missing = counts.pop(None, 0)
    return counts, missing


def _locate(histogram: dict[int, int], rank: int) -> tuple[int, int]:
    """The key of the `rank`-th smallest row (from 1), and the number of rows with smaller keys."""
    keys = sorted(histogram)
    below = accumulate((histogram[key] for key in keys), initial=0)
    return next((key, rows) for key, rows in zip(keys, below, strict=False) if rows + histogram[key] >= rank)


def _held_out(number: Column, options: SplitOptions) -> Column:
    if options.folds:
        return F.floor(number * options.folds) == int(options.fold) - 1
    return number < options.testFraction


def _newest_first(options: SplitOptions) -> tuple[Column, Column]:
    """For each row its rank among its user's rows, 1 for the newest, and their number.

    Rows without a time count as the oldest; equal times are ordered by a hash, since ids often follow the age
    of an item.
    """
    user = Window.partitionBy("user_id")
    order = (
        F.desc_nulls_last("timestamp"),
        draw(options.seed, "order", "user_id", "item_id"),
        F.col("item_id"),
    )
    return F.row_number().over(user.orderBy(*order)), F.count(F.lit(1)).over(user)


def _last(df: DataFrame, options: SplitOptions, n: int | None) -> DataFrame:
    age, count = _newest_first(options)

    def share(rows: Column, fraction: float) -> Column:
        return F.least(F.lit(n) if n else F.round(rows * fraction), rows - 1)

    n_test = share(count, options.testFraction)
    n_validation = (
        share(count - n_test, options.validationFraction) if options.validationFraction > 0 else F.lit(0)
    )
    part = F.when(age <= n_test, "test").when(age <= n_test + n_validation, "validation").otherwise("train")
    return df.withColumn(PART, part)
