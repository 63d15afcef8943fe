"""The facts in the name of a file: whether it is data, its compression, and the option that names it."""

from __future__ import annotations

import re

from recspark.data.schemas import PARTS

#: compressed files that hold one file, by the end of their name
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
#: leftovers of editors, spreadsheets, downloads and file managers: locks, back-ups, parts, their own notes
_LEFTOVER = re.compile(
    r"~\$.*|#.*#|.*(~|\.bak|\.old|\.orig|\.tmp|\.swp|\.crdownload|\.part|\.partial|\.filepart|\._COPYING_)|thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
#: files that Spark and Hadoop write beside data for themselves
_MARKER = re.compile(r"_SUCCESS|_(committed|started)_.*|\..*\.crc|_(common_)?metadata")


def key_of_option(option: str) -> str:
    """The key of the option that names a source: of ``[data]``, or of ``[split]`` for a part of a split.

    >>> key_of_option("users"), key_of_option("test")
    ('data.users', 'split.test')
    """
    return f"{'split' if option in PARTS else 'data'}.{option}"


def setting(option: str, value: object) -> str:
    """The option that names a source and its value, for messages.

    >>> setting("source", "a.zip")
    "data.source = 'a.zip'"
    """
    return f"{key_of_option(option)} = {value!r}"


def is_data(path: str) -> bool:
    """Whether a file is input: not a folder, not hidden and not a leftover of an editor or a spreadsheet.

    As in Spark a file is hidden if a part of its path has a leading "." or "_", except partitions such as
    ``_day=1``.

    >>> paths = "a/b.csv", "a/.b.csv", "_tmp/b.csv", "_day=1/b.csv", "~$b.csv", "b.csv~", "b.csv.bak"
    >>> [path for path in paths if is_data(path)]
    ['a/b.csv', '_day=1/b.csv']
    """
    parts = path.split("/")
    hidden = any(part[:1] in (".", "") or (part[0] == "_" and "=" not in part) for part in parts)
    return not hidden and _LEFTOVER.fullmatch(parts[-1]) is None


def is_marker(path: str) -> bool:
    """Whether Spark or Hadoop wrote a file for themselves, beside data.

    >>> paths = "a/_SUCCESS", "a/.part-0.csv.crc", "a/.part-0.csv", "a/part-0.csv"
    >>> [path for path in paths if is_marker(path)]
    ['a/_SUCCESS', 'a/.part-0.csv.crc']
    """
    return _MARKER.fullmatch(path.rpartition("/")[2]) is not None


def codec_of(name: str) -> str | None:
    """The compression of a file with that name, or None."""
    return next((codec for ending, codec in _CODECS.items() if name.lower().endswith(ending)), None)


def plain_name(name: str) -> str:
    """The name of a file without the ending of its compression.

    >>> plain_name("ratings.csv.gz"), plain_name("ratings.csv")
    ('ratings.csv', 'ratings.csv')
    """
    return name.rpartition(".")[0] if codec_of(name) else name
