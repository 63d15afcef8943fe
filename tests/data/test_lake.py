"""Products of a lake: whole or not there, one writer at a time, nothing left by runs that were killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recspark.errors import ConfigError, RecsparkError
from recspark.lake.lake import Lake
from recspark.lake.locks import LakeBusy
from recspark.lake.manifests import Manifest

ROOT = Path(__file__).parents[2]
#: holds a lock until it is killed
HOLDER = """
import sys, time
from recspark.lake.lake import Lake
with getattr(Lake(sys.argv[1]), sys.argv[2])("models/als"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_names_of_a_folder_that_is_being_made(tmp_path):
    """Arrow looks twice at a folder that it can't list, and fails where the second look finds it."""
    lake = Lake(str(tmp_path))
    for number in range(300):
        maker = threading.Thread(target=(tmp_path / f"{number}").mkdir)
        maker.start()
        assert all(lake.names(f"{number}") == [] for _ in range(8))
        maker.join()


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"), wait=0)


@pytest.fixture
def holder(lake):
    """Starts another process that is "writing" or "reading" models/als."""
    started = []

    def start(mode):
        variables = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, lake.root, mode], stdout=subprocess.PIPE, env=variables
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def publish(lake, product="models/als", content="new"):
    with lake.publish(product, content) as publication:
        lake.write_json(f"{publication.product}/content.json", content)


def staged(lake, name, **files):
    for file, content in files.items():
        lake.write_json(f".staging/{name}/{file}.json", content)


def test_a_product_is_there_whole_or_as_it_was(lake):
    publish(lake, content="old")
    with pytest.raises(KeyError), lake.publish("models/als", "new") as publication:
        lake.write_json(f"{publication.product}/content.json", "new")
        raise KeyError
    assert (
        lake.read_json("models/als/content.json")
        == lake.read_json("models/als/manifest.json")["fingerprint"]
        == "old"
    )
    publish(lake)
    assert lake.read_json("models/als/content.json") == "new" and lake.is_current("models/als", "new")
    assert lake.names(".staging") == []


def test_a_second_writer_is_refused_and_told_who_writes(lake, holder):
    process = holder("writing")
    with pytest.raises(LakeBusy) as refused:
        publish(lake)
    assert (
        f"{lake.root}/models/als is in use by a writer (process {process.pid} on {socket.gethostname()}, "
        "since 20" in str(refused.value)
    )
    assert "paths.waitSeconds" in str(refused.value) and refused.value.exit_code == 1
    with pytest.raises(LakeBusy), lake.reading("models/als"):
        pass
    publish(lake, "models/other")
    assert lake.read_json("models/als/manifest.json") is None


def test_what_a_killed_writer_held_is_taken_over_by_the_one_that_waits(lake, holder, caplog):
    process, patient = holder("writing"), Lake(lake.root, wait=20)
    threading.Timer(0.5, process.kill).start()
    publish(patient)
    assert lake.read_json("models/als/manifest.json") is not None
    assert [record.message for record in caplog.records if "waiting, at most 20 s" in record.message]
    publish(lake)


def test_readers_share_and_a_writer_waits_for_them(lake, holder):
    publish(lake)
    process = holder("reading")
    with lake.reading("models/als"):
        pass
    with pytest.raises(LakeBusy, match=rf"in use by a reader \(process {process.pid} "):
        publish(lake)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    publish(lake)


def test_a_holder_that_let_go_or_died_is_not_named(lake, holder):
    dead = holder("reading")
    dead.kill()
    dead.wait()
    with lake.reading("models/als"):
        pass
    process = holder("reading")
    with pytest.raises(LakeBusy) as refused:
        publish(lake)
    assert str(refused.value).count("process") == 1 and f"process {process.pid} " in str(refused.value)


def test_a_thread_takes_its_own_lock_again_and_no_other_thread_does(lake):
    found = []

    def other():
        try:
            publish(lake)
        except LakeBusy as error:
            found.append(error)

    with lake.writing("models/als"), lake.reading("models/als"):
        publish(lake)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(found) == 1
    publish(lake)
    wrong = pytest.raises(RuntimeError, match="can't be written by a thread that reads it")
    with lake.reading("models/als"), wrong, lake.writing("models/als"):
        pass


