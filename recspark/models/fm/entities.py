"""Factorization machines of declared feature groups.

From an estimator and its data to the plan of the sampler, and the model made of its samples.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import FractionalType

from recspark.algorithms.gibbs import FMSampler
from recspark.algorithms.machine import TABLES
from recspark.algorithms.ratings import ROLES
from recspark.data.arrow import as_arrow
from recspark.data.columns import check_new, number, quoted, resolve
from recspark.engine.encode import id_column, id_kind, require_kind
from recspark.engine.fit import Fit
from recspark.engine.fit import run as run_plans
from recspark.engine.placement import Placement
from recspark.engine.relations import Relations, Side, encode_rows, write_ids
from recspark.engine.sampling import SamplingPlan
from recspark.engine.spark.leases import Lease
from recspark.engine.spark.session import check_workers
from recspark.engine.storage import Store
from recspark.errors import ConfigError, RecsparkError
from recspark.features.context import with_context
from recspark.features.feature_set import FeatureSet
from recspark.features.frames import Tables
from recspark.features.groups import IDS
from recspark.features.layout import Block, Layout
from recspark.models.factors.model import FactorModel
from recspark.models.fm.columns import FMColumns
from recspark.models.fm.explain import EntityExplainer, RowExplainer
from recspark.models.fm.joined import LABEL, WEIGHT, needed
from recspark.models.folder import RowFacts, SampledFacts, SampleFacts, SideFacts, write_facts
from recspark.models.params import Hyperparameter
from recspark.models.serving import fm_scorer
from recspark.models.serving.explanation import Explanation
from recspark.models.serving.response import Response

#: a struct of all columns of a user's row, so that none of them is mixed up with a column of ours
ROW = "recspark_row"


def id_kinds(df: DataFrame) -> dict[str, str]:
    """The kind of the ids of users and items in `df`, by side.

    Raise RecsparkError if a column is missing or can't hold ids.
    """
    return {TABLES[side]: id_kind(df.schema, key) for side, key in IDS.items()}


def with_ids(
    df: DataFrame,
    kinds: Mapping[str, str] | None = None,
    what: str = "",
    sides: Sequence[str] = tuple(TABLES.values()),
) -> DataFrame:
    """`df` with the ids of `sides` in the types of models (`id_column`).

    Raise RecsparkError if they are not of `kinds`.
    """
    keys = {TABLES[side]: key for side, key in IDS.items() if TABLES[side] in sides}
    if kinds is not None:
        for side, key in keys.items():
            require_kind(what, df.schema, key, kinds[side])
    converted = {key: id_column(df.schema, key) for key in keys.values() if _is_converted(df, key)}
    # Spark Connect refuses an empty set of columns
    return df.withColumns(converted) if converted else df


def _is_converted(df: DataFrame, key: str) -> bool:
    return isinstance(df.schema[resolve(df.schema, key)].dataType, FractionalType)


def encode(
    features: FeatureSet,
    label: str,
    weight: str | None,
    train: DataFrame,
    watched: Mapping[str, DataFrame],
    staged: Store,
    index: str | None = None,
) -> Relations:
    """Write the features of users and items, and all rows, as files to `staged`.

    Parameters
    ----------
    features
        The feature set that was fitted on the training rows.
    label, weight
        Names of the columns of labels and of weights, cast to float; `weight` is None without weights.
    train
        The training rows: user_id, item_id, the label, the weight, and what the context groups need.
    watched
        Rows with the same columns that don't train, by role (a name of `recspark.engine.encode.ROLES`).
    staged
        The store for the files.
    index
        Folder or URI of an index, in whose order entities are; see `recspark.engine.relations.write_ids`.
    """
    check_groups(features)
    sides = [
        write_ids(features.side(side), staged, TABLES[side], attributes(features, side), index)
        for side in IDS
    ]
    sides += [Side(block.column, block.size, False) for block in contexts(features.layout)]
    rows = _rows(features, train, label, weight, 0)
    for role, df in watched.items():
        rows = rows.unionAll(_rows(features, df, label, weight, ROLES.index(role)))
    return encode_rows(rows, staged, tuple(sides))


def contexts(layout: Layout) -> list[Block]:
    """The groups of the context in the order of a model's sides: those without factors last."""
    return sorted(layout.side("context"), key=lambda block: not block.group.factors)


def attributes(features: FeatureSet, side: str) -> list[tuple[str, int, int]]:
    """(name, offset, size) of a side's groups, without the id group, which is the entity itself."""
    return [
        (block.name, block.offset, block.size)
        for block in features.layout.side(side)
        if block.name not in IDS
    ]


def check_groups(features: FeatureSet) -> None:
    """Raise ConfigError if groups need an entity that is not declared."""
    for side in IDS:
        names = [block.name for block in features.layout.side(side)]
        if names and side not in names:
            raise ConfigError(
                f"groups {', '.join(names)} are not allowed without the group {side!r}, whose vectors they "
                "explain; "
                "solver = 'sgd' takes them"
            )


