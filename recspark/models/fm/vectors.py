"""Factorization machines on a column of vectors, as Spark's own.

The rows go to one process, which fits with all its memory at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.linalg import DenseMatrix, DenseVector, SparseVector, Vector, VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from recspark.algorithms.machine import LINKS, RowFit, fit_in_order, parameters_of, scores
from recspark.data.columns import ColumnError, check_new, quoted, resolve, unused_name, with_new
from recspark.engine.spark.crossing import in_one_process
from recspark.engine.spark.leases import Lease
from recspark.engine.spark.session import check_workers
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.kernels import anova
from recspark.models.estimator_params import EstimatorParams
from recspark.models.files import ModelFiles
from recspark.models.fm.columns import FMColumns
from recspark.models.fm.joined import all_rows, reporter
from recspark.models.folder import VectorFacts
from recspark.models.saving import FittedModel

if TYPE_CHECKING:
    from recspark.models.factors.model import Summary
    from recspark.models.fm.summary import NoSummary


def column_scale(x: csr_matrix) -> np.ndarray:
    """The factor that each column is multiplied by, (columns,) float64.

    It is 1 if all entries are 0 or 1, else 1 over the root of the mean square of the entries. A column
    without entries gets 0: nothing is known of it.
    """
    count = np.bincount(x.indices, minlength=x.shape[1])
    squares = np.bincount(x.indices, weights=np.square(x.data, dtype=np.float64), minlength=x.shape[1])
    binary = np.bincount(x.indices, weights=(x.data == 1) | (x.data == 0), minlength=x.shape[1]) == count
    scale = np.where(
        binary | (squares == 0), 1.0, 1 / np.sqrt(np.maximum(squares, 1e-300) / np.maximum(count, 1))
    )
    return np.where(count > 0, scale, 0.0)


def vector_column(df: DataFrame, name: str) -> Column:
    """Column `name` of `df`, whose values are vectors.

    Raise ColumnError if it is missing or of another type.
    """
    found = resolve(df.schema, name)
    kind = df.schema[found].dataType
    if not isinstance(kind, VectorUDT):
        raise ColumnError(
            f"column {name!r} has type {kind.simpleString()}: it must hold vectors, such as VectorAssembler "
            "makes"
        )
    return F.col(quoted(found))


def vector_entries(column: Column, name: str, width: int | None = None) -> list[Column]:
    """A column of vectors as ``size int, indices array<int>, elements array<double>``.

    The indices of a dense vector are null. A query fails with a sentence about column `name` at a null, and
    at a vector whose size is not `width`.
    """
    null = F.raise_error(F.lit(f"column {name} holds a null, but must hold vectors: filter these rows"))
    struct = F.unwrap_udt(F.when(column.isNotNull(), column).otherwise(null))
    if width is not None:
        size = F.coalesce(struct["size"], F.size(struct["values"]))
        other = F.concat(
            F.lit("a vector has "),
            size.cast("string"),
            F.lit(f" columns, but the model was trained on {width}"),
        )
        struct = F.when(size == width, struct).otherwise(F.raise_error(other))
    return [
        struct["size"].alias("size"),
        struct["indices"].alias("indices"),
        struct["values"].alias("elements"),
    ]


def fit_vectors(rows: DataFrame, folder: str, fit: RowFit, reg: float) -> list[dict[str, float]]:
    """Fit on rows (size, indices, elements, label, weight).

    The parameters are written to `folder`; the history is returned.

    Raises
    ------
    RecsparkError
        If there are no rows, vectors differ in size, or a label, weight or entry is not finite.
    """
    return in_one_process(rows, partial(_fit_rows, folder, fit, reg))


def _fit_rows(
    folder: str, fit: RowFit, reg: float, batches: Iterator[pa.RecordBatch]
) -> list[dict[str, float]]:
    table = all_rows(batches)
    x = sparse_matrix(table)
    labels, weights = (table[name].to_numpy() for name in ("label", "weight"))
    scale = column_scale(x)
    joined = anova.vectors(x.indptr, x.indices, x.data * scale[x.indices])
    roles = np.zeros(len(labels), np.int8)
    found, history = fit_in_order(
        fit, joined, labels, weights, roles, np.full(x.shape[1], reg), reporter(folder)
    )
    Store(folder).save("parameters", **found, scale=scale)
    return history


def sparse_matrix(table: pa.Table) -> csr_matrix:
    """Rows (size, indices, elements) of one size as a matrix. Raise RecsparkError if sizes differ."""
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


def _parameters(files: ModelFiles) -> dict[str, np.ndarray]:
    return _parameters_cached(files.key)


@lru_cache(maxsize=2)
def _parameters_cached(files: ModelFiles) -> dict[str, np.ndarray]:
    with files.verified():
        return Store(files.folder).load("parameters")


def predict_vectors(files: ModelFiles, link: str, x: csr_matrix) -> np.ndarray:
    """Predictions of rows: the mean over samples."""
    found = _parameters(files)
    columns = len(found["scale"])
    if x.shape[1] != columns:
        raise ColumnError(f"a vector has {x.shape[1]} columns, but the model was trained on {columns}")
    joined = anova.vectors(x.indptr, x.indices, x.data * found["scale"][x.indices])
    samples = len(found["w0"])
    return (
        sum(LINKS[link](scores(joined, parameters_of(found, sample))) for sample in range(samples)) / samples
    )


class FMVectorModel(FittedModel, Model, FMColumns, EstimatorParams):
    """Parameters of a factorization machine on vectors: one set, or samples whose predictions are averaged.

    `intercept`, `linear` and `factors` are one machine, whose score of a vector x is ``intercept + <linear,
    x> + sum_{j < l} <factors_j, factors_l> x_j x_l``. Solvers als and sgd find one, which predicts. With
    solver mcmc they are the last sample: each sample is a machine, and predictions are means over all
    samples. The mean of the factors over samples would not be a machine, as the factors of two samples may be
    rotated against each other. All samples are `w0_samples`, `w_samples`, `V_samples`.
    """

    _facts: VectorFacts

    def __init__(self, folder: str | None = None, lease: Lease | None = None, **values: object) -> None:
        super().__init__(folder, lease, **values)
        self.summary: Summary | NoSummary | None = None

    @property
    def intercept(self) -> float:
        """w0 of the last sample."""
        return float(self.w0_samples[-1])

    @property
    def linear(self) -> DenseVector:
        """Weights (columns) of the last sample, for the columns as they are in the data."""
        return DenseVector(self.w_samples[-1])

    @property
    def factors(self) -> DenseMatrix:
        """Factors (columns, factorSize) of the last sample, for the columns as they are in the data.

        If `order` is more than 2, they are the factors of pairs.
        """
        last = self.V_samples[-1]
        return DenseMatrix(*last.shape, last.ravel(), isTransposed=True)

    @property
    def w0_samples(self) -> np.ndarray:
        """w0 of each sample."""
        return self._parameters["w0"]

    @property
    def w_samples(self) -> np.ndarray:
        """Weights (samples, columns)."""
        return self._parameters["w"] * self._parameters["scale"]

    @property
    def V_samples(self) -> np.ndarray:
        """Factors (samples, columns, factorSize)."""
        return self._parameters["v"][:, 0] * self._parameters["scale"][:, None]

    @property
    def numFeatures(self) -> int:
        """The number of columns of a vector."""
        return len(self._parameters["scale"])

    def explain(self, *_: object, **__: object) -> None:
        """Raise RecsparkError: there are no users and items."""
        self._facts.require("explain", type(self).__name__)

    def predict(self, value: Vector) -> float:
        """The prediction for one vector."""
        return float(self._of_vector(value))

    def _of_vector(self, value: Vector) -> float:
        """The mean over samples of the predicted label, or of the probability of label 1."""
        if np.ndim(value.toArray() if isinstance(value, Vector) else value) != 1:
            raise TypeError(f"predict takes a vector, not {value!r}")
        vector = value if isinstance(value, SparseVector) else DenseVector(value)
        indices = vector.indices if isinstance(vector, SparseVector) else np.flatnonzero(vector.values)
        values = vector.values if isinstance(vector, SparseVector) else vector.values[indices]
        x = csr_matrix((values, indices, [0, len(indices)]), (1, len(vector)))
        return float(predict_vectors(self.files, self._facts.link, x)[0])

    @property
    def _parameters(self) -> dict[str, np.ndarray]:
        return _parameters(self.files)

    def _facts_in_words(self) -> dict[str, object]:
        facts: dict[str, object] = {"numFeatures": self.numFeatures} if self.has_files else {}
        return facts | {
            "factorSize": self.getFactorSize(),
            "fitLinear": self.getFitLinear(),
            "fitIntercept": self.getFitIntercept(),
        }

    def _transform(self, dataset: DataFrame) -> DataFrame:
        held = unused_name(dataset, "predicted")
        outputs = self._outputs(F.col(held))
        check_new(dataset, [name for name, _ in outputs])
        return with_new(dataset, {held: self._predicted(dataset)}, outputs)

    def _outputs(self, predicted: Column) -> list[tuple[str | None, Column]]:
        """The columns that transform adds, from the column of predictions."""
        return [(self.getPredictionCol(), predicted)]

    def _predicted(self, dataset: DataFrame) -> Column:
        check_workers(dataset.sparkSession)
        self.files.verify()
        files, link, name = self.files, self._facts.link, self.getFeaturesCol()

        @F.arrow_udf("double")
        def predict(size: pa.Array, indices: pa.Array, elements: pa.Array) -> pa.Array:
            table = pa.table({"size": size, "indices": indices, "elements": elements})
            return pa.array(predict_vectors(files, link, sparse_matrix(table)))

        predicted = predict(*vector_entries(vector_column(dataset, name), name, self.numFeatures))
        return F.coalesce(predicted, F.lit(float("nan")))
