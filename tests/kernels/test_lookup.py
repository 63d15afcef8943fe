"""Positions of whole numbers by a table, against a dictionary."""

import doctest

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recspark.kernels.arrays import lookup
from recspark.kernels.arrays.lookup import look_up, position_table

LONG = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-20, 20)


@given(
    st.lists(NEAR, min_size=1, unique=True),
    st.integers(-(2**62), 2**62),
    st.lists(NEAR | LONG, max_size=30),
    st.sampled_from([-1, -2]),
)
@example([-5, 3], 0, [2**63 - 1, -(2**63)], -1)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_positions_are_those_of_a_dictionary(ids, shift, asked, unknown):
    ids, asked = [each + shift for each in ids], [each + shift if abs(each) <= 20 else each for each in asked]
    table = position_table(np.array(ids))
    if max(ids) - min(ids) >= lookup.SPREAD * len(ids):
        assert table is None
        return
    expected = [ids.index(each) if each in ids else unknown for each in asked]
    assert look_up(np.array(asked, np.int64), *table, unknown).tolist() == expected


@pytest.mark.parametrize(
    "ids",
    [np.array(["a"], object), np.array([1.0]), np.array([1], np.uint64), np.array([], np.int64), [0, 2**40]],
)
def test_no_table_for_what_has_none(ids):
    assert position_table(np.asarray(ids)) is None


def test_docstrings():
    failed, attempted = doctest.testmod(lookup)
    assert attempted >= 3 and not failed