def _rows(features: FeatureSet, dataset: DataFrame, label: str, weight: str | None, role: int) -> DataFrame:
    given = {LABEL: number(dataset, label, "a label").cast("float")}
    given |= {WEIGHT: number(dataset, weight, "a weight").cast("float")} if weight else {}
    levels = [F.col(quoted(block.column)) for block in contexts(features.layout)]
    ids = [F.col(key).alias(TABLES[side]) for side, key in IDS.items()]
    value, code = F.col(LABEL).alias("value"), F.lit(role).cast("byte").alias("role")
    weights = [F.col(WEIGHT).alias("weight")] if weight else []
    return features.context(needed(dataset, features.layout, given)).select(
        *ids, *levels, value, code, *weights
    )


class Limits(TypedDict):
    """How long a fit samples, and what it keeps: fields of `SamplingPlan`."""

    max_iter: int
    tol: float
    patience: int
    burn_in: int
    samples: int


def run(
    spark: SparkSession,
    work: str,
    kind: str,
    features: FeatureSet,
    relations: Relations,
    samplers: list[FMSampler],
    placement: Placement,
    judge: Callable[[dict[str, float]], bool] | None,
    **limits: Unpack[Limits],
) -> Fit:
    """Sample, one chain per sampler, and return the fit, whose folder then holds a whole model.

    Parameters
    ----------
    spark
        The session that runs the tasks.
    work
        Folder or URI for blocks, checkpoints and the model.
    kind
        The kind of the model, a key of `recspark.models.registry.KINDS`.
    features, relations
        The feature set, and the encoded data that :func:`encode` has made from it.
    samplers
        One sampler per chain; they differ in seed and noise.
    placement
        Blocks by side, tasks and threads.
    judge
        Called with each row of the history; the fit ends soon after it is true. None: no judge.
    limits
        The other fields of `SamplingPlan`.
    """
    by_rows = [block.column for block in contexts(features.layout)]
    groups = {TABLES[side]: tuple(name for name, *_ in attributes(features, side)) for side in IDS}
    plan = SamplingPlan(
        work=work,
        model=f"model-{uuid.uuid4().hex}",
        relations=relations,
        sampler=samplers[0],
        blocks=placement.blocks | dict.fromkeys(by_rows, 1),
        placement=placement,
        features=groups | dict.fromkeys(by_rows, ()),
        **limits,
    )
    fit = run_plans(spark, [replace(plan, sampler=sampler) for sampler in samplers], judge)
    first = samplers[0]
    sampled = Sampled(
        tuple(SideFacts(side.name, side.by_id, relations.absent[side.name]) for side in relations.sides),
        tuple(SampleFacts(each["offset"], each["alpha"], tuple(each["cuts"])) for each in fit.shared),
        first.levels,
        "probit",
        first.clip,
        first.rank,
    )
    write_model(fit.model, kind, features, sampled)
    return fit


class Sampled(NamedTuple):
    """The draws of a fit, beside its tables; a model of rows has no `sides`.

    `rank` is the rank of one sample.
    """

    sides: tuple[SideFacts, ...]
    samples: tuple[SampleFacts, ...]
    levels: tuple[float, ...]
    link: str
    clip: tuple[float, float] | None
    rank: int


def write_model(folder: str, kind: str, features: FeatureSet, found: Sampled) -> None:
    """Write the layout of the features and the facts: all that a folder needs beside its tables.

    These are also the facts of a model of factors, whose score is the mean over samples.
    """
    response = Response()
    if found.levels and found.link == "probit":
        cuts = np.mean([sample.cuts for sample in found.samples], axis=0)
        response = Response("ordered", cuts=tuple(cuts.tolist()), levels=found.levels)
    elif found.levels:
        response = Response("sigmoid", low=found.levels[0], high=found.levels[1])
    mean = float(np.mean([sample.offset for sample in found.samples]))
    facts = (SampledFacts if found.sides else RowFacts)(
        kind=kind,
        can=("explain", "lists", "serve") if found.sides else ("explain",),
        rank=found.rank * len(found.samples),
        mean=mean,
        level=mean,
        biased=True,
        id_kinds=id_kinds(features.bound().train),
        clip=found.clip,
        response=response,
        samples=found.samples,
        link=found.link,
        sides=found.sides,
        levels=found.levels,
    )
    write_facts(folder, facts)
    features.save(folder)


