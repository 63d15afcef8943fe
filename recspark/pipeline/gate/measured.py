"""The shared part of the jobs `compare` and `promote`.

It measures models of the lake side by side on the same test rows.
"""

from __future__ import annotations

from pyspark.sql import DataFrame

from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.goals import lower_is_better
from recspark.evaluation.pairing import ROW_LOSSES, PairedUsers, pair_rows, pair_users
from recspark.evaluation.significance import PairedBootstrap, paired_bootstrap
from recspark.lake.manifests import Manifest, PredictionsManifest
from recspark.pipeline.conf.sections import CompareOptions, PromoteOptions
from recspark.pipeline.context import Context


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
