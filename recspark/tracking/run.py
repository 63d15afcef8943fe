"""The reports of one run."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from recspark.errors import RecsparkError
from recspark.redaction import redact, redacted
from recspark.tracking.model_files import Scorer, write_model
from recspark.tracking.provenance import flatten, one_line
from recspark.tracking.store import quiet_mlflow

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from recspark.tracking.tracker import Tracker

log = logging.getLogger("recspark.tracking")

_NOT_IN_NAMES = re.compile(r"[^\w.\-/ :]")


class Run:
    """One run: every method reports something, and none fails because of the store.

    ``id`` is None if nothing is tracked.
    """

    def __init__(self, tracker: Tracker, run_id: str | None) -> None:
        self._tracker = tracker
        self.id = run_id

    @property
    def keeps_models(self) -> bool:
        """Whether `model` does anything; if not, its example need not be made."""
        return self._tracker.active and self._tracker.options.logModel

    def child(
        self, name: str, params: Mapping[str, object] | None = None, tags: Mapping[str, object] | None = None
    ) -> AbstractContextManager[Run]:
        """A run nested in this one."""
        return self._tracker.run(name, params, tags, parent=self)

    def params(self, values: Mapping[str, object]) -> None:
        """Report settings, each written once.

        Nested tables become ``section.key``, None is left out, secrets are hidden.
        """
        if values:
            self._send("params", values={_valid(name): text for name, text in flatten(values)})

    def tags(self, values: Mapping[str, object]) -> None:
        """Report facts that may change; they are named like params."""
        if values:
            self._send("tags", values={_valid(name): text for name, text in flatten(values)})

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Report numbers of one step; None is left out.

        MLflow does not allow ``@``: ``ndcg@10`` becomes ``ndcg_at_10``.
        """
        self._metrics([(step, values)])

    def curve(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Report metrics by iteration; give each row once.

        A row has ``iteration`` (the step) and any number of metrics.
        """
        self._metrics(
            [
                (int(step), {name: row[name] for name in row if name != "iteration"})
                for row in rows
                if (step := row["iteration"]) is not None
            ]
        )

    def dataset(
        self, name: str, source: str, digest: str, rows: int | None = None, context: str = "training"
    ) -> None:
        """Record a data set that the run read.

        Parameters
        ----------
        name
            The name of the data set.
        source
            Its path or URI; secrets are removed.
        digest
            The digest of its contents, of which MLflow keeps 36 characters.
        rows
            Number of rows; None if unknown.
        context
            Its use, such as training.
        """
        self._send("dataset", name=name, source=redact(source), digest=digest, rows=rows, context=context)

    def figure(self, figure: Figure, path: str) -> None:
        """Keep a matplotlib figure as the artifact `path`, such as ``figures/curve.png``.

        The ending of the path names the format.
        """
        self._write(path, lambda target: figure.savefig(target, dpi=120, bbox_inches="tight"))

    def text(self, text: str, path: str) -> None:
        """Keep `text` unchanged as the artifact `path`."""
        self._write(path, lambda target: Path(target).write_text(text, "utf-8"))

    def json(self, content: object, path: str) -> None:
        """Keep `content` as the artifact `path`, without secrets."""
        self.text(json.dumps(redacted(content), indent=2, sort_keys=True, default=str), path)

    def describe(self, markdown: str) -> None:
        """Set the text at the top of the run's page, in Markdown."""
        self._send("tags", values={"mlflow.note.content": redact(markdown)})

    def file(self, path: str, folder: str = "") -> None:
        """Keep a local file, or a folder with all its contents, as an artifact under `folder`."""
        if not Path(path).exists():
            raise RecsparkError(f"{path} does not exist: it can't be kept with the run")
        self._send("artifact", path=str(Path(path)), folder=folder)

    def model(
        self,
        scorer: type[Scorer],
        folder: str,
        example: pd.DataFrame,
        name: str = "model",
        code_paths: Sequence[str] | None = None,
    ) -> None:
        """Log the model as an ``mlflow.pyfunc`` that answers pairs (user_id, item_id) without Spark.

        It is registered if the options say so.

        Parameters
        ----------
        scorer
            A class with ``load(folder)`` and ``predict(user_ids, item_ids)``, importable by its name from
            `code_paths`.
        folder
            Path or URI of the files that ``scorer.load`` reads; they are copied.
        example
            A few rows of user_id and item_id in their true types: the signature is made from them.
        name
            The name of the logged model.
        code_paths
            Files and packages logged beside the model; by default the package recspark.
        """
        if not self.keeps_models:
            return
        with tempfile.TemporaryDirectory() as scratch:
            try:
                with quiet_mlflow(self._tracker.options.timeoutSeconds):
                    written = write_model(scorer, folder, example, code_paths, scratch)
            except (
                Exception
            ) as error:  # the training is over and its model is in the lake: don't fail the job for a copy
                log.warning("model %s is not logged: %s", name, one_line(error))
            else:
                self._send("model", path=written, name=name, registered=self._tracker.options.registeredModel)

    def _metrics(self, steps: Iterable[tuple[int, Mapping[str, float | None]]]) -> None:
        at = now()
        points = [
            (_valid(key), float(value), at, step)
            for step, values in steps
            for key, value in values.items()
            if value is not None
        ]
        if points:
            self._send("metrics", points=points)

    def _write(self, path: str, write: Callable[[str], object]) -> None:
        if not self._tracker.active:
            return
        folder, _, file = path.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            write(f"{scratch}/{file}")
            self._send("artifact", path=f"{scratch}/{file}", folder=folder)

    def _send(self, op: str, **args: object) -> None:
        self._tracker.send(self.id, op, **args)


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _valid(name: str) -> str:
    """`name` in the letters that MLflow allows."""
    return _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))
