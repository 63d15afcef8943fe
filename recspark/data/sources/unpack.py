"""Unpacking: compressed bytes into a folder that workers can read, within the limits of ``[quality]``."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from recspark.config import brief
from recspark.data.quality import QualityOptions
from recspark.data.sources.safety import check_expansion
from recspark.errors import DataRejected
from recspark.lake.folder import locate

BLOCK = 1 << 20
#: errors of the layers of a damaged archive; OSError, which a full disk raises too, counts only while nothing
#: but the archive is touched
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    pa.ArrowException,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Raise DataRejected for any failure in the body.

    The body must only read the `kind` of packed file called `name`.
    """
    try:
        yield
    except _DAMAGE as error:
        raise DataRejected(f"{name} is not a readable {kind}: {brief(error)}") from None


class Unpacker:
    """Writes streams below the folder `scratch`, within the limits of expansion.

    All streams together may be as large as `size` packed bytes may expand to.
    """

    def __init__(self, source: str, size: int, scratch: str, limits: QualityOptions) -> None:
        self.fs, self._scratch = locate(scratch)
        self._source, self._size, self._limits = source, size, limits
        self._expanded = 0

    def write(self, stream: IO[bytes], member: str, name: str, kind: str) -> str:
        """Write `stream` as `member` and return its path.

        Parameters
        ----------
        stream
            The packed file, opened so that reading unpacks it.
        member
            The name of the new file, below the scratch folder.
        name, kind
            The name of the packed file and of its format, for messages.

        Raises
        ------
        DataRejected
            If the packed file is damaged, or expands too far.
        """
        target = self.place(member)
        with self.fs.open_output_stream(target, compression=None) as out:
            while block := self._read(stream, name, kind):
                self._expanded += len(block)
                check_expansion(self._source, self._size, self._expanded, self._limits)
                out.write(block)
        return target

    def place(self, member: str) -> str:
        """The path of `member` below the scratch folder, which is created."""
        target = f"{self._scratch}/unpacked/{member}"
        self.fs.create_dir(target.rpartition("/")[0], recursive=True)
        return target

    def _read(self, stream: IO[bytes], name: str, kind: str) -> bytes:
        with reading(name, kind):
            return stream.read(BLOCK)
