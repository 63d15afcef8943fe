"""Parse a command line, run its job, print one line of JSON; every failure has its exit code."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import recspark
from recspark.config import read_conf
from recspark.engine.jvm import separate_stderr
from recspark.errors import RecsparkError
from recspark.redaction import RedactingFormatter, redacted

if TYPE_CHECKING:
    from recspark.data.lake import Lake

log = logging.getLogger("recspark")

JOBS = {
    "ingest": "read MovieLens or other ratings into the lake's tables",
    "index": "give users and items dense positions",
    "split": "cut the ratings into train, validation and test",
    "audit": "prove that the features of a conf know nothing of the test rows",
    "train": "fit a model on a split's train rows",
    "evaluate": "measure a model on a split's test rows",
    "update": "take new ratings into a model without training it again",
    "recommend": "write the best items of users, or show those of one",
    "pipeline": "ingest, index, split, train and evaluate",
    "crossvalidate": "pipeline, for every fold of a split: means and deviations",
    "blend": "weigh several models into one, by their validation rows",
    "tune": "search the Params of a model by trials on the validation rows",
    "compare": "measure several models on the same test rows, and whether they differ by more than chance",
    "promote": "the gate: let a model be the champion where it is not worse",
    "rollback": "let the champion before serve again, with its lists",
    "curves": "draw the RMSE by epoch of several models in one figure",
    "demo": "the pipeline on generated data, several models side by side",
    "warm": "compile all kernels once, so that later calls need not wait",
    "sync": "send the runs that were kept while MLflow could not be reached",
}

#: where a user finds the keys of a conf file
OPTIONS = "All SECTION.KEY are listed in docs/api.md of the project, with their values and defaults."

#: jobs that take names of models as words
NAMING = ("blend", "compare", "curves")
#: jobs of the module stages; others are functions of a module of their own
STAGES = ("ingest", "index", "split", "train", "evaluate", "pipeline")
#: jobs that can begin with an empty lake, by the section that names their source; None: they need no source
BEGINNING = {"ingest": "data", "pipeline": "data", "crossvalidate": "data", "tune": "data", "demo": "data", "sync": None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job; returns its exit code.

    0 done, 1 unforeseen, 2 usage or conf, 3 data rejected, 4 gate not passed, 5 the input is not there (yet).
    """
    options = _parser().parse_args(arguments)
    # spark-submit sends both streams of a Python driver to stdout; stdout is for the summary alone
    separate_stderr()
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(RedactingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines], force=True)
    log.setLevel(logging.WARNING if options.quiet else logging.INFO)
    try:
        summary = _run(options.job, options.conf_file, [*options.set, *_named_models(options)])
    except RecsparkError as error:
        log.error("%s%s", error.headline, error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130
    except Exception:
        log.exception("%s failed", options.job)
        return 1
    print(json.dumps(redacted({"job": options.job, **summary}), default=str))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recspark", description="A batch recommender pipeline on Apache Spark.")
    parser.add_argument("--version", action="version", version=f"recspark {recspark.__version__}")
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    for name, text in JOBS.items():
        job = jobs.add_parser(name, help=text, description=text, epilog=OPTIONS)
        job.add_argument("--conf-file", help="TOML file with a table a section; see conf/")
        job.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="overrides the conf file")
        job.add_argument("--quiet", action="store_true", help="only warnings and errors on stderr")
        if name == "recommend":
            text = "show this user's list, write nothing"
            job.add_argument("--user", dest="set", action="append", metavar="ID", type=_one_user, help=text)
        if name in NAMING:
            job.add_argument("models", nargs="*", metavar="NAME", help="models of the lake")
    return parser


def _one_user(user: str) -> str:
    """What ``--user`` is short for; the quotes keep an id text, whatever TOML would make of it."""
    return f"recommend.user={json.dumps(user)}"


def _named_models(options: argparse.Namespace) -> list[str]:
    """What names after a job of `NAMING` are short for."""
    names = getattr(options, "models", None)
    return [f"{options.job}.models={json.dumps(names)}"] if names else []


def _run(name: str, conf_file: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    # imported when a job runs: `recspark --help` and a mistake in the conf file need not wait for Spark
    conf = read_conf(conf_file, overrides)
    from recspark.cli.context import Context, validated
    from recspark.cli.failures import explained
    from recspark.data.lake import Lake
    from recspark.engine.session import require_storage, session
    from recspark.tracking import Tracker

    sections = validated(conf)
    if name == "warm":
        return _job(name)(sections["spark"])
    lake = Lake(sections["paths"].lake, sections["paths"].waitSeconds)
    tracker = Tracker(lake, sections["tracking"])
    if name == "sync":
        return {"sent": tracker.sync(), "lake": lake.root}
    _require_input(name, sections, lake)
    with explained(lake), session(f"recspark {name}", sections["spark"]) as spark:
        require_storage(spark, lake.root)
        job = Context(sections, lake, tracker, spark, conf_file)
        summary = _job(name)(job)
        return {"lake": lake.root, "run_id": job.run_id} | {key: _plain(value) for key, value in summary.items()}


def _require_input(name: str, sections: dict[str, Any], lake: Lake) -> None:
    """InputMissing before Spark starts, and before anything is written, where the input of a job is seen to be missing."""
    from recspark.data.listing import require_source
    from recspark.data.own_tables import OWN

    if name not in BEGINNING and not lake.is_there:
        lake.require("tables", "ingest")
    section = (BEGINNING | {"update": "update"}).get(name)
    for option in ("source", *OWN) if section else ():
        if source := getattr(sections[section], option, None):
            require_source(source, option)


def _job(name: str) -> Callable[[Any], dict[str, Any]]:
    module = "stages" if name in STAGES else name
    return getattr(importlib.import_module(f"recspark.cli.{module}"), name)


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
