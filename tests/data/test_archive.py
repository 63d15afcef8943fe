"""What is unpacked and what is refused, and where sources are found."""

import bz2
import functools
import gzip
import http.server
import stat
import threading
import zipfile

import pytest

from recspark.data.quality import QualityOptions
from recspark.data.sources import safety
from recspark.data.sources.archive import open_source
from recspark.data.sources.safety import check_expansion, check_links, check_members
from recspark.engine.spark.hadoop import hadoop_copy
from recspark.errors import DataRejected, InputMissing, RecsparkError
from recspark.lake.lake import Lake

LIMIT = 10_000
LIMITS = QualityOptions(maxExpandedBytes=LIMIT)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return str(path)


def info(name, mode=0, flags=0, size=1):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    member.flag_bits = flags
    member.file_size = size
    return member


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        (info("/etc/passwd"), "absolute path"),
        (info("\\etc\\passwd"), "absolute path"),
        (info("C:\\a.csv"), "absolute path"),
        (info("ml/../../u.data"), "leads out"),
        (info(".."), "leads out"),
        (info("ml\\..\\..\\u.data"), "leads out"),
        (info("u.data", mode=stat.S_IFLNK | 0o777), "link"),
        (info("u.data", mode=stat.S_IFIFO), "special file"),
        (info("u.data", flags=1), "encrypted"),
        (info("ratings.csv"), "comes twice"),
        (info("ratings.csv/a.csv"), "is a file and a folder"),
    ],
)
def test_an_unsafe_member_refuses_the_archive(member, problem):
    with pytest.raises(DataRejected, match=problem) as refused:
        check_members("a.zip", [info("ratings.csv"), member])
    assert member.filename.partition("/a.csv")[0] in str(refused.value).replace("\\\\", "\\")


def test_ordinary_members_are_allowed():
    check_members(
        "a.zip", [info("ml/", size=0), info("ml/..data"), info("b", stat.S_IFREG), info("ml/b", stat.S_IFREG)]
    )


def test_the_limits_of_expansion(monkeypatch):
    check_expansion("a.zip", 1, LIMIT, LIMITS)
    with pytest.raises(
        DataRejected,
        match=f"expands to {LIMIT + 1} bytes or more, more than quality.maxExpandedBytes = {LIMIT} allows",
    ):
        check_expansion("a.zip", 1, LIMIT + 1, LIMITS)
    monkeypatch.setattr(safety, "_HARMLESS", 500)
    limits = QualityOptions(maxExpansionRatio=10.0)
    for packed, expanded in ((1, 500), (100, 1000)):
        check_expansion("a.zip", packed, expanded, limits)
    with pytest.raises(
        DataRejected, match="from 100 to 1001 bytes or more, more than quality.maxExpansionRatio = 10 allows"
    ):
        check_expansion("a.zip", 100, 1001, limits)


def test_members_that_share_their_bytes_are_no_way_around_the_limits(lake, tmp_path):
    """As a bomb without nesting does: many names in the directory of the archive for the same packed
    bytes.
    """
    path = make_zip(tmp_path / "a.zip", [("a.csv", bytes(4000))])
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.infolist()[0]
        for number in range(3):
            again = zipfile.ZipInfo(f"{number}.csv")
            for key in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(again, key, getattr(first, key))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True
    with pytest.raises(DataRejected, match="expands to 16000 bytes"), open_source(None, lake, path, LIMITS):
        pass


@pytest.mark.parametrize("target", ["/etc/hostname", "/", "..", "nowhere", "folder"])
def test_links_must_lead_to_files_of_the_same_folder(tmp_path, target):
    (tmp_path / "in" / "folder").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("1")
    (tmp_path / "in" / "b.csv").symlink_to("a.csv")
    (tmp_path / "in" / ".hidden").symlink_to("/etc")
    check_links("in", tmp_path / "in")
    (tmp_path / "in" / "folder" / "c.csv").symlink_to(
        target if target != "folder" else tmp_path / "in" / "folder"
    )
    with pytest.raises(DataRejected, match="in: folder/c.csv is a link to "):
        check_links("in", tmp_path / "in")


def test_a_refused_archive_writes_nothing(lake, tmp_path):
    path = make_zip(tmp_path / "bad.zip", [("u.data", "1"), ("../evil", "2")])
    with pytest.raises(DataRejected, match=r"'\.\./evil' leads out"), open_source(None, lake, path, LIMITS):
        pass
    assert sorted(found.name for found in tmp_path.iterdir()) == ["bad.zip"]


def test_members_are_unpacked_into_the_lake_and_gone_afterwards(lake, tmp_path):
    path = make_zip(
        tmp_path / "a.zip",
        [("ml/ratings.csv", "a,b\r\n"), ("ml/README", "x"), ("__MACOSX/._ratings.csv", "junk")],
    )
    with open_source(None, lake, path, LIMITS) as source:
        assert source.members == ["ml/README", "ml/ratings.csv"]
        fs, files = source.files(["ml/ratings.csv"])
        with fs.open_input_stream(files["ml/ratings.csv"]) as stream:
            assert stream.read() == b"a,b\r\n"
        assert files["ml/ratings.csv"].startswith(lake.root)
        assert [found.name for found in (tmp_path / "lake").rglob("*") if found.is_file()] == ["ratings.csv"]
    assert not [found for found in (tmp_path / "lake").rglob("*") if found.is_file()]


