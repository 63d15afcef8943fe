"""Download of MovieLens from its publisher, each file checked against the publisher's MD5."""

from __future__ import annotations

import logging
import re
import sys
import urllib.request
from pathlib import Path

import pooch

from recspark.data.formats.movielens import EDITIONS
from recspark.errors import ConfigError, RecsparkError

log = logging.getLogger(__name__)

BASE_URL = "https://files.grouplens.org/datasets/movielens"
_TIMEOUT_S = 30


def download(dataset: str, cache_folder: str | None = None, base_url: str = BASE_URL) -> str:
    """The path of the zip of `dataset`, downloaded unless the cache holds it whole.

    A file takes its name only when it is whole and its MD5 is the publisher's, so a broken download never
    appears. The publisher's MD5 is asked for each time, since ``ml-latest`` changes; if the publisher can't
    be reached, a file that was verified before is used.

    Raises
    ------
    ConfigError
        For a `dataset` that GroupLens does not publish.
    RecsparkError
        If the publisher can't be reached, or its file does not match its MD5.
    """
    known = [name for name, edition in EDITIONS.items() if edition.downloaded]
    if dataset not in known:
        allowed = ", ".join(known)
        raise ConfigError(
            f"data.dataset = {dataset!r} can't be downloaded: it must be one of {allowed}, or set data.source"
        )
    folder = Path(cache_folder or pooch.os_cache("recspark")).expanduser()
    url = f"{base_url.rstrip('/')}/{dataset}.zip"
    md5 = _publisher_md5(f"{url}.md5", folder / f"{dataset}.zip.md5")
    try:
        downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT_S)
        return pooch.retrieve(
            url, known_hash=f"md5:{md5}", fname=f"{dataset}.zip", path=folder, downloader=downloader
        )
    except ValueError as error:
        raise RecsparkError(f"{url} does not have the MD5 that its publisher gives, {md5}: {error}") from None
    except OSError as error:
        raise _unreachable(url, error) from None


def _publisher_md5(url: str, kept: Path) -> str:
    """The MD5 at `url`, or the one kept from an earlier download if the publisher can't be reached."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            text = answer.read(4096).decode("ascii", "replace")
    except OSError as error:
        if not kept.exists():
            raise _unreachable(url, error) from None
        log.warning("%s can't be reached (%s): using the file that was verified before", url, error)
        text = kept.read_text("ascii")
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if match is None:
        raise RecsparkError(f"{url} holds no MD5: {text[:80]!r}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(f"{match[0].lower()}\n", "ascii")
    return match[0].lower()


def _unreachable(url: str, error: OSError) -> RecsparkError:
    return RecsparkError(
        f"{url} can't be downloaded: {error}; download it by other means and set data.source to its path"
    )
