"""Factorization machines on a column of vectors, as Spark's own: the rows go to one process, which fits with all its memory at hand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.ml import Model
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from recspark.data.folder import Folder
from recspark.engine.crossing import in_one_process
from recspark.engine.memory import require_worker_memory
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.kernels import anova
from recspark.models.factor_model import Summary
from recspark.models.fm_rows import LINKS, RowFit, all_rows, fit_in_order, parameters_of, reporter, scores
from recspark.models.saving import Saved


def column_scale(x: csr_matrix) -> np.ndarray:
    """What a column is multiplied by: 1 where its entries are all 0 or 1, else 1 over the root of the mean square of its entries.

    Nothing is known of a column without entries: 0.
    """
    count = np.bincount(x.indices, minlength=x.shape[1])
    squares = np.bincount(x.indices, weights=np.square(x.data, dtype=np.float64), minlength=x.shape[1])
    binary = np.bincount(x.indices, weights=(x.data == 1) | (x.data == 0), minlength=x.shape[1]) == count
    scale = np.where(binary | (squares == 0), 1.0, 1 / np.sqrt(np.maximum(squares, 1e-300) / np.maximum(count, 1)))
    return np.where(count > 0, scale, 0.0)


def vector_entries(column: Column) -> list[Column]:
    """A column of vectors as ``size int, indices array<int>, elements array<double>``; indices are null in a dense one."""
    struct = F.unwrap_udt(column)
    return [struct["size"].alias("size"), struct["indices"].alias("indices"), struct["values"].alias("elements")]


def fit_vectors(rows: DataFrame, folder: str, fit: RowFit, reg: float) -> list[dict[str, float]]:
    """Fit on rows (size, indices, elements, label, weight); the parameters go into `folder`, the history comes back.

    Raises
    ------
    RecsparkError
        Where there are no rows, vectors differ in size, or a label, weight or entry is not finite.
    """
    return in_one_process(rows, partial(_fit_rows, folder, fit, reg))


def _fit_rows(folder: str, fit: RowFit, reg: float, batches: Iterator[pa.RecordBatch]) -> list[dict[str, float]]:
    table = all_rows(batches)
    x = sparse_matrix(table)
    labels, weights = (table[name].to_numpy() for name in ("label", "weight"))
    scale = column_scale(x)
    joined = anova.vectors(x.indptr, x.indices, x.data * scale[x.indices])
    roles = np.zeros(len(labels), np.int8)
    found, history = fit_in_order(fit, joined, labels, weights, roles, np.full(x.shape[1], reg), reporter(folder))
    Store(folder).save("parameters", **found, scale=scale)
    return history


def sparse_matrix(table: pa.Table) -> csr_matrix:
    """Rows (size, indices, elements) of one size as a matrix; RecsparkError where sizes differ."""
    sizes = table["size"].to_pandas()
    lists, indices = (table[name].combine_chunks() for name in ("elements", "indices"))
    lengths, values = lists.value_lengths().to_numpy(), lists.flatten().to_numpy()
    dense = np.repeat(indices.is_null().to_numpy(zero_copy_only=False), lengths)
    width = int(sizes.max()) if sizes.notna().any() else int(lengths.max())
    if (sizes.dropna() != width).any() or (lengths[sizes.isna().to_numpy()] != width).any():
        raise RecsparkError(f"vectors of different sizes: one has {width} columns, another has not")
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.empty(len(values), np.int32)
    columns[~dense] = indices.flatten().to_numpy()
    columns[dense] = (np.arange(len(values)) - np.repeat(indptr[:-1], lengths))[dense]
    matrix = csr_matrix((values.astype(np.float32), columns, indptr), (len(lengths), width))
    matrix.eliminate_zeros()
    return matrix


@lru_cache(maxsize=2)
def _parameters(folder: str) -> dict[str, np.ndarray]:
    return Store(folder).load("parameters")


def predict_vectors(folder: str, link: str, x: csr_matrix) -> np.ndarray:
    """The mean over samples of predictions of rows."""
    found = _parameters(folder)
    columns = len(found["scale"])
    if x.shape[1] != columns:
        raise RecsparkError(f"a vector has {x.shape[1]} columns, but the model was trained on {columns}")
    joined = anova.vectors(x.indptr, x.indices, x.data * found["scale"][x.indices])
    samples = len(found["w0"])
    return sum(LINKS[link](scores(joined, parameters_of(found, sample))) for sample in range(samples)) / samples


class FMVectorModel(Model, Saved):
    """Parameters of a factorization machine on vectors: one set, or samples whose predictions are averaged."""

    def __init__(self, folder: str | None = None, **values: Any) -> None:
        super().__init__(**values)
        self.folder = folder
        self.summary: Summary | None = None

    @property
    def intercept(self) -> float:
        """w0, the mean over samples."""
        return float(_parameters(self.folder)["w0"].mean())

    @property
    def linear(self) -> np.ndarray:
        """Weights (columns), the mean over samples, of the columns as they are in the data."""
        found = _parameters(self.folder)
        return found["w"].mean(axis=0) * found["scale"]

    @property
    def factors(self) -> np.ndarray:
        """Factors (samples, rank, columns) of pairs of the columns as they are in the data."""
        found = _parameters(self.folder)
        return found["v"][:, 0].transpose(0, 2, 1) * found["scale"]

    def _predicted(self, dataset: DataFrame) -> Column:
        require_worker_memory(dataset.sparkSession)
        folder, link = self.folder, Folder(self.folder).read_json("fm.json")["link"]

        @F.pandas_udf("double")
        def predict(size: pd.Series, indices: pd.Series, elements: pd.Series) -> pd.Series:
            table = pa.table(
                {"size": pa.array(size, pa.int32(), from_pandas=True), "indices": pa.array(indices, pa.list_(pa.int32()), from_pandas=True)}
            )
            table = table.append_column("elements", pa.array(elements, pa.list_(pa.float64())))
            return pd.Series(predict_vectors(folder, link, sparse_matrix(table)))

        return predict(*vector_entries(F.col(f"`{self.getFeaturesCol()}`")))

    def write_parts(self, path: str) -> None:
        """The parameters, and what they are for."""
        Store(Folder(path).root).save("parameters", **Store(self.folder).load("parameters"))
        Folder(path).write_json("fm.json", Folder(self.folder).read_json("fm.json"))

    @classmethod
    def read_parts(cls, path: str) -> Any:
        """See `Saved.read_parts`."""
        return cls(folder=Folder(path).root)
