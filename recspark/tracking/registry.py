"""The registry of a tracking store: versions of logged models, and aliases such as ``champion``.

An alias names one version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recspark.errors import RecsparkError
from recspark.tracking.provenance import flatten, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

    from recspark.tracking.store import Store

#: MLflow's answers if there is no such model, version or alias
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_TAKEN = "RESOURCE_ALREADY_EXISTS"
_LINK = "mlflow.modelVersions"


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model: a logged model under a fixed name and number.

    `source` is the place of its files.
    """

    name: str
    version: int
    run_id: str | None
    source: str | None
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """The name that ``mlflow.pyfunc.load_model`` and ``mlflow models serve -m`` take."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The registered models of a store.

    Unlike runs, they must give an answer, so an unreachable store is an error here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, name: str, run_id: str, tags: Mapping[str, object] | None = None) -> ModelVersion:
        """The model that a run, or one nested in it, has logged, as a version of `name` with `tags`.

        The same model again gives the same version.

        Raises
        ------
        RecsparkError
            If there is no such run, it has logged no model or several, or the store can't be reached.
        """
        with self.connected() as client:
            logging_run, model_id = _logged_model(client, run_id)
            return add_version(client, name, logging_run, model_id, dict(flatten(tags or {})))

    def assign(self, version: ModelVersion, alias: str) -> None:
        """Let `alias` name `version`, and no other version of that model."""
        with self.connected() as client:
            client.set_registered_model_alias(version.name, alias, str(version.version))

    def unassign(self, name: str, alias: str) -> None:
        """Let `alias` name no version of `name`."""
        with self.connected() as client:
            client.delete_registered_model_alias(name, alias)

    def find(self, name: str, alias: str) -> ModelVersion | None:
        """The version of `name` that `alias` names, or None."""
        from mlflow import MlflowException

        with self.connected() as client:
            try:
                return _version(client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                if error.error_code in _UNKNOWN:
                    return None
                raise

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of `name`, the newest first; none if there is no such model."""
        with self.connected() as client:
            return _versions(client, name)

    @contextmanager
    def connected(self) -> Iterator[MlflowClient]:
        """The client of the store. Raise RecsparkError if it can't be used."""
        try:
            with self._store.connected() as client:
                yield client
        except RecsparkError:
            raise
        except Exception as error:
            raise RecsparkError(
                f"the registry of {self._store.where} can't be used: {one_line(error)}"
            ) from None


def add_version(
    client: MlflowClient, name: str, run_id: str, model_id: str, tags: Mapping[str, str]
) -> ModelVersion:
    """The logged model `model_id` as a version of the registered model `name`; both are created if missing.

    Parameters
    ----------
    client
        The client of the store.
    name
        The name of the registered model.
    run_id
        The run that logged the model.
    model_id
        The id of the logged model.
    tags
        Tags of the version, added to those that it has.
    """
    from mlflow import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != _TAKEN:
            raise
    # not models:/ID, which MLflow looks up in the store of the process, even if the client has another one
    source = client.get_logged_model(model_id).artifact_location
    known = next((version for version in _versions(client, name) if version.source == source), None)
    if known:
        for key, value in tags.items():
            client.set_model_version_tag(name, str(known.version), key, value)
        return replace(known, tags={**known.tags, **tags})
    made = _version(
        client.create_model_version(name, source, run_id, dict(tags), await_creation_for=0, model_id=model_id)
    )
    _link(client, model_id, made)
    return made


def _link(client: MlflowClient, model_id: str, version: ModelVersion) -> None:
    """Show the version on the page of the logged model, as ``mlflow.register_model`` does."""
    links = json.loads(client.get_logged_model(model_id).tags.get(_LINK, "[]"))
    links.append({"name": version.name, "version": version.version})
    client.set_logged_model_tags(model_id, {_LINK: json.dumps(links)})


def _logged_model(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """The ids of the run that logged a model, `run_id` or one nested in it, and of that model."""
    waiting, found = [client.get_run(run_id)], []
    while waiting:
        run = waiting.pop()
        found += [
            (run.info.run_id, output.model_id)
            for output in (run.outputs.model_outputs if run.outputs else [])
        ]
        waiting += client.search_runs(
            [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        )
    if len(found) != 1:
        several = ", ".join(sorted(run for run, _ in found))
        raise RecsparkError(
            f"run {run_id} has logged "
            + (f"{len(found)} models: name one of the runs {several}" if found else "no model")
        )
    return found[0]


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    found = [_version(version) for version in client.search_model_versions(f"name = '{name}'")]
    return sorted(found, key=lambda version: version.version, reverse=True)


def _version(found: MlflowVersion) -> ModelVersion:
    return ModelVersion(found.name, int(found.version), found.run_id, found.source, dict(found.tags))