def test_what_killed_runs_staged_is_deleted_by_the_next_of_that_product_only(lake):
    publish(lake)
    staged(lake, "models-als-0123456789ab", half=1)
    staged(lake, "models-als-0123456789ab-old", half=1)
    others = [
        "models-als-2-0123456789ab",
        "models-als-0123456789ab-fedcba987654",
        "models-als-0123456789a",
        "tables-0123456789ab",
    ]
    for name in others:
        staged(lake, name, half=1)
    publish(lake, content="newer")
    assert lake.names(".staging") == sorted(others)
    assert lake.read_json("models/als/content.json") == "newer"


@pytest.mark.parametrize("mode", ["writing", "reading"])
def test_a_product_that_was_moved_away_when_its_run_was_killed_is_back(lake, mode):
    publish(lake, content="old")
    (Path(lake.root) / ".staging").mkdir(exist_ok=True)
    lake.fs.move(lake.at("models/als"), lake.at(".staging/models-als-0123456789ab-old"))
    staged(lake, "models-als-0123456789ab", manifest={"fingerprint": "new"})
    with getattr(lake, mode)("models/als"):
        assert lake.read_json("models/als/manifest.json")["fingerprint"] == "old"
    assert lake.names(".staging") == []


def test_a_run_that_reads_waits_for_the_one_that_makes_its_input(lake):
    made = threading.Event()

    def make():
        with lake.writing("tables"):
            made.set()
            time.sleep(0.5)
            publish(lake, "tables")

    thread = threading.Thread(target=make)
    thread.start()
    made.wait()
    with Lake(lake.root, wait=20).reading("tables"):
        assert lake.read_json("tables/manifest.json") is not None
    thread.join()


def test_a_lake_that_can_only_be_read_has_readers(lake):
    publish(lake)
    locks = Path(lake.root) / ".locks"
    for file in locks.iterdir():
        file.unlink()
    locks.rmdir()
    locks.write_text("no folder can be made here")
    with lake.reading("models/als"):
        assert lake.read_json("models/als/manifest.json")
    with pytest.raises(OSError, match=".locks"):
        publish(lake)


def test_a_store_without_locks_has_none(lake, monkeypatch):
    monkeypatch.setattr(Lake, "is_local", False)
    staged(lake, "models-als-0123456789ab", half=1)
    with lake.reading("models/als"), lake.writing("tables"):
        publish(lake)
    # whether it is stale can't be known there
    assert lake.names(".staging") == ["models-als-0123456789ab"] and not lake.exists(".locks")


@pytest.mark.parametrize(
    "product",
    [
        "models/../../x",
        "models/..",
        "../x",
        "models/",
        "/etc",
        "models/a\0b",
        "models/.hidden",
        "models/" + "x" * 200,
    ],
)
def test_names_that_lead_out_of_the_lake_are_refused(lake, product):
    uses = (
        lambda name: lake.manifest(name, Manifest),
        lambda name: lake.require(name, Manifest, "train"),
        lambda name: publish(lake, name),
        lambda name: enter(lake.reading(name)),
    )
    for use in uses:
        with pytest.raises(ConfigError, match="is not the name of a product of a lake"):
            use(product)
    assert not list(Path(lake.root).parent.rglob("*.json"))


def enter(context):
    with context:
        pass


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("a\0b", "must be a path or a URI"),
        ("", "must be a path or a URI"),
        ("a/\udcff", "must be a path or a URI"),
        ("lake[1]", r"Spark takes \[ \] for a pattern"),
        ("a*b", r"Spark takes \* for a pattern"),
        ("nonsense://x/y", "must be"),
        ("~nobody-of-that-name/lake", "home directory"),
    ],
)
def test_roots_that_can_be_no_lake_are_refused(root, words):
    with pytest.raises(ConfigError, match=words):
        Lake(root)


def test_a_file_is_no_lake(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file' is a file: it must be a folder"):
        Lake(str(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1}}', b"[" * 100_000])
def test_a_damaged_manifest_is_named(lake, content):
    publish(lake)
    (Path(lake.root) / "models/als/manifest.json").write_bytes(content)
    with pytest.raises(RecsparkError, match="models/als/manifest.json is damaged, it is not valid JSON"):
        lake.read_json("models/als/manifest.json")


def test_the_journal_of_a_lock_may_hold_anything(lake, holder):
    holder("writing")
    journal = Path(lake.root) / ".locks" / "models-als"
    with journal.open("ab") as file:
        entry = {"mark": "x", "host": "elsewhere", "pid": 1, "writes": False, "since": "once"}
        file.write(b'\xff\n[1]\nnull\n{"mark": 1}\n' + json.dumps(entry).encode())
    with pytest.raises(LakeBusy, match=r"a reader \(process 1 on elsewhere, since once\)"):
        publish(lake)
