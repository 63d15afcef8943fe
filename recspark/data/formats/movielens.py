"""The MovieLens editions, and the Netflix prize: their files, the layout of the fields, and their rules.

Sources: the README of each archive at https://grouplens.org/datasets/movielens/, and that of the Netflix
prize's training set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recspark.data import schemas
from recspark.data.formats.encoding import AUTO
from recspark.data.formats.layout import Layout, arrow_schema
from recspark.data.formats.notation import Notation
from recspark.data.quality import YEAR_1990, Rules
from recspark.data.sources.names import plain_name
from recspark.errors import ConfigError

RATING = ("user_id", "item_id", "rating", "timestamp")
TAG = ("user_id", "item_id", "tag", "timestamp")

#: the flags that end a line of u.item, in order
ML_100K_GENRES = tuple(
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery "
    "Romance Sci-Fi Thriller War Western".split()
)
#: the occupation of each code of ML-1M, as its README names them
ML_1M_OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)
#: the texts for an item without a genre
NO_GENRES = ("", "unknown", "(no genres listed)")

LINKS = "item_id bigint, imdb_id string, tmdb_id bigint"
GIVEN_SPLITS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")

# no two adjacent repetitions match the same text: else a title of a million blanks would take a million times
# as long
_YEAR = re.compile(r"\((\d{4})\s*(?:[-\u2013]\s*(?:\d{4}\s*)?)?\)\s*(?:(\((?:V|TV|VG)\))\s*)?$")


@dataclass(frozen=True)
class Edition:
    """The files of an edition; those not in `optional` must be there. `rules` hold for its ratings and tags.

    A file is a pattern of names, as of a shell, or several with ``|`` between them. `downloaded`: GroupLens
    publishes it.
    """

    files: Mapping[str, Layout]
    rules: Rules
    optional: frozenset[str] = frozenset()
    downloaded: bool = True

    @property
    def needed(self) -> set[str]:
        """The files without which a source is not this edition."""
        return self.files.keys() - self.optional

    def match(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The `names` that match each of the files; files without a match are left out."""
        names = list(names)
        found = {
            file: [name for name in names if any(fnmatchcase(name, pattern) for pattern in file.split("|"))]
            for file in self.files
        }
        return {file: matches for file, matches in found.items() if matches}


def _ml_100k() -> Edition:
    def ratings(table: str) -> Layout:
        return Layout(table, schemas.RATINGS, RATING, separator="\t")

    given = {
        f"{split}.{suffix}": ratings(f"given/{split}/{part}")
        for split in GIVEN_SPLITS
        for suffix, part in (("base", "train"), ("test", "test"))
    }
    files = {
        "u.data": ratings("ratings"),
        "u.item": Layout(
            "items",
            schemas.ITEMS,
            ("item_id", "title", "", "", "", *ML_100K_GENRES),
            separator="|",
            encoding=AUTO,
        ),
        "u.user": Layout(
            "users", schemas.USERS, ("user_id", "age", "gender", "occupation", "zip"), separator="|"
        ),
    }
    return Edition(files | given, _rules(1, 1), optional=frozenset(given))


def _ml_1m() -> Edition:
    users = ("user_id", "gender", "age", "occupation_code", "zip")
    files = {
        "ratings.dat": Layout("ratings", schemas.RATINGS, RATING, separator="::"),
        "movies.dat": Layout(
            "items", schemas.ITEMS, ("item_id", "title", "genres"), separator="::", encoding=AUTO
        ),
        "users.dat": Layout("users", schemas.USERS, users, separator="::"),
    }
    return Edition(files, _rules(1, 1))


def _ml_10m() -> Edition:
    files = {
        "ratings.dat": Layout("ratings", schemas.RATINGS, RATING, separator="::"),
        "movies.dat": Layout("items", schemas.ITEMS, ("item_id", "title", "genres"), separator="::"),
        "tags.dat": Layout("tags", schemas.TAGS, TAG, separator="::"),
    }
    return Edition(files, _rules(0.5, 0.5), optional=frozenset({"tags.dat"}))


def _csv() -> Edition:
    renamed = {"userId": "user_id", "movieId": "item_id", "imdbId": "imdb_id", "tmdbId": "tmdb_id"}

    def table(name: str, schema: str, fields: str) -> Layout:
        rename = tuple((field, renamed.get(field, field)) for field in fields.split(","))
        return Layout(name, schema, rename=rename, quoted=True, header=True)

    files = {
        "ratings.csv": table("ratings", schemas.RATINGS, "userId,movieId,rating,timestamp"),
        "movies.csv": table("items", schemas.ITEMS, "movieId,title,genres"),
        "tags.csv": table("tags", schemas.TAGS, "userId,movieId,tag,timestamp"),
        "links.csv": table("links", LINKS, "movieId,imdbId,tmdbId"),
    }
    return Edition(files, _rules(0.5, 0.5), optional=frozenset({"tags.csv", "links.csv"}))


def _netflix() -> Edition:
    names = (("customer", "user_id"), ("movie", "item_id"), ("rating", "rating"), ("date", "timestamp"))
    fields = ("user_id", "rating", "timestamp")
    titles = ("item_id", "year", "title")
    files = {
        "combined_data_*.txt|mv_*.txt": Layout(
            "ratings", schemas.RATINGS, fields, names, heading="item_id", notation=Notation()
        ),
        "movie_titles.csv|movie_titles.txt": Layout(
            "items", schemas.ITEMS, titles, encoding=AUTO, rest=True, notation=Notation()
        ),
    }
    return Edition(files, _rules(1, 1), frozenset(["movie_titles.csv|movie_titles.txt"]), downloaded=False)


