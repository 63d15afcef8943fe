"""The lake: one root folder or URI that every job reads from and writes to.

A *product* is a folder that appears whole or not at all: it is written under ``.staging`` and renamed into
place with its ``manifest.json``, which names its inputs by a hash (``fingerprint``). A reader asks for the
manifest first. An object store can't rename: there files are copied, the manifest last, so that a product
without one does not exist.

In a local lake one job at a time writes a product, and not while others read it (:mod:`recspark.lake.locks`).
An object store has no such locks: there a product is still whole, but if two jobs write it at once, the last
one stays.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from recspark.config import Check, shown
from recspark.errors import ConfigError, InputMissing
from recspark.lake.folder import Folder, check_no_pattern, locate
from recspark.lake.locks import hold
from recspark.lake.manifests import MANIFEST, AnyManifest, Manifest, content, parsed
from recspark.redaction import redacted

log = logging.getLogger(__name__)

#: allowed names of products; file systems take 255 bytes, of which the staging area needs some
FILE_NAME = Check(
    lambda name: re.fullmatch(r"\w[\w.-]*", name) is not None and len(name.encode()) <= 128,
    "of letters, digits, dots, hyphens and underscores, at most 128 bytes",
)
#: how long a job waits by default for another one that uses its output
WAIT_SECONDS = 3600

#: the output folder of each job, in the order in which a new lake needs them
_MAKERS = {"ingest": "tables", "split": "splits", "train": "models", "evaluate": "predictions"}

_STAGING = ".staging"
_LOCKS = ".locks"


class Lake(Folder):
    """Atomic publication of products under one root.

    `wait` is the number of seconds that a job waits for another one that uses its output.
    """

    def __init__(self, root: str, wait: float = WAIT_SECONDS) -> None:
        super().__init__(root)
        self.wait = wait
        if self.is_local:
            _check_root(root)

    def manifest(self, product: str, kind: type[AnyManifest]) -> AnyManifest | None:
        """The manifest of `product`, or None if it has not been published.

        Raises
        ------
        ConfigError
            If the name leads out of the lake.
        RecsparkError
            If the manifest is damaged: the message names the file and the field.
        """
        name = f"{_checked(product)}/{MANIFEST}"
        raw = self.read_json(name)
        return None if raw is None else parsed(raw, kind, self.path(name))

    def require(self, product: str, kind: type[AnyManifest], made_by: str) -> AnyManifest:
        """The manifest of `product`, which the job `made_by` makes.

        Raises
        ------
        InputMissing
            If it has not been published: the message names the job to run first.
        ConfigError, RecsparkError
            As :meth:`manifest`.
        """
        manifest = self.manifest(product, kind)
        if manifest is None:
            raise InputMissing(
                f"{self.path(product)} does not exist: run `recspark {self._first_job(made_by)}` first"
            )
        return manifest

    def _first_job(self, job: str) -> str:
        """`job`, or the first of the jobs before it whose output the lake lacks."""
        jobs = list(_MAKERS)
        before = jobs[: jobs.index(job)] if job in jobs else []
        return next((earlier for earlier in before if not self.exists(_MAKERS[earlier])), job)

    def is_current(self, product: str, fingerprint: str) -> bool:
        """Whether `product` was made from exactly this input, so that nothing would change."""
        manifest = self.manifest(product, Manifest)
        return manifest is not None and manifest.fingerprint == fingerprint

    @contextmanager
    def writing(self, product: str) -> Iterator[None]:
        """Keep other jobs from `product` while the body runs.

        Leftovers of a killed job are put in order first.

        Raises
        ------
        LakeBusy
            If another job writes or reads `product` for longer than this one may wait.
        """
        with self._held(product, exclusive=True) as fresh:
            if fresh:
                self._mend(product)
            yield

    @contextmanager
    def reading(self, *products: str) -> Iterator[None]:
        """Keep jobs that write one of `products` waiting while the body runs; errors as :meth:`writing`."""
        with ExitStack() as stack:
            for product in products:
                if not self.exists(_checked(product)):
                    # wait for a job that is making it, mend after one that was killed while it replaced it
                    with self.writing(product):
                        pass
                stack.enter_context(self._held(product, exclusive=False))
            yield

    @contextmanager
    def publish(self, product: str, fingerprint: str) -> Iterator[Publication]:
        """Collect files in a staging folder, then write the manifest and rename the folder to `product`.

        The body sets `Publication.manifest`, unless the product has no more facts than its fingerprint. If
        the body fails, nothing is published.
        """
        with self.writing(product), self.staged(product) as folder:
            publication = Publication(self, folder, Manifest(fingerprint=fingerprint))
            self.fs.create_dir(self.at(folder), recursive=True)
            yield publication
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            manifest = msgspec.structs.replace(publication.manifest, created=created)
            self.write_json(f"{folder}/{MANIFEST}", redacted(content(manifest)))
            self._swap(folder, product)

    @contextmanager
    def staged(self, product: str) -> Iterator[str]:
        """The name of a new folder, which no reader looks into, for files on their way to `product`.

        It is deleted when the body ends.
        """
        folder = f"{_STAGING}/{_slug(product)}-{uuid.uuid4().hex[:12]}"
        try:
            yield folder
        finally:
            self.delete(folder)

    @contextmanager
    def _held(self, product: str, exclusive: bool) -> Iterator[bool]:
        slug = _slug(_checked(product))
        if not self.is_local:
            yield False
            return
        with hold(Path(self.at(f"{_LOCKS}/{slug}")), self.path(product), exclusive, self.wait) as fresh:
            yield fresh

    def _mend(self, product: str) -> None:
        """Bring back folders that a killed job had moved away, and delete those that it had staged.

        Nobody else works on `product` now.
        """
        for name in self.names(_STAGING):
            if not re.fullmatch(rf"{re.escape(_slug(product))}-[0-9a-f]{{12}}(-old)?", name):
                continue
            if name.endswith("-old") and not self.exists(product):
                log.warning(
                    "%s: a run was killed while it replaced it; what was there before is there again",
                    self.path(product),
                )
                self.move(f"{_STAGING}/{name}", product)
            else:
                log.info("%s: what a killed run had staged is deleted", self.path(product))
                self.delete(f"{_STAGING}/{name}")

    def _swap(self, staged: str, product: str) -> None:
        if not self.renames:
            self._replace(staged, product)
            return
        self.replace(staged, product)

    def _replace(self, staged: str, product: str) -> None:
        """`_swap` on an object store.

        The old product loses its manifest before its files go; the new one gets its manifest as the last
        file.
        """
        manifest = f"{product}/{MANIFEST}"
        made = self.read_json(f"{staged}/{MANIFEST}")
        self.delete(f"{staged}/{MANIFEST}")
        self.delete(manifest)
        self.delete(product)
        self.copy(staged, product)
        self.write_json(manifest, made)


class Publication:
    """A product being written: the place of its files, and the manifest that will describe it."""

    def __init__(self, lake: Lake, product: str, manifest: Manifest) -> None:
        self.lake = lake
        self.product = product
        self.manifest = manifest

    def path(self, name: str) -> str:
        """The full path or URI of a file or table inside the staged product, for Spark."""
        return self.lake.path(f"{self.product}/{name}")


def _checked(product: str) -> str:
    """`product`. Raise ConfigError if a part of it is not a name, such as ``..``."""
    for part in product.split("/"):
        if not FILE_NAME.holds(part):
            raise ConfigError(
                f"{shown(product)} is not the name of a product of a lake: {shown(part)} must be "
                f"{FILE_NAME.allowed}"
            )
    return product


def _slug(product: str) -> str:
    return product.replace("/", "-")


def _check_root(root: str) -> None:
    """Raise ConfigError if a local `root` can't be that of a lake."""
    check_no_pattern("paths.lake", root)
    if Path(locate(root)[1]).is_file():
        raise ConfigError(f"paths.lake = {shown(root)} is a file: it must be a folder, or a URI of one")
