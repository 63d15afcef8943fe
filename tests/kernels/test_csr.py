import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.kernels.arrays.csr import balanced_cuts, csr_from_coo
from recspark.kernels.threads import over_rows
from tests import reference


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=40), st.booleans())
def test_csr_holds_every_entry_in_order(cells, weighted):
    rows, columns = (np.array([cell[i] for cell in cells], np.int32) for i in (0, 1))
    values = np.arange(len(cells), dtype=np.float32)
    indptr, indices, ordered, weights = csr_from_coo(
        rows, columns, values, values * 2 if weighted else values[:0], 7, 5
    )
    for row, (expected_columns, expected_values) in enumerate(reference.csr(rows, columns, values, 7)):
        span = slice(indptr[row], indptr[row + 1])
        assert indices[span].tolist() == expected_columns.tolist()
        assert ordered[span].tolist() == expected_values.tolist()
    assert weights.tolist() == ((ordered * 2).tolist() if weighted else [])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 9))
def test_cuts_cover_every_row_and_none_is_heavier_than_its_share_and_one_row(work, parts):
    cuts = balanced_cuts(np.array(work), parts)
    assert cuts[0] == 0 and cuts[-1] == len(work) and (np.diff(cuts) >= 0).all() and len(cuts) == parts + 1
    heaviest = max(sum(work[lo:hi]) for lo, hi in zip(cuts[:-1], cuts[1:], strict=True))
    assert heaviest <= sum(work) / parts + max(work)


def test_over_rows_gives_the_same_results_for_any_number_of_threads():
    work = np.random.default_rng(0).integers(0, 100, 1000)
    results = [over_rows(lambda lo, hi: (lo, hi), work, threads) for threads in (1, 2, 5)]
    assert results[0] == results[1] == results[2]
    assert results[0][0][0] == 0 and results[0][-1][1] == 1000
