"""Parse a command line, run its job, print one line of JSON; every failure has its exit code."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import recspark
from recspark.config import read_conf
from recspark.engine.spark.jvm import separate_stderr
from recspark.errors import RecsparkError
from recspark.models.registry import KINDS
from recspark.pipeline.jobs import JOBS, function_of
from recspark.redaction import RedactingFormatter, redacted

if TYPE_CHECKING:
    from recspark.lake.lake import Lake
    from recspark.pipeline.conf.sections import Sections

log = logging.getLogger("recspark")


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
        if options.job == "conf":
            return _print_conf(options.model)
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
    parser = argparse.ArgumentParser(
        prog="recspark", description="A batch recommender pipeline on Apache Spark."
    )
    parser.add_argument("--version", action="version", version=f"recspark {recspark.__version__}")
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    for name, known in JOBS.items():
        job = jobs.add_parser(name, help=known.text, description=known.text, add_help=False)
        job.add_argument(
            "--help", "-h", action=_Help, help="show this, and all keys of a conf that the job reads"
        )
        job.add_argument(
            "--conf-file", help="TOML file with one table per section; recspark conf prints one to begin with"
        )
        job.add_argument(
            "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="overrides the conf file"
        )
        job.add_argument("--quiet", action="store_true", help="only warnings and errors on stderr")
        if name == "recommend":
            text = "show this user's list, write nothing"
            job.add_argument("--user", dest="set", action="append", metavar="ID", type=_one_user, help=text)
            text, explain = "with --user, say why each item is on the list", "recommend.explain=true"
            job.add_argument("--explain", dest="set", action="append_const", const=explain, help=text)
        if known.names:
            text = "models of the lake" if known.several else "a model of the lake"
            job.add_argument(
                "models",
                nargs="*" if known.several else "?",
                metavar="NAME",
                help=f"{text}; sets {known.names}",
            )
    text = "print a conf file to begin with: every key with its default"
    conf = jobs.add_parser("conf", help=text, description=text)
    conf.add_argument(
        "--model", default="als", choices=KINDS, metavar="TYPE", help=f"type of the model: {', '.join(KINDS)}"
    )
    conf.set_defaults(quiet=False)
    return parser


class _Help(argparse.Action):
    """The help of a job with the keys that it reads, which are only imported here."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from recspark.cli.reference import keys

        print(f"{parser.format_help()}\nkeys of --set and of a conf file:\n\n{keys(parser.prog.split()[-1])}")
        parser.exit()


def _print_conf(model: str) -> int:
    from recspark.cli.reference import starter

    print(starter(model), end="")
    return 0


def _one_user(user: str) -> str:
    """The setting that ``--user`` stands for; the quotes make the id a TOML string."""
    return f"recommend.user={json.dumps(user)}"


def _named_models(options: argparse.Namespace) -> list[str]:
    """The setting that names of models after a job stand for."""
    names = getattr(options, "models", None)
    return [f"{JOBS[options.job].names}={json.dumps(names)}"] if names else []


def _run(name: str, conf_file: str | None, overrides: Sequence[str]) -> Mapping[str, object]:
    # imported when a job runs: `recspark --help` and a mistake in the conf file don't wait for Spark
    conf = read_conf(conf_file, overrides)
    from recspark.cli.failures import explained
    from recspark.engine.spark.hadoop import require_storage
    from recspark.engine.spark.session import session
    from recspark.lake.lake import Lake
    from recspark.pipeline.conf.sections import validated
    from recspark.pipeline.context import Context
    from recspark.tracking import Tracker

    sections = validated(conf)
    if name == "warm":
        return function_of(name)(sections.spark)
    lake = Lake(sections.paths.lake, sections.paths.waitSeconds)
    tracker = Tracker(lake, sections.tracking)
    if name == "sync":
        return {"sent": tracker.sync(), "lake": lake.root}
    _require_input(name, sections, lake)
    with explained(lake), session(f"recspark {name}", sections.spark) as spark:
        require_storage(spark, lake.root)
        job = Context(sections, lake, tracker, spark, conf_file)
        summary = function_of(name)(job)
        return {"lake": lake.root, "run_id": job.run_id} | {
            key: _plain(value) for key, value in summary.items()
        }


def _require_input(name: str, sections: Sections, lake: Lake) -> None:
    """Raise InputMissing before Spark starts, and before any writing, if the input of a job is missing."""
    from recspark.data.formats.own_tables import OWN
    from recspark.data.sources.listing import require_source
    from recspark.lake.manifests import Manifest

    if not JOBS[name].begins and not lake.is_there:
        lake.require("tables", Manifest, "ingest")
    section = JOBS[name].source
    if section is None:
        return
    for option in ("source", *OWN):
        if source := getattr(getattr(sections, section), option, None):
            require_source(source, option)
    parts = sections.split.own_parts
    if section == "data" and parts and not sections.data.source:
        for part, place in parts.places.items():
            require_source(place, part)


def _plain(value: object) -> object:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
