"""The shared part of the jobs `compare` and `promote`.

It has their conf sections, and measures models of the lake side by side on the same test rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import DataFrame

from recspark.config import SEVERAL_NAMES, Option, Section, at_least, strictly_between
from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.goals import lower_is_better
from recspark.evaluation.pairing import ROW_LOSSES, PairedUsers, pair_rows, pair_users
from recspark.evaluation.significance import PairedBootstrap, paired_bootstrap
from recspark.lake.lake import FILE_NAME
from recspark.lake.manifests import Manifest, PredictionsManifest

if TYPE_CHECKING:
    from recspark.pipeline.context import Context

_METRIC = "rmse, mae, or a ranking metric such as ndcg_at_10"
_RESAMPLES = "draws of the test users"


class CompareOptions(Section):
    """The models to compare, and the method."""

    name = "compare"
    models = Option(
        list,
        None,
        "models of the lake, or MLflow runs that lead to one; they are compared with the first; same as "
        "words after `recspark compare`",
        SEVERAL_NAMES,
    )
    metric = Option(str, "rmse", _METRIC)
    confidence = Option(float, 0.95, "of the intervals, two-sided", strictly_between(0, 1))
    resamples = Option(int, 2000, _RESAMPLES, at_least(100))
    seed = Option(int, 42, "seed of these draws", at_least(0))


class PromoteOptions(Section):
    """The model that may become the champion, and the test that it must pass; docs/gate.md."""

    name = "promote"
    candidate = Option(str, None, "model of the lake, evaluated on its test rows", FILE_NAME)
    registered = Option(
        str,
        None,
        "registered model in MLflow whose alias champion moves; not set: tracking.registeredModel, else "
        "recspark",
        FILE_NAME,
    )
    metric = Option(str, "rmse", _METRIC)
    margin = Option(
        float,
        0.005,
        "by how much the candidate may be worse, in the unit of the metric; 0: it must be better",
        at_least(0),
    )
    level = Option(
        float, 0.05, "chance of a candidate that is worse by the margin to pass", strictly_between(0, 0.5)
    )
    resamples = Option(int, 2000, _RESAMPLES, at_least(100))
    seed = Option(int, 42, "seed of these draws", at_least(0))


def measure(
    job: Context, names: list[str], options: CompareOptions | PromoteOptions
) -> tuple[PairedBootstrap, PairedUsers]:
    """The paired bootstrap of models/NAME ... by the metric of `options`, and the paired users behind it.

    It uses predictions/NAME or metrics/NAME.

    Raises
    ------
    ConfigError
        If models can't be compared by the metric, user by user.
    RecsparkError
        If a model was not evaluated, or not on the same test rows as the others.
    """
    lower = lower_is_better(f"{options.name}.metric", options.metric, job.sections.evaluation.ks)
    by_rows = options.metric in ROW_LOSSES
    if options.metric == "r2":
        raise ConfigError(
            f"{options.name}.metric = 'r2' is not allowed: on the same test rows it orders models as rmse "
            "does"
        )
    tables = {name: _predictions(job, name) if by_rows else _per_user(job, name) for name in names}
    try:
        users = (pair_rows if by_rows else pair_users)(tables, options.metric)
    except RecsparkError as error:
        splits = ", ".join(f"{name} on {_split(job, name)}" for name in names)
        raise RecsparkError(f"{error} ({splits})") from None
    drawn = paired_bootstrap(
        users.weights,
        users.totals,
        root=options.metric == "rmse",
        lower_is_better=lower,
        resamples=options.resamples,
        seed=options.seed,
    )
    return drawn, users


def _predictions(job: Context, name: str) -> DataFrame:
    job.lake.require(f"predictions/{name}", Manifest, "evaluate")
    return job.read(f"predictions/{name}/test")


def _per_user(job: Context, name: str) -> DataFrame:
    job.lake.require(f"metrics/{name}", Manifest, "evaluate")
    if not job.lake.exists(f"metrics/{name}/per_user.parquet"):
        raise RecsparkError(
            f"{name} has no ranking metrics: run `recspark evaluate` with evaluation.ranking = true"
        )
    return job.read(f"metrics/{name}/per_user.parquet")


def _split(job: Context, name: str) -> str:
    manifest = job.lake.manifest(f"predictions/{name}", PredictionsManifest)
    return (manifest.split if manifest else None) or "a split that is not known"
