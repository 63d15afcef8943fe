"""docs/configuration.md from the registry of jobs and the sections of a conf: ``python
docs/make_configuration.py`` (`make docs`), after any change of an option, a Param or the sections of a job.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recspark.cli.reference import as_toml, options_of
from recspark.config import Option, Section
from recspark.models.registry import KINDS
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.conf.sections import SECTIONS
from recspark.pipeline.jobs import JOBS

ROOT = Path(__file__).parents[1]

HEAD = """# Configuration
Written by `make docs` from the options in the code.

A conf file is TOML with one table per section. `--set SECTION.KEY=VALUE` sets one key on the command line and
goes before the file. Every key has a default or may stay unset, so a conf names only what differs. A key that
no section has, a value of the wrong type and a value that is not allowed end a job with exit code 2 and one
sentence that says what is allowed.

    recspark pipeline --conf-file my.toml --set data.source=ratings.csv
    recspark conf --model fm > my.toml      # a file to begin with: every key with its default
    recspark train --help                   # the keys that one job reads

A conf may hold sections that a job does not read: one file serves all jobs. Words are explained in
[notation](notation.md)."""
TABLE = """| key | type | default | allowed | meaning |
|---|---|---|---|---|"""


def document() -> str:
    """The whole page as Markdown."""
    return "\n\n".join([HEAD, jobs(), *(section(each) for each in SECTIONS)]) + "\n"


def jobs() -> str:
    """The sections that each job reads, by job."""
    rows = [f"| `recspark {name}` | {_links(job.sections) or 'none'} |" for name, job in JOBS.items()]
    shared = [each.name for each in SECTIONS if readers(each.name) == list(JOBS)]
    return (
        f"## Sections by job\nAll jobs also read {_links(shared)}.\n\n| job | sections |\n|---|---|\n"
        + "\n".join(rows)
    )


def readers(name: str) -> list[str]:
    """The jobs that read a section."""
    return [job for job, known in JOBS.items() if name in known.reads]


def section(cls: type[Section]) -> str:
    """A section: its purpose, the jobs that read it and its keys."""
    found = readers(cls.name)
    read_by = "all jobs" if found == list(JOBS) else ", ".join(f"`{job}`" for job in found)
    purpose = " ".join((cls.__doc__ or "").partition("\n\n")[0].replace("``", "`").split())
    head = f"## [{cls.name}]\n{purpose} Read by {read_by}.\n\n{table(cls.options)}"
    return "\n\n".join([head, *(model(kind) for kind in KINDS if cls is ModelSection)])


def model(kind: str) -> str:
    """The Params of one type of model."""
    params = {
        key: option for key, option in options_of(ModelSection, kind) if key not in ModelSection.options
    }
    estimator = KINDS[kind].estimator
    described = f"Params of [{estimator}](api.md#{estimator.lower()})."
    return f'### model.type = "{kind}"\n{described}\n\n{table(params)}'


def table(options: dict[str, Option]) -> str:
    """One row per key."""
    return "\n".join([TABLE, *(_row(key, option) for key, option in options.items())])


def _row(key: str, option: Option) -> str:
    allowed = "" if option.check is None else option.check.allowed
    default = "not set" if option.default is None else f"`{as_toml(option.default)}`"
    cells = (f"`{key}`", option.type_name.removeprefix("a "), default, allowed, option.doc)
    return "|" + "".join(f" {cell} |".replace("  ", " ") for cell in map(_escaped, cells))


def _escaped(cell: str) -> str:
    """A cell without a bar that would end it."""
    return cell.replace("|", r"\|")


def _links(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}](#{name})" for name in names)


if __name__ == "__main__":
    (ROOT / "docs/configuration.md").write_text(document(), "utf-8")
