"""The registry of jobs: their purpose, their sections of the conf, and their arguments."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: sections that every job reads
_ALL = ("paths", "tracking", "spark")
_DATA = ("data", "quality")
_MODEL = ("split", "features", "model")


@dataclass(frozen=True)
class Job:
    """One job.

    sections
        The sections of a conf that it reads, beside those that all jobs read.
    module
        The module of ``recspark.pipeline`` that has its function; by default one of the job's name.
    begins
        Whether it can begin with an empty lake.
    source
        The section that names its source, if it has one.
    names
        The key that names of models on the command line set; a list of them if `several`.
    """

    text: str
    sections: tuple[str, ...] = ()
    module: str | None = None
    begins: bool = False
    source: str | None = None
    names: str | None = None
    several: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """All sections that it reads."""
        return (*self.sections, *_ALL)


JOBS = {
    "ingest": Job(
        "read MovieLens or other ratings into the lake's tables", (*_DATA, "split"), "stages", True, "data"
    ),
    "index": Job("give every user and every item a number, from 0 and without gaps", (), "stages"),
    "split": Job("cut the ratings into train, validation and test rows", ("split",), "stages"),
    "audit": Job(
        "check that the features of a conf know nothing of the test rows", ("split", "features", "audit")
    ),
    "train": Job("fit a model on a split's train rows", _MODEL, "stages"),
    "evaluate": Job(
        "measure a model on a split's test rows",
        ("split", "model", "evaluation"),
        "stages",
        names="model.name",
    ),
    "update": Job(
        "take new ratings into a model without training it again",
        ("model", "update", *_DATA),
        source="update",
        names="model.name",
    ),
    "recommend": Job(
        "write the best items of users, or show those of one",
        ("model", "recommend"),
        names="model.name",
        module="lists.recommend",
    ),
    "pipeline": Job(
        "run ingest, index, split, train and evaluate, one after the other",
        (*_DATA, *_MODEL, "evaluation"),
        "stages",
        True,
        "data",
    ),
    "crossvalidate": Job(
        "run the pipeline for every fold of a split, and report means and standard deviations",
        (*_DATA, *_MODEL, "evaluation", "crossvalidation"),
        begins=True,
        source="data",
    ),
    "blend": Job(
        "combine several models into one, with weights from the validation rows",
        ("blend", "evaluation"),
        names="blend.models",
        several=True,
    ),
    "tune": Job(
        "search for the best Params of a model, by trials that are measured on the validation rows",
        (*_DATA, *_MODEL, "evaluation", "tune"),
        begins=True,
        source="data",
        module="tuning.tune",
    ),
    "compare": Job(
        "compare several models on the same test rows, and tell whether they differ by more than chance",
        ("compare", "evaluation"),
        names="compare.models",
        several=True,
        module="gate.compare",
    ),
    "promote": Job(
        "make a model the champion, the model in use, if a test shows that it is not worse",
        ("promote", "recommend", "evaluation"),
        names="promote.candidate",
        module="gate.promote",
    ),
    "rollback": Job(
        "put the previous champion and its lists back into use",
        ("promote", "recommend"),
        module="gate.rollback",
    ),
    "curves": Job(
        "draw the RMSE by epoch of several models in one figure",
        ("curves",),
        names="curves.models",
        several=True,
    ),
    "demo": Job(
        "run the pipeline on generated data, with several models side by side",
        ("synthetic", *_DATA, "evaluation"),
        begins=True,
        source="data",
    ),
    "warm": Job("compile the numeric code once, so that later jobs do not wait for it"),
    "sync": Job("send to MLflow the runs that were kept while it could not be reached", begins=True),
}


def function_of(name: str) -> Callable[..., Mapping[str, object]]:
    """The function of a job, from its `Context` (warm: from `SparkOptions`) to its summary."""
    return getattr(importlib.import_module(f"recspark.pipeline.{JOBS[name].module or name}"), name)
