"""Removal of secrets from all that is printed, raised or kept.

There is one function for text, one for values, one for log lines.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

HIDDEN = "***"
_SECRET_PART = (
    r"(?:passw(?:or)?d|passphrase|secret|token|credential|signature|(?:access|api|account)[._-]?key)"
)
# a whole word with such a part; scanned once (lookahead, ++), as a long word must not cost its length squared
_SECRET = rf"(?<![\w.-])(?=-*(?:sig|pwd)(?![\w.-])|[\w.-]*?{_SECRET_PART})[\w.-]++"
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"""({_SECRET}["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&'"]+)""", re.IGNORECASE)
_SECRET_FLAG = re.compile(rf"(?=--)({_SECRET}\s+)(\S+)", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"""(\bauthorization["']?\s*[:=]\s*["']?\w+\s+)[^\s"']+""", re.IGNORECASE)
# up to the last @ before the path: passwords with an @ that should have been %40
_USER_IN_URI = re.compile(r"""(?<![\w+.-])([a-z][a-z0-9+.-]*+://)([^/?#\s"']*)@""", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` without passwords, tokens and keys.

    They are found in URIs, in ``name=value`` and ``name = "value"``, and after ``--name``.

    >>> redact("s3a://key:secret@bucket/ratings --set store.password=x")
    's3a://***@bucket/ratings --set store.password=***'
    """
    text = _USER_IN_URI.sub(_hide_user, text)
    text = _SECRET_VALUE.sub(rf"\1{HIDDEN}", text)
    text = _SECRET_FLAG.sub(rf"\1{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)


def redacted(value: object) -> object:
    """`value` with every text in it redacted; in mappings the values of secret names are hidden whole.

    >>> redacted({"source": "https://u:p@host/x.zip", "rank": 8, "apiKey": "abc"})
    {'source': 'https://***@host/x.zip', 'rank': 8, 'apiKey': '***'}
    """
    if isinstance(value, str):
        # a film may be called "The Secret: ...": a secret in a lone value is part of a URI or of an
        # assignment
        return redact(value) if "://" in value or "=" in value else value
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(item, str) and names_secret(str(key)) else redacted(item)
            for key, item in value.items()
        }
    return [redacted(item) for item in value] if isinstance(value, (list, tuple)) else value


def names_secret(name: str) -> bool:
    """Whether `name` is that of a password, a token or a key, for any value.

    >>> names_secret("store.secretKey"), names_secret("split.key")
    (True, False)
    """
    return _SECRET_NAME.search(name) is not None


def without_user(uri: str) -> str:
    """`uri` without the user and password before its host, for a reader with credentials of its own.

    >>> without_user("s3://key:secret@bucket/lake"), without_user("abfss://container@account.dfs.core.windows.net/lake")
    ('s3://bucket/lake', 'abfss://container@account.dfs.core.windows.net/lake')
    """
    return redact(uri).replace(f"{HIDDEN}@", "", 1)


class RedactingFormatter(logging.Formatter):
    """Log lines, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`, redacted whole."""
        return redact(super().format(record))


def _hide_user(match: re.Match[str]) -> str:
    # abfss://container@account/path has no secret: the part before @ is the container
    scheme, user = match.groups()
    return f"{scheme}{HIDDEN}@" if ":" in user or scheme.lower().startswith("http") else match.group()
