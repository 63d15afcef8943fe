import doctest
import os
import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.models.starts import embeddings as embeddings_module
from recspark.models.starts.embeddings import read_embeddings, write_start

RNG = np.random.default_rng(7)
USERS, ITEMS = RNG.standard_normal((3, 4)).astype(np.float32), RNG.standard_normal((2, 4)).astype(np.float32)
EMB = {"users_emb": USERS, "items_emb": ITEMS}
IDS = {"users_id": np.array([20, 10, 30]), "items_id": np.array(["b", "a"])}


@pytest.fixture
def index(tmp_path):
    """Of users 30, 10, 20 and items a, b in this order of positions; the rows of the file are in another
    one.
    """
    tables = {"users": ([10, 20, 30], [1, 2, 0]), "items": (["b", "a"], [1, 0])}
    for side, (ids, positions) in tables.items():
        (tmp_path / "index" / side).mkdir(parents=True)
        table = pa.table({"id": ids, "position": pa.array(positions, pa.int32()), "count": [1] * len(ids)})
        pq.write_table(table, tmp_path / "index" / side / "part-0.parquet")
    return str(tmp_path / "index")


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "given.npz", **arrays)
        return str(tmp_path / "given.npz")

    return write


def rows(table):
    """{id: (factors, bias)}"""
    assert (
        table.schema.field("features").type == pa.list_(pa.float32())
        and table.schema.field("bias").type == pa.float32()
    )
    return {row["id"]: (row["features"], row["bias"]) for row in table.to_pylist()}


def expected(ids, factors, bias=None):
    return {
        i: (x.tolist(), 0.0 if bias is None else bias[n].item())
        for n, (i, x) in enumerate(zip(ids, factors, strict=True))
    }


def test_rows_without_ids_are_matched_by_position(npz, index):
    users, items = read_embeddings(npz(**EMB), index, rank=4)
    assert rows(users) == expected([30, 10, 20], USERS) and rows(items) == expected(["a", "b"], ITEMS)


def test_rows_with_ids_are_matched_by_them(npz, index):
    bias = np.array([0.5, -1, 2], np.float32)
    for known in (None, index):
        users, items = read_embeddings(npz(**EMB, **IDS, users_bias=bias), known)
        assert rows(users) == expected([20, 10, 30], USERS, bias) and rows(items) == expected(
            ["b", "a"], ITEMS
        )


def test_any_numbers_become_float32(npz):
    path = npz(
        users_emb=USERS.astype(np.float64),
        items_emb=np.array([[1, 2, 3, 4]]),
        users_id=[1, 2, 3],
        items_id=[9],
    )
    users, items = read_embeddings(path)
    assert rows(users) == expected([1, 2, 3], USERS) and rows(items) == {9: ([1.0, 2.0, 3.0, 4.0], 0.0)}


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 4)])
@pytest.mark.parametrize("name", ["users/part-0.parquet", "users.parquet"])
def test_parquet_tables(tmp_path, index, kind, name):
    for side, factors in (("users", USERS), ("items", ITEMS)):
        path = tmp_path / "tables" / name.replace("users", side)
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {"features": pa.array(factors.tolist(), kind)}
        pq.write_table(
            pa.table(columns | ({"id": [7, 8]} if side == "items" else {"bias": [1.0, 2.0, 3.0]})), path
        )
    with pytest.raises(DataRejected, match="no users_id: give them, or an index"):
        read_embeddings(str(tmp_path / "tables"))
    pq.write_table(pa.table({"features": pa.array(ITEMS.tolist(), kind), "id": ["a", "b"]}), path)
    users, items = read_embeddings(str(tmp_path / "tables"), index)
    assert rows(users) == expected([30, 10, 20], USERS, np.array([1, 2, 3])) and rows(items) == expected(
        ["a", "b"], ITEMS
    )


def test_a_saved_model_gives_its_biases(tmp_path):
    for side, ids in (("users", [1, 2, 3]), ("items", [4, 5])):
        (tmp_path / side).mkdir()
        factors = {"users": USERS, "items": ITEMS}[side].tolist()
        table = pa.table(
            {
                "id": ids,
                "count": ids,
                "features": factors,
                "bias": [2.0] * len(ids),
                "deviation": [1.0] * len(ids),
            }
        )
        pq.write_table(table, tmp_path / side / "part-00000.parquet")
    users, _ = read_embeddings(str(tmp_path))
    assert rows(users) == expected([1, 2, 3], USERS, np.full(3, 2.0))


