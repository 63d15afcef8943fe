"""Row rules one by one, which duplicate stays, and when a table is rejected."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.data.quality import (
    YEAR_1990,
    YEAR_2100,
    Count,
    QualityOptions,
    Rules,
    judge,
    key_of,
    reason_of,
    repeated_rows,
    require_quality,
)
from recspark.errors import ConfigError, DataRejected

HALF_STARS = Rules(0.5, 5, 0.5, time_min=YEAR_1990, required=("rating", "timestamp"))
GOOD = {"user_id": 1, "item_id": 2, "rating": 3.5, "timestamp": 900_000_000}
TYPES = pa.schema(
    [("user_id", pa.int64()), ("item_id", pa.int64()), ("rating", pa.float64()), ("timestamp", pa.int64())]
)


def reasons(rows, rules=HALF_STARS, unparsable=None, schema=TYPES):
    table = pa.Table.from_pylist(rows, schema=schema)
    codes = judge(table, np.zeros(len(rows), bool) if unparsable is None else np.array(unparsable), rules)
    return [reason_of(code) if code else None for code in codes]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"user_id": None}, "null_id"),
        ({"item_id": None}, "null_id"),
        ({"rating": None}, "unparsable"),
        ({"rating": float("nan")}, "unparsable"),
        ({"rating": float("inf")}, "unparsable"),
        ({"rating": 1e300}, "unparsable"),
        ({"timestamp": None}, "unparsable"),
        ({"rating": 0.0}, "rating_range"),
        ({"rating": 5.5}, "rating_range"),
        ({"rating": 3.7}, "rating_step"),
        ({"rating": 0.5}, None),
        ({"rating": 5.0}, None),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": YEAR_1990 - 1}, "timestamp"),
        ({"timestamp": YEAR_1990}, None),
        ({"timestamp": YEAR_2100 - 1}, None),
        ({"timestamp": YEAR_2100}, "timestamp"),
        ({"timestamp": 900_000_000_000}, "timestamp"),
        ({"rating": 9.9, "timestamp": -1}, "rating_range"),
        ({"item_id": None, "rating": 9.0}, "null_id"),
    ],
)
def test_each_rule_names_the_row_it_breaks_and_no_other(change, reason):
    assert reasons([GOOD, GOOD | change, GOOD]) == [None, reason, None]


def test_an_unparsable_field_comes_before_what_follows_from_it():
    assert reasons([GOOD | {"user_id": None}], unparsable=[True]) == ["unparsable"]


def test_limits_that_are_not_set_allow_any_finite_rating_and_no_moment():
    assert reasons([GOOD | {"rating": -1e6, "timestamp": None}], Rules()) == [None]
    assert reasons([GOOD | {"timestamp": -1}], Rules()) == ["timestamp"]


def test_an_id_of_blanks_is_null():
    schema = TYPES.set(0, pa.field("user_id", pa.string()))
    assert reasons([GOOD | {"user_id": text} for text in ("a", "", " ", None)], schema=schema) == [
        None,
        "null_id",
        "null_id",
        "null_id",
    ]


def test_steps_count_from_the_lowest_rating():
    tens = Rules(-10, 10, 2.5, required=())
    assert reasons([GOOD | {"rating": rating} for rating in (-10, -7.5, 0, 1, 10)], tens) == [
        None,
        None,
        None,
        "rating_step",
        None,
    ]


def test_the_last_of_equal_keys_stays_by_time_then_by_position():
    keys = [(1, 1, 50), (1, 2, 9), (1, 1, 90), (1, 1, 90), (1, 1, 70), (2, 1, None), (2, 1, 5)]
    table = pa.table(
        dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*keys, strict=False)), strict=False))
    )
    assert repeated_rows(table, ["user_id", "item_id"]).tolist() == [0, 2, 4, 5]
    assert repeated_rows(table.drop(["timestamp"]), ["user_id"]).tolist() == [0, 1, 2, 3, 5]
    assert repeated_rows(table, key_of("tags")).tolist() == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), max_size=20))
def test_duplicates_equal_a_plain_loop(rows):
    best = {}
    for position, (user, item, moment) in enumerate(rows):
        best[user, item] = max(best.get((user, item), (-1, -1)), (moment, position))
    kept = {position for _, position in best.values()}
    table = pa.table(
        {name: [row[i] for row in rows] for i, name in enumerate(("user_id", "item_id", "timestamp"))}
    )
    assert repeated_rows(table, ["user_id", "item_id"]).tolist() == [
        i for i in range(len(rows)) if i not in kept
    ]


def counts(quarantined, read=100):
    return {
        "ratings": Count(
            read,
            read - quarantined,
            quarantined,
            reasons=Counter({"duplicate": quarantined}),
            first="u.data line 7, duplicate: '1'",
        )
    }


def test_a_share_of_bad_rows_up_to_the_limit_is_allowed_and_more_is_rejected():
    require_quality(counts(1), QualityOptions())
    with pytest.raises(
        DataRejected,
        match=r"ratings: 2 of 100 rows are bad.*maxBadFraction = 0.01.*2 duplicate.*u.data line 7",
    ):
        require_quality(counts(2), QualityOptions())
    require_quality(counts(99), QualityOptions(maxBadFraction=1.0))


def test_no_rating_at_all_is_rejected():
    with pytest.raises(DataRejected, match="no rating"):
        require_quality(counts(0, read=0), QualityOptions())


def test_limits_of_the_options():
    with pytest.raises(ConfigError, match="quality.maxBadFraction = 1.5"):
        QualityOptions(maxBadFraction=1.5)
    with pytest.raises(ConfigError, match="quality.maxExpandedBytes = 0"):
        QualityOptions(maxExpandedBytes=0)
