"""Progress of a fit: one line per iteration on the log, a bar on a terminal, and a judge that may end it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tqdm import tqdm

from recspark.engine.plan import Row

log = logging.getLogger("recspark.fit")

#: seconds between looks at the fit's folder
INTERVAL = 0.25


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
    with tqdm(
        total=total, unit="it", disable=not (sys.stderr.isatty() and log.isEnabledFor(logging.INFO))
    ) as bar:
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
