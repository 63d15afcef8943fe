"""Download from a server on this machine that stands for the publisher."""

import hashlib
import http.server
import threading
import urllib.parse
from pathlib import Path

import pytest

from recspark.data.sources.download import download
from recspark.errors import ConfigError, RecsparkError


class Publisher:
    """Files by name, and every request for one."""

    def __init__(self):
        self.files = {}
        self.requests = []
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = urllib.parse.urlsplit(self.path).path.rpartition("/")[2]
                publisher.requests.append(name)
                body = publisher.files.get(name)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/movielens"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, dataset, content, md5_text="{}"):
        self.files[f"{dataset}.zip"] = content
        self.files[f"{dataset}.zip.md5"] = md5_text.format(hashlib.md5(content).hexdigest()).encode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def publisher():
    running = Publisher()
    yield running
    running.stop()


@pytest.mark.parametrize("md5_text", ["{}  ml-100k.zip\n", "MD5 (ml-100k.zip) = {}\n"])
def test_a_file_is_downloaded_once_and_checked(publisher, tmp_path, md5_text):
    publisher.publish("ml-100k", b"zipped", md5_text)
    for _ in range(2):
        path = download("ml-100k", str(tmp_path), publisher.url)
        assert Path(path).read_bytes() == b"zipped"
    assert publisher.requests.count("ml-100k.zip") == 1


def test_a_new_version_replaces_the_old_one(publisher, tmp_path):
    publisher.publish("ml-latest", b"old")
    download("ml-latest", str(tmp_path), publisher.url)
    publisher.publish("ml-latest", b"new")
    assert Path(download("ml-latest", str(tmp_path), publisher.url)).read_bytes() == b"new"


def test_a_file_that_is_not_the_publishers_is_refused_and_not_kept(publisher, tmp_path):
    publisher.publish("ml-1m", b"whole")
    publisher.files["ml-1m.zip"] = b"who"
    with pytest.raises(RecsparkError, match="does not have the MD5 that its publisher gives"):
        download("ml-1m", str(tmp_path), publisher.url)
    assert not list(tmp_path.glob("*.zip"))


def test_a_publisher_that_gives_no_md5_is_reported(publisher, tmp_path):
    publisher.publish("ml-1m", b"whole", "<html>")
    with pytest.raises(RecsparkError, match="ml-1m.zip.md5 holds no MD5: '<html>'"):
        download("ml-1m", str(tmp_path), publisher.url)


def test_offline_a_verified_file_is_used_and_nothing_else(publisher, tmp_path):
    publisher.publish("ml-100k", b"zipped")
    path = download("ml-100k", str(tmp_path), publisher.url)
    publisher.stop()
    assert download("ml-100k", str(tmp_path), publisher.url) == path
    with pytest.raises(RecsparkError, match=r"ml-1m.zip.md5 can't be downloaded: .*set data.source"):
        download("ml-1m", str(tmp_path), publisher.url)


def test_a_missing_file_is_reported(publisher, tmp_path):
    publisher.publish("ml-100k", b"zipped")
    del publisher.files["ml-100k.zip"]
    with pytest.raises(RecsparkError, match=r"ml-100k.zip can't be downloaded: .*404"):
        download("ml-100k", str(tmp_path), publisher.url)


def test_only_what_the_publisher_has_can_be_downloaded(tmp_path):
    with pytest.raises(
        ConfigError, match="data.dataset = 'csv' can't be downloaded: it must be one of ml-100k, ml-1m"
    ):
        download("csv", str(tmp_path))
