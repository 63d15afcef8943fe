"""Files of a source that are not read: copies, so that no row is read twice, and files that are not data.

The log names each of them.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Container, Hashable, Iterable, Mapping

from recspark.data.sources.archive import Source
from recspark.data.sources.names import key_of_option, plain_name

log = logging.getLogger(__name__)

#: most names in one line of the log
_SHOWN = 20
#: a second download or copy of a file
_NUMBERED = re.compile(r"(.*?) ?\(\d+\)((?:\.\w+)*)")


def copies(source: Source, members: Iterable[str]) -> dict[str, str]:
    """The `members` of `source` that are copies, each with its original in the same folder.

    A copy is ``ratings (1).csv`` beside ``ratings.csv``, with any contents, or a file of the same bytes; so
    is a compressed file beside the same file unpacked. Only files of the same size or plain name are
    compared.
    """
    found: dict[str, str] = {}
    suspects: dict[tuple[str, object], list[str]] = defaultdict(list)
    members = sorted(members, key=lambda member: (len(member), member))
    for member in members:
        folder, slash, name = member.rpartition("/")
        numbered = _NUMBERED.fullmatch(name)
        if numbered and (original := f"{folder}{slash}{numbered[1]}{numbered[2]}") in members:
            found[member] = original
        else:
            suspects[folder, plain_name(name)].append(member)
            suspects[folder, source.size(member)].append(member)
    for group in suspects.values():
        firsts: dict[Hashable, str] = {}
        for member in group if len(group) > 1 else ():
            if member not in found and (first := firsts.setdefault(source.content(member), member)) != member:
                found[member] = first
    return found


def report_left_out(source: Source, dataset: str, read: Container[str], twins: Mapping[str, str]) -> None:
    """Name in the log every file of `source` that is not among those `read`, and how to read it."""
    if twins:
        found = (f"{copy} (of {original})" for copy, original in twins.items())
        log.warning(
            "%s: not read, as copies: %s; to read one, move it to a folder of its own inside the source",
            source.name,
            _some(found),
        )
    others = [member for member in source.members if member not in read and member not in twins]
    if others:
        advice = f"to read one, set {key_of_option(source.listing.option)} to it"
        log.warning("%s: not read, as not part of %s: %s; %s", source.name, dataset, _some(others), advice)
    if source.hidden:
        log.warning(
            "%s: not read, as hidden or leftovers by their names: %s; to read one, rename it",
            source.name,
            _some(source.hidden),
        )


def report_empty(source: Source, empty: Iterable[str]) -> None:
    """Name in the log the files of `source` that are skipped because they are empty."""
    log.warning("%s: skipped, as empty: %s", source.name, _some(empty))


def _some(names: Iterable[str]) -> str:
    """The first names, and the number of the others."""
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
