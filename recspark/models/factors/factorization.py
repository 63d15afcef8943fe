"""The shared part of all factorizations by the engine: Params, rows to read, the model to leave."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from pyspark.ml import Estimator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.algorithms.contract import Solver
from recspark.algorithms.ratings import ROLES
from recspark.config import above, at_least
from recspark.data.columns import column, number
from recspark.engine.encode import Parts, encode, id_column, id_kind, require_kind
from recspark.engine.fit import Fit, run
from recspark.engine.spark.crossing import user_errors
from recspark.engine.storage import Store
from recspark.engine.sweeps import SweepPlan
from recspark.errors import ConfigError
from recspark.models.engine_params import EngineParams
from recspark.models.estimator_params import FitsModel
from recspark.models.factors.model import FactorModel, RatingColumns, Summary
from recspark.models.folder import FactorFacts, FitFacts, write_facts
from recspark.models.params import Hyperparameter
from recspark.models.registry import kind_of
from recspark.models.starts.tables import check_ids, initial_tables, side_tables
from recspark.models.unread import Unread, warn_of_unread
from recspark.models.watching import Watching
from recspark.models.workspace import Workspace, workspace

log = logging.getLogger("recspark.fit")


class Factorization(Estimator, EngineParams, RatingColumns, FitsModel, Watching):
    """An Estimator whose `_solver` the engine runs on blocks of ratings."""

    #: the class of the fitted model
    model_class: type[FactorModel] = FactorModel

    clip = Hyperparameter(bool, False, "cut predictions to the range of the ratings that trained")
    weightCol = Hyperparameter(str, None, "column of weights >= 0, one per rating")
    validationCol = Hyperparameter(
        str, None, "boolean column: true rows don't train, their RMSE or AUC is watched and stops the fit"
    )
    initialModel = Hyperparameter(
        str,
        None,
        "start: a saved model, or embeddings (npz, safetensors, pt, Parquet); ids that it lacks start as "
        "without it",
    )
    initialIndex = Hyperparameter(
        str,
        None,
        "index (such as that of a lake) whose positions are the rows of an initialModel without ids",
    )
    initialScale = Hyperparameter(
        float, None, "factors of initialModel are multiplied by this; not set: as they are", above(0)
    )
    sideVectors = Hyperparameter(
        str, None, "vectors of features of users and items, added to the start; formats as of initialModel"
    )
    sideTables = Hyperparameter(
        str,
        None,
        "folder of Parquet tables users and items (such as tables of a lake) that hold these features",
    )
    patience = Hyperparameter(
        int, 3, "iterations without gain on validation rows after which the fit stops", at_least(1)
    )

    unread: tuple[Unread, ...] = (
        Unread(
            "patience",
            lambda e, _: not (e.getValidationCol() or "validation" in e._watched),
            "there are no validation rows",
        ),
        Unread(
            "regParam",
            lambda e, _: e.hasParam("regParam") and None not in (e.getUserRegParam(), e.getItemRegParam()),
            "userRegParam and itemRegParam are set",
        ),
    )

    @property
    def can_watch(self) -> bool:
        """Whether `watch` and validationCol have a meaning: they have none if scores are not ratings."""
        return True

    def _fit(self, dataset: DataFrame) -> FactorModel:
        started = time.perf_counter()
        self._check()
        self._require_data()
        warn_of_unread(self, "ratings")
        spark = dataset.sparkSession
        work = workspace(spark, self.getWorkDir())
        start = self._start(work.folder)
        staged = Store(f"{work.folder}/encoded-{uuid.uuid4().hex}")
        try:
            watched = bool(self._watched) or self.getValidationCol() is not None
            with user_errors():
                parts = encode(self._rows(dataset), staged, self._is_weighted(), watched)
            for key, folder in start.items():
                check_ids(key, folder, parts.id_kinds)
            plan = self._plan(spark, work.folder, parts, start)
            log.info(
                "%s: %d ratings, rank %d, %d x %d blocks",
                type(self).__name__,
                parts.rows,
                plan.solver.rank,
                *plan.blocks.values(),
            )
            if self._watched.keys() & {"validation"} or self.getValidationCol():
                log.info(
                    "%s: the fit stops by the %s of the validation rows",
                    type(self).__name__,
                    "AUC" if self.ranks_watched else "RMSE",
                )
            fit = run(spark, [plan], self._judge)
        finally:
            staged.delete("")
        return self._model(plan, parts, fit, time.perf_counter() - started, work)

    def _start(self, work: str) -> dict[str, str]:
        """The start of the fit, by Param: folders of tables; new ones are written under `work`."""
        given, vectors, start = self.getInitialModel(), self.getSideVectors(), {}
        if given:
            start["initialModel"] = initial_tables(
                given, work, self._rank(), self.getInitialIndex(), self.getInitialScale()
            )
        if vectors:
            columns = {"users": self.getUserCol(), "items": self.getItemCol()}
            start["sideVectors"] = side_tables(vectors, work, self._rank(), self.getSideTables(), columns)
        return start

    def _check(self) -> None:
        """Refuse combinations that no single Param can reject."""
        needed = {
            "initialIndex": "initialModel",
            "initialScale": "initialModel",
            "sideTables": "sideVectors",
            "sideVectors": "sideTables",
        }
        for name, other in needed.items():
            if self.isDefined(name) and not self.isDefined(other):
                raise ConfigError(
                    f"{name} = {self.getOrDefault(name)!r} is not allowed without {other}: set both or "
                    "neither"
                )

    def _rank(self) -> int:
        return self.getRank()

    def _is_weighted(self) -> bool:
        return self.getWeightCol() is not None

    def _rows(self, dataset: DataFrame) -> DataFrame:
        """All training and watched rows, as `recspark.engine.encode.COLUMNS`."""
        validation = self.getValidationCol()
        role = F.when(column(dataset, validation), 1).otherwise(0) if validation else F.lit(0)
        rows = self._encodable(dataset, role)
        for name, watched in self._watched.items():
            for ids in (self.getUserCol(), self.getItemCol()):
                require_kind(f"watch({name}=...)", watched.schema, ids, id_kind(dataset.schema, ids))
            rows = rows.unionAll(self._encodable(watched, F.lit(ROLES.index(name))))
        return rows

    def _encodable(self, dataset: DataFrame, role: F.Column) -> DataFrame:
        user, item = (id_column(dataset.schema, name) for name in (self.getUserCol(), self.getItemCol()))
        # MLlib reads a frame without the rating column as ratings of 1
        rating = number(dataset, self.getRatingCol(), "a rating") if self.getRatingCol() else F.lit(1.0)
        weight = number(dataset, self.getWeightCol(), "a weight") if self.getWeightCol() else F.lit(1.0)
        rating, weight = self._target(rating.cast("float"), weight.cast("float"), role)
        columns = {
            "user": user,
            "item": item,
            "value": rating.cast("float"),
            "weight": weight.cast("float"),
            "role": role.cast("byte"),
        }
        return dataset.select(*(value.alias(name) for name, value in columns.items()))

    def _target(self, rating: F.Column, weight: F.Column, role: F.Column) -> tuple[F.Column, F.Column]:
        """The value to fit, and its weight."""
        return rating, weight

    def _plan(self, spark: SparkSession, work: str, parts: Parts, start: dict[str, str]) -> SweepPlan:
        return SweepPlan(
            work=work,
            model=f"model-{uuid.uuid4().hex}",
            parts=parts,
            solver=self._solver(parts),
            placement=self._place(spark, parts.rows),
            max_iter=self.getMaxIter(),
            tol=self.getTol(),
            patience=self.getPatience(),
            initial=start.get("initialModel"),
            added=start.get("sideVectors"),
            index=self.getIndex(),
        )

    def _solver(self, parts: Parts) -> Solver:
        raise NotImplementedError

    def _facts(self, solver: Any) -> FitFacts:
        """The algorithm's part of the model's facts."""
        return {"rank": solver.rank, "mean": solver.mean, "level": solver.level, "biased": solver.biased}

    def _can(self) -> tuple[str, ...]:
        """See `recspark.models.folder.ABILITIES`."""
        return ("explain", "lists", "serve", "start", "update")

    def _model(self, plan: SweepPlan, parts: Parts, fit: Fit, seconds: float, work: Workspace) -> FactorModel:
        facts = FactorFacts(
            kind=kind_of(type(self)),
            can=self._can(),
            id_kinds=parts.id_kinds,
            clip=plan.solver.clip if self.getClip() else None,
            cold=self.getColdStartStrategy(),
            **self._facts(plan.solver),
        )
        write_facts(fit.model, facts)
        model = self.model_class(folder=fit.model, lease=work.lease)
        model.take_params(self)
        model.summary = Summary(fit.history, fit.best, fit.resumed_at, fit.prepare_seconds, seconds)
        return model


def per_side(both: float, users: float | None, items: float | None) -> dict[str, float]:
    """One value per side: its own if given, else the one for both."""
    return {"users": both if users is None else users, "items": both if items is None else items}
