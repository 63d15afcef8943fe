"""The workers' part of `recspark.models.factors.recommend`.

Ids become pairs of positions by block, and blocks of pairs become lists of the best. Block b has the
positions p with ``p mod blocks = b``: so every block gets heavy and light ids, however they are ordered. A
worker holds the model, the pairs of a block and some lists; scores never leave the processor's registers
(`recspark.kernels.topn`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

from recspark.kernels.arrays.pairs import Runs, by_block, sparse_rows
from recspark.models.serving.scorer import Best, Scorer, Side, StoredScorer, by_factors, load_cached

#: number of rows that a worker scatters at once, and of list entries that it holds at once
CHUNK_ROWS, BATCH_ENTRIES = 1 << 20, 1 << 20

#: rows that `Question.scatter` gives: numbers inside the block, and positions seen or ASKED (`_packed`)
PAIRS = StructType([StructField("block", IntegerType()), StructField("pairs", BinaryType())])
ASKED, UNKNOWN = -1, -2

#: from owners (positions of the ids that have the lists), entries (positions on the lists) and scores to the
#: shown values
Values = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Question:
    """The request for the `n` best of side `ranked` for each id of `side`.

    If the two sides are the same, the best are found by cosine. A question is small enough to travel with
    every task.
    """

    model: StoredScorer
    side: str
    ranked: str
    n: int
    #: whether only ids with an ASKED pair get a list
    subset: bool
    #: ids that may be on the lists (None: all), and ids that may not (None: none is blocked)
    candidates: np.ndarray | None
    blocked: np.ndarray | None
    blocks: int
    threads: int
    schema: StructType

    def scatter(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn ids (dst, src; src is null for a dst that asks for a list) into `PAIRS`.

        Pairs with an id that the model does not know are dropped.
        """
        _, dst, src = self._load()
        for table in _chunks(batches):
            starts, pairs = by_block(
                _positions(table["dst"], dst), _positions(table["src"], src), ASKED, self.blocks
            )
            filled = np.flatnonzero(np.diff(starts))
            payload = [
                _packed(pairs[:, starts[block] : starts[block + 1]], self._kinds()) for block in filled
            ]
            yield pa.RecordBatch.from_pydict(
                {"block": pa.array(filled, pa.int32()), "pairs": pa.array(payload, pa.binary())}
            )

    def lists(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn `PAIRS` of whole blocks into rows of `schema`."""
        held = defaultdict(list)
        for batch in batches:
            for block, pairs in zip(batch["block"].to_pylist(), batch["pairs"], strict=True):
                held[block].append(pairs.as_buffer())
        for block in sorted(held):
            seen = _unpacked(held.pop(block), self._kinds())
            asked = (
                np.unique(np.repeat(seen.rows, seen.lengths)[seen.columns == ASKED]) if self.subset else None
            )
            if asked is None or len(asked):
                yield from self._of_block(block, asked, seen)

    def fallback(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Lists with the best biases for ids that the model does not know.

        The input has columns dst and seen (an array of ids), the output is of `schema`.
        """
        scorer, _, src = self._load()
        by_bias = Side(src.ids, src.deviation[:, None], np.zeros_like(src.deviation), src.deviation)
        for batch in batches:
            ids, count = _numpy(batch["dst"]), len(batch)
            alike = Side(
                ids, np.ones((count, 1), np.float32), np.zeros(count, np.float32), np.zeros(count, np.float32)
            )
            columns = _positions(pa.chunked_array([batch["seen"].flatten()]), src)
            seen = Runs(np.arange(count, dtype=np.int32), batch["seen"].value_lengths().to_numpy(), columns)
            values = partial(_predicted, scorer, ids, src.ids)
            yield from self._rank(
                alike, by_bias, np.arange(count), seen, values, partial(by_factors, alike, by_bias)
            )

    def _load(self) -> tuple[Scorer, Side, Side]:
        scorer = load_cached(self.model.files)
        return scorer, getattr(scorer, self.side), getattr(scorer, self.ranked)

    def _kinds(self) -> tuple[np.dtype, np.dtype]:
        """Types that can hold the numbers inside a block, and the positions plus one."""
        _, dst, src = self._load()
        return np.min_scalar_type(len(dst.ids) // self.blocks), np.min_scalar_type(len(src.ids))

    def _of_block(self, block: int, asked: np.ndarray | None, seen: Runs) -> Iterator[pa.RecordBatch]:
        scorer, dst, src = self._load()
        positions = np.arange(block, len(dst.ids), self.blocks)
        if asked is not None:
            seen, positions = seen._replace(rows=_inverse(asked, len(positions))[seen.rows]), positions[asked]
        if self.side == self.ranked:
            # no id is listed as similar to itself
            seen = Runs(
                np.arange(len(positions), dtype=np.int32),
                np.ones(len(positions), np.int64),
                positions.astype(np.int32),
            )
        asked_for = self.side, self.ranked
        return self._rank(
            dst,
            src,
            positions,
            seen,
            partial(scorer.list_values, *asked_for),
            partial(scorer.best, *asked_for),
        )

    def _rank(
        self,
        dst: Side,
        src: Side,
        positions: np.ndarray,
        seen: Runs,
        values: Values,
        search: Callable[[np.ndarray], Best],
    ) -> Iterator[pa.RecordBatch]:
        """Lists of ``dst.ids[positions]`` without the ids that were `seen`.

        The rows of `seen` index `positions`; its columns are positions in src.
        """
        chosen = self._chosen(src)
        if len(chosen) < len(src.ids) or (np.diff(chosen) < 0).any():
            seen = seen._replace(columns=_inverse(chosen, len(src.ids))[seen.columns])
        best = search(chosen)
        indptr, indices = sparse_rows(seen, len(positions), len(chosen))
        height = max(1, BATCH_ENTRIES // self.n)
        for low in range(0, len(positions), height):
            part = positions[low : low + height]
            edges = indptr[low : low + len(part) + 1]
            found, scores = best(part, self.n, edges, indices, self.threads)
            lengths = np.sum(found >= 0, axis=1)
            owners, entries, scores = np.repeat(part, lengths), chosen[found[found >= 0]], scores[found >= 0]
            yield self._batch(dst.ids[part], lengths, src.ids[entries], values(owners, entries, scores))

    def _chosen(self, src: Side) -> np.ndarray:
        """Positions of the ids that may be on a list, by ascending id, so that the lower id wins a tie."""
        mark = np.full(len(src.ids), self.candidates is None)
        for ids, value in ((self.candidates, True), (self.blocked, False)):
            if ids is not None:
                positions = src.index.positions(ids)
                mark[positions[positions >= 0]] = value
        chosen = np.flatnonzero(mark)
        # positions follow the order of the ids, except for ids that updates have added
        return chosen[np.argsort(src.ids[chosen], kind="stable")]

    def _batch(
        self, ids: np.ndarray, lengths: np.ndarray, entries: np.ndarray, values: np.ndarray
    ) -> pa.RecordBatch:
        """One Arrow list per id, from flat arrays."""
        owner, lists = self.schema.fields
        names = lists.dataType.elementType.names
        edges = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        flat = pa.StructArray.from_arrays([_arrow(entries), pa.array(values, pa.float32())], names)
        return pa.RecordBatch.from_arrays(
            [_arrow(ids), pa.ListArray.from_arrays(pa.array(edges), flat)], [owner.name, lists.name]
        )


def _predicted(
    scorer: Scorer,
    ids: np.ndarray,
    src_ids: np.ndarray,
    owners: np.ndarray,
    entries: np.ndarray,
    scores: np.ndarray,
) -> np.ndarray:
    return scorer.predict(ids[owners], src_ids[entries], "mean")


def _chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows of many small batches in tables of about CHUNK_ROWS."""
    held, size = [], 0
    for batch in batches:
        held.append(batch)
        size += batch.num_rows
        if size >= CHUNK_ROWS:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if size:
        yield pa.Table.from_batches(held)


def _positions(ids: pa.ChunkedArray, side: Side) -> np.ndarray:
    """int32 positions of `ids`: ASKED for null, UNKNOWN for ids that the model does not know."""
    return side.index.positions(ids, unknown=UNKNOWN, null=ASKED)


def _packed(pairs: np.ndarray, kinds: tuple[np.dtype, np.dtype]) -> bytes:
    """Bytes of int32 pairs (2, n), grouped by their first numbers.

    The bytes hold the number of distinct first numbers, these numbers, and how often each occurs; then the
    second numbers, in which ASKED, -1, becomes 0. Most rows come user by user, so a pair takes the bytes of
    its second number.

    >>> pairs = np.array([[0, 3, 0], [300, ASKED, 7]], np.int32)
    >>> packed = _packed(pairs, (np.dtype("u1"), np.dtype("u2")))
    >>> len(packed), [part.tolist() for part in _unpacked([packed], (np.dtype("u1"), np.dtype("u2")))]
    (24, [[0, 3], [2, 1], [300, 7, -1]])
    """
    numbers = pairs[0].astype(kinds[0])
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        numbers, pairs = numbers[order], pairs[:, order]
    first = (
        np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
        if len(numbers)
        else np.empty(0, np.int64)
    )
    lengths = np.diff(first, append=len(numbers)).astype(np.uint32)
    parts = (np.int64(len(first)), numbers[first], lengths, (pairs[1] - ASKED).astype(kinds[1]))
    return b"".join(part.tobytes() for part in parts)


def _unpacked(packed: Sequence[bytes | pa.Buffer], kinds: tuple[np.dtype, np.dtype]) -> Runs:
    """All pairs of some results of `_packed`."""
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.uint8),) * 3]
    for pairs in packed:
        if len(memoryview(pairs)):
            [count] = np.frombuffer(pairs, np.int64, 1)
            numbers = np.frombuffer(pairs, kinds[0], count, 8)
            lengths = np.frombuffer(pairs, np.uint32, count, 8 + numbers.nbytes)
            parts.append(
                (numbers, lengths, np.frombuffer(pairs, kinds[1], offset=8 + numbers.nbytes + lengths.nbytes))
            )
    types = (np.int32, np.int64, np.int32)
    rows, lengths, columns = (
        np.concatenate(part, dtype=type_) for part, type_ in zip(zip(*parts, strict=True), types, strict=True)
    )
    columns += ASKED
    return Runs(rows, lengths, columns)


def _inverse(chosen: np.ndarray, n: int) -> np.ndarray:
    """The int32 place of each number of 0 ... n - 1 in `chosen`, -1 if it is not in it.

    ASKED and UNKNOWN become -1, too.

    >>> _inverse(np.array([3, 1]), 4)[[3, 0, ASKED, UNKNOWN]].tolist()
    [0, -1, -1, -1]
    """
    # the last two places are those of the negative numbers
    places = np.full(n + 2, -1, np.int32)
    places[chosen] = np.arange(len(chosen), dtype=np.int32)
    return places


def _numpy(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return ids.to_numpy(zero_copy_only=False) if isinstance(ids, pa.Array) else ids.to_numpy()


def _arrow(ids: np.ndarray) -> pa.Array:
    return pa.array(ids, pa.string() if ids.dtype == object else None)
