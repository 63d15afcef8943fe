import pyarrow as pa
import pyarrow.compute as pc
import pytest
from chispa import assert_df_equality

from recspark.engine.spark import crossing
from recspark.engine.spark.crossing import in_one_process, map_partitions, on_partitions
from recspark.errors import DataRejected


class Connected:
    """A DataFrame as Spark Connect shows it: with the public methods only."""

    def __init__(self, df):
        self.mapInArrow, self.sparkSession = df.mapInArrow, df.sparkSession
        self.repartition = lambda count: Connected(df.repartition(count))


def rows_of(batches):
    return [row for batch in batches for row in pa.Table.from_batches([batch]).to_pylist()]


def count(batches):
    return sum(batch.num_rows for batch in batches)


def rejected(batches):
    raise DataRejected("row 3 is bad")


def doubled(batches):
    for batch in batches:
        yield pa.RecordBatch.from_arrays(
            [pc.multiply(batch["id"], 2), pc.utf8_upper(batch["text"])], ["twice", "text"]
        )


@pytest.fixture(params=["false", "true"], ids=["small", "large"])
def types(spark, request):
    """With and without the types whose offsets have 64 bits."""
    name = "spark.sql.execution.arrow.useLargeVarTypes"
    spark.conf.set(name, request.param)
    yield
    spark.conf.unset(name)


@pytest.fixture
def df(spark):
    numbers = [
        "if(id % 7 = 0, null, cast(id as float)) as value",
        "cast(id % 3 as tinyint) as role",
        "id % 2 = 0 as flag",
    ]
    return spark.range(0, 1000, 1, 3).selectExpr("id", "cast(id as string) as text", *numbers)


def test_both_ways_bring_the_same_rows_in_the_order_of_the_partitions(df, types):
    fast, public = on_partitions(df, rows_of), on_partitions(Connected(df), rows_of)
    assert fast == public
    assert [len(part) for part in fast] == [333, 333, 334]
    assert fast[0][1] == {"id": 1, "text": "1", "value": 1.0, "role": 1, "flag": False}


def test_both_ways_give_the_same_dataframe(df, types):
    text = df.selectExpr("id", "concat('ä', text) as text")
    fast, public = (
        map_partitions(each, doubled, "twice long, text string") for each in (text, Connected(text))
    )
    assert_df_equality(fast, public)
    assert fast.first().asDict() == {"twice": 0, "text": "Ä0"} and fast.count() == 1000


def test_it_is_lazy(spark):
    broken = spark.range(3).selectExpr("raise_error('read') as id")
    mapped = map_partitions(broken, doubled, "twice long")
    with pytest.raises(Exception, match="read"):
        mapped.collect()


def test_partitions_of_many_batches_and_of_none(spark):
    assert on_partitions(
        spark.range(0, 25_000, 1, 1), lambda batches: [batch.num_rows for batch in batches]
    ) == [[10_000, 10_000, 5_000]]
    assert on_partitions(spark.range(0, 2, 1, 4).filter("id > 0"), count) == [0, 0, 0, 1]


def test_behind_a_shuffle(spark):
    df = spark.range(1000).groupBy("id").count()
    assert sum(on_partitions(df, count)) == 1000


@pytest.mark.parametrize("small", [-1, crossing.SMALL], ids=["one task", "here"])
def test_the_rows_of_all_partitions_meet_in_one_process(df, types, small, monkeypatch):
    monkeypatch.setattr(crossing, "SMALL", small)
    fast, public = (
        sorted(in_one_process(each, rows_of), key=lambda row: row["id"]) for each in (df, Connected(df))
    )
    assert fast == public == [row.asDict() for row in df.collect()]


@pytest.mark.parametrize("small", [-1, crossing.SMALL], ids=["one task", "here"])
def test_one_process_works_without_rows_too(spark, small, monkeypatch):
    monkeypatch.setattr(crossing, "SMALL", small)
    assert (
        in_one_process(spark.range(0), count) == in_one_process(spark.range(4).filter("id > 4"), count) == 0
    )


@pytest.mark.slow
@pytest.mark.parametrize("small", [-1, crossing.SMALL], ids=["one task", "here"])
def test_an_error_of_the_user_s_comes_back_as_it_was(df, small, monkeypatch):
    monkeypatch.setattr(crossing, "SMALL", small)
    for run in (in_one_process, on_partitions):
        for each in (df, Connected(df)):
            with pytest.raises(DataRejected, match="^row 3 is bad$"):
                run(each, rejected)
