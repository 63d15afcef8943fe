import pyarrow as pa
import pytest

from recspark.engine.crossing import on_partitions, through_mapinarrow


def rows_of(batches):
    return [row for batch in batches for row in pa.Table.from_batches([batch]).to_pylist()]


def count(batches):
    return sum(batch.num_rows for batch in batches)


@pytest.mark.parametrize("large", ["false", "true"])
def test_both_ways_bring_the_same_rows_in_the_order_of_the_partitions(spark, large):
    df = spark.range(0, 1000, 1, 3).selectExpr(
        "id", "cast(id as string) as text", "if(id % 7 = 0, null, cast(id as float)) as value", "cast(id % 3 as tinyint) as role", "id % 2 = 0 as flag"
    )
    name = "spark.sql.execution.arrow.useLargeVarTypes"
    spark.conf.set(name, large)
    try:
        fast, public = on_partitions(df, rows_of), through_mapinarrow(df, rows_of)
    finally:
        spark.conf.unset(name)
    assert fast == public
    assert [len(part) for part in fast] == [333, 333, 334]
    assert fast[0][1] == {"id": 1, "text": "1", "value": 1.0, "role": 1, "flag": False}


def test_partitions_without_rows(spark):
    assert on_partitions(spark.range(0, 2, 1, 4).filter("id > 0"), count) == [0, 0, 0, 1]


def test_behind_a_shuffle(spark):
    df = spark.range(1000).groupBy("id").count()
    assert sum(on_partitions(df, count)) == 1000
