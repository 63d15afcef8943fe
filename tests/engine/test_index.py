"""The index of a fit: ids in ascending order, the same for any ranges, and no table with all of them."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from recspark.engine import encode, index
from recspark.engine.encode import Parts
from recspark.engine.spark.runner import TaskRunner
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.kernels.arrays.csr import balanced_cuts
from recspark.models import ALS

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
    return Parts(str(root), names, len(pairs), 1.0, 1.0, 1.0, 1.0, "", False, True, 1.0, 1.0, {}, entries)


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