def test_what_is_written_is_read_again(npz, tmp_path):
    tables = read_embeddings(npz(**EMB, **IDS))
    for users in (tables[0], tables[0].slice(1)):
        write_start(str(tmp_path / "start"), users, tables[1])
        assert [rows(table) for table in read_embeddings(str(tmp_path / "start"))] == [
            rows(users),
            rows(tables[1]),
        ]
    assert sorted(path.name for path in (tmp_path / "start").rglob("*.parquet")) == ["part-00000.parquet"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"users_emb": None},
            "has no users_emb: it must be a matrix with a row for each of the users; there is items_emb",
        ),
        ({"users_emb": USERS[0]}, r"users_emb has shape \(4,\), it must be users x factors"),
        ({"users_emb": USERS[:0]}, r"users_emb has shape \(0, 4\)"),
        (
            {"users_emb": USERS[:, :3]},
            "users_emb has 3 factors, items_emb has 4 factors; all must have the same number",
        ),
        (
            {"users_emb": np.where(USERS[2, 1] == USERS, np.nan, USERS)},
            r"users_emb has 1 values .* the first is nan at \(2, 1\)",
        ),
        (
            {"items_emb": np.full((2, 4), 1e300)},
            r"items_emb has 8 values that are not finite as float32, the first is 1e\+300 at \(0, 0\)",
        ),
        ({"items_emb": np.full((2, 4), "x")}, "items_emb holds <U1, it must hold numbers"),
        (
            {"users_emb": USERS[:2]},
            "users_emb has 2 rows, it must have one for each of the 3 ids of .*index/users, or users_id",
        ),
        (
            {"model.users_emb.weight": USERS},
            "users_emb and model.users_emb.weight: only one of them may be called users_emb",
        ),
        (
            {"users_bias": np.zeros(2)},
            r"users_bias has shape \(2,\), it must be a number for each of the 3 rows of users_emb",
        ),
        ({"users_id": np.array([10, 20])}, "users_id has 2 ids for 3 rows"),
        (
            {"users_id": np.array([10, 20, 10])},
            "users_id has 1 ids more than once, the first is 10; each may stand once",
        ),
        (
            {"users_id": np.array([10, 99, 98])},
            "users_id has 2 ids that are not in .*index/users, the first is 99",
        ),
        (
            {"users_id": np.array(["10", "20", "30"])},
            "users_id holds string, but the ids of .*index/users are int64",
        ),
        (
            {"users_id": np.array([1.0, 2.0, 3.0])},
            "users_id holds double, it must hold whole numbers or strings",
        ),
        ({"users_id": np.ones((3, 1), int)}, r"users_id has shape \(3, 1\), it must be a list of ids"),
    ],
)
def test_malformed_arrays_are_refused_with_key_and_value(npz, index, changes, message):
    arrays = {key: array for key, array in (EMB | changes).items() if array is not None}
    with pytest.raises(DataRejected, match=message):
        read_embeddings(npz(**arrays), index)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0, 2.0], [3.0]], "features have lengths 2, 1; all rows must have the same number"),
        ([[1.0, 2.0], None], "features have lengths 2, None"),
        ([1.0, 2.0], "column features is double, it must be lists of numbers"),
        ([[1.0, None], [1.0, 2.0]], "users_emb has 1 values that are not finite"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, column, message):
    for side in ("users", "items"):
        pq.write_table(pa.table({"id": [1, 2], "features": column}), tmp_path / f"{side}.parquet")
    with pytest.raises(DataRejected, match=message):
        read_embeddings(str(tmp_path))


def test_the_wanted_rank(npz, index):
    with pytest.raises(
        DataRejected, match="users_emb has 4 factors, items_emb has 4 factors; all must have rank = 64"
    ):
        read_embeddings(npz(**EMB), index, rank=64)


