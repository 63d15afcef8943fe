"""The job `compare`: models side by side on the same test rows, with the role of chance."""

from __future__ import annotations

import logging
import re

import pandas as pd

from recspark.errors import ConfigError, RecsparkError
from recspark.evaluation.plots import plot_differences
from recspark.evaluation.significance import PairedBootstrap
from recspark.lake.manifests import Manifest
from recspark.pipeline.conf.sections import CompareOptions
from recspark.pipeline.context import Context
from recspark.pipeline.gate.measured import measure
from recspark.tracking.lookup import measured_by

log = logging.getLogger("recspark")

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def compare(job: Context) -> dict[str, object]:
    """predictions/NAME, metrics/NAME ... -> a table on the log, and artifacts of the run.

    These are ``comparison.csv`` and ``figures/differences.png``.
    """
    options = job.sections.compare
    if options.models is None:
        raise ConfigError("compare.models is not set: name the models, as in `recspark compare als mf`")
    names = [_model_name(job, name) for name in options.models]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"compare.models = {options.models} is not allowed: it must lead to different models, not to "
            f"{', '.join(names)}"
        )
    with job.running("compare", "compare", about=" ".join(names)) as run:
        drawn, users = measure(job, names, options)
        table = differences(names, drawn, options)
        log.info("\n%s", as_text(table, options))
        run.text(table.to_csv(index=False), "comparison.csv")
        run.figure(plot_differences(table, options.metric, options.confidence), "figures/differences.png")
        run.metrics({f"{options.metric}.{row.model}": row.value for row in table.itertuples()})
        facts = {
            "metric": options.metric,
            "reference": names[0],
            "users": len(users.weights),
            "rows": users.rows,
        }
        facts |= {"missing": users.missing, "resamples": options.resamples, "seed": options.seed}
        return facts | {
            "models": table.astype(object).where(table.notna(), None).set_index("model").to_dict("index")
        }


def differences(names: list[str], drawn: PairedBootstrap, options: CompareOptions) -> pd.DataFrame:
    """One row per model: model, value, difference to the first, low and high end of its interval, p.

    p is that of being better. The last four are NaN for the first model.
    """
    low, high = drawn.interval(options.confidence).T
    columns = {"difference": drawn.differences, "low": low, "high": high, "p": drawn.p_better}
    table = pd.DataFrame({"model": names, "value": drawn.values} | columns)
    table.loc[0, list(columns)] = float("nan")
    return table


def as_text(table: pd.DataFrame, options: CompareOptions) -> str:
    """The table as text, under its own head."""
    width = max(5, *table["model"].str.len())
    interval = f"{100 * options.confidence:.4g}% interval"
    lines = [f"{'model':<{width}}  {options.metric:>12}  {'difference':>10}  {interval:>20}  {'p better':>8}"]
    for row in table.itertuples():
        line = f"{row.model:<{width}}  {row.value:>12.4f}"
        if row.Index:
            line += f"  {row.difference:>+10.4f}  {row.low:>+9.4f} .. {row.high:>+.4f}  {row.p:>8.4f}"
        lines.append(line)
    return "\n".join(lines)


def _model_name(job: Context, name: str) -> str:
    """The name in the lake of a model that the user names so, or by the id of an MLflow run."""
    if job.lake.manifest(f"models/{name}", Manifest) is not None or not _RUN_ID.fullmatch(name):
        return name
    found, metrics = measured_by(job.tracker, name)
    then, now = metrics.get("rmse"), (job.lake.read_json(f"metrics/{found}.json") or {}).get("rmse")
    if then is not None and now is not None and abs(then - now) > 1e-9:
        raise RecsparkError(
            f"models/{found} is not what run {name} has measured any more: its rmse was {then:.6f} and is "
            f"{now:.6f}"
        )
    return found
