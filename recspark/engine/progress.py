"""Progress of a fit and of a job with several stages: a bar on a terminal, else lines on the log.

A fit has one line per iteration, and a judge that may end it. A job has one line per stage.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm

from recspark.engine.plan import Row

log = logging.getLogger("recspark.fit")
stages_log = logging.getLogger("recspark.stages")

#: seconds between looks at the fit's folder, and between drawings of a bar
INTERVAL = 0.25
#: outcomes of a stage that has nothing else to report
DONE, UNCHANGED = "done", "unchanged"
#: the bar of a job, without its time left
_BAR = "{l_bar}{bar}| {elapsed}"


def describe(row: Row) -> str:
    """An iteration in one line.

    >>> errors = {"train_rmse": 0.81234, "validation_rmse": 0.9}
    >>> describe({"iteration": 3, **errors, "seconds": 1.5, "ratings_per_second": 2e6})
    'iteration 3: train_rmse 0.8123, validation_rmse 0.9000, 1.50 s, 2.0 M ratings/s'
    """
    metrics = [f"{key} {value:.4f}" for key, value in row.items() if key.endswith(("_rmse", "_auc"))]
    metrics = metrics or [f"objective {row['objective']:.6g}"]
    return (
        f"iteration {row['iteration']}: {', '.join(metrics)}, {row['seconds']:.2f} s, "
        f"{row['ratings_per_second'] / 1e6:.1f} M ratings/s"
    )


@contextmanager
def reporting(
    read_history: Callable[[], list[Row]],
    total: int,
    judge: Callable[[Row], bool] | None = None,
    end: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Report iterations as they appear in `read_history()` while the body runs.

    The body may run anywhere, since files tell its progress. A `judge` is also called with the row of each
    iteration, until it is true; then `end` is called. It sees the rows of all iterations, even if the body
    has ended before: its calls do not depend on the time.
    """
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reported = pool.submit(_report, read_history, total, done, judge, end)
        try:
            yield
        finally:
            done.set()
            reported.result()


def _report(
    read_history: Callable[[], list[Row]],
    total: int,
    done: threading.Event,
    judge: Callable[[Row], bool] | None,
    end: Callable[[], object] | None,
) -> None:
    shown = 0
    # below the bar of a job it is not left on the screen
    with tqdm(total=total, unit="it", leave=None, disable=not _draws(log)) as bar:
        while True:
            last_look = done.wait(INTERVAL)
            for row in read_history()[shown:]:
                shown += 1
                if bar.disable:
                    log.info("%s", describe(row))
                else:
                    bar.set_postfix_str(describe(row).partition(": ")[2])
                    bar.update(row["iteration"] - bar.n)
                if judge and judge(row):
                    judge = None
                    if end:
                        end()
            if last_look:
                return


def _draws(logger: logging.Logger) -> bool:
    """Whether bars take the place of the lines of `logger`."""
    return sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)


@dataclass(eq=False)
class Stage:
    """A stage at work. `outcome` is what its line says when it ends."""

    kind: str
    label: str
    counted: bool
    started: float
    outcome: str = DONE


