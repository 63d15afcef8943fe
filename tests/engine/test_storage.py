import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from recspark.engine import storage
from recspark.engine.storage import HeldStore, Store


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path, monkeypatch):
    """A local store, and one whose storage is not this machine's disk as far as the code can tell."""
    store = Store(str(tmp_path / "work"))
    if request.param == "remote":
        monkeypatch.setenv("TMPDIR", str(tmp_path / "cache"))
        (tmp_path / "cache").mkdir()
        monkeypatch.setattr("tempfile.tempdir", None)
        store.fs = pafs.SubTreeFileSystem("", pafs.LocalFileSystem())
    return store


def test_arrays_come_back_with_type_and_shape(store):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([], np.int32),
        "c": np.array([2**40]),
    }
    store.save("some/entry", **arrays)
    loaded = store.load("some/entry")
    assert loaded.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(loaded[key], array)
        assert loaded[key].dtype == array.dtype and loaded[key].shape == array.shape


def test_tables_come_back(store):
    table = pa.table({"id": ["a", "b"], "count": [1, 2]})
    store.save_table("t", table)
    assert store.load_table("t").equals(table)


def test_writing_again_replaces_the_whole_entry(tmp_path):
    store = Store(str(tmp_path))
    store.save("entry", old=np.ones(3))
    store.save("entry", new=np.zeros(2))
    assert store.load("entry").keys() == {"new"}


def test_changing_a_loaded_array_leaves_the_file_alone(tmp_path):
    store = Store(str(tmp_path))
    store.save("entry", a=np.ones(3))
    store.load("entry")["a"][:] = 7
    np.testing.assert_array_equal(store.load("entry")["a"], np.ones(3))


def test_nothing_stays_behind_when_writing_fails(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.save("kept", a=np.ones(1))

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save("entry", a=np.ones(3))
    assert store.names("") == ["kept"]


def test_a_held_store_writes_no_more_often_than_it_may(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(storage.time, "perf_counter", lambda: clock[0])
    held, disk = HeldStore(str(tmp_path), ("factors/",), ()), Store(str(tmp_path))

    def slow(self, name, **arrays):
        clock[0] += 2

    monkeypatch.setattr(Store, "save", slow)
    for second, expected in ((1, 1), (100, 1), (203.5, 203.5), (400, 203.5), (406, 406)):
        clock[0] = max(clock[0], second)
        held.save("factors/a", rows=np.zeros(1))
        held.write_json("told.json", second)
        held.flush(0.01)
        assert disk.read_json("told.json") == expected
    held.write_json("told.json", 0)
    held.flush()
    assert disk.read_json("told.json") == 0


def test_a_held_store_writes_commits_last_and_the_newest_of_them_first(tmp_path, monkeypatch):
    """Killed at any write, what is on disk goes on: an iteration is there only with all that it needs."""
    held = HeldStore(str(tmp_path), ("factors/",), ("prepared.json", "iterations/"))
    held.write_json("shared/0.json", 0)
    held.write_json("prepared.json", {})
    for iteration in (1, 2):
        held.save(f"factors/{iteration}", rows=np.zeros(1))
        held.write_json(f"shared/{iteration}.json", iteration)
        held.write_json(f"iterations/{iteration}.json", iteration)
    written = []
    monkeypatch.setattr(Store, "save", lambda self, name, **arrays: written.append(name))
    monkeypatch.setattr(Store, "write_json", lambda self, name, content: written.append(name))
    held.flush()
    assert written[:2] == ["factors/1", "factors/2"]
    assert sorted(written[2:5]) == ["shared/0.json", "shared/1.json", "shared/2.json"]
    assert written[5:] == ["iterations/2.json", "iterations/1.json", "prepared.json"]
