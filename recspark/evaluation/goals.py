"""Which metrics say that one model is better than another, and which way."""

from __future__ import annotations

from collections.abc import Sequence

from recspark.errors import ConfigError
from recspark.evaluation.ranking import metric_names

#: metrics of predictions by kind, true where less is better
RATING_GOALS = {"rmse": True, "mae": True, "r2": False}
LABEL_GOALS = {"log_loss": True, "brier": True, "roc_auc": False, "accuracy": False}


def lower_is_better(key: str, metric: str, ks: Sequence[int], labels: bool = False) -> bool:
    """Whether the lower value of `metric` is the better one; of rankings the higher is.

    Parameters
    ----------
    key : str
        Of the option whose value `metric` is, for the error.
    ks : sequence of int
        Lengths of the lists that rankings are measured at.
    labels : bool
        Whether ratings are labels 0 and 1.

    Raises
    ------
    ConfigError
        Where `metric` is not measured, or no model is better for a higher or a lower value.
    """
    goals = LABEL_GOALS if labels else RATING_GOALS
    allowed = goals | dict.fromkeys(metric_names(ks), False)
    if metric not in allowed:
        raise ConfigError(
            f"{key} = {metric!r} is not allowed: it must be one of {', '.join(allowed)} (evaluation.ks: "
            "lengths of lists)"
        )
    return allowed[metric]
