"""The job `promote`, the gate: a candidate becomes the champion if it is shown not to be worse.

docs/gate.md explains the rule.
"""

from __future__ import annotations

import logging
from typing import TypedDict

from recspark.data.splitting.splits import SplitOptions
from recspark.errors import ConfigError, GateNotPassed, RecsparkError
from recspark.evaluation.ranking import metric_names
from recspark.lake.manifests import Manifest, PredictionsManifest
from recspark.pipeline import stages
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.context import Context
from recspark.pipeline.gate.measured import measure
from recspark.pipeline.gate.roles import (
    CHAMPION,
    FINGERPRINT_TAG,
    PREVIOUS,
    WITHDRAWN,
    Roles,
    require_registry,
)
from recspark.pipeline.gate.versions import log_model, require_ability
from recspark.tracking import ModelVersion, Run

log = logging.getLogger("recspark")


class Verdict(TypedDict, total=False):
    """The report of the gate, ``metrics/promotion-CANDIDATE.json``. A first champion is not compared.

    candidate, registered
        The model of the lake, and the registered model in MLflow.
    metric, margin, level, resamples, seed
        The options of ``[promote]``.
    value, champion_value, champion_version, difference
        The metric of both models, the version of the champion, candidate minus champion.
    interval, largest_loss, p_better
        Of the paired bootstrap (docs/gate.md).
    users, rows, missing
        Test users and rows; by model, test rows or users without a prediction.
    passed, reason
        The decision, in words too.
    version, previous, champion, unchanged
        Versions of the registered model: now and before; the champion's name in the lake; whether nothing had
        to be done.
    """

    candidate: str
    registered: str
    metric: str
    margin: float
    level: float
    resamples: int
    seed: int
    champion_version: int
    champion_value: float
    value: float
    difference: float
    interval: list[float]
    largest_loss: float
    p_better: float
    users: int
    rows: int
    missing: dict[str, int]
    passed: bool
    reason: str
    version: int
    previous: int | None
    champion: str
    unchanged: bool


def promote(job: Context) -> Verdict:
    """models/CANDIDATE -> alias ``champion``, models/NAME-champion, metrics/promotion-CANDIDATE.json.

    Else GateNotPassed (exit code 4) is raised. The previous champion keeps the alias ``previous``, and is
    models/NAME-previous. A candidate that is the champion changes nothing.
    """
    roles, candidate = Roles(job), job.sections.promote.candidate
    if candidate is None:
        raise ConfigError(
            "promote.candidate is not set: name a model of the lake, as in --set promote.candidate=als"
        )
    metric, evaluation = job.sections.promote.metric, job.sections.evaluation
    if not evaluation.ranking and metric in metric_names(evaluation.ks):
        raise ConfigError(
            f"promote.metric = {metric!r} is not allowed with evaluation.ranking = false: it has to be "
            "measured"
        )
    job.lake.require(f"models/{candidate}", Manifest, "train")
    # one gate at a time, and its inputs must not change meanwhile
    with (
        job.lake.writing(f"models/{roles.product(CHAMPION)}"),
        job.lake.reading(f"models/{candidate}", f"predictions/{candidate}"),
    ):
        return _promote(roles, candidate)


def _promote(roles: Roles, candidate: str) -> Verdict:
    job = roles.job
    require_registry(job, "promote", "enabled", "logModel")
    require_ability(job.lake, candidate, "serve", "promote.candidate")
    with job.running("promote", "promote", about=candidate) as run:
        champion = roles.version(CHAMPION)
        if champion and champion.tags.get(FINGERPRINT_TAG) == roles.model_fingerprint(candidate):
            roles.keep(candidate, CHAMPION, champion)
            log.info(
                "models/%s is the champion already: version %d of %s",
                candidate,
                champion.version,
                champion.name,
            )
            return {
                "candidate": candidate,
                "passed": True,
                "reason": "it is the champion",
                "version": champion.version,
                "unchanged": True,
                "champion": roles.product(CHAMPION),
            }
        if candidate == roles.product(PREVIOUS):
            raise ConfigError(
                f"promote.candidate = {candidate!r} is not allowed: it is the champion before, whose place "
                "would be needed; "
                "to go back to it run `recspark rollback`"
            )
        verdict = _judge(roles, candidate, champion)
        _report(job, run, verdict)
        if not verdict["passed"]:
            raise GateNotPassed(f"models/{candidate}: {verdict['reason']}")
        version = _move(roles, run, candidate, champion, verdict)
        log.info(
            "%s; models/%s is the champion now: version %d of %s",
            verdict["reason"],
            candidate,
            version.version,
            version.name,
        )
        previous = champion.version if champion else None
        return verdict | {
            "version": version.version,
            "previous": previous,
            "unchanged": False,
            "champion": roles.product(CHAMPION),
        }


def _report(job: Context, run: Run, verdict: Verdict) -> None:
    job.lake.write_json(f"metrics/promotion-{verdict['candidate']}.json", verdict)
    run.json(verdict, "promotion.json")
    run.metrics({key: value for key, value in verdict.items() if isinstance(value, float)})


