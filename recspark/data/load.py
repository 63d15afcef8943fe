"""The workers' part of ingest: read a chunk, judge its rows, write those that are kept and the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Required, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from recspark.config import shown
from recspark.data.arrow import write_part
from recspark.data.duplicates import part_path, row_hashes, write_keys
from recspark.data.formats.advice import value_advice
from recspark.data.formats.layout import Chunk, arrow_schema
from recspark.data.formats.movielens import tidy
from recspark.data.formats.rows import Rows, read
from recspark.data.quality import Rules, code_of, judge, judged, reason_of, repeated_rows
from recspark.data.schemas import QUARANTINE
from recspark.errors import DataRejected

#: a worker's report on a chunk: `digest` is that of the kept rows, `first` is one bad row in words, `advice`
#: names options that may help, `damage` is the reason if there are no rows at all
REPORT = (
    "chunk int, read bigint, kept bigint, quarantined bigint, digest string, reasons map<string,bigint>, "
    "first string, "
    "advice string, damage string"
)
_REPORT_ARROW = pa.schema(
    [
        ("chunk", pa.int32()),
        ("read", pa.int64()),
        ("kept", pa.int64()),
        ("quarantined", pa.int64()),
        ("digest", pa.string()),
        ("reasons", pa.map_(pa.string(), pa.int64())),
        ("first", pa.string()),
        ("advice", pa.string()),
        ("damage", pa.string()),
    ]
)


class Report(TypedDict, total=False):
    """A row of REPORT; a chunk that is damaged has its number and `damage` only."""

    chunk: Required[int]
    read: int
    kept: int
    quarantined: int
    digest: str
    reasons: list[tuple[str, int]]
    first: str | None
    advice: str | None
    damage: str


@dataclass(frozen=True)
class Loader:
    """Loads chunks by number, as the function of a ``mapInArrow`` over (chunk, drop).

    `source_fs` has the file system of each source's files. Chunk i of a table becomes ``part-0000i.parquet``
    in the folder of that table (`folders`, by table, "quarantine" among them), so that a chunk that is loaded
    again replaces its earlier files. Duplicates in a chunk that is a whole table are removed here. Other
    chunks leave the hashes of their keys in the folder `keys`, cut into `n_buckets`, and are loaded again
    with the positions to `drop` among the rows that they kept.
    """

    chunks: list[Chunk]
    rules: Rules
    source_fs: Mapping[str, pafs.FileSystem]
    target_fs: pafs.FileSystem
    folders: Mapping[str, str]
    keys: str
    n_buckets: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A report for each chunk of `batches`."""
        for batch in batches:
            for row in batch.to_pylist():
                yield pa.RecordBatch.from_pylist(
                    [self._report(row["chunk"], row["drop"] or [])], schema=_REPORT_ARROW
                )

    def _report(self, number: int, drop: list[int]) -> Report:
        """The report on a chunk.

        Damage is reported instead of raised: Spark would try again, and bury the reason in its own words.
        """
        try:
            return self.load(number, drop)
        except DataRejected as error:
            return {"chunk": number, "damage": str(error)}

    def load(self, number: int, drop: Sequence[int] | np.ndarray) -> Report:
        """Write both parts of one chunk and count its rows."""
        chunk = self.chunks[number]
        rows = read(self.source_fs[chunk.source], chunk)
        layout = chunk.layout
        known = rows.table.select([name for name in judged(layout.table) if name in rows.table.column_names])
        codes = judge(known, rows.unparsable, self.rules)
        good = np.flatnonzero(codes == 0)
        if chunk.whole:
            drop = repeated_rows(known.take(pa.array(good)), layout.key(), layout.duplicates)
        codes[good[drop]] = code_of("duplicate")
        kept = rows.table if not codes.any() else rows.table.filter(pa.array(codes == 0))
        kept = tidy(kept, layout)
        if not chunk.whole and layout.key():
            self._write_keys(kept.select(layout.key()), number)
        bad = quarantine(chunk, rows, codes)
        n_read = len(rows.table) + len(rows.broken)
        if n_read != len(kept) + len(bad):
            raise RuntimeError(
                f"{chunk.member}: {n_read} rows read, {len(kept)} kept and {len(bad)} quarantined"
            )
        self._write(kept, layout.table, number)
        if len(bad):
            self._write(bad, "quarantine", number)
        reasons, counts = np.unique(bad["reason"].to_pylist(), return_counts=True)
        return {
            "chunk": number,
            "read": n_read,
            "kept": len(kept),
            "quarantined": len(bad),
            "digest": f"{row_digest(kept):x}",
            "reasons": list(zip(reasons.tolist(), counts.tolist(), strict=True)),
            "first": _in_words(bad.slice(0, 1).to_pylist()[0]) if len(bad) else None,
            "advice": value_advice(chunk.layout, rows.examples, _late(rows.table, codes)),
        }

    def _write(self, table: pa.Table, name: str, number: int) -> None:
        write_part(self.target_fs, part_path(self.folders[name], number), table)

    def _write_keys(self, keys: pa.Table, number: int) -> None:
        self.target_fs.create_dir(self.keys, recursive=True)
        write_keys(self.target_fs, f"{self.keys}/{number}", row_hashes(keys), self.n_buckets)


def quarantine(chunk: Chunk, rows: Rows, codes: np.ndarray) -> pa.Table:
    """The rows that are not kept, by line; those of a table of a catalog have none, but the table's name."""
    bad = np.flatnonzero(codes)
    of_rows = rows.line[bad].tolist()
    of_broken = rows.texts([line for line, _ in rows.broken])
    texts = rows.row_texts(bad) if rows.row_texts else rows.texts(of_rows)
    found = sorted(
        [
            *((line, reason, text) for (line, reason), text in zip(rows.broken, of_broken, strict=True)),
            *zip(of_rows, map(reason_of, codes[bad]), texts, strict=True),
        ]
    )
    lines = [line for line, _, _ in found]
    table = chunk.layout.catalog_table
    columns = [
        [chunk.layout.table] * len(found),
        [table or chunk.member] * len(found),
        lines if table is None else [None] * len(found),
        [reason for _, reason, _ in found],
        [text for _, _, text in found],
    ]
    return pa.table(columns, schema=arrow_schema(QUARANTINE))


def _late(table: pa.Table, codes: np.ndarray) -> np.ndarray:
    """The timestamps that are out of range."""
    late = np.flatnonzero(codes == code_of("timestamp"))
    return table["timestamp"].take(pa.array(late)).to_numpy() if len(late) else np.array([], np.int64)


def _in_words(row: Mapping[str, object]) -> str:
    line = "" if row["line"] is None else f" line {row['line']}"
    return f"{row['file']}{line}, {row['reason']}: {shown(row['text'])}"


def row_digest(table: pa.Table) -> int:
    """A 64-bit digest of the rows, for any order.

    It is the sum of their hashes, so that digests of parts add up.
    """
    return int(row_hashes(table).sum(dtype=np.uint64))
