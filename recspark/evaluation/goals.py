"""The direction of metrics: which say that one model is better than another, and which way."""

from __future__ import annotations

from collections.abc import Sequence

from recspark.errors import ConfigError
from recspark.evaluation.ranking import metric_names

#: metrics of predictions by kind; true if lower is better
RATING_GOALS = {"rmse": True, "mae": True, "r2": False}
LABEL_GOALS = {"log_loss": True, "brier": True, "roc_auc": False, "accuracy": False}


def lower_is_better(key: str, metric: str, ks: Sequence[int], labels: bool = False) -> bool:
    """Whether the lower value of `metric` is the better one; in rankings the higher one is.

    Parameters
    ----------
    key : str
        The option whose value `metric` is, for the error.
    metric : str
        The name of the metric.
    ks : sequence of int
        Lengths of the lists that rankings are measured at.
    labels : bool
        Whether ratings are labels 0 and 1.

    Raises
    ------
    ConfigError
        If `metric` is not measured, or neither a higher nor a lower value is better.
    """
    goals = LABEL_GOALS if labels else RATING_GOALS
    allowed = goals | dict.fromkeys(metric_names(ks), False)
    if metric not in allowed:
        raise ConfigError(
            f"{key} = {metric!r} is not allowed: it must be one of {', '.join(allowed)} (evaluation.ks: "
            "lengths of lists)"
        )
    return allowed[metric]