def _judge(roles: Roles, candidate: str, champion: ModelVersion | None) -> Verdict:
    """The verdict on `candidate`, with its reasons, as the report holds it."""
    job, options, lake = roles.job, roles.job.sections.promote, roles.job.lake
    predicted = lake.require(f"predictions/{candidate}", PredictionsManifest, "evaluate")
    if predicted.model != lake.require(f"models/{candidate}", Manifest, "train").fingerprint:
        raise RecsparkError(
            f"models/{candidate} has changed since it was evaluated: run `recspark evaluate` first"
        )
    facts: Verdict = {
        "candidate": candidate,
        "registered": roles.name,
        "metric": options.metric,
        "margin": options.margin,
        "level": options.level,
        "resamples": options.resamples,
        "seed": options.seed,
    }
    if champion is None:
        value = (lake.read_json(f"metrics/{candidate}.json") or {}).get(options.metric)
        if value is None:
            raise RecsparkError(
                f"models/{candidate} has no {options.metric}: run `recspark evaluate` with that metric first"
            )
        return facts | {
            "passed": True,
            "reason": f"{roles.name} has no champion yet: promoted",
            "value": value,
        }
    product = _measured(roles, champion, candidate)
    drawn, users = measure(job, [product, candidate], options)
    champion_value, value = drawn.values.tolist()
    facts |= {"champion_version": champion.version, "champion_value": champion_value, "value": value}
    facts |= {
        "difference": value - champion_value,
        "interval": drawn.interval(1 - 2 * options.level)[1].tolist(),
    }
    facts |= {
        "largest_loss": drawn.largest_loss(options.level)[1].item(),
        "p_better": drawn.p_better[1].item(),
    }
    missing = {"champion": users.missing[product], "candidate": users.missing[candidate]}
    facts |= {"users": len(users.weights), "rows": users.rows, "missing": missing}
    return facts | verdict_of(facts)


def _measured(roles: Roles, champion: ModelVersion, candidate: str) -> str:
    """The champion's name in the lake, with predictions for the candidate's test rows."""
    lake, product = roles.job.lake, roles.kept_as(champion, CHAMPION, PREVIOUS, WITHDRAWN)
    of_candidate = lake.require(f"predictions/{candidate}", PredictionsManifest, "evaluate")
    champions = lake.manifest(f"predictions/{product}", PredictionsManifest)
    model = lake.require(f"models/{product}", Manifest, "promote").fingerprint
    if champions is None or (champions.model, champions.split, champions.split_fingerprint) != (
        model,
        of_candidate.split,
        of_candidate.split_fingerprint,
    ):
        if of_candidate.split is None:
            raise RecsparkError(f"predictions/{candidate} names no split: run `recspark evaluate` again")
        log.info("the champion is measured on the test rows of %s", of_candidate.split)
        split = SplitOptions(name=of_candidate.split.removeprefix("splits/"))
        stages.evaluate(roles.job.on(split, ModelSection(name=product)), table=False)
    return product


def _move(
    roles: Roles, run: Run, candidate: str, champion: ModelVersion | None, verdict: Verdict
) -> ModelVersion:
    """Register the candidate and move the aliases; returns its version.

    Each step may be done twice, and the alias ``champion`` moves last.
    """
    job, registry = roles.job, roles.job.tracker.registry
    version = roles.version_of(candidate)
    if version is None:
        if run.id is None:
            raise RecsparkError("promote needs MLflow to keep the model: the tracking store can't be reached")
        log_model(job, run, candidate, job.read(f"predictions/{candidate}/test"))
        tags = {FINGERPRINT_TAG: roles.model_fingerprint(candidate), "recspark.model": candidate}
        tags |= {f"recspark.{verdict['metric']}": f"{verdict['value']:.6f}"}
        version = registry.register(roles.name, run.id, tags)
    if champion and champion.tags.get(FINGERPRINT_TAG) == roles.model_fingerprint(roles.product(CHAMPION)):
        roles.keep(roles.product(CHAMPION), PREVIOUS, champion)
    roles.keep(candidate, CHAMPION, version)
    if champion:
        registry.assign(champion, PREVIOUS)
    registry.assign(version, CHAMPION)
    return version


def verdict_of(facts: Verdict) -> Verdict:
    """Whether measured `facts` pass the gate, and the reason in words."""
    missing, loss = facts["missing"], facts["largest_loss"]
    passed = loss <= facts["margin"] and missing["candidate"] <= missing["champion"]
    decision = "promoted" if passed else "refused"
    if missing["candidate"] > missing["champion"]:
        found = (
            f"it leaves {missing['candidate']} test rows or users without a prediction, the champion "
            f"{missing['champion']}"
        )
        return {"passed": passed, "reason": f"{found}: {decision}"}
    measured = f"{facts['metric']} {facts['value']:.4f}, champion {facts['champion_value']:.4f}"
    surely = f"{loss:.4f} worse" if loss > 0 else f"{-loss:.4f} better"
    bound = (
        f"in the worst case {surely} (confidence {1 - facts['level']:.4g}), and {facts['margin']:g} worse is "
        "allowed"
    )
    return {"passed": passed, "reason": f"{measured}, {bound}: {decision}"}
