"""The context of a job: its validated conf, the lake, Spark and the MLflow run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame, SparkSession

from recspark.data.splitting.splits import SplitOptions
from recspark.engine.progress import Progress
from recspark.features.options import FeatureOptions
from recspark.lake.lake import Lake
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.conf.sections import Sections
from recspark.tracking import Run, Tracker


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
    #: the stages of a job that has several
    progress: Progress = field(default_factory=Progress)

    def read(self, table: str) -> DataFrame:
        """A Parquet table of the lake."""
        return self.spark.read.parquet(self.lake.path(table))

    def on(self, split: SplitOptions, model: ModelSection, features: FeatureOptions | None = None) -> Context:
        """The job on another split, with another model, and with other features if they are given."""
        features = features or self.sections.features
        return replace(self, sections=replace(self.sections, split=split, model=model, features=features))

    @contextmanager
    def showing(
        self, planned: Mapping[str, int], earlier: Mapping[str, float] | None = None
    ) -> Iterator[Progress]:
        """Show the progress of a job of several stages: their number by name, as `running` gets it.

        `earlier` are the seconds of each stage in an earlier job.
        """
        before, self.progress = self.progress, Progress(planned, earlier)
        try:
            with self.progress.shown() as progress:
                yield progress
        finally:
            self.progress = before

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
        with self.progress.stage(stage), opened as run:
            self.run, self.run_id = run, self.run_id or run.id
            try:
                yield run
            finally:
                self.run = outer
