"""The index of a fit: ids in ascending order or as in a saved index, the same for any ranges, and no table
with all of them.
"""

import datetime as dt
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from recspark.engine import encode, index
from recspark.engine.encode import Parts
from recspark.engine.relations import write_ids
from recspark.engine.spark.runner import TaskRunner
from recspark.engine.storage import Store
from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.kernels.arrays.csr import balanced_cuts
from recspark.kernels.arrays.random import normal_rows
from recspark.models import ALS, MatrixFactorization

KINDS = {
    "whole numbers": lambda number: number * 1_000_003 - 2**40,
    "strings": lambda number: f"é{number}" if number % 3 else f"{number:03d}",
    "dates": lambda number: dt.date(1969, 1, 1) + dt.timedelta(days=number),
}
BLOCKS = {"users": 3, "items": 2}


def parts_of(root, pairs, kind, size):
    """`pairs` of (user, item, role) as parts of `size` rows."""
    store, described = Store(str(root)), []
    for start in range(0, len(pairs), size):
        users, items, roles = zip(*pairs[start : start + size], strict=True)
        columns = {
            "user": [KINDS[kind](user) for user in users],
            "item": [KINDS[kind](item) for item in items],
            "value": pa.array([1.0] * len(users), pa.float32()),
            "role": pa.array(roles, pa.int8()),
        }
        [batch] = pa.table(columns).to_batches()
        described.append(encode._write_part(store, f"part-{start:06d}", [batch]))
    names = tuple(part["name"] for part in described)
    entries = {side: sum(part["entries"][side] for part in described) for side in BLOCKS}
    kinds = dict.fromkeys(BLOCKS, kind)
    return Parts(str(root), names, len(pairs), 1.0, 1.0, 1.0, 1.0, "", False, True, 1.0, 1.0, kinds, entries)


def save_index(root, ids, files=2):
    """An index whose positions are the places in these lists of ids, by side; its rows are in any order."""
    for side, known in ids.items():
        table = pa.table({"id": known, "position": np.arange(len(known), dtype=np.int32)})
        order = np.random.default_rng(len(known)).permutation(len(known))
        (root / side).mkdir(parents=True)
        for number in range(files):
            pq.write_table(table.take(pa.array(order[number::files])), root / side / f"{number}.parquet")
    return str(root)


def expected(pairs, kind, place):
    """Ids and counts of a side, in order."""
    trained = [KINDS[kind](pair[place]) for pair in pairs if pair[2] == 0]
    return {id_: trained.count(id_) for id_ in sorted(set(trained))}


PAIRS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 9), st.sampled_from([0, 0, 1])), max_size=120
).map(lambda pairs: [*pairs, (7, 7, 0)])  # `encode` refuses rows of which none trains


