"""What works on S3 without Spark's own client: folders, products of a lake, fits, models; against moto's
server on loopback.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from recspark.engine import storage
from recspark.engine.spark.hadoop import require_storage
from recspark.engine.storage import Store
from recspark.errors import ConfigError, RecsparkError
from recspark.lake.folder import Folder
from recspark.lake.lake import Lake
from recspark.models import ALS
from recspark.models.factors.model import FactorModel
from recspark.models.factors.tables import FactorTables
from recspark.models.saving import load_model
from recspark.models.serving.scorer import Scorer

pytest.importorskip("moto", reason="the extra test has moto's server")


@pytest.fixture(scope="module")
def server():
    """moto's server; its address and the variables that clients need."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/moto-api/")
        keys = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield keys | {"AWS_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true"}
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(address, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.1)


@pytest.fixture
def bucket(server, spark, tmp_path, monkeypatch):
    """The URI of an empty folder in a bucket that this process and Spark's workers reach."""
    for name, value in (server | {"SPARK_LOCAL_DIRS": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(spark.sparkContext.environment, name, value)
    pafs.S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL"], allow_bucket_creation=True
    ).create_dir("bucket")
    return f"s3://bucket/{tmp_path.name}"


def publish(lake, text, fingerprint="one"):
    with lake.publish("models/als", fingerprint) as publication:
        lake.write_bytes(f"{publication.product}/table/part.txt", text)
        lake.write_bytes(f"{publication.product}/{text.decode()}.txt", text)


def test_a_product_is_there_whole_or_not_at_all(bucket):
    lake = Lake(bucket)
    assert lake.read_json("models/als/manifest.json") is None
    publish(lake, b"first")
    publish(lake, b"second", "two")
    assert lake.names("models/als") == ["manifest.json", "second.txt", "table"]
    assert lake.is_current("models/als", "two") and lake.names(".staging") == []
    with lake.fs.open_input_stream(lake.at("models/als/table/part.txt")) as stream:
        assert stream.read() == b"second"


def test_a_failure_leaves_what_was_there(bucket):
    lake = Lake(bucket)
    publish(lake, b"first")
    with pytest.raises(OSError, match="disk full"), lake.publish("models/als", "two") as publication:
        lake.write_bytes(f"{publication.product}/half.txt", b"half")
        raise OSError("disk full")
    assert lake.is_current("models/als", "one") and lake.names(".staging") == []


def test_a_copy_that_is_cut_off_leaves_no_product(bucket, monkeypatch):
    lake = Lake(bucket)
    publish(lake, b"first")
    monkeypatch.setattr(Lake, "copy", lambda *_: (_ for _ in ()).throw(OSError("connection lost")))
    with pytest.raises(OSError, match="connection lost"):
        publish(lake, b"second", "two")
    assert lake.read_json("models/als/manifest.json") is None
    monkeypatch.undo()


def test_a_folder_moves_file_by_file(bucket):
    folder = Folder(bucket)
    folder.write_json("a/deep/x.json", 1)
    folder.move("a", "b/c")
    assert (folder.read_json("b/c/deep/x.json"), folder.exists("a/deep/x.json")) == (1, False)


def test_entries_of_a_store_are_read_through_copies(bucket, monkeypatch):
    store = Store(f"{bucket}/work")
    store.save("blocks/one", a=np.arange(5), b=np.ones((2, 3), np.float32))
    store.save_table("index", pa.table({"id": [1, 2]}))
    assert store.load("blocks/one")["b"].shape == (2, 3)
    assert store.load_table("index")["id"].to_pylist() == [1, 2]
    store.save("blocks/one", a=np.arange(7), b=np.ones(1))
    assert len(store.load("blocks/one")["a"]) == 7
    monkeypatch.setattr(storage, "KEEP_SECONDS", -1.0)
    store.save("blocks/two", a=np.ones(1))
    store.load("blocks/two")
    assert list(storage.cache_folder().rglob("one-*")) == []


@pytest.fixture
def ratings(spark):
    rng = np.random.default_rng(5)
    cells = rng.choice(60 * 40, 1200, replace=False)
    rows = [
        (f"u{c // 40}", int(c % 40), float(r))
        for c, r in zip(cells, rng.integers(1, 6, len(cells)), strict=True)
    ]
    return spark.createDataFrame(rows, "user string, item int, rating float").coalesce(2)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_fit_on_s3_gives_the_same_bits(bucket, ratings, tmp_path, blocks):
    params = {
        "rank": 4,
        "maxIter": 3,
        "center": True,
        "biases": True,
        "userBlocks": blocks,
        "itemBlocks": blocks,
        "tasks": "blocks",
    }
    near = ALS(**params, workDir=str(tmp_path / "work")).fit(ratings)
    far = ALS(**params, workDir=f"{bucket}/work").fit(ratings)
    far.write().save(f"{bucket}/model")
    for path in (far.folder, f"{bucket}/model", bucket.replace("s3://", "s3a://") + "/model"):
        found, expected = Scorer.load(path), Scorer.load(near.folder)
        np.testing.assert_array_equal(found.users.factors, expected.users.factors)
        np.testing.assert_array_equal(found.items.deviation, expected.items.deviation)


@pytest.mark.slow
def test_a_model_on_s3_predicts_recommends_and_is_updated(bucket, ratings, tmp_path):
    near = ALS(rank=4, maxIter=2, workDir=str(tmp_path / "work")).fit(ratings)
    near.write().save(f"{bucket}/model")
    model = load_model(f"{bucket}/model")
    assert isinstance(model, FactorModel)
    columns = ["user", "item", "prediction"]
    assert sorted(model.transform(ratings).select(columns).collect()) == sorted(
        near.transform(ratings).select(columns).collect()
    )
    best = {row.user: row.recommendations for row in model.recommendForAllUsers(3, seen=ratings).collect()}
    assert best == {
        row.user: row.recommendations for row in near.recommendForAllUsers(3, seen=ratings).collect()
    }
    tables = FactorTables.read(f"{bucket}/model")
    tables.write(f"{bucket}/model")
    np.testing.assert_array_equal(
        Scorer.load(f"{bucket}/model").users.factors, Scorer.load(near.folder).users.factors
    )


@pytest.mark.parametrize("root", ["ftp://host/lake", "s3://bucket/lake?region=eu"])
def test_what_is_no_storage_is_named(root):
    with pytest.raises(ConfigError, match=rf"{root.partition(':')[0]}://.* is not allowed: "):
        Folder(root)


def test_storage_that_spark_lacks_is_named_with_what_to_add(spark):
    require_storage(spark, "/a/path")
    require_storage(spark, "file:///a/path")
    with pytest.raises(ConfigError, match=r"Spark can't use s3a://.*org\.apache\.hadoop:hadoop-aws:\d"):
        require_storage(spark, "s3a://bucket/lake")
    with pytest.raises(ConfigError, match=r"Spark can't use nowhere://.*docs/operations\.md"):
        require_storage(spark, "nowhere://host/lake")


@pytest.mark.slow
def test_a_server_that_is_not_there_is_named(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises((RecsparkError, OSError)):
        Lake(bucket).read_json("tables/manifest.json")
