"""The lake: one root folder or URI that every job reads from and writes to.

A *product* is a folder that appears whole or not at all: it is written under ``.staging`` and renamed into place with
its ``manifest.json``, which names what it was made from (``fingerprint``). A reader asks for the manifest first.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recspark.config import Check
from recspark.data.folder import Folder
from recspark.errors import RecsparkError

#: what a product may be called
FILE_NAME = Check(lambda name: re.fullmatch(r"\w[\w.-]*", name) is not None, "of letters, digits, dots, hyphens and underscores")


class Lake(Folder):
    """Atomic publication of products under one root."""

    def manifest(self, product: str) -> dict[str, Any] | None:
        """The manifest of `product`, or None where it has not been published."""
        return self.read_json(f"{product}/manifest.json")

    def require(self, product: str, made_by: str) -> dict[str, Any]:
        """The manifest of `product`; an error that names the job to run first where there is none."""
        manifest = self.manifest(product)
        if manifest is None:
            raise RecsparkError(f"{self.path(product)} does not exist: run `recspark {made_by}` first")
        return manifest

    def is_current(self, product: str, fingerprint: str) -> bool:
        """Whether `product` was made from exactly this input, so that making it again would change nothing."""
        manifest = self.manifest(product)
        return manifest is not None and manifest.get("fingerprint") == fingerprint

    @contextmanager
    def publish(self, product: str, fingerprint: str) -> Iterator[Publication]:
        """Collect files in a staging folder; on success write the manifest and rename the folder to `product`."""
        publication = Publication(self, f".staging/{product.replace('/', '-')}-{uuid.uuid4().hex[:12]}")
        publication.manifest["fingerprint"] = fingerprint
        self.fs.create_dir(self.at(publication.product), recursive=True)
        try:
            yield publication
            publication.manifest["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.write_json(f"{publication.product}/manifest.json", publication.manifest)
            self._swap(publication.product, product)
        finally:
            self.delete(publication.product)

    def _swap(self, staged: str, product: str) -> None:
        old = f"{staged}-old"
        self.fs.create_dir(self.at(product).rpartition("/")[0], recursive=True)
        if self.exists(product):
            self.fs.move(self.at(product), self.at(old))
        self.fs.move(self.at(staged), self.at(product))
        self.delete(old)


class Publication:
    """A product being written: where its files go, and the manifest that will describe it."""

    def __init__(self, lake: Lake, product: str) -> None:
        self.lake = lake
        self.product = product
        self.manifest: dict[str, Any] = {}

    def path(self, name: str) -> str:
        """The full path or URI of a file or table inside the staged product, for Spark."""
        return self.lake.path(f"{self.product}/{name}")


def fingerprint(*parts: Any) -> str:
    """A digest of everything that a product is made from: equal inputs and options give equal fingerprints."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
