"""The shared part of the estimators of factorization machines: the way to each kind of fit."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from pyspark.ml import Estimator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.algorithms.columns import GibbsFit
from recspark.algorithms.descent import SGDFit
from recspark.algorithms.gibbs import FMSampler
from recspark.algorithms.machine import TABLES, RowFit
from recspark.algorithms.stopping import best_iteration
from recspark.data.columns import number
from recspark.engine.fit import ITERATIONS, STOP, read_history
from recspark.engine.progress import reporting
from recspark.engine.relations import Relations
from recspark.engine.spark.crossing import user_errors
from recspark.engine.storage import Store
from recspark.errors import ConfigError
from recspark.features.feature_set import FeatureSet
from recspark.features.groups import parse_groups
from recspark.ids import check_kinds
from recspark.kernels.ranking.losses import Ranking
from recspark.models.factors.model import Summary
from recspark.models.fm.entities import FMModel, Limits, Sampled, encode, id_kinds, run, with_ids, write_model
from recspark.models.fm.fm_params import FMParams
from recspark.models.fm.joined import JoinedPlan, check_group_names, fit_joined, has_entities
from recspark.models.fm.vectors import FMVectorModel, fit_vectors, vector_column, vector_entries
from recspark.models.folder import SideFacts, VectorFacts, write_facts
from recspark.models.registry import kind_of
from recspark.models.unread import warn_of_unread
from recspark.models.watching import Watching
from recspark.models.workspace import Workspace, workspace

log = logging.getLogger("recspark.fit")


class FactorizationMachine(Estimator, FMParams, Watching):
    """The shared part of the estimators of factorization machines.

    With `groups` rows have user_id, item_id and the columns that groups need (timestamp ...), and `tables`
    gives the attributes of users and items. Solvers mcmc and als then fit the vectors of entities, on blocks:
    see `recspark.kernels.gibbs`. Solver sgd, contexts with several entries or with numbers, and vectors in
    featuresCol as in MLlib are fitted by one task, on the features themselves: see `recspark.kernels.anova`
    and `recspark.kernels.fm`.
    """

    #: the classes of the fitted models: of groups, of vectors
    model_classes: tuple[type[FMModel | FMVectorModel], ...]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for model in vars(cls).get("model_classes", ()):
            model.fitted_by(cls)

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        self._tables: dict[str, DataFrame | None] = {"users": None, "items": None}

    def tables(self, users: DataFrame | None = None, items: DataFrame | None = None) -> FactorizationMachine:
        """Set the attributes that groups name: one row per id, in the column ``user_id`` or ``item_id``."""
        self._tables = {"users": users, "items": items}
        return self

    def _data(self) -> dict[str, DataFrame]:
        return super()._data() | {
            f"table-{side}": table for side, table in self._tables.items() if table is not None
        }

    def _take_data(self, data: Mapping[str, DataFrame]) -> None:
        super()._take_data(data)
        self.tables(data.get("table-users"), data.get("table-items"))

    @property
    def can_watch(self) -> bool:
        """Whether `watch` has a meaning: with groups it follows their mean prediction."""
        return bool(self.getGroups())

    def _fit(self, dataset: DataFrame) -> FMModel | FMVectorModel:
        started = time.perf_counter()
        self._require_data()
        fit_some = self._fit_groups if self.getGroups() else self._fit_vectors
        with user_errors():
            model = fit_some(dataset, workspace(dataset.sparkSession, self.getWorkDir()), started)
        model.take_params(self)
        return model

    def _fit_groups(self, dataset: DataFrame, work: Workspace, started: float) -> FMModel:
        kinds = id_kinds(dataset)
        dataset, index = with_ids(dataset), self.getIndex()
        if index is not None:
            check_kinds(index, kinds)
        watched = {name: with_ids(df, kinds, f"watch({name}=...)") for name, df in self._watched.items()}
        tables = {
            side: table and with_ids(table, kinds, f"tables({side}=...)", (side,))
            for side, table in self._tables.items()
        }
        features = FeatureSet.fit(parse_groups(self.getGroups()), dataset, **tables)
        as_rows = self._solver() == "sgd" or not has_entities(features.layout)
        warn_of_unread(self, "rows" if as_rows else "entities")
        if as_rows:
            return self._fit_joined(features, dataset, watched, work, started)
        if not self.getMaxIter():
            solver = self.getSolver()
            raise ConfigError(
                f"maxIter = 0 is not allowed with solver = {solver!r} and these groups: a sample takes an "
                "iteration"
            )
        spark, burn_in = dataset.sparkSession, self._burn_in()
        staged = Store(f"{work.folder}/encoded-{uuid.uuid4().hex}")
        try:
            labels = self.getLabelCol(), self.getWeightCol()
            relations = encode(features, *labels, dataset, watched, staged, index)
            # levels without a row count, too: labels that are all 1 are level 1 of two
            counts = relations.totals.levels
            levels = {level: counts.get(level, 0) for level in self._levels(tuple(counts))}
            relations = replace(relations, totals=relations.totals._replace(levels=levels))
            rows = relations.totals.rows
            placement = self._place(spark, rows)
            chains, kept = (self.getChains(), self.getSamples()) if self._solver() == "mcmc" else (1, 1)
            if placement.one_task and self.getThreads() is None:
                placement = replace(placement, threads=max(1, placement.threads // chains))
            sizes = ", ".join(f"{side.size} {side.name}" for side in relations.sides)
            log.info("%s: %d rows, rank %d, %s", type(self).__name__, rows, self.getFactorSize(), sizes)
            limits: Limits = {
                "max_iter": self.getMaxIter(),
                "burn_in": burn_in,
                "samples": kept,
                "tol": self.getTol(),
                "patience": self.getPatience(),
            }
            samplers = self._samplers(
                relations, tuple(block.column for block in features.layout if not block.group.factors), chains
            )
            fit = run(
                spark,
                work.folder,
                kind_of(type(self)),
                features,
                relations,
                samplers,
                placement,
                self._judge,
                **limits,
            )
        finally:
            staged.delete("")
        summary = Summary(
            fit.history, fit.best, fit.resumed_at, fit.prepare_seconds, time.perf_counter() - started
        )
        return self._grouped(fit.model, work, features, summary)

    def _fit_joined(
        self,
        features: FeatureSet,
        dataset: DataFrame,
        watched: Mapping[str, DataFrame],
        work: Workspace,
        started: float,
    ) -> FMModel:
        link, as_entities = (
            self._link(),
            self._solver() == "sgd" and self.getOrder() == 2 and has_entities(features.layout),
        )
        group_reg = self.getGroupRegParam() or {}
        check_group_names(group_reg, features.layout)
        if linear := [block.name for block in features.layout if not block.group.factors]:
            raise ConfigError(
                f"features.groups: factors = false of group {linear[0]!r} is not allowed here: it needs "
                "solver = 'mcmc' or 'als', and "
                "groups whose contexts have one level per row"
            )
        if watched and self._solver() != "sgd":
            log.warning(
                "%s: validation rows are not followed by solver %s where contexts have several entries or "
                "numbers",
                type(self).__name__,
                self._solver(),
            )
        folder = f"{work.folder}/model-{uuid.uuid4().hex}"
        plan = JoinedPlan(
            folder,
            features.layout,
            self._row_fit(link),
            self.getRegParam(),
            group_reg,
            as_entities,
            self.getIndex(),
        )
        log.info(
            "%s: %s, %d columns, in one task",
            type(self).__name__,
            type(plan.fit).__name__,
            features.layout.size,
        )
        with self._reporting(folder):
            found = fit_joined(features, dataset, watched, self.getLabelCol(), self.getWeightCol(), plan)
        names = (
            [*TABLES.values(), *(block.column for block in features.layout.side("context"))]
            if as_entities
            else []
        )
        sides = tuple(SideFacts(name, name in TABLES.values(), found["absent"][name]) for name in names)
        levels, clip = (
            ((0.0, 1.0) if plan.binary else ()),
            (None if self._ranking() else found["range"]),
        )
        write_model(
            folder,
            kind_of(type(self)),
            features,
            Sampled(sides, found["samples"], levels, link, clip, self.getFactorSize()),
        )
        history = found["history"]
        return self._grouped(
            folder,
            work,
            features,
            Summary(history, best_iteration(history), 0, 0.0, time.perf_counter() - started),
        )

    def _grouped(self, folder: str, work: Workspace, features: FeatureSet, summary: Summary) -> FMModel:
        model = self.model_classes[0](folder=folder, lease=work.lease)
        model.features, model.summary = features, summary
        return model

    def _row_fit(self, link: str) -> RowFit:
        """The solver of one task with its hyper-parameters.

        Raise ConfigError for hyper-parameters that it has no use for.
        """
        shared = {
            "rank": self.getFactorSize(),
            "iterations": self.getMaxIter(),
            "link": link,
            "stdev": self.getInitStd(),
            "seed": self.getSeed(),
        }
        shared |= {"linear": self.getFitLinear(), "intercept": self.getFitIntercept()}
        if self.getNoisyChains():
            raise ConfigError(
                f"noisyChains = {self.getNoisyChains()} is not allowed here: it needs solver = 'mcmc', and "
                "groups whose contexts have one "
                "level a row"
            )
        if self._solver() != "sgd":
            for name in ("order", "groupRegParam"):
                if self.isSet(name) and self.getOrDefault(name) != 2:
                    raise ConfigError(
                        f"{name} = {self.getOrDefault(name)!r} is not allowed with solver = "
                        f"{self.getSolver()!r}: it needs solver = 'sgd'"
                    )
            return GibbsFit(
                **shared,
                burn_in=self._burn_in(),
                samples=self.getSamples(),
                solver=self._solver(),
                reg=self.getRegParam(),
            )
        descent = {
            "loss": self._loss(),
            "ranking": self._ranking(),
            "order": self.getOrder(),
            "optimizer": self.getOptimizer(),
            "rate": self.getStepSize(),
        }
        return SGDFit(**shared, **descent, tol=self.getTol(), patience=self.getPatience())

    @contextmanager
    def _reporting(self, folder: str) -> Iterator[None]:
        """Report the progress of a fit of one task, which writes one file per iteration to `folder`."""
        store = Store(folder)
        with reporting(
            partial(read_history, store), self.getMaxIter(), self._judge, partial(store.write_json, STOP, {})
        ):
            yield
        for leftover in (ITERATIONS, STOP):
            store.delete(leftover)

    def _loss(self) -> str:
        return "logistic" if self._link() == "logistic" else "squared"

    def _ranking(self) -> Ranking | None:
        """The loss that compares items; None if it is one of single rows."""
        return None

    def _samplers(self, relations: Relations, linear: tuple[str, ...], chains: int) -> list[FMSampler]:
        """One sampler per chain, noisy ones last. Raise ConfigError if Params contradict each other."""
        if self.getNoisyChains() > (chains if self._solver() == "mcmc" else 0):
            raise ConfigError(
                f"noisyChains = {self.getNoisyChains()} is not allowed with solver = {self.getSolver()!r} "
                f"and chains = {chains}: "
                "it needs solver = 'mcmc', and is part of chains"
            )
        levels, noise = tuple(relations.totals.levels), float(self._solver() == "mcmc")
        if levels and self.getWeightCol():
            raise ConfigError(
                f"weightCol = {self.getWeightCol()!r} is not allowed where labels are levels, whose latent "
                "values have none: "
                "solver = 'sgd' takes it"
            )
        reg = self.getRegParam() if self.getFeatureRegParam() is None else self.getFeatureRegParam()
        sampler = FMSampler(
            rank=self.getFactorSize(),
            noise=noise,
            reg=self.getRegParam(),
            feature_reg=reg,
            stdev=self.getInitStd(),
            center=relations.totals.mean,
            unit=relations.totals.deviation if noise or levels else 1.0,
            levels=levels,
            clip=relations.totals.range,
            seed=self.getSeed(),
            linear=linear,
        )
        # chains of different seeds find different modes
        seeds = [self.getSeed() + 1_000_003 * number for number in range(chains)]
        calm = chains - self.getNoisyChains()
        return [
            replace(sampler, seed=seed, spread=tuple(TABLES.values()) if number >= calm else ())
            for number, seed in enumerate(seeds)
        ]

    def _levels(self, labels: tuple[float, ...]) -> tuple[float, ...]:
        """The levels of an ordered model; a normal one has none.

        Raise RecsparkError if the estimator does not allow the labels.
        """
        raise NotImplementedError

    def _fit_vectors(self, dataset: DataFrame, work: Workspace, started: float) -> FMVectorModel:
        name, given = self.getFeaturesCol(), self.getWeightCol()
        warn_of_unread(self, "vectors")
        if self._watched:
            log.warning(
                "%s: watched rows are not followed with featuresCol; declare groups for that",
                type(self).__name__,
            )
        vectors, label = vector_column(dataset, name), number(dataset, self.getLabelCol(), "a label")
        weight = number(dataset, given, "a weight") if given else F.lit(1.0)
        rows = dataset.select(
            *vector_entries(vectors, name),
            label.cast("double").alias("label"),
            weight.cast("double").alias("weight"),
        )
        folder, link = f"{work.folder}/model-{uuid.uuid4().hex}", self._link()
        with self._reporting(folder):
            history = fit_vectors(rows, folder, self._row_fit(link), self.getRegParam())
        write_facts(folder, VectorFacts(kind=kind_of(type(self)), link=link))
        model = self.model_classes[1](folder=folder, lease=work.lease)
        model.summary = Summary(history, len(history), 0, 0.0, time.perf_counter() - started)
        return model

    def _link(self) -> str:
        raise NotImplementedError
