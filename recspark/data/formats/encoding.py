"""The encoding of a text file: as set, or decided by its bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from recspark.errors import DataRejected

#: an encoding that each file decides by its bytes: UTF-8 or latin-1
AUTO = "auto"
_NOT_ASCII = bytes(range(128, 256))
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class Vote:
    """Decides between UTF-8 and latin-1 over the parts of a file, each cut at a line end.

    Text of latin-1 almost never happens to be UTF-8. So the majority decides: one damaged line does not turn
    a whole file into latin-1, but goes to quarantine. A file of only ASCII is UTF-8.

    Text of latin-1 almost never happens to be UTF-8. So the majority decides: one damaged line does not turn
    a whole file to latin-1, and goes to quarantine instead. A file of nothing but ASCII is UTF-8.

    >>> Vote(["Amélie\\n".encode(), b"damaged \\xff\\n"]).encoding, Vote([b"Am\\xe9lie\\n"]).encoding
    ('utf-8', 'latin-1')
    """

    def __init__(self, parts: Iterable[bytes] = ()) -> None:
        self._letters = self._stray_bytes = 0
        for part in parts:
            self.count(part)

    def count(self, part: bytes) -> None:
        """Count the bytes above 127 of `part`."""
        if part.isascii():
            return
        n_ascii = len(part.translate(None, _NOT_ASCII))
        text = part.decode("utf-8", "ignore")
        self._letters += len(text) - n_ascii
        self._stray_bytes += len(part) - len(text.encode())

    @property
    def encoding(self) -> str:
        """The encoding of the parts that were counted."""
        return "utf-8" if self._letters >= self._stray_bytes else "latin-1"


def check_byte_order(member: str, start: bytes) -> None:
    """Raise DataRejected if a file starts with the byte-order mark of UTF-16 or UTF-32."""
    for mark, name in _WIDE.items():
        if start.startswith(mark):
            raise DataRejected(
                f"{member} is {name}, it starts with that byte-order mark: convert it to UTF-8 (iconv -f "
                f"{name} -t UTF-8)"
            )
