"""The job `rollback`: the previous champion serves again, with its lists.

docs/gate.md explains what happens to the withdrawn one.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from recspark.errors import RecsparkError
from recspark.lake.manifests import ListsManifest, Manifest
from recspark.pipeline.conf.sections import RecommendOptions
from recspark.pipeline.context import Context
from recspark.pipeline.gate.roles import (
    CHAMPION,
    FINGERPRINT_TAG,
    PREVIOUS,
    WITHDRAWN,
    Roles,
    require_registry,
)
from recspark.pipeline.lists.recommend import write_lists
from recspark.tracking import ModelVersion

log = logging.getLogger("recspark")


def rollback(job: Context) -> dict[str, object]:
    """models/NAME-previous -> models/NAME-champion, recommendations/NAME-champion, alias ``champion``.

    The old champion becomes models/NAME-withdrawn, with the alias ``withdrawn``. Raise RecsparkError if there
    is no previous model.
    """
    require_registry(job, "rollback", "enabled")
    roles, lake = Roles(job), job.lake
    lake.require(f"models/{roles.product(CHAMPION)}", Manifest, "promote")
    # no gate at the same time, and no reader of products that go away
    with lake.writing(f"models/{roles.product(CHAMPION)}"), lake.writing(f"models/{roles.product(PREVIOUS)}"):
        back = roles.version(PREVIOUS)
        if back is None:
            raise RecsparkError(
                f"no model was the champion before models/{roles.product(CHAMPION)}, which stays: train "
                "another one, or let one of "
                "the lake serve by `recspark promote --set promote.candidate=NAME`"
            )
        with job.running("rollback", "promote", about=roles.name) as run:
            summary = _rollback(roles, back)
            run.metrics({key: value for key, value in summary.items() if isinstance(value, int)})
            return summary


def _rollback(roles: Roles, back: ModelVersion) -> dict[str, object]:
    """Bring the previous champion back.

    Every step may be done twice, so the same command finishes a killed one; the alias ``previous`` goes last.
    """
    registry, champion = roles.job.tracker.registry, roles.product(CHAMPION)
    # a killed rollback may have brought the model back already
    source = roles.kept_as(back, PREVIOUS, CHAMPION)
    if roles.model_fingerprint(champion) != back.tags[FINGERPRINT_TAG]:
        leaves = roles.version_of(champion)
        if leaves is None:
            raise RecsparkError(
                f"models/{champion} is not among the versions of {roles.name} in the registry: promote a "
                "model by `recspark promote` first"
            )
        roles.keep(champion, WITHDRAWN, leaves)
        registry.assign(leaves, WITHDRAWN)
    lists = _bring_back(roles, source, back)
    registry.assign(back, CHAMPION)
    roles.job.lake.delete(f"models/{roles.product(PREVIOUS)}")
    registry.unassign(roles.name, PREVIOUS)
    withdrawn = roles.version(WITHDRAWN)
    if withdrawn is None:
        raise RecsparkError(
            f"{roles.name} has no version {WITHDRAWN} in the registry: its alias was removed while the "
            "rollback ran"
        )
    log.info(
        "models/%s is version %d of %s again; version %d, which it was, is models/%s now",
        *(champion, back.version, roles.name, withdrawn.version, roles.product(WITHDRAWN)),
    )
    found = {"champion": champion, "version": back.version, "withdrawn": roles.product(WITHDRAWN)}
    return found | {"withdrawn_version": withdrawn.version, "lists": lists}


def _bring_back(roles: Roles, source: str, back: ModelVersion) -> str | None:
    """Put models/SOURCE and its lists in place of the champion's; returns the product of the lists, if any.

    The lists use the options of the champion's lists. Both are written first. Then they take their places, by
    one rename each.
    """
    job, champion = roles.job, roles.product(CHAMPION)
    product = f"recommendations/{champion}"
    served = job.lake.manifest(product, ListsManifest)
    if served is None:
        roles.keep(source, CHAMPION, back)
        return None
    same = replace(job, sections=replace(job.sections, recommend=RecommendOptions(**served.options)))
    if source == champion:
        write_lists(same, source, champion)
    else:
        with roles.replacing(source, CHAMPION, back):
            write_lists(same, source, champion)
    return product
