"""The context of a job: its validated conf, the lake, Spark and the MLflow run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_type_hints

from pyspark.sql import DataFrame, SparkSession

from recspark.config import SEVERAL_NAMES, Check, Conf, Option, Section, at_least, build_sections
from recspark.data.formats.generic import DataOptions
from recspark.data.generated.synthetic import SyntheticOptions
from recspark.data.quality import QualityOptions
from recspark.data.splitting.splits import SplitOptions
from recspark.engine.spark.session import SparkOptions
from recspark.evaluation.evaluate import EvaluationOptions
from recspark.features.options import FeatureOptions
from recspark.lake.lake import FILE_NAME, WAIT_SECONDS, Lake
from recspark.pipeline.audit import AuditOptions
from recspark.pipeline.curves import CurveOptions
from recspark.pipeline.gate.measured import CompareOptions, PromoteOptions
from recspark.pipeline.lists.recommend import RecommendOptions
from recspark.pipeline.model_section import ModelSection
from recspark.pipeline.tuning.search_space import TuneOptions
from recspark.pipeline.update import UpdateOptions
from recspark.tracking import Run, Tracker, TrackingOptions


class PathOptions(Section):
    """The places of files."""

    name = "paths"
    lake = Option(str, "lake", "root folder or URI of the lake")
    waitSeconds = Option(
        int,
        WAIT_SECONDS,
        "longest wait for another run that uses the same output of a local lake; 0: none",
        at_least(0),
    )


class CrossvalidationOptions(Section):
    """The folds of a cross-validation."""

    name = "crossvalidation"
    folds = Option(
        list,
        None,
        "folds to run; not set: 1 to split.folds",
        Check(
            lambda folds: bool(folds) and len(set(map(str, folds))) == len(folds),
            'not empty, of different names, such as ["u1", "u2"]',
        ),
    )


class BlendOptions(Section):
    """The models of a blend, and the choice of its weights."""

    name = "blend"
    models = Option(
        list,
        None,
        "names of models in the lake, of one split with validation rows; same as the words after `recspark "
        "blend`",
        SEVERAL_NAMES,
    )
    regParam = Option(
        float,
        None,
        "ridge penalty of the weights' difference from the plain mean; not set: by cross-validation",
        at_least(0),
    )
    seed = Option(
        int, 42, "seed of the folds of that cross-validation, which are parts of the validation rows"
    )


# an option called `name` can't be a class attribute, which names the section itself
BlendOptions.options["name"] = Option(str, "blend", "the blend is kept as models/NAME", FILE_NAME)


@dataclass(frozen=True)
class Sections:
    """The validated conf: all sections by their names. A section that the conf does not name has defaults."""

    paths: PathOptions
    data: DataOptions
    quality: QualityOptions
    split: SplitOptions
    features: FeatureOptions
    audit: AuditOptions
    model: ModelSection
    evaluation: EvaluationOptions
    recommend: RecommendOptions
    update: UpdateOptions
    crossvalidation: CrossvalidationOptions
    curves: CurveOptions
    blend: BlendOptions
    tune: TuneOptions
    compare: CompareOptions
    promote: PromoteOptions
    tracking: TrackingOptions
    spark: SparkOptions
    synthetic: SyntheticOptions


#: the classes of all sections
SECTIONS: tuple[type[Section], ...] = tuple(get_type_hints(Sections).values())


@dataclass
class Context:
    """One job at work; `run` is the MLflow run that stages report to or nest in."""

    sections: Sections
    lake: Lake
    tracker: Tracker
    spark: SparkSession
    conf_file: str | None
    run: Run | None = None
    #: MLflow id of the outermost run, known once it has started
    run_id: str | None = None

    def read(self, table: str) -> DataFrame:
        """A Parquet table of the lake."""
        return self.spark.read.parquet(self.lake.path(table))

    @contextmanager
    def running(self, stage: str, *sections: str, about: str | None = None) -> Iterator[Run]:
        """An MLflow run for a stage, nested if a pipeline runs; `sections` are its params.

        An outermost run is named after its stage and `about`, which by default is the model, if that section
        is among its params.
        """
        params = {name: getattr(self.sections, name).as_dict() for name in sections}
        outer = self.run
        about = about or (self.sections.model.product if "model" in sections else None)
        opened = (
            outer.child(stage, params)
            if outer
            else self.tracker.run(stage, params, conf_file=self.conf_file, about=about)
        )
        with opened as run:
            self.run, self.run_id = run, self.run_id or run.id
            try:
                yield run
            finally:
                self.run = outer


def validated(conf: Conf) -> Sections:
    """The conf's sections, every key checked."""
    return Sections(**build_sections(conf, SECTIONS))  # type: ignore[arg-type]  # each is of the class of its name