class Progress:
    """The stages of a job: the one at work, their share, and the time left.

    A terminal shows one bar for the whole job. Elsewhere the log has one line per stage, when it ends:
    ``stage 3 of 5, split: done, 1.2 s; about 20 s left``. The time left is the mean time of each kind of
    stage so far. It is left out while a kind that is still to come was never measured.

    Parameters
    ----------
    planned : mapping
        Number of stages of each kind. A job without stages shows nothing.
    earlier : mapping
        Seconds of a stage of a kind in an earlier job, for kinds that this job has not measured yet.
    clock : callable
        The time in seconds.
    """

    def __init__(
        self,
        planned: Mapping[str, int] | None = None,
        earlier: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = dict(planned or {})
        self._earlier, self._clock = dict(earlier or {}), clock
        self._taken: dict[str, list[float]] = {}
        self._stack: list[Stage] = []
        self._turn = threading.RLock()
        self._begun = self._last_end = clock()

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show the bar on a terminal while the body runs."""
        if not _draws(stages_log):
            yield self
            return
        # not at the top: in a notebook without ipywidgets this import warns
        from tqdm.contrib.logging import logging_redirect_tqdm

        done = threading.Event()
        with (
            tqdm(total=1.0, dynamic_ncols=True, bar_format=_BAR) as bar,
            logging_redirect_tqdm(),
            ThreadPoolExecutor(1) as pool,
        ):
            drawn = pool.submit(self._draw, bar, done)
            try:
                yield self
            finally:
                done.set()
                drawn.result()

    @contextmanager
    def stage(self, kind: str, label: str | None = None) -> Iterator[Stage]:
        """A stage, while the body runs.

        One that is not planned, such as a fold, has no line: its label comes before those of the stages in
        it.
        """
        with self._turn:
            counted = self._left.get(kind, 0) > 0
            around = [each.label for each in self._stack if not each.counted] if counted else []
            stage = Stage(kind, ", ".join([*around, label or kind]), counted, self._clock())
            self._stack.append(stage)
        try:
            yield stage
        except BaseException:
            with self._turn:
                self._stack.remove(stage)
            raise
        self._end(stage)

    def unchanged(self) -> None:
        """Say of the stage at work that it had nothing to do."""
        if self._stack:
            self._stack[-1].outcome = UNCHANGED

    def expect(self, kind: str, count: int) -> None:
        """Change the number of stages of a kind that are still to end."""
        with self._turn:
            self._left[kind] = count

    @property
    def seconds(self) -> dict[str, float]:
        """The mean seconds of each kind of stage so far."""
        return {kind: sum(taken) / len(taken) for kind, taken in self._taken.items()}

    @property
    def seconds_left(self) -> float | None:
        """The seconds to the end of the job; None if they are not known."""
        with self._turn:
            known = self._earlier | self.seconds
            left = {kind: count for kind, count in self._left.items() if count}
            if not left.keys() <= known.keys():
                return None
            seconds = sum(count * known[kind] for kind, count in left.items())
            if working := next((each for each in reversed(self._stack) if each.counted), None):
                begun = max(working.started, self._last_end)
                seconds -= min(self._clock() - begun, known.get(working.kind, 0.0))
            return seconds

    def _end(self, stage: Stage) -> None:
        with self._turn:
            self._stack.remove(stage)
            if not stage.counted:
                return
            now = self._clock()
            # of stages side by side, the time that each adds to the job
            self._taken.setdefault(stage.kind, []).append(now - max(stage.started, self._last_end))
            self._last_end = now
            self._left[stage.kind] = max(0, self._left[stage.kind] - 1)
            ended, total = self._counts()
            left = self.seconds_left
        # a bar says that a stage is over, and not what came of it
        if stage.outcome not in (DONE, UNCHANGED) or not _draws(stages_log):
            rest = "" if ended == total or left is None else f"; about {in_words(left)} left"
            stages_log.info(
                "stage %d of %d, %s: %s, %.1f s%s",
                ended,
                total,
                stage.label,
                stage.outcome,
                now - stage.started,
                rest,
            )

    def _counts(self) -> tuple[int, int]:
        """The number of stages that have ended, and of all."""
        ended = sum(map(len, self._taken.values()))
        return ended, ended + sum(self._left.values())

    def _draw(self, bar: tqdm, done: threading.Event) -> None:
        """Draw the bar again and again, for its clock."""
        last = False
        while not last:
            last = done.wait(INTERVAL)
            with self._turn:
                (ended, total), left = self._counts(), self.seconds_left
                label = next((each.label for each in reversed(self._stack) if each.counted), None)
            spent = self._clock() - self._begun
            bar.n = spent / (spent + left) if left is not None and spent else ended / max(total, 1)
            bar.bar_format = _BAR + (f" < {tqdm.format_interval(left)}" if left else "")
            idle = "done" if ended == total else f"{ended} of {total} stages done"
            bar.set_description_str(f"stage {ended + 1} of {total}, {label}" if label else idle)


def in_words(seconds: float) -> str:
    """A time that is only roughly known.

    >>> in_words(19.6), in_words(200), in_words(9000)
    ('20 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
