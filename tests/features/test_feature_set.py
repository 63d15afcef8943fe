"""Features of Spark against their slow twin; vocabularies, policies for the unknown, and what is said of data
that do not fit.
"""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from recspark.errors import ConfigError, RecsparkError
from recspark.features.feature_set import FeatureSet
from recspark.features.groups import parse_groups
from recspark.features.layout import Layout
from tests.features import twin

RATINGS = "user_id bigint, item_id bigint, rating float, timestamp bigint"
USERS = "user_id bigint, gender string, age int, zip string"
ITEMS = "item_id bigint, year int, genres array<string>"
HISTORIES = [
    "rated",
    {"group": "raters", "scale": "linear"},
    {"group": "rated", "scope": "past", "scale": "linear"},
    "last",
    "count",
]
GROUPS = [
    "user",
    "gender",
    "age_decade",
    "age_value",
    "zip2",
    "gender*age",
    "item",
    "genres",
    "year",
    *HISTORIES,
]
GROUPS += ["day", "week", "month", "hour", "weekday"]
#: 2000-02-27T22:00 UTC, a Sunday: a month ends two days later
START = 951_688_800


def frames(spark, ratings, users=(), items=()):
    """The three tables; `ratings` as (user, item, time)."""
    rows = [(user, item, 1.0 + item % 5, time) for user, item, time in ratings]
    return tuple(
        spark.createDataFrame(list(data), ddl)
        for data, ddl in ((rows, RATINGS), (users, USERS), (items, ITEMS))
    )


def named(features, df):
    """``{(user, item, time): {group: {level: value}}}``, values of 0 left out."""
    found = {}
    for row in features.rows(df).collect():
        assert row["columns"] == sorted(set(row["columns"]))
        values = dict(zip(row["columns"], row["values"], strict=True))
        key = (row.user_id, row.item_id, row.timestamp)
        found[key] = {block.name: levels_in(features.layout, block, values) for block in features.layout}
    return found


def levels_in(layout, block, values):
    first = layout.starts[block.group.side] + block.offset
    names = block.names if block.is_real else [*block.levels, *block.names[len(block.levels) :]]
    return {level: values[first + place] for place, level in enumerate(names) if values.get(first + place)}


def only(features, df):
    [row] = named(features, df).values()
    return row


moments = st.sampled_from(
    [START, START + 1, START + 7_200, START + 3 * 86_400, START + 9 * 86_400, START + 40 * 86_400]
)
pairs = st.tuples(st.integers(1, 5), st.integers(1, 6), moments)


@st.composite
def data(draw):
    """Training rows, other rows, users and items; 5 and 6 may be cold, and user 1 and item 1 never are."""
    rows = draw(st.lists(pairs, min_size=4, max_size=40, unique_by=lambda row: row[:2]))
    cut = draw(st.integers(1, len(rows) - 1))
    train = [row for row in rows[:cut] if row[:2] != (1, 1)] + [(1, 1, START)]
    genders, ages = st.sampled_from(["F", "M", "*M", "\\*", None]), st.one_of(st.none(), st.integers(18, 40))
    zips = st.sampled_from(["02139", "94", "V8", None])
    users = [(1, "F", 25, "02139")] + [(user, draw(genders), draw(ages), draw(zips)) for user in range(2, 6)]
    genres = st.one_of(st.none(), st.lists(st.sampled_from(["War", "Drama", "Comedy", "Sci-Fi"]), max_size=3))
    items = [(1, 1999, ["War"])] + [
        (item, draw(st.one_of(st.none(), st.integers(1990, 2000))), draw(genres)) for item in range(2, 7)
    ]
    return train, rows, users, items


@pytest.mark.slow
@settings(
    max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(data())
def test_features_equal_their_slow_twin(spark, drawn):
    check_against_twin(spark, *drawn)


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data())
def test_many_features_equal_their_slow_twin(spark, drawn):
    check_against_twin(spark, *drawn)


def check_against_twin(spark, rows, others, users, items):
    train, user_table, item_table = frames(spark, rows, users, items)
    queries, *_ = frames(spark, others)
    features = FeatureSet.fit(parse_groups(GROUPS), train, user_table, item_table)
    slow = (
        pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]),
        pd.DataFrame(users, columns=["user_id", "gender", "age", "zip"]).astype({"age": "Int64"}),
        pd.DataFrame(items, columns=["item_id", "year", "genres"]).astype({"year": "Int64"}),
    )
    found = named(features, queries)
    assert len(found) == len(others)
    for key, groups in found.items():
        expected = twin.named_row(pd.Series(key, ["user_id", "item_id", "timestamp"]), *slow)
        assert groups.keys() == expected.keys()
        for group, levels in groups.items():
            wanted = {level: value for level, value in expected[group].items() if abs(value) > 1e-9}
            assert levels == pytest.approx(wanted, rel=1e-5), (key, group)