class FMModel(FMColumns, FactorModel):
    """Samples of the vectors of users, items and contexts.

    The tables ``users, items`` hold the samples one after the other, so a model is also a factor model of
    rank factorSize * samples: recommendations and similar items come from the mean score over samples,
    without context.
    """

    userCol = Hyperparameter(str, "user_id", "column of user ids")
    itemCol = Hyperparameter(str, "item_id", "column of item ids")
    stdevCol = Hyperparameter(str, None, "column for the posterior standard deviation of a new rating")
    levelsCol = Hyperparameter(
        str, None, "column for the probability of each level (array<float>), of ordered models"
    )

    def __init__(self, folder: str | None = None, lease: Lease | None = None, **values: object) -> None:
        super().__init__(folder, lease, **values)
        self._features: FeatureSet | None = None

    @property
    def features(self) -> FeatureSet:
        """The feature set; that of a loaded model has no tables."""
        return self._features or FeatureSet.load(self.folder)

    @features.setter
    def features(self, features: FeatureSet) -> None:
        self._features = features

    def bind(self, train: DataFrame) -> FMModel:
        """Give a loaded model the training rows, which groups such as ``last`` need."""
        self._features = FeatureSet(
            self.features.layout, Tables(with_ids(train, self._id_kinds, "bind(...)"), None, None)
        )
        return self

    def explain(
        self,
        user: object,
        item: object,
        ratings: DataFrame | Sequence[DataFrame] | None = None,
        weightCol: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> Explanation:
        """Why `item` has its score for `user`: the shares of feature groups and of pairs of them.

        Parameters
        ----------
        user, item, ratings, weightCol
            See `FactorModel.explain`; there is no use for ratings.
        context : dict, optional
            The columns that groups of the context need, such as timestamp, with their values. Without it the
            score is that of lists, to which the context adds nothing.
        """
        if context is None:
            return super().explain(user, item, ratings, weightCol)
        self._facts.require("explain", type(self).__name__)
        [asked], [ranked] = self._typed("users", [user]), self._typed("items", [item])
        names = [*IDS.values(), *context]
        row = SparkSession.active().createDataFrame([(asked, ranked, *context.values())], names)
        with self.files.verified():
            framed, columns = self._framed(row)
            found = framed.select(*columns).first() if columns else ()
            if self.is_of_rows:
                return RowExplainer.load(self.folder).in_context(asked, ranked, *found)
            groups = [block.column for block in contexts(self.features.layout)]
            levels = dict(zip(groups, found, strict=True))
            return EntityExplainer.load(self.folder).in_context(asked, [ranked], levels)[0]

    @property
    def is_of_rows(self) -> bool:
        """Whether rows are scored from the parameters of their features.

        Such a model has no vectors of users and items, so it makes no lists.
        """
        return isinstance(self._facts, RowFacts)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        outputs = self._outputs(F.col("predicted"))
        check_new(dataset, [name for name, _ in outputs])
        rows = self._with_predictions(dataset)
        return rows.select(f"{ROW}.*", *(value.alias(name) for name, value in outputs if name))

    def _outputs(self, predicted: F.Column) -> list[tuple[str | None, F.Column]]:
        """The columns that transform adds, from a struct (prediction, stdev, levels)."""
        names = {
            "prediction": self.getPredictionCol(),
            "stdev": self.getStdevCol(),
            "levels": self.getLevelsCol(),
        }
        return [(name, predicted[key]) for key, name in names.items()]

    def _with_predictions(self, dataset: DataFrame) -> DataFrame:
        """The rows of `dataset`, each as a struct `ROW`, with their predictions.

        ``predicted`` is a struct (prediction, stdev, levels).
        """
        check_workers(dataset.sparkSession)
        self.files.verify()
        for key in IDS.values():
            self._checked_id(dataset.schema, key)
        framed, context = self._framed(dataset)
        return framed.select(ROW, self._predictor()(*IDS.values(), *context).alias("predicted"))

    def _framed(self, dataset: DataFrame) -> tuple[DataFrame, list[F.Column]]:
        """The rows of `dataset`, each as a struct `ROW`, with the columns of their context."""
        layout, tables = self.features.layout, self.features.tables
        dataset = with_ids(
            needed(dataset, layout, {ROW: F.struct(*(F.col(quoted(name)) for name in dataset.columns))})
        )
        past = [block.name for block in layout.side("context") if block.group.key]
        if past and tables is None:
            raise RecsparkError(
                f"group {past[0]!r} looks into the rows that trained: call bind(train) on a loaded model "
                "first"
            )
        tables = tables or Tables(dataset.limit(0), None, None)
        if self.is_of_rows:
            names = ["_context.columns", "_context.values"]
            return FeatureSet(layout, tables).context_rows(dataset), [F.col(name) for name in names]
        columns = [F.col(quoted(block.column)) for block in contexts(layout)]
        return with_context(dataset, layout, tables), columns

    def _predictor(self) -> Callable[..., F.Column]:
        files = self.files

        # not a pandas UDF: see FactorModel
        @F.arrow_udf("prediction float, stdev float, levels array<float>")
        def predict(*columns: pa.Array) -> pa.Array:
            found = fm_scorer.load_cached(files).predict(*columns)
            levels = found.probabilities
            parts = {
                "prediction": pa.array(found.mean, pa.float32()),
                "stdev": pa.array(found.stdev, pa.float32()),
                "levels": pa.nulls(len(found.mean), pa.list_(pa.float32()))
                if levels is None
                else as_arrow(levels.astype(np.float32)),
            }
            return pa.StructArray.from_arrays(list(parts.values()), list(parts))

        return predict
