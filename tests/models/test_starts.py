"""Fits that start from files: what their rows are before training moves them, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.errors import ConfigError, DataRejected
from recspark.models import ALS, MatrixFactorization
from recspark.models.factors.tables import FactorTables
from recspark.models.starts.tables import initial_tables

RANK = 3
RNG = np.random.default_rng(5)
USERS, ITEMS = [30, 10, 20, 40], ["b", "a", "ü"]
X, Y = RNG.standard_normal((4, RANK)).astype(np.float32), RNG.standard_normal((3, RANK)).astype(np.float32)
#: an epoch that moves nothing
STILL = {"rank": RANK, "maxIter": 1, "stepSize": 1e-12, "userCol": "user_id", "itemCol": "item_id"}


@pytest.fixture(scope="module")
def ratings(spark):
    """Of all users but 40, and one that no file knows."""
    rows = [
        (user, item, float(1 + (user + n) % 5)) for user in (*USERS[:3], 99) for n, item in enumerate(ITEMS)
    ]
    return spark.createDataFrame(rows, "user_id long, item_id string, rating float").coalesce(1).cache()


@pytest.fixture
def index(tmp_path):
    """Positions in the order of `USERS` and `ITEMS`."""
    for side, ids in (("users", USERS), ("items", ITEMS)):
        write(tmp_path / "index" / side, {"id": ids, "position": pa.array(range(len(ids)), pa.int32())})
    return str(tmp_path / "index")


@pytest.fixture
def npz(tmp_path):
    def made(name="given", **arrays):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return str(tmp_path / f"{name}.npz")

    return made


def write(folder, columns):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


def started(ratings, **options):
    """{id: (factors, bias)} of both sides after a fit that moves nothing."""
    fitted = MatrixFactorization(**STILL | options).fit(ratings)
    model = FactorTables.read(fitted.folder)
    return {
        side: {
            id: (*row, bias)
            for id, row, bias in zip(
                table.ids.to_pylist(), table.features.tolist(), table.bias.tolist(), strict=True
            )
        }
        for side, table in model.tables.items()
    }


def rows(ids, factors, bias=None):
    bias = np.zeros(len(ids)) if bias is None else bias
    return {id: (*row, own) for id, row, own in zip(ids, factors.tolist(), bias.tolist(), strict=True)}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for id, row in wanted.items():
        np.testing.assert_allclose(found[id], row, rtol=1e-6, atol=1e-7, err_msg=str(id))


@pytest.fixture(scope="module")
def cold(ratings):
    return started(ratings)


@pytest.mark.parametrize("blocks", [1, 2])
def test_one_option_starts_from_a_file_by_position(ratings, cold, npz, index, blocks):
    path = npz(users_emb=X, items_emb=Y, items_bias=np.array([1.0, 2.0, 3.0]))
    found = started(ratings, initialModel=path, initialIndex=index, userBlocks=blocks, tasks="blocks")
    # user 40 is in the file alone, user 99 starts as without it
    same(found["users"], rows(USERS[:3], X[:3]) | {99: cold["users"][99]})
    same(found["items"], rows(ITEMS, Y, np.array([1.0, 2.0, 3.0])))


def test_by_ids_and_scaled(ratings, cold, npz, tmp_path):
    path = npz(users_emb=X[:2], items_emb=Y[::-1], users_id=USERS[:2], items_id=np.array(ITEMS[::-1]))
    found = started(ratings, initialModel=path, initialScale=0.5)
    same(found["users"], rows(USERS[:2], X[:2] / 2) | {id: cold["users"][id] for id in (20, 99)})
    same(found["items"], rows(ITEMS, Y / 2))


def test_a_saved_model_is_read_where_it_lies_or_scaled(ratings, tmp_path):
    model = ALS(rank=RANK, maxIter=1, biases=True, userCol="user_id", itemCol="item_id").fit(ratings)
    assert initial_tables(model.folder, str(tmp_path), RANK) == model.folder
    factors = FactorTables.read(model.folder).tables["users"]
    found = started(ratings, initialModel=model.folder, initialScale=2.0)
    same(found["users"], rows(factors.ids.to_pylist(), 2 * factors.features, factors.bias))


def test_what_is_made_of_a_file_is_named_by_its_content(npz, tmp_path):
    arrays = {"users_emb": X, "items_emb": Y, "users_id": USERS, "items_id": ITEMS}
    files = {"a": arrays, "b": arrays, "c": arrays | {"users_emb": X + 1}}
    one, again, other = (
        initial_tables(npz(name, **content), str(tmp_path), RANK) for name, content in files.items()
    )
    assert one == again != other
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(
        folder.rpartition("/")[2] for folder in (one, other)
    )


def test_a_start_near_the_solution_is_better_from_the_first_iteration(spark, npz):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((20, 4))
    pairs = [
        (int(u), int(i), float(x[u] @ y[i])) for u in range(30) for i in rng.choice(20, 12, replace=False)
    ]
    ratings = spark.createDataFrame(pairs, "user int, item int, rating double")
    start = {"initialModel": npz(users_emb=x, items_emb=y, users_id=range(30), items_id=range(20))}
    cold, warm = (ALS(rank=4, maxIter=1, regParam=1e-4, **given).fit(ratings) for given in ({}, start))
    assert warm.summary.history[0]["train_rmse"] < 0.01 < cold.summary.history[0]["train_rmse"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"initialScale": 0.5}, ConfigError, "initialScale = 0.5 is not allowed without initialModel"),
        (
            {"initialIndex": "lake/index"},
            ConfigError,
            "initialIndex = 'lake/index' is not allowed without initialModel",
        ),
        (
            {"sideVectors": "levels.npz"},
            ConfigError,
            "sideVectors = 'levels.npz' is not allowed without sideTables",
        ),
        (
            {"initialModel": "WRONG_RANK"},
            DataRejected,
            "users_emb has 2 factors, items_emb has 2 factors; all must have rank = 3",
        ),
        (
            {"initialModel": "NO_IDS"},
            DataRejected,
            "has no users_id: give them, or an index whose positions are the rows of users_emb",
        ),
        (
            {"initialModel": "TEXT_IDS"},
            DataRejected,
            "its ids of users are strings, but those of the ratings are whole numbers",
        ),
        (
            {"initialModel": "NAN"},
            DataRejected,
            r"users_emb has 1 values that are not finite as float32, the first is nan at \(0, 0\)",
        ),
    ],
)
def test_what_can_t_be_a_start_is_said(ratings, npz, options, error, message):
    ids = {"users_id": USERS, "items_id": ITEMS}
    files = {
        "WRONG_RANK": {"users_emb": X[:, :2], "items_emb": Y[:, :2]} | ids,
        "NO_IDS": {"users_emb": X, "items_emb": Y},
        "TEXT_IDS": {"users_emb": X, "items_emb": Y} | ids | {"users_id": ["30", "10", "20", "40"]},
        "NAN": {"users_emb": np.where(X[0, 0] == X, np.nan, X), "items_emb": Y} | ids,
    }
    options = {key: npz(value, **files[value]) if value in files else value for key, value in options.items()}
    with pytest.raises(error, match=message):
        started(ratings, **options)


# features of users and items

LEVELS = {
    "job_emb": np.array([[1, 0, 0], [0, 1, 0]], np.float32),
    "job_id": np.array(["nurse", "cook"]),
    "job_bias": np.array([0.5, -0.5]),
    "genres_emb": np.array([[0, 0, 1], [0, 2, 0]], np.float32),
    "genres_id": np.array([7, 8]),
}


@pytest.fixture
def tables(tmp_path):
    write(
        tmp_path / "tables" / "users",
        {"user_id": USERS, "job": ["cook", "nurse", "pilot", "cook"], "age": [20, None, 30, 40]},
    )
    genres = pa.array([[7, 8], [], [8, 9, 8]], pa.list_(pa.int32()))
    write(tmp_path / "tables" / "items", {"item_id": ITEMS, "genres": genres, "year": [1, 2, 3]})
    return str(tmp_path / "tables")


def test_vectors_of_features_are_added_to_the_rows_of_their_ids(ratings, cold, npz, tables):
    found = started(ratings, sideVectors=npz(**LEVELS), sideTables=tables)
    own = {side: {id: np.array(row) for id, row in table.items()} for side, table in cold.items()}
    # a pilot's level has no vector, of user 99 nothing is known
    same(
        found["users"],
        own["users"] | {30: own["users"][30] + [0, 1, 0, -0.5], 10: own["users"][10] + [1, 0, 0, 0.5]},
    )
    same(
        found["items"],
        own["items"] | {"b": own["items"]["b"] + [0, 2, 1, 0], "ü": own["items"]["ü"] + [0, 4, 0, 0]},
    )


def test_they_are_added_to_rows_that_are_given(ratings, npz, tables):
    start = npz("start", users_emb=X, items_emb=Y, users_id=USERS, items_id=ITEMS)
    found = started(
        ratings, initialModel=start, initialScale=0.5, sideVectors=npz(**LEVELS), sideTables=tables
    )
    same(
        {id: found["users"][id] for id in (30, 20)}, {30: (*(X[0] / 2 + [0, 1, 0]), -0.5), 20: (*X[2] / 2, 0)}
    )
    same({"b": found["items"]["b"]}, {"b": (*(Y[0] / 2 + [0, 2, 1]), 0)})


def test_vectors_of_features_in_parquet(ratings, npz, tables, tmp_path):
    for name in ("job", "genres"):
        folder = tmp_path / "levels" / name
        columns = {"id": LEVELS[f"{name}_id"], "features": LEVELS[f"{name}_emb"].tolist()}
        write(folder, columns | ({"bias": LEVELS["job_bias"]} if name == "job" else {}))
    one, other = (
        started(ratings, sideVectors=path, sideTables=tables)
        for path in (npz(**LEVELS), str(tmp_path / "levels"))
    )
    assert one == other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"job_emb": None, "genres_emb": None},
            "has no COLUMN_emb: it must have vectors of the levels .*; there is job_id, job_bias",
        ),
        ({"job_id": None}, "has no job_id"),
        (
            {"job_id": np.array(["pilots", "cooks"])},
            "users: job holds none of the levels that have vectors: pilots, cooks",
        ),
        (
            {"genres_id": np.array(["Drama", "War"])},
            "items: genres holds none of the levels that have vectors: Drama, War",
        ),
        (
            {"colour_emb": np.ones((1, 3)), "colour_id": [1]},
            "colour_emb is of a column that no table has, .* users has user_id, job, age;",
        ),
        (
            {"job_emb": np.ones((2, 4))},
            "job_emb has 4 factors, genres_emb has 3 factors; all must have rank = 3",
        ),
        ({"job_id": np.array(["cook", "cook"])}, "job_id has 1 ids more than once, the first is 'cook'"),
    ],
)
def test_vectors_that_fit_no_feature_are_refused(ratings, npz, tables, changes, message):
    arrays = {key: array for key, array in (LEVELS | changes).items() if array is not None}
    with pytest.raises(DataRejected, match=message):
        started(ratings, sideVectors=npz(**arrays), sideTables=tables)


def test_tables_of_features_are_needed(ratings, npz, tmp_path):
    with pytest.raises(
        ConfigError, match="has no table users: it must be a folder of Parquet tables users and items"
    ):
        started(ratings, sideVectors=npz(**LEVELS), sideTables=str(tmp_path))
