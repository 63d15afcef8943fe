"""Pairs by block and as sparse rows, against plain Python."""

import doctest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.kernels.arrays import pairs
from recspark.kernels.arrays.pairs import Runs, by_block, sparse_rows

PAIRS = st.lists(st.tuples(st.integers(-2, 9), st.integers(-2, 6)), max_size=40)


def columns_of(rows):
    return (np.array([row[place] for row in rows], np.int32) for place in range(2))


@given(PAIRS, st.integers(1, 12), st.integers(-1, 0))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_pairs_of_a_block_keep_their_order(rows, blocks, least):
    starts, found = by_block(*columns_of(rows), least, blocks)
    for block in range(blocks):
        expected = [
            (row // blocks, column)
            for row, column in rows
            if row >= 0 and row % blocks == block and column >= least
        ]
        assert list(zip(*found[:, starts[block] : starts[block + 1]].tolist(), strict=True)) == expected
    assert len(starts) == blocks + 1 and starts[-1] == found.shape[1]


@given(
    st.lists(st.tuples(st.integers(-2, 9), st.lists(st.integers(-2, 6), max_size=8)), max_size=20),
    st.sampled_from([7, 70, 7000]),
    st.integers(0, 6900),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_sparse_rows_are_sorted_pairs(runs, n_columns, shift):
    runs = [
        (row, [column + min(shift, n_columns - 7) if column >= 0 else column for column in columns])
        for row, columns in runs
    ]
    rows, lengths = (
        np.array([row for row, _ in runs], np.int32),
        np.array([len(columns) for _, columns in runs], np.int64),
    )
    columns = np.array([column for _, columns in runs for column in columns], np.int32)
    indptr, indices = sparse_rows(Runs(rows, lengths, columns), 10, n_columns)
    found = list(zip(np.repeat(np.arange(10), np.diff(indptr)).tolist(), indices.tolist(), strict=True))
    assert found == sorted(
        {(row, column) for row, columns in runs for column in columns if min(row, column) >= 0}
    )


def test_docstrings():
    failed, attempted = doctest.testmod(pairs)
    assert attempted >= 4 and not failed
