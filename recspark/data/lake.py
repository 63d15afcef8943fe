"""The lake: one root folder or URI that every job reads from and writes to.

A *product* is a folder that appears whole or not at all: it is written under ``.staging`` and renamed into place with
its ``manifest.json``, which names what it was made from (``fingerprint``). A reader asks for the manifest first.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from recspark.errors import RecsparkError


class Lake:
    """Paths and atomic publication under one root (a local path or any URI that ``pyarrow.fs`` knows)."""

    def __init__(self, root: str) -> None:
        if "://" not in root:
            root = str(Path(root).expanduser().absolute())
        self.root = root.rstrip("/")
        self.fs, self._base = pafs.FileSystem.from_uri(self.root)

    def path(self, product: str) -> str:
        """The full path or URI of `product`, for Spark."""
        return f"{self.root}/{product}"

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
        self.fs.create_dir(self._at(publication.product), recursive=True)
        try:
            yield publication
            publication.manifest["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.write_json(f"{publication.product}/manifest.json", publication.manifest)
            self._swap(publication.product, product)
        finally:
            self.delete(publication.product)

    def _swap(self, staged: str, product: str) -> None:
        old = f"{staged}-old"
        self.fs.create_dir(self._at(product).rpartition("/")[0], recursive=True)
        if self.exists(product):
            self.fs.move(self._at(product), self._at(old))
        self.fs.move(self._at(staged), self._at(product))
        self.delete(old)

    def exists(self, name: str) -> bool:
        return self.fs.get_file_info(self._at(name)).type != pafs.FileType.NotFound

    def delete(self, name: str) -> None:
        if self.exists(name):
            self.fs.delete_dir(self._at(name))

    def read_json(self, name: str) -> dict[str, Any] | None:
        try:
            with self.fs.open_input_stream(self._at(name)) as stream:
                return json.loads(stream.read())
        except FileNotFoundError:
            return None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a small JSON file whole: under another name first, then renamed."""
        target = self._at(name)
        self.fs.create_dir(target.rpartition("/")[0], recursive=True)
        part = f"{target}.{uuid.uuid4().hex[:8]}.part"
        with self.fs.open_output_stream(part) as stream:
            stream.write(json.dumps(content, indent=2, sort_keys=True, default=str).encode())
        self.fs.move(part, target)

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}"


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
