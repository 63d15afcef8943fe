"""The MLflow store: one method per operation.

Each takes plain JSON arguments, so that a spooled one can be sent later. Only ``MlflowClient`` is used, never
the fluent API: it has no "active run", so several runs at once don't mix.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from recspark.tracking.registry import add_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun

T = TypeVar("T")

#: os.environ and the levels of loggers belong to the whole process: one call at a time changes and restores
#: them
_PROCESS = threading.RLock()
_NOISY_LOGGERS = ("mlflow", "alembic", "sqlalchemy.engine", "urllib3.connectionpool")
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_LONGEST = {"param": 6000, "tag": 8000, "name": 250, "digest": 36}
#: the tag that names a run before the store has given it an id, so that a start whose answer was lost is not
#: sent twice
_KEY = "recspark.key"


@contextmanager
def quiet_mlflow(timeout: int) -> Iterator[None]:
    """Call MLflow without its log lines, warnings, progress bars and telemetry, and with short waits.

    Settings of the user stay.
    """
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "PGCONNECT_TIMEOUT": str(timeout),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_UV_AUTO_DETECT": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    with _PROCESS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        added = {key: value for key, value in settings.items() if key not in os.environ}
        os.environ.update(added)
        levels: dict[logging.Logger, int] = {}
        try:
            import mlflow  # noqa: F401  (it sets the levels of its loggers, so it comes before they are changed)

            levels.update((logger, logger.level) for logger in map(logging.getLogger, _NOISY_LOGGERS))
            for logger in levels:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)
            for key in added:
                os.environ.pop(key, None)


class Store:
    """One experiment of an MLflow tracking store (a server or a database).

    Parameters
    ----------
    uri
        Tracking URI.
    experiment
        Name of the experiment, created if it doesn't exist.
    artifacts
        Place of the artifacts of a new experiment if `uri` is a database; a server decides for itself.
    timeout
        Seconds to wait for one answer.
    """

    def __init__(self, uri: str, experiment: str, artifacts: str, timeout: int) -> None:
        self.where = f"tracking store {uri}"
        self._uri, self._experiment, self._artifacts, self._timeout = uri, experiment, artifacts, timeout

    def send(self, run_id: str | None, op: str, args: dict[str, object]) -> str | None:
        """Carry out one operation; "start" returns the id of the new run."""
        with quiet_mlflow(self._timeout):
            return getattr(self, f"_{op}")(run_id, **args)

    @contextmanager
    def connected(self) -> Iterator[MlflowClient]:
        """The client of this store, in a block of `quiet_mlflow`."""
        with quiet_mlflow(self._timeout):
            yield self._client

    def refuses(self, error: Exception) -> bool:
        """Whether the store was reached and refused only this record, so that the next may pass."""
        return getattr(error, "error_code", None) in ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")

    @property
    def experiment_id(self) -> str:
        """The id of the experiment in the store."""
        with self.connected():
            return self._experiment_id

    def find(self, key: str) -> str | None:
        """The id of the run that was started with `key`, if there is one.

        Other runs with the key, of a start that was sent twice, are deleted.
        """
        with self.connected() as client:
            found = [
                run.info.run_id
                for run in client.search_runs([self._experiment_id], f"tags.`{_KEY}` = '{key}'")
            ]
            for twin in found[1:]:
                client.delete_run(twin)
        return found[0] if found else None

    def has(self, run_id: str) -> bool:
        """Whether there is such a run."""
        from mlflow import MlflowException

        with self.connected() as client:
            try:
                client.get_run(run_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise
        return True

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        if self._is_database:
            _connect_once(self._uri)
        return MlflowClient(self._uri)

    @property
    def _is_database(self) -> bool:
        return self._uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))

    @cached_property
    def _experiment_id(self) -> str:
        from mlflow import MlflowException

        location = self._artifacts if self._is_database else None
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            try:
                return self._client.create_experiment(self._experiment, artifact_location=location)
            except MlflowException:  # another job may have made it a moment ago
                known = self._client.get_experiment_by_name(self._experiment)
                if known is None:
                    raise
        return known.experiment_id

    def _start(
        self, run_id: str | None, name: str, tags: dict[str, str], parent: str | None, at: int, key: str
    ) -> str:
        tags = {name: _shorten(value, "tag") for name, value in tags.items()} | {_KEY: key}
        if parent:
            tags["mlflow.parentRunId"] = parent
        return self._client.create_run(
            self._experiment_id, start_time=at, tags=tags, run_name=name
        ).info.run_id

    def _end(self, run_id: str, status: str, at: int) -> None:
        self._client.set_terminated(run_id, status, end_time=at)

    def _params(self, run_id: str, values: dict[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(_shorten(key, "name"), _shorten(value, "param")) for key, value in values.items()]
        for chunk in _chunks(params, _PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=chunk, synchronous=True)

    def _tags(self, run_id: str, values: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(_shorten(key, "name"), _shorten(value, "tag")) for key, value in values.items()]
        for chunk in _chunks(tags, _PARAMS_PER_BATCH):
            self._client.log_batch(run_id, tags=chunk, synchronous=True)

    def _metrics(self, run_id: str, points: list[tuple[str, float, int, int]]) -> None:
        """`points` are (name, value, milliseconds since 1970, step)."""
        from mlflow.entities import Metric

        for chunk in _chunks([Metric(*point) for point in points], _METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=chunk, synchronous=True)

    def _dataset(
        self, run_id: str, name: str, source: str, digest: str, rows: int | None, context: str
    ) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[: _LONGEST["digest"]],
            source_type=source.partition("://")[0] if "://" in source else "local",
            source=json.dumps({"uri": source}),
            profile=None if rows is None else json.dumps({"num_rows": rows}),
        )
        self._client.log_inputs(
            run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
        )

    def _artifact(self, run_id: str, path: str, folder: str) -> None:
        self._client.log_artifact(run_id, path, folder or None)

    def _model(self, run_id: str, path: str, name: str, registered: str | None = None) -> None:
        """Make a logged model of the MLflow model in the folder `path`, as ``pyfunc.log_model`` would.

        Done twice, it exists once.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        run = self._client.get_run(run_id)
        logged = self._logged_model(run, name)
        if logged.status != LoggedModelStatus.READY:
            model = Model.load(path)
            model.run_id, model.model_id, model.model_uuid = run_id, logged.model_id, logged.model_id
            model.artifact_path = logged.artifact_location
            model.save(os.path.join(path, "MLmodel"))
            self._client.log_model_artifacts(logged.model_id, path)
            self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        outputs = run.outputs.model_outputs if run.outputs else []
        if logged.model_id not in [output.model_id for output in outputs]:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        if registered:
            add_version(self._client, registered, run_id, logged.model_id, {})

    def _logged_model(self, run: MlflowRun, name: str) -> LoggedModel:
        """The run's logged model of that name, created unless an earlier try has created it."""
        known = self._client.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
        )
        for logged in known:
            if logged.name == name:
                return logged
        return self._client.create_logged_model(
            run.info.experiment_id, name, source_run_id=run.info.run_id, params=run.data.params
        )


def _connect_once(uri: str) -> None:
    """Fail at once if the database `uri` can't be opened: MLflow would try ten times, for 100 seconds."""
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        os.makedirs(os.path.dirname(os.path.abspath(url.database)), exist_ok=True)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _shorten(text: str, kind: str) -> str:
    longest = _LONGEST[kind]
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
