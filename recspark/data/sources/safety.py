"""Checks of safe input: members of archives and links stay in their folder, and sizes within limits."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from recspark.config import shown
from recspark.data.quality import QualityOptions
from recspark.data.sources.names import is_data
from recspark.errors import DataRejected

#: an archive that expands to fewer bytes is not a bomb, at any ratio
_HARMLESS = 64 << 20


def check_members(source: str, members: Iterable[zipfile.ZipInfo]) -> None:
    """Raise DataRejected for a member that could be written outside its folder.

    Also for one that is not a plain file or folder, and for a name that occurs twice, even once as a file and
    once as a folder.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for info in members:
        problem = _problem(info) or ("comes twice" if info.filename in files else None)
        if problem:
            raise DataRejected(f"{source}: member {shown(info.filename)} {problem}; the archive is refused")
        if not info.is_dir():
            files.add(info.filename)
        folders.update(map(str, PurePosixPath(info.filename).parents))
    if both := sorted(files & folders):
        raise DataRejected(
            f"{source}: member {shown(both[0])} is a file and a folder; the archive is refused"
        )


def check_expansion(source: str, packed: int, expanded: int, limits: QualityOptions) -> None:
    """Raise DataRejected if `packed` bytes that expand to `expanded`, or more, are beyond `limits`."""
    if expanded > limits.maxExpandedBytes:
        limit = f"quality.maxExpandedBytes = {limits.maxExpandedBytes}"
        raise DataRejected(f"{source} expands to {expanded} bytes or more, more than {limit} allows")
    if expanded > max(limits.maxExpansionRatio * packed, _HARMLESS):
        limit = f"quality.maxExpansionRatio = {limits.maxExpansionRatio:g}"
        raise DataRejected(
            f"{source} expands from {packed} to {expanded} bytes or more, more than {limit} allows"
        )


def _problem(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename.replace("\\", "/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or name[1:2] == ":" or "\0" in name:
        return "has an absolute path or an impossible name"
    if ".." in name.split("/"):
        return "leads out of its folder by '..'"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if info.flag_bits & 1:
        return "is encrypted"
    return None


def check_links(source: str, folder: Path) -> None:
    """Raise DataRejected for a link in `folder` that does not lead to a file in it.

    It could show any file of the machine.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for link in (path for name in (*folders, *files) if (path := Path(place, name)).is_symlink()):
            target = link.resolve()
            if is_data(str(link.relative_to(root))) and not (
                target.is_file() and target.is_relative_to(root)
            ):
                raise DataRejected(
                    f"{source}: {link.relative_to(root)} is a link to {target}: it must lead to a file in "
                    "the same folder"
                )
