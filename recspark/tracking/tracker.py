"""The targets of runs: the store, else the spool, else none."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlencode

from recspark.errors import ConfigError, RecsparkError
from recspark.lake.lake import Lake
from recspark.redaction import redact, without_user
from recspark.tracking.options import TrackingOptions
from recspark.tracking.provenance import flatten, one_line, provenance
from recspark.tracking.registry import Registry
from recspark.tracking.run import Run, now
from recspark.tracking.spool import Spool, new_key
from recspark.tracking.store import Store

log = logging.getLogger("recspark.tracking")


class Tracker:
    """Starts runs, and sends their reports to the store; once that fails, to the spool in the lake.

    The store is ``options.uri``, else the environment's MLFLOW_TRACKING_URI, else ``mlflow.db`` and
    ``mlartifacts/`` in a local lake. A remote lake can hold no database: without a URI its runs go to the
    spool.
    """

    def __init__(self, lake: Lake, options: TrackingOptions | None = None) -> None:
        self.options = options or TrackingOptions()
        self.uri = self.options.uri or os.environ.get("MLFLOW_TRACKING_URI") or _default_uri(lake)
        # MLflow stores this location: it has credentials of its own
        artifacts = without_user(lake.path("mlartifacts"))
        self._spool = Spool(lake)
        self._store = self.uri and Store(
            self.uri, self.options.experiment, artifacts, self.options.timeoutSeconds
        )
        self._places = (
            [place for place in (self._store, self._spool) if place] if self.options.enabled else []
        )
        self._turn = threading.RLock()
        if self._places and not self._store:
            log.warning("%s can hold no MLflow database: set tracking.uri; %s", redact(lake.root), self._kept)

    @property
    def active(self) -> bool:
        """Whether reports of a run are kept anywhere."""
        return bool(self._places)

    @property
    def is_server(self) -> bool:
        """Whether the store is a server, which has pages of its own."""
        return str(self.uri).startswith(("http://", "https://"))

    def runs_page(self, found_by: str, first: str) -> str | None:
        """The address in MLflow, after its host, of the runs that a search finds, sorted by a metric.

        The lowest comes first. None if runs do not go to the store. Without ``workflowType`` MLflow 3 may
        open its pages for agents.
        """
        if not self._places or self._places[0] is not self._store:
            return None
        try:
            experiment = self._store.experiment_id
        except Exception as error:
            self._fall_back(error)
            return None
        query = {
            "workflowType": "machine_learning",
            "searchFilter": found_by,
            "orderByKey": f"metrics.`{first}`",
            "orderByAsc": "true",
        }
        return f"/#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"

    @property
    def registry(self) -> Registry:
        """The registered models of the store. Raise ConfigError if there is no store."""
        if not self._store:
            raise ConfigError("tracking.uri is not set: name the tracking store whose registry is asked")
        return Registry(self._store)

    @contextmanager
    def run(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        parent: Run | None = None,
        conf_file: str | None = None,
        about: str | None = None,
    ) -> Iterator[Run]:
        """A run that ends FINISHED, FAILED by an exception (its message a tag), or KILLED by an interrupt.

        Parameters
        ----------
        name
            The name of the job, also the tag ``recspark.job``.
        params, tags
            Params and tags of the run.
        parent
            The run that it is nested in; None: an outermost run.
        conf_file
            A conf file that becomes an artifact, without its secrets.
        about
            The subject of the job, such as a model: an outermost run is named after the job and this, unless
            ``tracking.runName`` is set.
        """
        title = name if parent else self.options.runName or " ".join(filter(None, (name, about)))
        run = Run(self, self._start(name, title, tags or {}, parent))
        status = "FAILED"
        try:
            run.params(params or {})
            if conf_file:
                run.text(redact(Path(conf_file).read_text("utf-8")), f"conf/{Path(conf_file).name}")
            yield run
            status = "FINISHED"
        except Exception as error:
            run.tags({"recspark.error": f"{type(error).__name__}: {error}"})
            raise
        except BaseException:
            status = "KILLED"
            raise
        finally:
            self.send(run.id, "end", status=status, at=now())

    def sync(self) -> int:
        """Send the records that wait in the spool, and return the number of runs.

        A record is deleted once it is sent, so that an interrupted sync can go on. Records that a job spools
        meanwhile stay for the next sync, and so do those of a run that this store does not know.

        Raises
        ------
        RecsparkError
            If the store can't be reached; unsent records stay in the spool.
        """
        if not self._store:
            raise ConfigError(
                "tracking.uri is not set: name the tracking store that the spooled runs are sent to"
            )
        try:
            return sum(self._sync_run(self._store, spooled) for spooled in self._spool.runs())
        except Exception as error:
            raise RecsparkError(
                f"{self._store.where} can't be used ({one_line(error)}): {self._kept}"
            ) from None

    def _sync_run(self, store: Store, spooled: str) -> bool:
        """Whether the records of one run could be sent."""
        begun = store.find(spooled)
        run_id = begun or spooled
        if not begun and self._spool.first(spooled) != "start" and not store.has(run_id):
            log.warning(
                "%s has no run %s: what was kept of it stays in %s",
                redact(store.where),
                run_id,
                redact(self._spool.where),
            )
            return False
        for op, args in self._spool.drain(spooled):
            if op == "start" and begun:  # sent before, or the store took it and its answer was lost
                continue
            if isinstance(parent := args.get("parent"), str) and parent:
                args["parent"] = store.find(parent) or parent
            run_id = self._deliver(store, run_id, op, args) or run_id
        return True

    def _start(self, name: str, title: str, tags: Mapping[str, object], parent: Run | None) -> str | None:
        if not self.active:
            return None
        facts = self.provenance | {"recspark.job": name} | dict(flatten(tags))
        outer = parent.id if parent else self.options.parentRunId
        return self.send(None, "start", name=title, tags=facts, parent=outer, at=now(), key=new_key())

    def send(self, run_id: str | None, op: str, **args: object) -> str | None:
        """Hand one record to the first place that accepts it; "start" returns the id of the run.

        It never raises.
        """
        # one at a time: threads that wait while the store does not answer need not wait for it again
        with self._turn:
            while self._places:
                try:
                    return self._deliver(self._places[0], run_id, op, args)
                except Exception as error:
                    self._fall_back(error)
        return None

    def _deliver(
        self, place: Store | Spool, run_id: str | None, op: str, args: dict[str, object]
    ) -> str | None:
        try:
            return place.send(run_id, op, args)
        except Exception as error:
            if op == "start" or not place.refuses(error):
                raise
            log.warning("%s refused the %s of run %s: %s", redact(place.where), op, run_id, one_line(error))
            return None

    def _fall_back(self, error: Exception) -> None:
        gone, *self._places = self._places
        then = self._kept if self._places else "runs are not tracked any more"
        log.warning("%s can't be used (%s): %s", redact(gone.where), one_line(error), then)

    @property
    def _kept(self) -> str:
        return f"runs are kept in {redact(self._spool.where)} until `recspark sync` sends them"

    @cached_property
    def provenance(self) -> dict[str, str]:
        """The versions, the commit and the command of this process (`recspark.tracking.provenance`)."""
        return provenance()


def _default_uri(lake: Lake) -> str | None:
    return f"sqlite:///{lake.at('mlflow.db')}" if lake.is_local else None
