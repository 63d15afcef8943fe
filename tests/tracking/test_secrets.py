"""A password in any URI that a job is given is in nothing that the job prints, keeps or sends."""

import functools
import http.server
import json
import shutil
import threading

import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from tests.tracking.reports import UNREACHABLE

SECRET = "hunter2hunter2"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    write_movielens(generate(SyntheticOptions(users=60, items=40, ratings=1200)), folder / "ml-1m")
    return shutil.make_archive(str(folder / "ml-1m"), "zip", folder, "ml-1m")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return tmp_path_factory.mktemp("secrets") / "lake"


@pytest.fixture(scope="module")
def trained(spark, archive, lake):
    """`lake` with a small model."""
    for job in ("ingest", "split", "train"):
        given = {
            "paths.lake": lake,
            "data.source": archive,
            "model.rank": 2,
            "model.maxIter": 1,
            "tracking.logModel": "false",
        }
        assert main([job, *settings(given)]) == 0


@pytest.fixture
def call(spark, capfd, lake):
    """Run a job on the lake; gives its exit code and its summary, and looks for the secret in all that it
    printed and kept.
    """

    def run(job, **given):
        capfd.readouterr()
        code = main(
            [
                job,
                *settings(
                    {"paths.lake": lake} | {name.replace("__", "."): value for name, value in given.items()}
                ),
            ]
        )
        out, err = capfd.readouterr()
        assert SECRET not in out and SECRET not in err
        assert [
            path for path in lake.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
        ] == []
        return code, json.loads(out) if out else err

    return run


def settings(given):
    return [word for name, value in given.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def served(archive):
    """The address, with a password in it, of a server that has the archive."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=archive.rpartition("/")[0])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://someone:{SECRET}@127.0.0.1:{server.server_port}/ml-1m.zip"
        server.shutdown()
        thread.join()


def test_the_source_of_the_data(call, served, lake):
    code, summary = call("ingest", data__source=served)
    assert code == 0 and summary["source"].startswith("http://***@127.0.0.1")
    assert (lake / "mlflow.db").exists() and (lake / "tables/manifest.json").exists()


def test_a_tracking_store_that_is_away(call, archive, lake):
    uri = UNREACHABLE.replace("://", f"://someone:{SECRET}@")
    code, _ = call("ingest", data__source=archive, tracking__uri=uri)
    assert code == 0 and any((lake / "tracking-spool").iterdir())
    code, err = call("sync", tracking__uri=uri)
    assert code == 1 and "http://***@127.0.0.1:9 can't be used" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "key", "uri"),
    [
        ("ingest", "data__source", f"http://someone:{SECRET}@127.0.0.1:9/ml-1m.zip"),
        ("ingest", "data__source", f"http://127.0.0.1:9/ml-1m.zip?sig={SECRET}&x=1"),
        ("ingest", "data__source", f"/nowhere?token={SECRET}"),
        ("ingest", "paths.lake", f"s3x://key:{SECRET}@bucket/lake"),
        ("train", "model__initialModel", f"s3x://key:{SECRET}@bucket/vectors.npz"),
        ("train", "model__sideVectors", f"https://someone:{SECRET}@127.0.0.1:9/vectors.npz"),
        ("recommend", "recommend__users", f"nofs://key:{SECRET}@bucket/users"),
    ],
)
def test_what_can_not_be_read(call, trained, job, key, uri):
    code, err = call(job, model__rank=2, model__maxIter=1, **{key: uri})
    assert code in (1, 2, 5) and "***" in err


def test_a_store_of_no_kind_that_mlflow_knows(call, trained):
    code, summary = call("split", tracking__uri=f"no-such-store://key:{SECRET}@host/x")
    assert code == 0 and summary["run_id"]