@settings(deadline=None, max_examples=40)
@given(
    pairs=PAIRS,
    kind=st.sampled_from(list(KINDS)),
    largest=st.sampled_from([1, 4, 25, 10_000]),
    data=st.data(),
)
def test_positions_are_ranks_for_any_ranges(tmp_path_factory, pairs, kind, largest, data):
    root = tmp_path_factory.mktemp("index")
    parts = parts_of(root / "encoded", pairs, kind, 17)
    store = Store(str(root / "fit"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "RANGE_IDS", largest)
        patch.setattr(index, "SAMPLE", 3)
        sizes = index.write_index(TaskRunner(store, 1), parts, BLOCKS)
    for place, side in enumerate(BLOCKS):
        wanted = expected(pairs, kind, place)
        ids, counts = list(wanted), np.array([*wanted.values()], int)
        assert sizes[side] == len(ids)
        cuts = store.load(f"cuts/{side}")["cuts"]
        assert cuts.tolist() == balanced_cuts(counts + index.ROW_WORK, BLOCKS[side]).tolist()
        start = data.draw(st.integers(0, len(ids)))
        stop = data.draw(st.integers(start, len(ids)))
        rows = index.rows(store, side, start, stop)
        assert rows["id"].to_pylist() == ids[start:stop]
        assert rows["count"].to_pylist() == counts[start:stop].tolist()
        asked = [KINDS[kind](number) for number in range(62)]
        found = index.positions(store, side, pa.chunked_array([asked]))
        assert found.dtype == np.int32
        assert found.tolist() == [ids.index(id_) if id_ in wanted else -1 for id_ in asked]


@settings(deadline=None, max_examples=40)
@given(
    pairs=PAIRS,
    kind=st.sampled_from(list(KINDS)),
    largest=st.sampled_from([1, 4, 25, 10_000]),
    data=st.data(),
)
def test_positions_are_those_of_a_saved_index_for_any_ranges(tmp_path_factory, pairs, kind, largest, data):
    root = tmp_path_factory.mktemp("index")
    parts, store = parts_of(root / "encoded", pairs, kind, 17), Store(str(root / "fit"))
    known = {}
    for place, side in enumerate(BLOCKS):
        more = data.draw(st.sets(st.integers(0, 70), max_size=9))
        known[side] = [KINDS[kind](number) for number in sorted({pair[place] for pair in pairs} | more)]
        known[side] = data.draw(st.permutations(known[side]))
    saved = save_index(root / "saved", known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "RANGE_IDS", largest)
        sizes = index.write_index(TaskRunner(store, 1), parts, BLOCKS, saved)
    for place, side in enumerate(BLOCKS):
        ids, wanted = known[side], expected(pairs, kind, place)
        counts = np.array([wanted.get(id_, 0) for id_ in ids])
        assert sizes[side] == index.trained_size(store, side) == len(wanted)
        assert index.untrained(store, side).tolist() == np.flatnonzero(counts == 0).tolist()
        cuts = store.load(f"cuts/{side}")["cuts"]
        assert (
            cuts.tolist()
            == balanced_cuts(np.where(counts, counts + index.ROW_WORK, 0), BLOCKS[side]).tolist()
        )
        rows = index.rows(store, side, 0, len(ids))
        assert rows["id"].to_pylist() == ids and rows["count"].to_pylist() == counts.tolist()
        asked = [KINDS[kind](number) for number in range(72)]
        found = index.positions(store, side, pa.chunked_array([asked]))
        assert found.dtype == np.int32
        assert found.tolist() == [ids.index(id_) if id_ in wanted else -1 for id_ in asked]


def test_no_table_of_the_index_has_all_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "RANGE_IDS", 1_000)
    draw = np.random.default_rng(0)
    pairs = [(int(user), int(item), 0) for user, item in draw.integers(0, [9_000, 50], (20_000, 2))]
    parts = parts_of(tmp_path / "encoded", pairs, "whole numbers", 5_000)
    store = Store(str(tmp_path / "fit"))
    sizes = index.write_index(TaskRunner(store, 1), parts, BLOCKS)
    ranges = np.diff(store.load("index/users/bounds")["bounds"])
    assert ranges.sum() == sizes["users"] > 7_900
    # ids that several parts have count once: ranges are cut by the entries of all parts
    assert len(ranges) == -(-parts.entries["users"] // 1_000)
    assert ranges.max() <= 1_000


def test_a_fit_does_not_depend_on_the_ranges(spark, tmp_path, monkeypatch):
    ratings = spark.range(3_000).select(
        F.concat(F.lit("u"), F.xxhash64("id") % 300).alias("user"),
        (F.xxhash64("id", F.lit(1)) % 40).alias("item"),
        (F.abs(F.xxhash64("id", F.lit(2))) % 5 + 1).cast("float").alias("rating"),
    )
    als = ALS(rank=4, maxIter=2, biases=True, userBlocks=3, itemBlocks=2, tasks="blocks")
    whole = als.fit(ratings).userFactors.orderBy("id").collect()
    monkeypatch.setattr(index, "RANGE_IDS", 50)
    assert als.fit(ratings).userFactors.orderBy("id").collect() == whole


def test_more_ids_than_positions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "LARGEST_POSITION", 2)
    parts = parts_of(tmp_path / "encoded", [(number, 0, 0) for number in range(3)], "strings", 9)
    with pytest.raises(RecsparkError, match="3 users are too many: a fit takes at most 2"):
        index.write_index(TaskRunner(Store(str(tmp_path / "fit")), 1), parts, BLOCKS)


@pytest.fixture
def pairs(spark):
    rows = [
        (user, f"i{(user * 7 + step * 5) % 23}", 1.0 + (user + step) % 5)
        for user in range(40)
        for step in range(6)
    ]
    return spark.createDataFrame(rows, "user int, item string, rating float").coalesce(1)


IDS = {"users": list(range(39, -1, -1)), "items": [f"i{number}" for number in range(23)]}
#: ids that no row has, between and behind the others
MORE = {"users": [90, *IDS["users"][:9], 95, *IDS["users"][9:], 99], "items": ["no", *IDS["items"], "none"]}


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_row_of_factors_is_a_position_of_the_saved_index(pairs, tmp_path, blocks):
    how = {"userBlocks": blocks, "itemBlocks": blocks, "tasks": "blocks", "index": save_index(tmp_path, MORE)}
    model = MatrixFactorization(rank=3, maxIter=0, seed=7, initStdev=1.0, **how).fit(pairs)
    for number, (side, found) in enumerate({"users": model.userFactors, "items": model.itemFactors}.items()):
        start = normal_rows(7, number, 0, len(MORE[side]), 3)
        wanted = {
            id_: start[position].tolist() for position, id_ in enumerate(MORE[side]) if id_ in IDS[side]
        }
        assert {row.id: list(row.features) for row in found.collect()} == wanted


