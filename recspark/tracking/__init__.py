"""Every job is an MLflow run; a store that can't be reached costs one warning, never the training.

:class:`Run` turns the reports of a job into small records ``(operation, arguments)``. A record goes to
the first of two places that accepts it: the MLflow store, else the spool in the lake, from where
``Tracker.sync`` sends it later. Only this package imports mlflow, and only when the first record is sent: the
import takes seconds.
"""

from recspark.tracking.options import TrackingOptions
from recspark.tracking.registry import ModelVersion, Registry
from recspark.tracking.run import Run
from recspark.tracking.tracker import Tracker

__all__ = ["ModelVersion", "Registry", "Run", "Tracker", "TrackingOptions"]