def test_what_is_not_there_or_not_known(tmp_path, npz):
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(
        ConfigError,
        match="nothing.npz does not exist: it must be a saved model, .* or a file that ends in .npz",
    ):
        read_embeddings(str(tmp_path / "nothing.npz"))
    with pytest.raises(ConfigError, match="x.csv is of no known format"):
        read_embeddings(str(tmp_path / "x.csv"))
    with pytest.raises(
        DataRejected, match="neither users nor users.parquet: it must have Parquet tables users and items"
    ):
        read_embeddings(str(tmp_path))
    with pytest.raises(ConfigError, match="has no table users: it must be an index"):
        read_embeddings(npz(**EMB), str(tmp_path))


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth", "evil.npz"])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, name):
    trap = str(tmp_path / "trapped")
    (tmp_path / name).write_bytes(pickle.dumps({"users_emb": Hostile(trap), "items_emb": ITEMS}))
    with pytest.raises(RecsparkError, match=name):
        read_embeddings(str(tmp_path / name))
    assert not os.path.exists(trap)
    pickle.loads((tmp_path / name).read_bytes())
    assert os.path.exists(trap), "the trap itself works"


def test_objects_in_an_npz_are_refused(tmp_path):
    trap = str(tmp_path / "trapped")
    np.savez(tmp_path / "evil.npz", users_emb=np.array([Hostile(trap)], object), items_emb=ITEMS)
    with pytest.raises(
        DataRejected, match="evil.npz is not an .npz file of plain arrays: Object arrays cannot be loaded"
    ):
        read_embeddings(str(tmp_path / "evil.npz"))
    assert not os.path.exists(trap)


@pytest.mark.parametrize(
    ("package", "file", "extra"),
    [("torch", "x.pt", r"recspark\[torch\]"), ("safetensors", "x.safetensors", r"recspark\[embeddings\]")],
)
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, package, file, extra):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(RecsparkError, match=extra):
        read_embeddings(str(tmp_path / file))


def test_safetensors(tmp_path, index):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "x.safetensors"
    numpy.save_file(
        {"model.users_emb.weight": USERS, "model.items_emb.weight": ITEMS, "users_id": IDS["users_id"]}, path
    )
    users, items = read_embeddings(str(path), index)
    assert rows(users) == expected([20, 10, 30], USERS) and rows(items) == expected(["a", "b"], ITEMS)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(DataRejected, match="is not a .safetensors file"):
        read_embeddings(str(path))


def test_pytorch(tmp_path, index, monkeypatch):
    torch = pytest.importorskip("torch")

    class LightGCN(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.users_emb, self.items_emb = (
                torch.nn.Embedding.from_pretrained(torch.tensor(factors)) for factors in (USERS, ITEMS)
            )

    path, model = tmp_path / "x.pt", LightGCN()
    plain = {key: torch.tensor(value) for key, value in EMB.items()}
    ids = {"users_id": torch.tensor([30, 10, 20]), "items_id": ["a", "b"]}
    for content in (
        plain,
        plain | ids,
        model.state_dict(),
        {"epoch": 3, "model": model.state_dict(), "loss": [0.1]},
    ):
        torch.save(content, path)
        users, items = read_embeddings(str(path), index)
        assert rows(users) == expected([30, 10, 20], USERS) and rows(items) == expected(["a", "b"], ITEMS)
    torch.save({key: value.bfloat16() for key, value in plain.items()}, path)
    np.testing.assert_allclose(read_embeddings(str(path), index)[0]["features"].to_pylist(), USERS, rtol=1e-2)
    torch.save({"users_emb": model.users_emb, "items_emb": model.items_emb}, path)
    with pytest.raises(
        DataRejected, match=r"x.pt holds more than tensors \(torch.nn.modules.sparse.Embedding\), and"
    ):
        read_embeddings(str(path), index)
    torch.save({"users_emb": Hostile(str(tmp_path / "trapped")), "items_emb": plain["items_emb"]}, path)
    with pytest.raises(DataRejected, match=r"x.pt holds more than tensors \(posix.mkdir\)"):
        read_embeddings(str(path), index)
    assert not (tmp_path / "trapped").exists()
    path.write_bytes(b"no such thing")
    with pytest.raises(DataRejected, match="x.pt is damaged or holds more than tensors"):
        read_embeddings(str(path), index)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(
        RecsparkError, match=r"torch 2.5.1\+cpu may run code that a file holds, at least 2.6 is needed"
    ):
        read_embeddings(str(path), index)


def test_docstrings():
    failed, attempted = doctest.testmod(embeddings_module)
    assert attempted and not failed