@pytest.fixture(scope="module")
def small(spark):
    """User 3 and item 30 have no training row, user 4 and item 40 stand in no table; 1 rates 10 and 11 in the
    same second.
    """
    ratings = [
        (1, 10, START),
        (1, 11, START),
        (1, 12, START + 5),
        (2, 10, START + 86_400),
        (2, 12, START + 90_000),
    ]
    users = [(1, "F", 20, "1"), (2, "M", 30, "2"), (3, "X", 50, "3")]
    items = [
        (10, 1990, ["War"]),
        (11, 1991, []),
        (12, None, ["War", "Drama"]),
        (30, 1990, ["Noir", "War", "Gore"]),
    ]
    return frames(spark, ratings, users, items)


def query(spark, user, item, time=START + 200_000):
    return frames(spark, [(user, item, time)])[0]


@pytest.mark.slow
def test_cold_ids_have_no_column_but_their_attributes_count(spark, small):
    features = FeatureSet.fit(
        parse_groups(["user", "gender", "age_value", "rated", "item", "genres", "year"]), *small
    )
    row = only(features, query(spark, 3, 30))
    assert row["user"] == row["gender"] == row["rated"] == row["item"] == {}
    assert row["age_value"] == {"age_value": pytest.approx((50 - 25) / 5)}
    assert row["genres"] == {"War": 1.0} and row["year"] == {1990: 1.0}
    assert not any(only(features, query(spark, 4, 40)).values())


@pytest.mark.slow
def test_the_unknown_may_have_a_bucket(spark, small):
    own = [
        {"group": group, "unknown": "own"}
        for group in ("user", "gender", "rated", "genres", "year", "hour", "last", "gender*age")
    ]
    own += [{"group": "rated", "scope": "past", "unknown": "own"}]
    features = FeatureSet.fit(parse_groups(own), *small)
    bucket = {"(unknown)": 1.0}
    cold = only(features, query(spark, 3, 30, START + 15 * 3600))
    assert all(
        cold[group] == bucket
        for group in ("user", "gender", "rated", "hour", "last", "gender*age", "rated_past")
    )
    assert cold["genres"] == pytest.approx({"War": 2**-0.5, "(unknown)": 2**-0.5}) and cold["year"] == {
        1990: 1.0
    }
    nowhere = only(features, query(spark, 4, 40))
    assert all(
        nowhere[group] == bucket for group in ("user", "gender", "rated", "genres", "year", "gender*age")
    )
    known = only(features, query(spark, 1, 12))
    assert known["year"] == bucket and known["last"] == {12: 1.0}
    assert known["rated_past"] == pytest.approx(dict.fromkeys((10, 11, 12), 3**-0.5))
    assert only(features, query(spark, 1, 11))["genres"] == bucket


def test_sides_have_a_row_for_every_id(small):
    features = FeatureSet.fit(parse_groups(["gender", "user", "rated", "item"]), *small)
    users = {
        row.id: (row["columns"], pytest.approx(row["values"])) for row in features.side("user").collect()
    }
    # gender F, M; user 1, 2; rated 10, 11, 12
    assert users == {
        1: ([0, 2, 4, 5, 6], [1, 1, *[3**-0.5] * 3]),
        2: ([1, 3, 4, 6], [1, 1, *[2**-0.5] * 2]),
        3: ([], []),
    }
    assert sorted(row.id for row in features.side("item").collect()) == [10, 11, 12, 30]
    assert features.layout.widths == {"user": 7, "item": 3, "context": 0}
    assert features.layout.starts == {"user": 0, "item": 7, "context": 10}


@pytest.mark.slow
def test_context_has_a_column_for_each_group(spark, small):
    groups = ["last", "day", {"group": "rated", "scope": "past"}, "count_value", "weekday*hour", "user*day"]
    features = FeatureSet.fit(parse_groups(groups), *small)
    df = query(spark, 2, 11, START + 88_000).withColumn("note", F.lit("kept"))
    row = features.context(df).first()
    added = {
        "last",
        "day",
        "rated_past_columns",
        "rated_past_values",
        "count_value",
        "weekday_hour",
        "user_day",
    }
    assert row.asDict().keys() == {*df.columns, *added}
    assert (row.note, row["last"], row.day, row.rated_past_columns, row.rated_past_values) == (
        "kept",
        0,
        1,
        [0],
        [1.0],
    )
    assert row.count_value == pytest.approx((1 - 0.6) / np.std([0, 0, 2, 0, 1]), rel=1e-5)
    assert (row.weekday_hour, row.user_day) == (0, 1)
    unseen = features.context(query(spark, 9, 11)).first()
    assert (unseen["last"], unseen.day, unseen.rated_past_columns, unseen.user_day) == (-1, -1, [], -1)