def test_ids_that_do_not_train_have_no_part_in_a_fit(pairs, tmp_path):
    # a start knows them, a watched row has one, and implicit fits sum over all rows of a side
    rows = pairs.withColumn("held", F.lit(False))
    held = rows.sparkSession.createDataFrame(
        [(1, "i9", 1.0, True), (99, "i9", 1.0, True), (3, "no", 1.0, True)], rows.schema
    )
    als = ALS(rank=3, maxIter=3, implicitPrefs=True, validationCol="held", tasks="blocks", userBlocks=2)
    start = ALS(rank=3, maxIter=1, implicitPrefs=True).fit(
        pairs.union(rows.sparkSession.createDataFrame([(99, "no", 5.0), (95, "none", 5.0)], pairs.schema))
    )
    start.write().save(str(tmp_path / "start"))
    als.setInitialModel(str(tmp_path / "start"))
    plain = als.fit(rows.union(held))
    at_the_end = {"users": [*sorted(IDS["users"]), 95, 99], "items": [*sorted(IDS["items"]), "no", "none"]}
    indexed = als.setIndex(save_index(tmp_path / "index", at_the_end)).fit(rows.union(held))
    assert {row.id for row in indexed.userFactors.collect()} == set(IDS["users"])
    assert {row.id for row in indexed.itemFactors.collect()} == set(IDS["items"])
    for key in ("validation_auc", "objective"):
        assert [row[key] for row in indexed.summary.history] == pytest.approx(
            [row[key] for row in plain.summary.history], rel=1e-5
        )
    np.testing.assert_allclose(
        indexed.scorer.scores(np.arange(40)), plain.scorer.scores(np.arange(40)), atol=1e-4
    )


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        ({"users": IDS["users"]}, ConfigError, "has no table items: it must be an index"),
        (
            IDS | {"users": [f"u{n}" for n in range(40)]},
            DataRejected,
            "ids of users .* are strings, but .* whole",
        ),
        (
            IDS | {"items": IDS["items"][1:]},
            DataRejected,
            "rows have items that are not in .* first is 'i0': make",
        ),
    ],
)
@pytest.mark.parametrize("tasks", ["one", "blocks"])
def test_an_index_that_does_not_fit_the_rows_is_refused(pairs, tmp_path, tasks, known, error, message):
    with pytest.raises(error, match=message):
        ALS(rank=2, maxIter=1, tasks=tasks, index=save_index(tmp_path, known)).fit(pairs)


def test_the_order_of_the_entities_of_a_machine_is_a_part_of_its_fit(spark, tmp_path):
    rows = spark.createDataFrame(
        [(f"i{n}", [], []) for n in range(5)], "id string, columns array<int>, values array<float>"
    )
    saved = save_index(tmp_path / "index", {"items": ["i3", "no", "i1"]})
    stores = [Store(str(tmp_path / name)) for name in ("plain", "again", "indexed")]
    sides = [
        write_ids(rows, store, "items", [], index)
        for store, index in zip(stores, (None, None, saved), strict=True)
    ]
    found = [store.load_table("ids/items")["id"].to_pylist() for store in stores]
    assert found[0] == ["i0", "i1", "i2", "i3", "i4"] and found[2] == ["i3", "i1", "i0", "i2", "i4"]
    assert sides[0].digest == sides[1].digest != sides[2].digest


def test_ids_of_a_narrower_type_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "RANGE_IDS", 3)
    parts = parts_of(tmp_path / "encoded", [(n, n, 0) for n in range(5)], "strings", 9)
    for side, column in (("users", 0), ("items", 1)):
        store = Store(str(tmp_path / "encoded"))
        table = store.load_table(f"{parts.names[0]}/{side}")
        ids = pa.array(np.arange(5 * column, 5 * column + 5), pa.int32())
        store.save_table(f"{parts.names[0]}/{side}", table.set_column(0, "id", ids))
    parts = replace(parts, id_kinds=dict.fromkeys(BLOCKS, "whole numbers"))
    known = {"users": [2**40, 3, 1, 0, 2, 4], "items": [9, 8, 7, 6, 5, 2**41]}
    store = Store(str(tmp_path / "fit"))
    index.write_index(TaskRunner(store, 1), parts, BLOCKS, save_index(tmp_path / "index", known))
    asked = pa.chunked_array([pa.array([3, 4, 100], pa.int32())])
    assert index.positions(store, "users", asked).tolist() == [1, 5, -1]


def test_an_id_twice_in_an_index_is_refused(pairs, tmp_path):
    saved = save_index(tmp_path, IDS | {"users": [*IDS["users"], 7]})
    with pytest.raises(DataRejected, match="users has an id twice: index the tables again"):
        ALS(rank=2, maxIter=1, index=saved).fit(pairs)


def test_an_index_with_a_position_twice_is_refused(pairs, tmp_path):
    saved = save_index(tmp_path, IDS)
    pq.write_table(pa.table({"id": [70], "position": np.int32([3])}), tmp_path / "users" / "again.parquet")
    with pytest.raises(DataRejected, match="users does not have each of the positions 0 to 40 once"):
        ALS(rank=2, maxIter=1, index=saved).fit(pairs)