def _rules(low: float, step: float) -> Rules:
    return Rules(low, 5, step, time_min=YEAR_1990, required=("rating", "timestamp"))


EDITIONS: dict[str, Edition] = {
    "ml-100k": _ml_100k(),
    "ml-1m": _ml_1m(),
    "ml-10m": _ml_10m(),
    **dict.fromkeys(("ml-20m", "ml-25m", "ml-32m", "ml-latest", "ml-latest-small"), _csv()),
    "netflix": _netflix(),
}
#: one edition of each kind, in the order of the search: ML-1M is ML-10M with one more file
_LOOKS = ("ml-100k", "ml-1m", "ml-10m", "ml-latest", "netflix")


class NoDataFile(ConfigError):
    """None of the files of a source has the format that the conf asks for."""


def find_edition(
    members: Iterable[str], source: str, dataset: str | None = None
) -> tuple[str, dict[str, Layout]] | None:
    """The edition that `members` of `source` make up, with the layout of each member it reads.

    None if they make up none. ML-20M and all later editions look alike: the name of the folder or of the
    source tells them apart; if neither does, the edition is ``ml-latest``. A file may be compressed.
    `dataset` names the edition instead; then NoDataFile is raised if its files are missing.
    """
    folders: dict[str, dict[str, str]] = {}
    for member in sorted(members):
        path = PurePosixPath(member)
        folders.setdefault(str(path.parent), {}).setdefault(plain_name(path.name), member)
    for folder in sorted(folders, key=lambda name: (name.count("/"), name)):
        for name in (dataset,) if dataset else _LOOKS:
            edition, found = EDITIONS[name], folders[folder]
            matched = edition.match(found)
            if edition.needed <= matched.keys():
                named = name if dataset or name != "ml-latest" else _csv_edition(folder, source)
                return named, {
                    found[match]: edition.files[file]
                    for file, matches in matched.items()
                    for match in matches
                }
    if dataset:
        raise NoDataFile(
            f"data.dataset = {dataset!r} needs {', '.join(sorted(EDITIONS[dataset].needed))} in one folder "
            f"of {source}"
        )
    return None


def _csv_edition(folder: str, source: str) -> str:
    names = (PurePosixPath(folder).name, PurePosixPath(source.rstrip("/")).name.removesuffix(".zip"))
    return next((name for name in names if EDITIONS.get(name) is EDITIONS["ml-latest"]), "ml-latest")


def tidy(table: pa.Table, layout: Layout) -> pa.Table:
    """The columns of a file as in the published table; a column that the file lacks is null."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    if not layout.own:
        columns |= _separated(columns, layout.table, len(table))
    columns |= {name: pa.repeat(value, len(table)) for name, value in layout.constants}
    schema = arrow_schema(layout.schema)
    return pa.table(
        [_published(columns.get(field.name), field.type, len(table)) for field in schema], schema=schema
    )


def _separated(columns: Mapping[str, pa.ChunkedArray], table: str, n_rows: int) -> dict[str, pa.Array]:
    """Separate columns for values that MovieLens mixes: titles with years, genres, codes of occupations.

    MovieLens writes them into one field, or into one field per value.
    """
    found = {}
    if "title" in columns and "year" not in columns:
        found["title"], found["year"] = split_year(columns["title"].to_pylist())
    if table == "items":  # an edition without genres has empty lists
        found["genres"] = _genre_lists(columns, n_rows)
    if "occupation_code" in columns:
        names = {str(code): name for code, name in enumerate(ML_1M_OCCUPATIONS)}
        found["occupation"] = pa.array(
            [names.get(code, code) for code in columns["occupation_code"].to_pylist()]
        )
    return found


def split_year(titles: Iterable[str]) -> tuple[pa.Array, pa.Array]:
    """Titles without their year, and the years: the first year of "(2006-2007)", null without a year.

    The mark that IMDb puts behind the year stays in the title: "(V)" video, "(TV)", "(VG)" game.
    """
    names, years = [], []
    for title in titles:
        match = _YEAR.search(title)
        kind = f" {match[2]}" if match and match[2] else ""
        names.append(title[: match.start()].strip() + kind if match else title.strip())
        years.append(int(match[1]) if match else None)
    return pa.array(names, pa.string()), pa.array(years, pa.int32())


def _genre_lists(columns: Mapping[str, pa.ChunkedArray], n_rows: int) -> pa.Array:
    if "genres" in columns:
        lists = [text.strip().split("|") for text in columns["genres"].to_pylist()]
    else:
        lists = [[] for _ in range(n_rows)]
        for genre in (name for name in ML_100K_GENRES if name in columns):
            # not by Arrow's indices_nonzero, which crashes without rows
            for row in np.flatnonzero(pc.equal(columns[genre], "1").to_numpy()).tolist():
                lists[row].append(genre)
    return pa.array(
        [[genre for genre in genres if genre not in NO_GENRES] for genres in lists], pa.list_(pa.string())
    )


def _published(column: pa.ChunkedArray | None, type_: pa.DataType, n_rows: int) -> pa.ChunkedArray | pa.Array:
    if column is None:
        return pa.nulls(n_rows, type_)
    if type_ == pa.string():
        return pc.if_else(pc.equal(column, ""), None, column)
    return column.cast(type_)
