"""The job `audit`: checks that features of a conf do not leak.

They are made again from perturbed copies of its split, and those that must not change are compared.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from functools import reduce

from pyspark.sql import DataFrame

from recspark.errors import ConfigError, GateNotPassed
from recspark.features.audit import Report
from recspark.features.audit import audit as look_for_leaks
from recspark.features.options import fitter
from recspark.lake.manifests import SplitManifest
from recspark.pipeline.context import Context

log = logging.getLogger("recspark")


def audit(job: Context) -> dict[str, object]:
    """Features of ``[features]`` on splits/NAME -> a report.

    Raise GateNotPassed (exit code 4) if a group leaks.
    """
    options, product = job.sections.features, f"splits/{job.sections.split.name}"
    if not options.declared:
        raise ConfigError(
            "features.groups is not set: there is nothing to audit; it must be a list of feature groups"
        )
    counts = job.lake.require(product, SplitManifest, "split").counts
    with job.running("audit", "features", "audit") as run:
        started = time.perf_counter()
        train = job.read(f"{product}/train").cache()
        held_out = reduce(
            DataFrame.unionByName, (job.read(f"{product}/{part}") for part in counts if part != "train")
        ).cache()
        try:
            fit = fitter(job.spark, job.lake, options)
            report = look_for_leaks(fit, train, held_out, job.sections.audit.rows, job.sections.audit.seed)
        finally:
            train.unpersist()
            held_out.unpersist()
        run.json(asdict(report), "audit.json")
        summary = {"groups": report.groups, "rows": report.rows, "perturbations": report.perturbations}
        summary |= {"findings": len(report.findings), "seconds": time.perf_counter() - started}
        run.metrics({key: value for key, value in summary.items() if isinstance(value, (int, float))})
        _require_clean(report)
        return summary


def _require_clean(report: Report) -> None:
    for finding in report.findings:
        log.error("leak: %s", finding)
    if report.findings:
        leaking = ", ".join(sorted({repr(finding.group) for finding in report.findings}))
        raise GateNotPassed(f"the features leak: group {leaking}; {report.findings[0]}")
    counts = (len(report.groups), report.rows, len(report.perturbations))
    log.info("no leak: %d groups of %d rows stayed the same under %d perturbations", *counts)
