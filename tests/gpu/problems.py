"""Small problems of ALS, and their solution by the processor."""

import numpy as np

from recspark.kernels import als
from recspark.kernels.arrays.csr import Entries, csr_from_coo

NO_GRAM = np.zeros((0, 0), np.float32)
NO_WEIGHTS = np.empty(0, np.float32)


def problem(rank, n=12, n_source=9, nnz=70, weighted=False, seed=0):
    """Entries, and factors and biases of the source; row 0 has no entries."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, n, nnz).astype(np.int32), rng.integers(0, n_source, nnz).astype(np.int32)
    values = rng.integers(1, 6, nnz).astype(np.float32)
    weights = rng.uniform(0.1, 3, nnz).astype(np.float32) if weighted else NO_WEIGHTS
    entries = Entries(*csr_from_coo(rows, columns, values, weights, n, n_source))
    factors, bias = rng.standard_normal((n_source, rank)), rng.standard_normal(n_source)
    return entries, als.Side(factors.astype(np.float32), bias.astype(np.float32))


def implicit_problem(rank):
    """Entries with confidences, some of pairs that are not preferred, and the source with its Gram matrix."""
    entries, source = problem(rank, weighted=True)
    values = (1 + entries.weights) / entries.weights
    values[::7] = 0
    rows = als.Side(source.factors, np.zeros_like(source.bias))
    gram = als.gram(0, len(rows.factors), als.padded_rows(rows.factors))
    return entries._replace(values=values.astype(np.float32)), rows, gram


def before(entries, rank):
    """Rows before a step."""
    n = len(entries.indptr) - 1
    return als.Side(np.ones((n, rank), np.float32), np.ones(n, np.float32))


def by_processor(entries, source, penalty, biased, gram=NO_GRAM):
    """The rows and their penalty by `recspark.kernels.als`."""
    rows = before(entries, source.factors.shape[1])
    read = als.Source(als.padded_rows(source.factors), source.bias, gram)
    return rows, als.solve_rows(0, len(rows.bias), entries, read, rows, penalty, biased, False)


def rows_of(entries):
    """(row, indices, values, weights) of every row that has entries."""
    weights = entries.weights if len(entries.weights) else np.ones_like(entries.values)
    for row, (lo, hi) in enumerate(zip(entries.indptr[:-1], entries.indptr[1:], strict=True)):
        if hi > lo:
            yield row, entries.indices[lo:hi], entries.values[lo:hi], weights[lo:hi]
