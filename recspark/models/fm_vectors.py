"""Factorization machines on a column of vectors, as Spark's own: the rows go to one task, which fits with all its cores' memory at hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix
from scipy.special import expit, ndtr

from recspark.data.folder import Folder
from recspark.engine.crossing import on_partitions
from recspark.engine.storage import Store
from recspark.errors import RecsparkError
from recspark.kernels import fm
from recspark.models.factor_model import Summary

#: links from a score to a prediction
LINKS = {"identity": lambda score: score, "probit": ndtr, "logistic": expit}


@dataclass(frozen=True)
class VectorFit:
    """Hyper-parameters of a fit on sparse rows; solver mcmc, als or sgd, link a key of `LINKS`. MCMC's priors are those of `FMSampler`."""

    rank: int
    iterations: int
    burn_in: int
    samples: int
    solver: str
    link: str
    reg: float
    rate: float
    stdev: float
    linear: bool
    intercept: bool
    tol: float
    seed: int

    def run(self, x: csr_matrix, labels: np.ndarray, weights: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        """Parameters by sample, ``w0 (S), w (S, columns), v (S, rank, columns), scale (columns)``, and the history."""
        scale = column_scale(x)
        x = csr_matrix((x.data * scale[x.indices], x.indices, x.indptr), x.shape)
        # the order of rows is not the data's
        order = np.lexsort((labels, x @ np.random.default_rng(0).random(x.shape[1])))
        x, labels, weights = x[order], labels[order], weights[order]
        kept, history = (self._descend if self.solver == "sgd" else self._draw)(x, labels, weights)
        return {key: np.stack([sample[key] for sample in kept]) for key in kept[0]} | {"scale": scale}, history

    def _draw(self, x: csr_matrix, labels: np.ndarray, weights: np.ndarray) -> tuple[list[dict[str, np.ndarray]], list[dict[str, float]]]:
        n, columns = x.shape
        draw, by_column, noise = np.random.default_rng(self.seed), x.tocsc(), float(self.solver == "mcmc")
        csc, csr = (by_column.indptr, by_column.indices, by_column.data), (x.indptr, x.indices, x.data)
        state = {"w0": np.array(0.0 if self.link != "identity" or not self.intercept else np.average(labels, weights=weights))}
        state |= {"w": np.zeros(columns), "v": draw.normal(0, self.stdev, (self.rank, columns))}
        score, q, errors, alpha = np.empty(n), np.empty(n), np.empty(n), 1.0
        kept, history = [], []
        for iteration in range(1, self.iterations + 1):
            fm.scores(0, n, *csr, state["w0"], state["w"], state["v"], score)
            errors[:] = labels - score
            if self.link != "identity":
                fm.draw_latent(score, labels, draw.integers(1 << 63, dtype=np.uint64), errors)
            elif noise:
                alpha = draw.gamma((1 + n) / 2, 2 / (1 + weights @ errors**2))
            if self.intercept:
                width = alpha * weights.sum()
                change = weights @ errors / weights.sum() + noise * draw.standard_normal() / np.sqrt(width)
                state["w0"] = state["w0"] + change
                errors -= change
            if self.linear:
                prior = self._prior(draw, state["w"], noise)
                fm.draw_weights(*csc, weights, errors, state["w"], alpha, *prior, noise * draw.standard_normal(columns))
            for factor in state["v"]:
                prior = self._prior(draw, factor, noise)
                fm.draw_factor(*csc, weights, errors, q, factor, alpha, *prior, noise * draw.standard_normal(columns))
            history.append({"iteration": iteration, "objective": float(weights @ errors**2 / weights.sum())})
            if not np.isfinite(history[-1]["objective"]):
                raise FloatingPointError(f"the fit diverged at iteration {iteration}: lower initStd, or raise regParam")
            if iteration > self.burn_in and (iteration - self.burn_in) % self._every == 0 or iteration == self.iterations and not kept:
                kept.append({key: np.array(value) for key, value in state.items()})
        return kept, history

    @property
    def _every(self) -> int:
        return max(1, (self.iterations - self.burn_in) // self.samples)

    def _prior(self, draw: np.random.Generator, values: np.ndarray, noise: float) -> tuple[float, float]:
        """Center and precision of parameters of one kind."""
        if not noise:
            return 0.0, max(self.reg, 1e-10)
        n, mean = len(values), values.mean()
        precision = draw.gamma((1 + n) / 2, 2 / (1 + np.square(values - mean).sum()))
        return draw.normal(n * mean / (n + 1), 1 / np.sqrt((n + 1) * precision)), precision

    def _descend(self, x: csr_matrix, labels: np.ndarray, weights: np.ndarray) -> tuple[list[dict[str, np.ndarray]], list[dict[str, float]]]:
        n, columns = x.shape
        draw = np.random.default_rng(self.seed)
        w0 = np.zeros(1) if self.link != "identity" or not self.intercept else np.array([np.average(labels, weights=weights)])
        w, v = np.zeros(columns), draw.normal(0, self.stdev, (columns, self.rank))
        squares = [np.ones_like(array) for array in (w0, w, v)]
        if not self.intercept:
            squares[0][:] = np.inf
        if not self.linear:
            squares[1][:] = np.inf
        history: list[dict[str, float]] = []
        for iteration in range(1, self.iterations + 1):
            loss = fm.descend(
                draw.permutation(n), x.indptr, x.indices, x.data, labels, weights, self.link == "logistic", self.rate, self.reg, w0, w, v, *squares
            )
            history.append({"iteration": iteration, "objective": float(loss / weights.sum())})
            if not np.isfinite(loss):
                raise FloatingPointError(f"the fit diverged at iteration {iteration} with stepSize = {self.rate:g}: lower it")
            if iteration > 1 and abs(history[-2]["objective"] - history[-1]["objective"]) < self.tol * history[-2]["objective"]:
                break
        return [{"w0": w0[0], "w": w, "v": np.ascontiguousarray(v.T)}], history


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


def fit_vectors(rows: DataFrame, work: str, settings: VectorFit) -> tuple[str, list[dict[str, float]]]:
    """Fit on rows (size, indices, elements, label, weight); the model's folder and the history.

    Raises
    ------
    RecsparkError
        Where there are no rows, vectors differ in size, or a label, weight or entry is not finite.
    """
    folder = f"{work}/model-{uuid.uuid4().hex}"
    [found] = on_partitions(rows.repartition(1), partial(_fit_rows, folder, settings))
    if isinstance(found, str):
        raise RecsparkError(found)
    return folder, found


def _fit_rows(folder: str, settings: VectorFit, batches: Iterator[pa.RecordBatch]) -> Any:
    """Worker: the fit; an error as its message, which the driver raises."""
    held = list(batches)
    if not held:
        return "there is nothing to train on: the data has no rows"
    table = pa.Table.from_batches(held)
    try:
        x = sparse_matrix(table)
        labels, weights = (table[name].to_numpy().astype(np.float64) for name in ("label", "weight"))
        if not (np.isfinite(x.data).all() and np.isfinite(labels).all() and np.isfinite(weights).all() and (weights >= 0).all()):
            return "a label, a weight or an entry of a vector is null or not finite, or a weight is negative; filter these rows"
        if settings.link != "identity" and not np.isin(labels, (0, 1)).all():
            return f"the column of labels has {labels[~np.isin(labels, (0, 1))][0]:g}: FMClassifier takes 0 and 1"
        found, history = settings.run(x, labels, weights)
    except (ValueError, FloatingPointError) as error:
        return str(error)
    Store(folder).save("parameters", **found)
    return history


def sparse_matrix(table: pa.Table) -> csr_matrix:
    """Rows (size, indices, elements) of one size as a matrix; ValueError where sizes differ."""
    sizes = table["size"].to_pandas()
    lists = table["elements"].combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    lengths, values = lists.value_lengths().to_numpy(), lists.flatten().to_numpy()
    indices = table["indices"].combine_chunks()
    indices = indices.chunk(0) if isinstance(indices, pa.ChunkedArray) else indices
    dense = np.repeat(indices.is_null().to_numpy(zero_copy_only=False), lengths)
    width = int(sizes.max()) if sizes.notna().any() else int(lengths.max())
    if (sizes.dropna() != width).any() or (lengths[sizes.isna().to_numpy()] != width).any():
        raise ValueError(f"vectors of different sizes: one has {width} columns, another has not")
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
    total, score = np.zeros(x.shape[0]), np.empty(x.shape[0])
    data = (x.data * found["scale"][x.indices]).astype(np.float64)
    for w0, w, v in zip(found["w0"], found["w"], found["v"], strict=True):
        fm.scores(0, len(score), x.indptr, x.indices, data, float(w0), np.asarray(w), np.asarray(v), score)
        total += LINKS[link](score)
    return total / len(found["w0"])


class FMVectorModel(Model, MLWritable, MLReadable):
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
        """Factors (samples, rank, columns) of the columns as they are in the data."""
        found = _parameters(self.folder)
        return found["v"] * found["scale"]

    def _predicted(self, dataset: DataFrame) -> Column:
        folder, link = self.folder, Folder(self.folder).read_json("fm.json")["link"]

        @F.pandas_udf("double")
        def predict(size: pd.Series, indices: pd.Series, elements: pd.Series) -> pd.Series:
            table = pa.table({"size": pa.array(size, pa.int32(), from_pandas=True), "indices": pa.array(indices, pa.list_(pa.int32()), from_pandas=True)})
            table = table.append_column("elements", pa.array(elements, pa.list_(pa.float64())))
            return pd.Series(predict_vectors(folder, link, sparse_matrix(table)))

        return predict(*vector_entries(F.col(f"`{self.getFeaturesCol()}`")))

    def write(self) -> MLWriter:
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader:
        return _Reader(cls)


class _Writer(MLWriter):
    def __init__(self, model: FMVectorModel) -> None:
        super().__init__()
        self.model = model

    def saveImpl(self, path: str) -> None:
        DefaultParamsWriter.saveMetadata(self.model, path, self.sparkSession)
        Store(Folder(path).root).save("parameters", **Store(self.model.folder).load("parameters"))
        Folder(path).write_json("fm.json", Folder(self.model.folder).read_json("fm.json"))


class _Reader(MLReader):
    def __init__(self, cls: type[FMVectorModel]) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> FMVectorModel:
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        model = self.cls(folder=Folder(path).root)
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model
