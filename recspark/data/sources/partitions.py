"""Hive partitions: columns in the folders of a path, as ``date=2024-05-01/country=DE/part.parquet``."""

from __future__ import annotations

from urllib.parse import unquote

#: the folder of rows whose value is missing
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def partition_values(path: str) -> tuple[tuple[str, str | None], ...]:
    """The columns in the folders of `path` with their values, percent-decoded; None if a value is missing.

    >>> partition_values("ratings/date=2024-05-01/city=S%C3%A3o%20Paulo/part.parquet")
    (('date', '2024-05-01'), ('city', 'São Paulo'))
    """
    pairs = (folder.partition("=") for folder in path.split("/")[:-1] if "=" in folder)
    return tuple(
        (unquote(name), None if value in (_MISSING, "") else unquote(value))
        for name, _, value in pairs
        if name
    )
