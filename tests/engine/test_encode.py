from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from recspark.engine import encode as encoding
from recspark.engine.encode import Parts, encode, id_column
from recspark.engine.storage import Store
from recspark.errors import RecsparkError

COLUMNS = {"user": "long", "item": "long", "value": "float", "weight": "float", "role": "byte"}


def frame(spark, rows, user="long"):
    types = COLUMNS | {"user": user}
    return spark.createDataFrame(rows, ", ".join(f"{name} {kind}" for name, kind in types.items()))


def decoded(parts):
    """All encoded rows with their own ids."""
    store, rows = Store(parts.root), []
    for name in parts.names:
        table = pd.DataFrame(store.load(f"{name}/rows") | ({} if parts.weighted else {"weight": 1.0}))
        for column, side in (("user", "users"), ("item", "items")):
            table[column] = store.load_table(f"{name}/{side}")["id"].to_pandas().to_numpy()[table[column]]
        rows.append(table)
    return sorted(pd.concat(rows)[list(COLUMNS)].itertuples(index=False, name=None))


ROWS = [(5, 10, 3.0, 1.0, 0), (5, 11, 4.0, 2.0, 0), (7, 10, 1.0, 0.5, 0), (9, 12, 2.0, 1.0, 1)]


def test_every_row_is_written_with_its_facts(spark, tmp_path):
    parts = encode(frame(spark, ROWS), Store(str(tmp_path)), weighted=True, watched=True)
    assert decoded(parts) == sorted(ROWS)
    assert (parts.rows, parts.weight, parts.low, parts.high) == (3, 3.5, 1.0, 4.0)
    assert parts.mean == pytest.approx((3 + 8 + 0.5) / 3.5)


def test_digest_is_of_the_rows_not_of_their_order_or_partitions(spark, tmp_path):
    store = Store(str(tmp_path))
    first = encode(frame(spark, ROWS), store, weighted=True, watched=True)
    again = encode(frame(spark, ROWS[::-1]).repartition(3), store, weighted=True, watched=True)
    changed = encode(frame(spark, [(5, 10, 3.5, 1.0, 0), *ROWS[1:]]), store, weighted=True, watched=True)
    swapped = encode(frame(spark, [(10, 5, 3.0, 1.0, 0), *ROWS[1:]]), store, weighted=True, watched=True)
    assert first.digest == again.digest
    assert len({first.digest, changed.digest, swapped.digest}) == 3


def test_large_partitions_become_several_parts(spark, tmp_path, monkeypatch):
    rows = [(i % 7, i % 5, float(i % 4), 1.0, 0) for i in range(100)]
    batches = frame(spark, rows).repartition(1).toArrow().to_batches(max_chunksize=10)
    monkeypatch.setattr(encoding, "PART_ROWS", 30)
    described = encoding._encode_partition(str(tmp_path), iter(batches))
    assert [part["rows"] for part in described] == [30, 30, 30, 10]


@pytest.mark.parametrize(
    "row",
    [
        (None, 1, 1.0, 1.0, 0),
        (1, None, 1.0, 1.0, 0),
        (1, 1, None, 1.0, 0),
        (1, 1, float("nan"), 1.0, 0),
        (1, 1, 1.0, -1.0, 0),
    ],
)
def test_rows_that_cannot_train_are_an_error_that_counts_them(spark, tmp_path, row):
    with pytest.raises(RecsparkError, match="1 rows cannot be trained on"):
        encode(frame(spark, [*ROWS, row]), Store(str(tmp_path)), weighted=True, watched=True)


def test_nothing_to_train_on_is_an_error(spark, tmp_path):
    with pytest.raises(RecsparkError, match="nothing to train on"):
        encode(frame(spark, ROWS).filter("role = 1"), Store(str(tmp_path)), weighted=True, watched=True)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("tinyint", "tinyint"), ("int", "int"), ("double", "bigint"), ("decimal(12,0)", "bigint")],
)
def test_ids_keep_their_type_or_become_long(spark, kind, expected):
    df = spark.range(3).select(F.col("id").cast(kind).alias("id"))
    assert [type_ for _, type_ in df.select(id_column(df.schema, "id")).dtypes] == [expected]


@pytest.mark.parametrize("ansi", ["true", "false"])
@pytest.mark.parametrize(
    ("type_", "bad", "why"),
    [
        ("double", 1.5, "not a whole number: 1.5"),
        ("decimal(38,2)", Decimal("1.25"), "not a whole number: 1.25"),
        ("decimal(38,30)", Decimal("0.5"), "not a whole number"),
        ("decimal(20,0)", Decimal(2**64 + 1), "too large for a 64-bit integer, or to be exact as decimal"),
        ("double", 2.0**53 + 2, "too large for a 64-bit integer, or to be exact as double"),
        ("double", float("inf"), "too large"),
        ("float", 2.0**24 + 2, "too large for a 64-bit integer, or to be exact as float"),
    ],
)
def test_a_number_that_is_no_id_is_an_error(spark, ansi, type_, bad, why):
    df = spark.createDataFrame([(bad,)], f"id {type_}")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        with pytest.raises(Exception, match=why):
            df.select(id_column(df.schema, "id")).collect()
    finally:
        spark.conf.set("spark.sql.ansi.enabled", "true")


def test_what_is_missing_is_null(spark):
    df = spark.createDataFrame([(2.0**53, 7), (None, None), (float("nan"), 1)], "id double, other int")
    assert [row.id for row in df.select(id_column(df.schema, "id").alias("id")).collect()] == [
        2**53,
        None,
        None,
    ]


def test_other_types_and_missing_columns_are_errors(spark):
    df = spark.createDataFrame([([1],)], "id array<int>")
    with pytest.raises(RecsparkError, match="must be a whole number, a string or a date"):
        id_column(df.schema, "id")
    with pytest.raises(RecsparkError, match="'nothing' is not in the data"):
        id_column(df.schema, "nothing")


def test_values_come_as_float32(spark, tmp_path):
    parts = encode(frame(spark, ROWS), Store(str(tmp_path)), weighted=False, watched=False)
    rows = Store(parts.root).load(f"{parts.names[0]}/rows")
    assert rows["value"].dtype == np.float32 and len(rows["weight"]) == 0 and parts.weight == 4


@pytest.mark.parametrize("value", [0.7, 3.3, 1e6])
@pytest.mark.parametrize("rows", [2, 7, 20_000])
def test_equal_values_have_the_deviation_1(value, rows):
    """The moments of a constant differ by rounding: that is no unit to standardize by."""
    value = float(np.float32(value))
    weights = np.random.default_rng(rows).random(rows).astype(np.float32).astype(float)
    for w in (np.ones(rows), weights):
        total, squares = float(w @ np.full(rows, value)), float(w @ np.full(rows, value * value))
        parts = Parts(
            "", (), rows, float(w.sum()), total, value, value, "", False, False, total, squares, {}, {}
        )
        assert parts.deviation == 1.0 and parts.spread_around(parts.mean) == 0.0
        assert parts.spread_around(0.0) == pytest.approx(value)
