"""Editions: which files make which, and what becomes of their fields."""

import time
from dataclasses import replace

import pytest

from recspark.data.formats.layout import arrow_schema
from recspark.data.formats.movielens import (
    EDITIONS,
    ML_1M_OCCUPATIONS,
    ML_100K_GENRES,
    find_edition,
    split_year,
    tidy,
)
from recspark.data.formats.rows import read_exact
from recspark.errors import ConfigError

ML_100K = ["u.data", "u.item", "u.user"]
ML_1M = ["ratings.dat", "movies.dat", "users.dat"]
CSV = ["ratings.csv", "movies.csv"]


def published(dataset, file, *lines):
    """The rows of the published table that some lines of one file of an edition give."""
    layout = EDITIONS[dataset].files[file]
    encoding = "latin-1" if layout.encoding == "auto" else layout.encoding
    layout = replace(
        layout, names=layout.names or tuple(name for _, name in layout.rename), encoding=encoding
    )
    body = "\r\n".join(lines).encode(layout.encoding)
    rows = read_exact(body, layout)
    assert not rows.broken and not rows.unparsable.any()
    table = tidy(rows.table, layout)
    assert table.schema == arrow_schema(layout.schema)
    return table.to_pylist()


def flags(*genres):
    return "|".join("1" if genre in genres else "0" for genre in ML_100K_GENRES)


def test_ml_100k_items_have_genres_from_flags_and_the_year_out_of_the_title():
    rows = published(
        "ml-100k",
        "u.item",
        f'1|Café "Noir": A Tale (1995)|01-Jan-1995||http://x|{flags("Animation", "Western")}',
        f"267|unknown||||{flags('unknown')}",
    )
    assert rows[0] == {
        "item_id": 1,
        "title": 'Café "Noir": A Tale',
        "year": 1995,
        "genres": ["Animation", "Western"],
        "imdb_id": None,
        "tmdb_id": None,
    }
    assert (rows[1]["title"], rows[1]["year"], rows[1]["genres"]) == ("unknown", None, [])


def test_users_keep_the_leading_zeros_of_their_zip():
    assert published("ml-100k", "u.user", "7|57|M|administrator|01002") == [
        {"user_id": 7, "gender": "M", "age": 57, "occupation": "administrator", "zip": "01002"}
    ]


def test_ml_1m_users_have_the_names_of_their_occupations():
    rows = published("ml-1m", "users.dat", "1::F::1::10::00231", "2::M::56::0::98107-2117", "3::M::25::20::1")
    assert [row["occupation"] for row in rows] == ["K-12 student", "other", "writer"]
    assert [row["age"] for row in rows] == [1, 56, 25]
    assert [row["zip"] for row in rows] == ["00231", "98107-2117", "1"]
    assert len(ML_1M_OCCUPATIONS) == 21


def test_ml_1m_movies_are_latin_1_and_ml_10m_movies_utf_8_with_literal_quotes():
    assert (
        published("ml-1m", "movies.dat", "73::Misérables, Les (1995)::Drama|Musical")[0]["title"]
        == "Misérables, Les"
    )
    cats = published("ml-10m", "movies.dat", '51372::"Great Performances" Cats (1998)::Musical')[0]
    assert (cats["title"], cats["year"], cats["genres"]) == ('"Great Performances" Cats', 1998, ["Musical"])


def test_csv_items_and_links():
    rows = published(
        "ml-latest-small",
        "movies.csv",
        '1,"Nut Job, The: ""Surly"" (2014)",Animation|Children',
        "2,Cosmos,(no genres listed)",
        "3,Babylon 5,Sci-Fi",
    )
    assert [(row["title"], row["year"], row["genres"]) for row in rows] == [
        ('Nut Job, The: "Surly"', 2014, ["Animation", "Children"]),
        ("Cosmos", None, []),
        ("Babylon 5", None, ["Sci-Fi"]),
    ]
    assert published("ml-latest-small", "links.csv", "1,0114709,862", "2,0113497,") == [
        {"item_id": 1, "imdb_id": "0114709", "tmdb_id": 862},
        {"item_id": 2, "imdb_id": "0113497", "tmdb_id": None},
    ]


@pytest.mark.parametrize(
    ("title", "name", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Runaway Brain (1995) ", "Runaway Brain", 1995),
        ("Babylon 5", "Babylon 5", None),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)", 1995),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Death Note: Desu n\u00f4to (2006\u20132007)", "Death Note: Desu n\u00f4to", 2006),
        ("Big Bang Theory, The (2007-)", "Big Bang Theory, The", 2007),
        ("Land Before Time III (1995) (V)", "Land Before Time III (V)", 1995),
        ("1984", "1984", None),
        ("", "", None),
    ],
)
def test_the_year_leaves_the_title(title, name, year):
    names, years = split_year([title])
    assert (names.to_pylist(), years.to_pylist()) == ([name], [year])


@pytest.mark.parametrize(
    "title", [" " * 10**6, "(1999" + " " * 10**6, "(1999)" + " " * 10**6 + "x", "(" * 10**6, "(1999-" * 10**5]
)
def test_a_title_of_a_million_characters_takes_no_longer_than_others(title):
    started = time.perf_counter()
    split_year([title])
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("members", "source", "edition"),
    [
        ([f"ml-100k/{name}" for name in ML_100K], "a.zip", "ml-100k"),
        ([f"ml-1m/{name}" for name in ML_1M], "a.zip", "ml-1m"),
        ([f"ml-10M100K/{name}" for name in ("ratings.dat", "movies.dat", "tags.dat")], "a.zip", "ml-10m"),
        ([f"ml-20m/{name}" for name in CSV], "a.zip", "ml-20m"),
        (CSV, "/data/ml-25m.zip", "ml-25m"),
        (CSV, "s3://bucket/ml-32m/", "ml-32m"),
        (CSV, "/data/anything", "ml-latest"),
    ],
)
def test_the_files_of_a_source_tell_its_edition(members, source, edition):
    name, layouts = find_edition(["README", *members], source)
    assert name == edition
    assert layouts.keys() == set(members)


def test_given_splits_are_read_where_they_are():
    _, layouts = find_edition(["x/u1.base", "x/u1.test", *(f"x/{name}" for name in ML_100K)], "x")
    assert layouts["x/u1.base"].table == "given/u1/train"
    assert layouts["x/u1.test"].table == "given/u1/test"


def test_an_edition_can_be_named_and_then_must_be_whole():
    assert find_edition(ML_1M, "x", "ml-10m")[0] == "ml-10m"
    assert find_edition(["a.csv", "u.data"], "x") is None
    with pytest.raises(ConfigError, match="'ml-100k' needs u.data, u.item, u.user in one folder of x"):
        find_edition(["u.data", "other/u.item", "u.user"], "x", "ml-100k")