@pytest.mark.slow
def test_equal_times_are_not_earlier_and_no_time_has_no_past(spark, small):
    features = FeatureSet.fit(
        parse_groups(["last", "count", {"group": "raters", "scope": "past", "scale": "none"}]), *small
    )
    at_once = only(features, query(spark, 1, 11, START))
    assert at_once == {"last": {}, "count": {0: 1.0}, "raters_past": {}}
    later = only(features, query(spark, 1, 10, START + 1))
    assert later == {"last": {11: 1.0}, "count": {2: 1.0}, "raters_past": {1: 1.0}}
    assert only(features, query(spark, 1, 10, None)) == {"last": {}, "count": {0: 1.0}, "raters_past": {}}


def test_columns_by_name(spark, small):
    train, users, items = small
    train = train.withColumn("device", F.when(F.col("item_id") == 10, "tv").otherwise("web")).withColumn(
        "wait", F.col("item_id") / 10
    )
    users = users.withColumn(
        "moods", F.create_map(F.lit("low"), F.lit(0.25), F.concat(F.lit("of "), "gender"), F.col("age"))
    )
    items = items.withColumn("cast", F.when(F.col("item_id") < 12, F.array(F.lit("a b"), F.lit("c"))))
    entries = ["ratings.device", "ratings.wait", "users.moods", {"group": "items.cast", "scale": "linear"}]
    entries += [{"group": "items.year", "kind": "real"}]
    features = FeatureSet.fit(parse_groups(entries), train, users, items)
    row = only(
        features,
        query(spark, 2, 11).withColumn("device", F.lit("tv")).withColumn("wait", F.lit(None).cast("double")),
    )
    assert row["ratings.device"] == {"tv": 1.0} and row["ratings.wait"] == {}
    assert row["users.moods"] == {"low": 0.25, "of M": 30.0}
    assert row["items.cast"] == {"a b": 0.5, "c": 0.5} and row["items.year"] == {
        "items.year": pytest.approx(1.0)
    }


@pytest.mark.slow
def test_numbers_in_bins_are_levels(spark, small):
    train, users, items = small
    values = F.when(F.col("user_id") == 1, 18.0).when(F.col("user_id") == 2, float("nan")).otherwise(None)
    entries = [
        {"group": "users.edge value", "bins": [-1, 18, 30.5], "unknown": "own"},
        {"group": "items.year", "bins": [1991]},
    ]
    users = users.withColumn("edge value", values)
    users = users.unionByName(
        users.limit(1).withColumn("user_id", F.lit(99)).withColumn("edge value", F.lit(-7))
    )
    features = FeatureSet.fit(parse_groups(entries), train, users, items)
    assert [block.levels for block in features.layout] == [(2,), (0, 1)]
    queries, *_ = frames(spark, [(user, 11, START) for user in (1, 2, 99)])
    found = {user: row for (user, *_), row in named(features, queries).items()}
    assert {user: row["users.edge value"] for user, row in found.items()} == {
        1: {2: 1.0},
        2: {"(unknown)": 1.0},
        99: {"(unknown)": 1.0},
    }
    assert found[1]["items.year"] == {1: 1.0}
    assert Layout.from_dict(json.loads(json.dumps(features.layout.as_dict()))) == features.layout


@pytest.mark.slow
def test_row_order_and_partitions_do_not_matter(spark, small):
    train, users, items = small
    groups = parse_groups(["user", "age_value", "genres", *HISTORIES, "day"])
    one = FeatureSet.fit(groups, train, users, items)
    other = FeatureSet.fit(groups, train.orderBy(F.rand(3)).repartition(3), users, items.repartition(2))
    assert one.layout == other.layout
    assert named(one, train) == named(other, train)


def test_ids_may_be_text(spark, small):
    text = [
        table.withColumn(name, F.col(name).cast("string"))
        for table, name in zip(small, ("user_id", "user_id", "item_id"), strict=True)
    ]
    text[0] = text[0].withColumn("item_id", F.concat(F.lit("film ñ "), "item_id"))
    text[2] = text[2].withColumn("item_id", F.concat(F.lit("film ñ "), "item_id"))
    features = FeatureSet.fit(parse_groups(["user", "item", "rated", "last"]), *text)
    row = named(features, text[0])["1", "film ñ 12", START + 5]
    films = ["film ñ 10", "film ñ 11", "film ñ 12"]
    rated = pytest.approx(dict.fromkeys(films, 3**-0.5))
    assert row == {"user": {"1": 1.0}, "item": {films[2]: 1.0}, "rated": rated, "last": {films[1]: 1.0}}


