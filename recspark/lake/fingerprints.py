"""Fingerprints: hashes of all that a product, or a fit, is made from."""

from __future__ import annotations

import hashlib
import json


def fingerprint(*parts: object) -> str:
    """A digest of everything that a product is made from.

    Equal inputs and options give equal fingerprints.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
