"""Reference of the conf, made from the options.

It has the keys of a job for its ``--help``, and a conf file to begin with.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from recspark.config import Option, Section
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.conf.sections import SECTIONS
from recspark.pipeline.jobs import JOBS

#: most columns of a line
WIDTH = 110
#: sections of a conf to begin with, in the order of the flow
_STARTER = ("paths", "data", "split", "features", "model", "evaluation", "recommend", "tracking")
#: keys that are set in a conf to begin with
_SET = {"paths.lake": "lake", "data.source": "ratings.csv"}
#: groups of features for models that need them
_GROUPS = ["user", "item"]


def keys(job: str, model: str = "als") -> str:
    """All keys that a job reads, by section: type, default, allowed values and purpose."""
    parts = []
    for section in _sections(JOBS[job].reads):
        of_others = (
            f"  of model.type = {model}; of others: recspark conf --model TYPE"
            if section is ModelSection
            else ""
        )
        lines = [f"[{section.name}]{of_others}"]
        for key, option in options_of(section, model):
            lines += _wrapped(
                f"{section.name}.{key}",
                f"{option.doc} ({option.allowed}; default {as_toml(option.default) or 'not set'})",
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def starter(model: str) -> str:
    """A conf file to begin with, for models of one type.

    It has every key with its default, as a comment if it need not be set.
    """
    head = [
        f"# A conf for recspark pipeline, with a model of type {model}. A line that begins with # key = "
        "shows a default.",
        "#   recspark pipeline --conf-file my.toml --set data.source=ratings.csv --set paths.lake=lake",
    ]
    parts = ["\n".join(head)]
    for section in _sections(_STARTER):
        lines = [f"[{section.name}]"]
        for key, option in options_of(section, model):
            name = f"{section.name}.{key}"
            chosen = {
                **_SET,
                "model.type": model,
                "features.groups": _GROUPS if _needs_groups(model) else None,
            }.get(name)
            lines += [f"# {line}" for line in textwrap.wrap(f"{option.doc} ({option.allowed})", WIDTH - 2)]
            lines.append(
                f"{key} = {as_toml(chosen)}"
                if chosen is not None
                else f"# {key} = {as_toml(option.default) or ''}".rstrip()
            )
            lines.append("")
        parts.append("\n".join(lines).rstrip())
    return "\n\n".join(parts) + "\n"


def _sections(names: tuple[str, ...]) -> list[type[Section]]:
    found = {section.name: section for section in SECTIONS}
    return [found[name] for name in names]


def options_of(section: type[Section], model: str = "als") -> Iterator[tuple[str, Option]]:
    """The keys of a section, each with its option; those of [model] for models of the type `model`."""
    yield from section.options.items()
    if section is ModelSection:
        yield from ((name, param.option) for name, param in ModelSection(type=model).known.items())


def _needs_groups(model: str) -> bool:
    return "groups" in ModelSection(type=model).estimator.hyperparameters()


def as_toml(value: object) -> str:
    """A value as TOML writes it; empty if it is not set."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _wrapped(name: str, text: str) -> list[str]:
    return [f"  {name}", *textwrap.wrap(text, WIDTH, initial_indent="      ", subsequent_indent="      ")]
