"""The columns of every table in the lake, as DDL.

Ids are ``bigint`` for MovieLens, ``bigint`` or ``string`` for other data. Tables of users and items of one's
own have other columns than USERS and ITEMS: the id, then the columns of their files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: one row per rating; timestamp in seconds since 1970-01-01 UTC, null if the source has none
RATINGS = "user_id bigint, item_id bigint, rating float, timestamp bigint"
#: demographics as the edition gives them; zip is text, its leading zeros kept
USERS = "user_id bigint, gender string, age int, occupation string, zip string"
#: title without its year
ITEMS = "item_id bigint, title string, year int, genres array<string>, imdb_id string, tmdb_id bigint"
TAGS = "user_id bigint, item_id bigint, tag string, timestamp bigint"
#: every row that was not kept: its place (lines count from 1), the reason, and its text; a row of a table of
#: a catalog has the table's name as file, no line, and all that was read, its key first, as text
QUARANTINE = "table string, file string, line bigint, reason string, text string"
#: dense position of an id: 0-based, stable, with the number of ratings behind it
INDEX = "id bigint, position int, count bigint"

#: the parts of a split, from the earliest to the latest
PARTS = ("train", "validation", "test")
#: the column of the name of a part, while rows of several parts are in one table
PART = "part"
#: the words for a part in data of one's own, in any case
PART_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: a name, in backticks unless it is a plain word, and a type, which has no blanks
_COLUMN = re.compile(r"(?:`((?:[^`]|``)*)`|(\w+)) (\S+?)(?:, |$)")


def columns(ddl: str) -> dict[str, str]:
    """The type of each column of a table, by name.

    >>> columns("user_id bigint, `home, sweet home` string")
    {'user_id': 'bigint', 'home, sweet home': 'string'}
    """
    return {plain or quoted.replace("``", "`"): type_ for quoted, plain, type_ in _COLUMN.findall(ddl)}


def ddl(types: Mapping[str, str]) -> str:
    """The DDL of a table with these columns: the inverse of :func:`columns`."""
    return ", ".join(f"{_quoted(name)} {type_}" for name, type_ in types.items())


def with_types(table: str, types: Mapping[str, str]) -> str:
    """The DDL of `table` with other types for its columns that are in `types`.

    >>> with_types(TAGS, {"user_id": "string", "rating": "double"})
    'user_id string, item_id bigint, tag string, timestamp bigint'
    """
    return ddl({name: types.get(name, type_) for name, type_ in columns(table).items()})


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"
