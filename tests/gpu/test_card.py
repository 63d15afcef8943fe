"""What only a real card can show."""

import numpy as np
import pytest

from recspark.kernels import als
from recspark.kernels.cuda import als as gpu
from tests.gpu.problems import NO_GRAM, before, by_processor, problem

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("rank", [1, 10, 64, 100, 128, 200, 300])
@pytest.mark.parametrize("biased", [False, True])
def test_rows_of_every_size_of_kernel(card, rank, biased):
    entries, source = problem(rank, n=3000, n_source=500, nnz=200_000, weighted=biased)
    penalty = als.Penalty(np.float32(3), 0.1, 0.2, 1.0)
    rows, total = gpu.solve_rows(
        card, entries, als.Source(*source, NO_GRAM), before(entries, rank), penalty, biased
    )
    expected, expected_total = by_processor(entries, source, penalty, biased)
    np.testing.assert_allclose(rows.factors, expected.factors, rtol=1e-2, atol=1e-3)
    assert total == pytest.approx(expected_total, rel=1e-4)