def test_a_damaged_archive_is_rejected(lake, tmp_path):
    path = tmp_path / "a.zip"
    make_zip(path, [("ratings.csv", "1,2,3\n" * 500)])
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 0xFF]) + whole[41:])
    with (
        pytest.raises(DataRejected, match="not a readable zip"),
        open_source(None, lake, str(path), LIMITS) as source,
    ):
        source.files(source.members)
    path.write_bytes(whole[:-30])
    with pytest.raises(DataRejected, match="not a readable zip"), open_source(None, lake, str(path), LIMITS):
        pass


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_a_compressed_file_is_one_member_and_has_a_limit(lake, tmp_path, suffix, pack):
    path = tmp_path / f"ratings.csv{suffix}"
    path.write_bytes(pack(b"1,2,3\n" * 1000))
    with open_source(None, lake, str(path), LIMITS) as source:
        assert source.members == ["ratings.csv"]
        fs, files = source.files(source.members)
        assert fs.get_file_info(files["ratings.csv"]).size == 6000
    less = QualityOptions(maxExpandedBytes=5999)
    with (
        pytest.raises(DataRejected, match="maxExpandedBytes"),
        open_source(None, lake, str(path), less) as source,
    ):
        source.files(source.members)
    path.write_bytes(pack(b"1,2,3\n" * 1000)[:-8])
    with (
        pytest.raises(DataRejected, match="not a readable"),
        open_source(None, lake, str(path), LIMITS) as source,
    ):
        source.files(source.members)


def test_the_digest_of_a_folder_is_of_names_and_contents(lake, tmp_path):
    def digest(**files):
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        for found in folder.iterdir():
            found.unlink()
        for name, content in files.items():
            (folder / name).write_text(content)
        with open_source(None, lake, str(folder), LIMITS) as source:
            return source.digest(source.members)

    first = digest(a="1", b="2")
    assert digest(b="2", a="1") == first
    assert digest(a="1", b="2", _SUCCESS="") == first
    assert len({first, digest(a="2", b="1"), digest(a="1", c="2"), digest(a="12", b="")}) == 4


def test_a_source_that_is_not_there_is_named(lake, tmp_path):
    with (
        pytest.raises(InputMissing, match="nowhere.zip' does not exist"),
        open_source(None, lake, str(tmp_path / "nowhere.zip"), LIMITS),
    ):
        pass


def test_an_archive_that_is_still_being_written_is_not_there_yet(lake, tmp_path):
    path = tmp_path / "a.zip"
    make_zip(path, [("ratings.csv", "1,2,3\n" * 500)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    done = threading.Event()

    def upload():
        while not done.wait(0.01):
            with path.open("ab") as file:
                file.write(b"more")

    writer = threading.Thread(target=upload)
    writer.start()
    try:
        with (
            pytest.raises(InputMissing, match="is still being written: a.zip has changed"),
            open_source(None, lake, str(path), LIMITS),
        ):
            pass
    finally:
        done.set()
        writer.join()


def test_a_file_that_grows_while_it_is_read_is_not_there_yet(lake, tmp_path):
    (tmp_path / "a.csv").write_text("user_id,item_id,rating\n1,2,3\n")
    with open_source(None, lake, str(tmp_path / "a.csv"), LIMITS) as source:
        source.listing.require_unchanged()
        with (tmp_path / "a.csv").open("a") as file:
            file.write("1,3,4\n")
        with pytest.raises(
            InputMissing, match="a.csv is still being written: a.csv has changed while it was read"
        ):
            source.listing.require_unchanged()


def test_a_uri_that_only_spark_knows_is_copied_first(spark, lake, tmp_path):
    content = tmp_path / "web"
    content.mkdir()
    make_zip(content / "a.zip", [("ratings.csv", "1,2,3\n")])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(content))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root, copy = f"http://127.0.0.1:{server.server_address[1]}", hadoop_copy(spark)
        with open_source(copy, lake, f"{root}/a.zip", LIMITS) as source:
            assert (source.name, source.members) == (f"{root}/a.zip", ["ratings.csv"])
        with (
            pytest.raises(InputMissing, match="can't be read"),
            open_source(copy, lake, f"{root}/b.zip", LIMITS),
        ):
            pass
        with (
            pytest.raises(RecsparkError, match="can't be read"),
            open_source(copy, lake, "nothing://x/b.zip", LIMITS),
        ):
            pass
        with (
            pytest.raises(RecsparkError, match="over Spark Connect only what Arrow can read"),
            open_source(None, lake, f"{root}/a.zip", LIMITS),
        ):
            pass
        server.shutdown()
