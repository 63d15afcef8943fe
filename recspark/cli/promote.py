"""The job `promote`, the gate: a candidate becomes the champion where it is shown not to be worse; docs/gate.md says by which rule."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from recspark.cli import stages
from recspark.cli.context import Context
from recspark.cli.measured import PromoteOptions, measure
from recspark.cli.model_section import ModelSection
from recspark.cli.refit import on
from recspark.cli.versions import copy_product, identity, log_model
from recspark.data.lake import fingerprint
from recspark.data.splits import SplitOptions
from recspark.errors import ConfigError, GateNotPassed, RecsparkError
from recspark.evaluation.ranking import metric_names
from recspark.models.factor_model import load_model
from recspark.tracking import ModelVersion, Run

log = logging.getLogger("recspark")

#: aliases in the registry, and what the names of the models in the lake end with
CHAMPION, PREVIOUS = "champion", "previous"
#: tag of a version that says which model of the lake it is, whatever that is called
_IDENTITY = "recspark.identity"


def promote(job: Context) -> dict[str, Any]:
    """models/CANDIDATE -> alias ``champion``, models/NAME-champion, metrics/promotion-CANDIDATE.json; else GateNotPassed (exit code 4).

    The champion before keeps the alias ``previous``, and is models/NAME-previous. A candidate that is the champion changes nothing.
    """
    gate, candidate = _Gate(job), job["promote"].candidate
    if candidate is None:
        raise ConfigError("promote.candidate is not set: name a model of the lake, as in --set promote.candidate=als")
    metric, evaluation = job["promote"].metric, job["evaluation"]
    if not evaluation.ranking and metric in metric_names(evaluation.ks):
        raise ConfigError(f"promote.metric = {metric!r} is not allowed with evaluation.ranking = false: it has to be measured")
    job.lake.require(f"models/{candidate}", "train")
    # one gate at a time; and nothing that it judges by changes meanwhile
    with job.lake.writing(f"models/{gate.product(CHAMPION)}"), job.lake.reading(f"models/{candidate}", f"predictions/{candidate}"):
        return _promote(job, gate, candidate)


def _promote(job: Context, gate: _Gate, candidate: str) -> dict[str, Any]:
    _require_registry(job)
    if not load_model(job.lake.path(f"models/{candidate}")).served_by:
        raise ConfigError(
            f"promote.candidate = {candidate!r} is not allowed: it predicts from features of rows, so MLflow could not serve it"
        )
    with job.running("promote", "promote", about=candidate) as run:
        champion = gate.champion()
        if champion and champion.tags.get(_IDENTITY) == gate.identity(candidate):
            gate.keep(candidate, champion)
            log.info("models/%s is the champion already: version %d of %s", candidate, champion.version, champion.name)
            verdict = {"candidate": candidate, "passed": True, "reason": "it is the champion"}
            return verdict | {"version": champion.version, "unchanged": True, "champion": gate.product(CHAMPION)}
        if candidate == gate.product(PREVIOUS):
            raise ConfigError(
                f"promote.candidate = {candidate!r} is not allowed: it is the champion before, whose place would be needed; "
                f"to go back to it, let the alias {CHAMPION} of {gate.name} name its version in MLflow, then give this command again"
            )
        verdict = gate.judge(candidate, champion)
        _report(job, run, verdict)
        if not verdict["passed"]:
            raise GateNotPassed(f"models/{candidate} is not promoted: {verdict['reason']}")
        version = gate.promote(run, candidate, champion, verdict)
        log.info("models/%s is the champion now: version %d of %s", candidate, version.version, version.name)
        previous = champion.version if champion else None
        return verdict | {"version": version.version, "previous": previous, "unchanged": False, "champion": gate.product(CHAMPION)}


def _require_registry(job: Context) -> None:
    for key in ("enabled", "logModel"):
        if not getattr(job["tracking"], key):
            raise ConfigError(f"tracking.{key} = False is not allowed with promote: the champion is a model in MLflow's registry")


def _report(job: Context, run: Run, verdict: dict[str, Any]) -> None:
    job.lake.write_json(f"metrics/promotion-{verdict['candidate']}.json", verdict)
    run.json(verdict, "promotion.json")
    run.metrics({key: value for key, value in verdict.items() if isinstance(value, float)})
    log.info("%s", verdict["reason"])


@dataclass(frozen=True)
class _Gate:
    """The champion of one registered model, in the registry and in the lake."""

    job: Context

    @property
    def options(self) -> PromoteOptions:
        return self.job["promote"]

    @property
    def name(self) -> str:
        return self.options.registered or self.job["tracking"].registeredModel or "recspark"

    def product(self, alias: str) -> str:
        """The name in the lake of the model that `alias` names."""
        return f"{self.name}-{alias}"

    def identity(self, model: str) -> str | None:
        """Which model lies in models/NAME; None where there is none."""
        return fingerprint(*identity(self.job.lake, model)) if self.job.lake.manifest(f"models/{model}") else None

    def champion(self) -> ModelVersion | None:
        """The version that is the champion; None before the first promotion."""
        return self.job.tracker.registry.find(self.name, CHAMPION)

    def judge(self, candidate: str, champion: ModelVersion | None) -> dict[str, Any]:
        """Whether `candidate` passes, and why: what the report holds."""
        options, lake = self.options, self.job.lake
        if lake.require(f"predictions/{candidate}", "evaluate").get("model") != lake.require(f"models/{candidate}", "train")["fingerprint"]:
            raise RecsparkError(f"models/{candidate} has changed since it was evaluated: run `recspark evaluate` first")
        facts: dict[str, Any] = {"candidate": candidate, "registered": self.name}
        facts |= {key: getattr(options, key) for key in ("metric", "margin", "level", "resamples", "seed")}
        if champion is None:
            value = (lake.read_json(f"metrics/{candidate}.json") or {}).get(options.metric)
            if value is None:
                raise RecsparkError(f"models/{candidate} has no {options.metric}: run `recspark evaluate` with that metric first")
            return facts | {"passed": True, "reason": f"there is no champion of {self.name} yet", "value": value}
        product = self._measured(champion, candidate)
        drawn, users = measure(self.job, [product, candidate], options)
        champion_value, value = drawn.values.tolist()
        facts |= {"champion_version": champion.version, "champion_value": champion_value, "value": value}
        facts |= {"difference": value - champion_value, "interval": drawn.interval(1 - 2 * options.level)[1].tolist()}
        facts |= {"largest_loss": drawn.largest_loss(options.level)[1].item(), "p_better": drawn.p_better[1].item()}
        missing = {"champion": users.missing[product], "candidate": users.missing[candidate]}
        facts |= {"users": len(users.weights), "rows": users.rows, "missing": missing}
        return facts | verdict_of(facts)

    def _measured(self, champion: ModelVersion, candidate: str) -> str:
        """The champion's name in the lake, with predictions for the candidate's test rows."""
        lake, wanted = self.job.lake, champion.tags.get(_IDENTITY)
        product = next((name for name in map(self.product, (CHAMPION, PREVIOUS)) if self.identity(name) == wanted), None)
        if product is None:
            raise RecsparkError(
                f"version {champion.version} of {self.name}, which is the champion, is not in this lake "
                f"(it is not models/{self.product(CHAMPION)}): set promote.registered to a name of its own for every lake"
            )
        candidates = lake.require(f"predictions/{candidate}", "evaluate")
        rows = {"model": lake.require(f"models/{product}", "promote")["fingerprint"]}
        rows |= {key: candidates[key] for key in ("split", "split_fingerprint")}
        if not rows.items() <= (lake.manifest(f"predictions/{product}") or {}).items():
            log.info("the champion is measured on the test rows of %s", candidates["split"])
            split = SplitOptions(name=candidates["split"].removeprefix("splits/"))
            stages.evaluate(on(self.job, split, ModelSection(name=product)))
        return product

    def promote(self, run: Run, candidate: str, champion: ModelVersion | None, verdict: dict[str, Any]) -> ModelVersion:
        """Register the candidate and move the aliases; each step may be done twice, and the alias ``champion`` moves last."""
        job, registry = self.job, self.job.tracker.registry
        mark = self.identity(candidate)
        version = next((known for known in registry.versions(self.name) if known.tags.get(_IDENTITY) == mark), None)
        if version is None:
            log_model(job, run, candidate, job.read(f"predictions/{candidate}/test"))
            tags = {_IDENTITY: mark, "recspark.model": candidate, f"recspark.{verdict['metric']}": f"{verdict['value']:.6f}"}
            version = registry.register(self.name, run.id, tags)
        if champion and champion.tags.get(_IDENTITY) == self.identity(self.product(CHAMPION)):
            self._publish(self.product(CHAMPION), self.product(PREVIOUS), champion)
        self.keep(candidate, version)
        if champion:
            registry.assign(champion, PREVIOUS)
        registry.assign(version, CHAMPION)
        return version

    def keep(self, candidate: str, version: ModelVersion) -> None:
        """models/NAME-champion is the candidate; nothing happens where it is already."""
        if self.identity(self.product(CHAMPION)) != self.identity(candidate):
            self._publish(candidate, self.product(CHAMPION), version)

    def _publish(self, source: str, target: str, version: ModelVersion) -> None:
        lake = self.job.lake
        manifest = lake.require(f"models/{source}", "train")
        with lake.publish(f"models/{target}", manifest["fingerprint"]) as publication:
            copy_product(lake, f"models/{source}", publication.product)
            publication.manifest.update(manifest, registered={"name": version.name, "version": version.version, "candidate": source})


def verdict_of(facts: dict[str, Any]) -> dict[str, Any]:
    """Whether the gate is passed by what was measured, and the reason in words."""
    metric, missing, loss = facts["metric"], facts["missing"], facts["largest_loss"]
    measured = f"{metric} {facts['value']:.4f}, of the champion {facts['champion_value']:.4f}"
    if missing["candidate"] > missing["champion"]:
        reason = f"it leaves {missing['candidate']} test rows or users without a prediction, the champion {missing['champion']}"
        return {"passed": False, "reason": reason}
    surely = f"at most {loss:.4f} worse" if loss > 0 else f"at least {-loss:.4f} better"
    bound = f"{measured}: {surely}, at a confidence of {1 - facts['level']:.4g}"
    if loss > facts["margin"]:
        return {"passed": False, "reason": f"{bound}, and it may be {facts['margin']:g} worse at most"}
    return {"passed": True, "reason": bound}
