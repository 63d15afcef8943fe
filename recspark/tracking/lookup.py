"""From the id of a run to the model that it worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recspark.errors import RecsparkError
from recspark.tracking.provenance import one_line

if TYPE_CHECKING:
    from recspark.tracking.tracker import Tracker


def measured_by(tracker: Tracker, run_id: str) -> tuple[str, dict[str, float]]:
    """The model that a run, or a run nested in it, has trained or evaluated, and the metrics of the run.

    The model is named as in the lake.

    Raises
    ------
    RecsparkError
        If there is no such run, no model, or more than one; or the store can't be reached.
    """
    try:
        with tracker.registry.connected() as client:
            run = client.get_run(run_id)
            nested = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    except RecsparkError:
        raise
    except Exception as error:
        raise RecsparkError(f"run {run_id} can't be read: {one_line(error)}") from None
    names = {each.data.params["model.name"] for each in (run, *nested) if "model.name" in each.data.params}
    if len(names) != 1:
        found = f"several models ({', '.join(sorted(names))})" if names else "no model"
        raise RecsparkError(
            f"run {run_id} leads to {found}: name a model of the lake, or a run that has trained one"
        )
    return names.pop(), dict(run.data.metrics)
