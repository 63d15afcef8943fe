"""What is fuzzed: one small valid source of every format, made in place or cut out of the real archives."""

from __future__ import annotations

import csv
import datetime
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recspark.data.formats.movielens import ML_100K_GENRES
from recspark.data.generated.synthetic import SyntheticOptions, generate

#: lines of a real file that are taken
_LINES = 120


@dataclass(frozen=True)
class Sample:
    """The files of a source; `separators` names those that are damaged, `options` are those of ``[data]``."""

    name: str
    files: dict[str, bytes]
    separators: dict[str, bytes]
    options: dict[str, object] = field(default_factory=dict)


def made() -> list[Sample]:
    """Every format, from a few generated ratings."""
    tables = generate(SyntheticOptions(users=12, items=40, ratings=300, seed=5))
    users, items, ratings = (tables[name] for name in ("users", "items", "ratings"))
    rows = [(int(u), int(i), int(r), int(t)) for u, i, r, t in ratings.itertuples(index=False)]
    people = [tuple(row) for row in users.itertuples(index=False)]
    movies = [(i, f"{title} ({year})", genres) for i, title, year, genres in items.itertuples(index=False)]
    return [
        _ml_100k(rows, people, movies),
        _dat("ml-1m", rows, movies, users=people),
        _dat("ml-10m", rows, movies, tags=[(u, i, f"tag {t % 7}", t) for u, i, _, t in rows[:40]]),
        _latest(rows, movies),
        Sample(
            "csv",
            {"events.csv": _csv([("user_id", "item_id", "rating", "timestamp"), *rows])},
            {"events.csv": b","},
        ),
        Sample(
            "tsv without header, text ids",
            {"events.tsv": _joined("\t", [(f"u{u:03}", f"i-{i}", r, t) for u, i, r, t in rows])},
            {"events.tsv": b"\t"},
            {
                "separator": "\t",
                "header": False,
                "userColumn": "_c0",
                "itemColumn": "_c1",
                "ratingColumn": "_c2",
                "timestampColumn": "_c3",
            },
        ),
        Sample(
            "csv of a spreadsheet",
            {
                "events.csv": _joined(
                    ";", [("user_id", "item_id", "rating", "timestamp"), *_as_a_spreadsheet_writes(rows)]
                )
            },
            {"events.csv": b";"},
            {"separator": ";", "decimal": ","},
        ),
    ]


def _as_a_spreadsheet_writes(rows) -> Iterator[tuple]:
    """Decimal commas and ISO 8601."""
    for user, item, rating, timestamp in rows:
        yield (
            f"K{user}",
            item,
            f"{rating},5",
            datetime.datetime.fromtimestamp(timestamp, datetime.UTC).isoformat(" "),
        )


def real(folder: Path) -> Iterator[Sample]:
    """The first lines of the files of the real archives, as far as they are there."""
    kinds = {
        "ml-100k": {"u.data": b"\t", "u.item": b"|", "u.user": b"|"},
        "ml-1m": {"ratings.dat": b"::", "movies.dat": b"::", "users.dat": b"::"},
        "ml-latest-small": {"ratings.csv": b",", "movies.csv": b",", "tags.csv": b",", "links.csv": b","},
    }
    for name, separators in kinds.items():
        if (folder / f"{name}.zip").exists():
            with zipfile.ZipFile(folder / f"{name}.zip") as archive:
                files = {
                    file: b"".join(archive.open(f"{name}/{file}").readlines()[:_LINES]) for file in separators
                }
            yield Sample(f"real {name}", files, separators)


def _ml_100k(rows, people, movies) -> Sample:
    flags = [["1" if genre in genres else "0" for genre in ML_100K_GENRES] for _, _, genres in movies]
    items = [
        (i, title, "01-Jan-1995", "", "http://x", *flag)
        for (i, title, _), flag in zip(movies, flags, strict=True)
    ]
    files = {
        "u.data": _joined("\t", rows),
        "u.item": _joined("|", items, "latin-1"),
        "u.user": _joined(
            "|", [(user, age, gender, occupation, zip_) for user, gender, age, occupation, zip_ in people]
        ),
    }
    return Sample("ml-100k", files, {"u.data": b"\t", "u.item": b"|", "u.user": b"|"})


def _dat(name, rows, movies, users=(), tags=()) -> Sample:
    files = {
        "ratings.dat": _joined("::", rows),
        "movies.dat": _joined(
            "::",
            [(i, title, "|".join(genres)) for i, title, genres in movies],
            "latin-1" if users else "utf-8",
        ),
    }
    files |= {"users.dat": _joined("::", users)} if users else {}
    files |= {"tags.dat": _joined("::", tags)} if tags else {}
    return Sample(name, files, dict.fromkeys(files, b"::"))


def _latest(rows, movies) -> Sample:
    files = {
        "ratings.csv": _csv([("userId", "movieId", "rating", "timestamp"), *rows]),
        "movies.csv": _csv(
            [
                ("movieId", "title", "genres"),
                *((i, f"{title}, the", "|".join(genres)) for i, title, genres in movies),
            ]
        ),
        "tags.csv": _csv(
            [("userId", "movieId", "tag", "timestamp"), *((u, i, 'a "b", c', t) for u, i, _, t in rows[:30])]
        ),
        "links.csv": _csv(
            [
                ("movieId", "imdbId", "tmdbId"),
                *((i, f"{i:07}", 100 + i if i % 5 else "") for i, _, _ in movies),
            ]
        ),
    }
    return Sample("ml-latest", files, dict.fromkeys(files, b","))


def _joined(separator: str, rows, encoding: str = "utf-8") -> bytes:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode(encoding)


def _csv(rows) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
