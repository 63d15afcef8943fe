"""What a job works with: its validated conf, the lake, Spark and the MLflow run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from recspark.cli.audit import AuditOptions
from recspark.cli.curves import CurveOptions
from recspark.config import Check, Option, Section, build_sections
from recspark.cli.model_section import ModelSection
from recspark.cli.recommend import RecommendOptions
from recspark.cli.update import UpdateOptions
from recspark.data.generic import DataOptions
from recspark.data.lake import Lake
from recspark.data.quality import QualityOptions
from recspark.data.splits import SplitOptions
from recspark.data.synthetic import SyntheticOptions
from recspark.engine.session import SparkOptions
from recspark.evaluation.evaluate import EvaluationOptions
from recspark.features import FeatureOptions
from recspark.tracking import Run, Tracker, TrackingOptions


class PathOptions(Section):
    """Where things are."""

    name = "paths"
    lake = Option(str, "lake", "root folder or URI of the lake")


class CrossvalidationOptions(Section):
    """What is cross-validated over."""

    name = "crossvalidation"
    folds = Option(
        list,
        None,
        "folds to run; not set: 1 to split.folds",
        Check(lambda folds: bool(folds) and len(set(map(str, folds))) == len(folds), 'not empty, of different names, such as ["u1", "u2"]'),
    )


SECTIONS = (
    PathOptions,
    DataOptions,
    QualityOptions,
    SplitOptions,
    FeatureOptions,
    AuditOptions,
    ModelSection,
    EvaluationOptions,
    RecommendOptions,
    UpdateOptions,
    CrossvalidationOptions,
    CurveOptions,
    TrackingOptions,
    SparkOptions,
    SyntheticOptions,
)


@dataclass
class Context:
    """One job at work; `run` is the MLflow run that stages report to or nest in."""

    sections: dict[str, Any]
    lake: Lake
    tracker: Tracker
    spark: SparkSession
    conf_file: str | None
    run: Run | None = None
    #: MLflow id of the outermost run, known once it has started
    run_id: str | None = None

    def __getitem__(self, section: str) -> Any:
        return self.sections[section]

    def read(self, table: str) -> DataFrame:
        """A Parquet table of the lake."""
        return self.spark.read.parquet(self.lake.path(table))

    @contextmanager
    def running(self, stage: str, *sections: str) -> Iterator[Run]:
        """An MLflow run for a stage, nested where a pipeline runs; `sections` are its params."""
        params = {name: self[name].as_dict() for name in sections}
        outer = self.run
        opened = self.tracker.run(stage, params, conf_file=self.conf_file) if outer is None else outer.child(stage, params)
        with opened as run:
            self.run, self.run_id = run, self.run_id or run.id
            try:
                yield run
            finally:
                self.run = outer


def validated(conf: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The conf's sections, every key checked."""
    return build_sections(conf, SECTIONS)
