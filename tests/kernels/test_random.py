import numpy as np

from recspark.kernels.arrays.random import normal_rows


def test_rows_do_not_depend_on_where_a_call_starts():
    whole = normal_rows(7, 1, 0, 100, 5)
    np.testing.assert_array_equal(whole[40:60], normal_rows(7, 1, 40, 20, 5))


def test_seed_and_stream_give_other_numbers():
    base = normal_rows(7, 1, 0, 10, 5)
    assert not np.array_equal(base, normal_rows(8, 1, 0, 10, 5))
    assert not np.array_equal(base, normal_rows(7, 2, 0, 10, 5))


def test_numbers_are_standard_normal_and_uncorrelated():
    numbers = normal_rows(1, 0, 0, 20_000, 10).astype(np.float64)
    assert abs(numbers.mean()) < 0.01 and abs(numbers.std() - 1) < 0.01
    assert abs((numbers**4).mean() - 3) < 0.1
    correlation = np.corrcoef(numbers, rowvar=False)
    assert np.abs(correlation - np.eye(10)).max() < 0.03
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.03
