"""The models that have a role: the champion, the previous one, and one that a rollback has withdrawn.

They are in the registry and in the lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from recspark.errors import ConfigError, RecsparkError
from recspark.lake.fingerprints import fingerprint
from recspark.lake.manifests import Manifest, ModelManifest, Registration
from recspark.pipeline.context import Context
from recspark.pipeline.gate.versions import copy_product, fingerprint_and_stamp
from recspark.tracking import ModelVersion

#: aliases in the registry, which are also the endings of names of models in the lake
CHAMPION, PREVIOUS, WITHDRAWN = "champion", "previous", "withdrawn"
#: tag of a version that says which model of the lake it is, under any name; registries have this text
FINGERPRINT_TAG = "recspark.identity"


@dataclass(frozen=True)
class Roles:
    """The roles of one registered model, each an alias of it and the model NAME-ALIAS of the lake."""

    job: Context

    @property
    def name(self) -> str:
        """The registered model."""
        return (
            self.job.sections.promote.registered or self.job.sections.tracking.registeredModel or "recspark"
        )

    def product(self, alias: str) -> str:
        """The name in the lake of the model that `alias` names."""
        return f"{self.name}-{alias}"

    def model_fingerprint(self, model: str) -> str | None:
        """A hash that identifies the model in models/NAME; None if there is none."""
        return (
            fingerprint(*fingerprint_and_stamp(self.job.lake, model))
            if self.job.lake.manifest(f"models/{model}", Manifest)
            else None
        )

    def version(self, alias: str) -> ModelVersion | None:
        """The version that `alias` names, or None."""
        return self.job.tracker.registry.find(self.name, alias)

    def kept_as(self, version: ModelVersion, *aliases: str) -> str:
        """The name in the lake of `version`, which must be the model of one of `aliases`.

        Raise RecsparkError if it is none of them.
        """
        found = next(
            (
                name
                for name in map(self.product, aliases)
                if self.model_fingerprint(name) == version.tags.get(FINGERPRINT_TAG)
            ),
            None,
        )
        if found is None:
            raise RecsparkError(
                f"version {version.version} of {self.name}, which is the {aliases[0]}, is not in this lake "
                f"(it is not models/{self.product(aliases[0])}): set promote.registered to a name of its own "
                "for every lake"
            )
        return found

    def version_of(self, model: str) -> ModelVersion | None:
        """The version of models/NAME; None if it was never registered."""
        mark = self.model_fingerprint(model)
        return next(
            (
                known
                for known in self.job.tracker.registry.versions(self.name)
                if known.tags.get(FINGERPRINT_TAG) == mark
            ),
            None,
        )

    def keep(self, source: str, alias: str, version: ModelVersion) -> None:
        """Make models/SOURCE, which is `version`, the model of `alias` in the lake, unless it is already."""
        if self.model_fingerprint(self.product(alias)) != self.model_fingerprint(source):
            with self.replacing(source, alias, version):
                pass

    @contextmanager
    def replacing(self, source: str, alias: str, version: ModelVersion) -> Iterator[None]:
        """Copy models/SOURCE, run the body, then make the copy the model of `alias`.

        If the body fails, nothing has changed.
        """
        lake = self.job.lake
        manifest = lake.require(f"models/{source}", ModelManifest, "train")
        with lake.publish(f"models/{self.product(alias)}", manifest.fingerprint) as publication:
            copy_product(lake, f"models/{source}", publication.product)
            registered = Registration(name=version.name, version=version.version, candidate=source)
            publication.manifest = msgspec.structs.replace(manifest, registered=registered)
            yield


def require_registry(job: Context, name: str, *keys: str) -> None:
    """Raise ConfigError if one of the switches `keys` of ``[tracking]`` is off.

    Without them the job `name` has no registry.
    """
    for key in keys:
        if not getattr(job.sections.tracking, key):
            raise ConfigError(
                f"tracking.{key} = False is not allowed with {name}: the champion is a model in MLflow's "
                "registry"
            )
