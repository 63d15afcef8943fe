"""What the name of a file says: whether it is data, and how it is compressed."""

from __future__ import annotations

import re

#: compressed files that hold one file, by the end of their name
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
#: what editors, spreadsheets, downloads and file managers leave: locks, back-ups, halves, their own notes
_LEFTOVER = re.compile(
    r"~\$.*|#.*#|.*(~|\.bak|\.old|\.orig|\.tmp|\.swp|\.crdownload|\.part|\.partial|\.filepart|\._COPYING_)|thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
#: what Spark and Hadoop write beside data for themselves
_MARKER = re.compile(r"_SUCCESS|_(committed|started)_.*|\..*\.crc|_(common_)?metadata")


def is_data(path: str) -> bool:
    """Whether a file is input: not a folder, not hidden and not a leftover of an editor or a spreadsheet.

    As in Spark a file is hidden where a part of its path has a leading "." or "_", except partitions such as
    ``_day=1``.

    >>> paths = "a/b.csv", "a/.b.csv", "_tmp/b.csv", "_day=1/b.csv", "~$b.csv", "b.csv~", "b.csv.bak"
    >>> [path for path in paths if is_data(path)]
    ['a/b.csv', '_day=1/b.csv']
    """
    parts = path.split("/")
    hidden = any(part[:1] in (".", "") or (part[0] == "_" and "=" not in part) for part in parts)
    return not hidden and _LEFTOVER.fullmatch(parts[-1]) is None


def is_marker(path: str) -> bool:
    """Whether a file was written by Spark or Hadoop for themselves, beside data.

    >>> paths = "a/_SUCCESS", "a/.part-0.csv.crc", "a/.part-0.csv", "a/part-0.csv"
    >>> [path for path in paths if is_marker(path)]
    ['a/_SUCCESS', 'a/.part-0.csv.crc']
    """
    return _MARKER.fullmatch(path.rpartition("/")[2]) is not None


def codec_of(name: str) -> str | None:
    """How the file of that name is compressed, or None where it is not."""
    return next((codec for ending, codec in _CODECS.items() if name.lower().endswith(ending)), None)


def plain_name(name: str) -> str:
    """The name of a file without the ending of its compression.

    >>> plain_name("ratings.csv.gz"), plain_name("ratings.csv")
    ('ratings.csv', 'ratings.csv')
    """
    return name.rpartition(".")[0] if codec_of(name) else name