@pytest.mark.slow
def test_the_layout_is_saved_readable_and_picklable(small, tmp_path):
    features = FeatureSet.fit(parse_groups(GROUPS), *small)
    features.save(str(tmp_path))
    loaded = FeatureSet.load(str(tmp_path))
    assert loaded.layout == features.layout == pickle.loads(pickle.dumps(features)).layout
    assert '"levels"' in (tmp_path / "layout.json").read_text()
    assert loaded.bind(*small).side("item").collect() == features.side("item").collect()
    with pytest.raises(RecsparkError, match=r"call bind\(train, users, items\) first"):
        loaded.side("user")
    with pytest.raises(RecsparkError, match="layout.json is missing"):
        FeatureSet.load(str(tmp_path / "nothing"))


@pytest.mark.slow
def test_assembled_vectors_are_the_rows(small):
    features = FeatureSet.fit(parse_groups(["user", "item", "rated", "day"]), *small)
    rows = {(row.user_id, row.item_id): row for row in features.rows(small[0]).collect()}
    for row in features.assemble(small[0]).collect():
        wanted = rows[row.user_id, row.item_id]
        assert row.features.size == features.layout.size
        assert row.features.indices.tolist() == wanted["columns"]
        assert row.features.values.tolist() == wanted["values"]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (
            ["occupation"],
            "group 'occupation' needs column 'occupation', but the table of the user side has user_id, "
            "gender, age, zip",
        ),
        (["users.leak_rated"], "needs column 'leak_rated'"),
        (["users.empty"], "group 'users.empty' has no value in any training row"),
        (["ratings.many"], "whose column is array<int>, is not allowed: it must be one value"),
        (
            [{"group": "users.gender", "kind": "real"}],
            "whose column is string, is not allowed: it must be level",
        ),
        (
            [{"group": "users.weight", "unknown": "own"}],
            "unknown = 'own' is not allowed for group 'users.weight' of kind real",
        ),
        (
            [{"group": "users.gender", "bins": [1]}],
            "'users.gender' needs numbers, but column 'gender' has type string: declare",
        ),
        (
            ["genres"],
            "'genres' needs arrays, but column 'genres' has type string: declare items.genres alone",
        ),
        (["age_value"], "'age_value' needs numbers, but column 'age' has type string"),
        (
            [{"group": "users.gender", "scale": "sqrt"}],
            "scale = 'sqrt' is not allowed for group 'users.gender' of kind level",
        ),
    ],
)
def test_data_that_do_not_fit_are_named(small, groups, words):
    train, users, items = small
    users = (
        users.withColumn("empty", F.lit(None).cast("string"))
        .withColumn("weight", F.lit(1.5))
        .withColumn("age", F.lit("old"))
    )
    items = items.withColumn("genres", F.lit("War"))
    with pytest.raises(ConfigError) as error:
        FeatureSet.fit(parse_groups(groups), train.withColumn("many", F.array(F.lit(1))), users, items)
    assert words in str(error.value)


def test_rows_that_do_not_fit_are_named(spark, small):
    features = FeatureSet.fit(parse_groups(["day", "user"]), *small)
    with pytest.raises(RecsparkError, match="the rows lack column 'timestamp'"):
        features.rows(small[0].drop("timestamp"))
    with pytest.raises(RecsparkError, match="the rows already have a column 'day'"):
        features.context(small[0].withColumn("day", F.lit(1)))
    with pytest.raises(ConfigError, match="there is no such table"):
        FeatureSet.fit(parse_groups(["gender"]), small[0])
    with pytest.raises(RecsparkError, match="no training row has a timestamp"):
        FeatureSet.fit(parse_groups(["day"]), small[0].withColumn("timestamp", F.lit(None).cast("bigint")))
    with pytest.raises(RecsparkError, match="column timestamp is timestamp: it must be seconds"):
        FeatureSet.fit(
            parse_groups(["last"]), small[0].withColumn("timestamp", F.timestamp_seconds("timestamp"))
        )
    with pytest.raises(RecsparkError, match="side 'context' is not allowed: it must be one of user, item"):
        features.side("context")


def test_a_layout_survives_json(small):
    layout = FeatureSet.fit(
        parse_groups(["user", "age_value", {"group": "genres", "unknown": "own"}]), *small
    ).layout
    assert Layout.from_dict(layout.as_dict()) == layout
    places = [(block.name, block.offset, block.size, block.own) for block in layout]
    assert places == [("user", 0, 2, None), ("age_value", 2, 1, None), ("genres", 0, 3, 2)]
    assert layout.unseen("item") == ([2], [1.0]) and layout.unseen("user") == ([], [])
