"""The conf section ``[tracking]``."""

from __future__ import annotations

from recspark.config import Check, Option, Section, at_least
from recspark.lake.lake import FILE_NAME


class TrackingOptions(Section):
    """The targets of runs, and their contents."""

    name = "tracking"
    enabled = Option(bool, True, "whether jobs are tracked")
    uri = Option(str, None, "MLflow tracking URI; unset: MLFLOW_TRACKING_URI, else mlflow.db in the lake")
    experiment = Option(
        str, "recspark", "MLflow experiment of the runs", Check(lambda name: bool(name.strip()), "not empty")
    )
    runName = Option(str, None, "name of the outermost run; unset: the job, and the model that it works on")
    parentRunId = Option(
        str, None, "run that the outermost run is nested in, where a scheduler starts each job by itself"
    )
    timeoutSeconds = Option(int, 10, "longest wait for one answer of the store, in seconds", at_least(1))
    report = Option(
        bool,
        True,
        "whether pipeline writes reports/NAME.html to the lake, and report.html to its run; docs/tracking.md",
    )
    logModel = Option(bool, True, "whether the model's files are copied to the store")
    registeredModel = Option(
        str, None, "registered model that the job's model becomes a new version of; unset: none", FILE_NAME
    )
