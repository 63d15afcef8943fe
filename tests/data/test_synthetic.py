"""Generated data: seeded, of MovieLens's shape, with a noise floor that is what it says."""

import json

import numpy as np
import pandas as pd
import pytest

from recspark.data.generated.long_tail import LEAST_RATINGS, draw_items, user_counts
from recspark.data.generated.planted import LEVELS, expected_rating, interaction, noise_floor, to_levels
from recspark.data.generated.synthetic import SyntheticOptions, generate, ratings_arrays, write_movielens
from recspark.errors import ConfigError

TABLES = ("ratings", "users", "items")


@pytest.fixture(scope="module")
def data():
    return generate(SyntheticOptions(users=1000, items=800, ratings=60_000))


def test_tables_are_consistent(data):
    ratings, users, items = (data[table] for table in TABLES)
    assert (len(ratings), len(users), len(items)) == (60_000, 1000, 800)
    assert not ratings.duplicated(["user_id", "item_id"]).any()
    assert set(ratings.user_id) == set(users.user_id) and set(ratings.item_id) == set(items.item_id)
    assert set(ratings.rating) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert users.zip.str.fullmatch(r"\d{5}").all() and users.zip.str.startswith("0").any()
    assert items.year.between(1920, 2000).all() and items.title.is_unique
    assert items.genres.map(len).between(1, 4).all()


def test_tables_have_the_schemas_of_the_lake(data):
    types = {table: data[table].dtypes.astype(str).to_dict() for table in TABLES}
    assert types["ratings"] == {
        "user_id": "int64",
        "item_id": "int64",
        "rating": "float32",
        "timestamp": "int64",
    }
    assert types["users"] == {
        "user_id": "int64",
        "gender": "object",
        "age": "int32",
        "occupation": "object",
        "zip": "object",
    }
    assert types["items"] == {"item_id": "int64", "title": "object", "year": "int32", "genres": "object"}


def test_shape_is_that_of_movielens(data):
    by_user, by_item = (data["ratings"][column].value_counts() for column in ("user_id", "item_id"))
    assert by_user.min() >= LEAST_RATINGS
    for counts in (by_user, by_item):
        assert counts.mean() > 1.3 * counts.median() and counts.max() > 6 * counts.mean()
    ratings = data["ratings"].rating
    assert 3.3 < ratings.mean() < 3.7 and 1.0 < ratings.std() < 1.2


def test_times_run_in_sessions_and_popularity_drifts(data):
    ratings = data["ratings"]
    gap = ratings.groupby("user_id").timestamp.diff().dropna()
    assert (gap >= 0).all() and 0.4 < (gap == 0).mean() < 0.6 and 0.005 < (gap > 86_400).mean() < 0.02
    steady = generate(SyntheticOptions(users=1000, items=800, ratings=60_000, drift=0.0))["ratings"]
    assert change_of_popularity(ratings) > 2 * change_of_popularity(steady)


def change_of_popularity(ratings):
    """One minus the correlation of the items' counts among the earliest and among the latest three tenths of
    the ratings.
    """
    early, late = ratings.timestamp.quantile([0.3, 0.7])
    counts = [
        ratings[rows].item_id.value_counts() for rows in (ratings.timestamp < early, ratings.timestamp > late)
    ]
    return 1 - counts[0].corr(counts[1])


def test_attributes_explain_ratings(data):
    """Men and women differ on a genre by more than chance would have it."""
    rows = data["ratings"].merge(data["users"]).merge(data["items"]).explode("genres")
    rows["left"] = rows.rating - rows.groupby("item_id").rating.transform("mean")
    cells = rows.groupby(["genres", "gender"]).left.agg(["mean", "sem"]).unstack()
    z = (cells["mean"].M - cells["mean"].F) / np.hypot(cells["sem"].M, cells["sem"].F)
    assert np.sqrt((z**2).mean()) > 2


def test_same_seed_same_tables_other_seed_others():
    small = {"users": 50, "items": 60, "ratings": 1200}
    first, again, other = (generate(SyntheticOptions(**small, seed=seed)) for seed in (1, 1, 2))
    for table in TABLES:
        pd.testing.assert_frame_equal(first[table], again[table])
    assert first["noise_floor"] == again["noise_floor"] and not first["ratings"].equals(other["ratings"])


@pytest.mark.parametrize("levels", LEVELS)
def test_expected_rating_is_the_mean_of_many_draws(levels):
    score = np.array([-1.0, 0.7, 2.5, 3.3, 4.75, 6.0])
    drawn = to_levels(score + 0.8 * np.random.default_rng(0).standard_normal((200_000, 1)), levels)
    np.testing.assert_allclose(
        expected_rating(score, 0.8, levels), drawn.mean(axis=0), atol=4 * 0.8 / np.sqrt(200_000)
    )


def test_levels_are_rounded_and_clipped():
    score = np.array([-3.0, 0.7, 0.8, 3.26, 3.6, 9.0])
    assert to_levels(score, "integer").tolist() == [1, 1, 1, 3, 4, 5]
    assert to_levels(score, "half").tolist() == [0.5, 0.5, 1, 3.5, 3.5, 5]


def test_noise_floor_beats_every_other_function_of_the_score():
    score = np.random.default_rng(1).normal(3.5, 0.7, 100_000)
    rating = to_levels(score + 0.8 * np.random.default_rng(2).standard_normal(score.size), "integer")
    floor = noise_floor(rating, score, 0.8, "integer")
    by_score = pd.Series(rating).groupby(pd.cut(score, 200), observed=True)
    assert floor == pytest.approx(np.sqrt((by_score.var() * by_score.size()).sum() / score.size), rel=2e-3)
    assert floor < np.sqrt(np.mean((rating - score) ** 2))


def test_floor_lies_under_what_biases_reach(data):
    """Alternating means, fitted on the very ratings that they are measured on, stay above the floor."""
    rows, left = data["ratings"], data["ratings"].rating - data["ratings"].rating.mean()
    for column in ("item_id", "user_id") * 5:
        left = left - left.groupby(rows[column]).transform("sum") / (
            5 + left.groupby(rows[column]).transform("size")
        )
    assert data["noise_floor"] + 0.04 < np.sqrt((left**2).mean()) < 1.0


@pytest.mark.parametrize(
    ("levels", "files"), [("integer", "movies ratings users"), ("half", "movies ratings tags")]
)
def test_files_follow_the_edition(tmp_path, levels, files):
    tables = generate(SyntheticOptions(users=30, items=400, ratings=1000, levels=levels))
    write_movielens(tables, tmp_path / "ml")
    encoding = "latin-1" if levels == "integer" else "utf-8"
    text = {path.name: path.read_text(encoding) for path in (tmp_path / "ml").iterdir()}
    assert set(text) == {f"{name}.dat" for name in files.split()} | {"truth.json"}
    ratings = [line.split("::") for line in text["ratings.dat"].splitlines()]
    assert [[float(cell) for cell in row] for row in ratings] == tables["ratings"].to_numpy().tolist()
    movies = [line.split("::") for line in text["movies.dat"].splitlines()]
    first = tables["items"].iloc[0]
    assert movies[0] == ["1", f"{first.title} ({first.year})", "|".join(first.genres)] and len(movies) == 400
    assert any("é" in title for _, title, _ in movies) and any('"' in title for _, title, _ in movies)
    if levels == "integer":
        assert text["users.dat"].splitlines()[2] == "::".join(map(str, tables["users"].iloc[2]))
        assert all(stars.isdigit() for _, _, stars, _ in ratings)
    assert json.loads(text["truth.json"])["noise_floor"] == tables["noise_floor"]


def test_arrays_have_the_shape_of_ml_10m_at_a_tenth():
    user, item, rating = ratings_arrays(6988, 1068, 400_000, seed=3)
    assert (user.dtype, item.dtype, rating.dtype) == (np.int32, np.int32, np.float32)
    assert len(np.unique(user.astype(np.int64) * 1068 + item)) == 400_000
    by_user, by_item = np.bincount(user, minlength=6988), np.bincount(item, minlength=1068)
    assert by_user.min() >= LEAST_RATINGS and by_item.min() >= 1
    assert by_user.max() > 8 * by_user.mean() and 0.3 < by_item.max() / 6988 < 0.8
    assert set(np.unique(rating)) == set(np.arange(1, 11) / 2)
    again = ratings_arrays(6988, 1068, 400_000, seed=3)
    assert all((first == second).all() for first, second in zip((user, item, rating), again, strict=True))
    assert (ratings_arrays(6988, 1068, 400_000, seed=4)[1] != item).any()


def test_planted_rank_is_in_the_arrays():
    """Without noise, the left-over of user and item means is the product of the planted factors, blurred by
    rounding only.
    """
    user, item, rating = ratings_arrays(300, 100, 15_000, seed=1, rank=2, noise=0.0)
    dense = np.full((300, 100), np.nan)
    dense[user, item] = rating
    filled = np.where(np.isnan(dense), np.nanmean(dense, axis=0), dense)
    for _ in range(15):
        u, s, v = np.linalg.svd(filled, full_matrices=False)
        filled = np.where(np.isnan(dense), (u[:, :4] * s[:4]) @ v[:4], dense)
    fitted = (u[:, :4] * s[:4]) @ v[:4]
    assert np.sqrt(np.nanmean((dense - fitted) ** 2)) < 0.2


@pytest.mark.parametrize("nnz", [400, 1999, 2640])
def test_counts_sum_exactly_and_keep_their_bounds(nnz):
    counts = user_counts(np.random.default_rng(0), 20, 200, nnz)
    assert counts.sum() == nnz and counts.min() >= 20 and counts.max() <= 132


def test_both_ways_to_draw_follow_one_law():
    """The 26 items of a user who takes 26 of 100 are raced, of one who takes 25 rejected: each item comes as
    often.
    """
    weights = np.random.default_rng(0).gamma(0.5, size=(1, 100)) + 0.01
    epoch, n = np.zeros(4000, int), 4000
    raced, rejected = (
        draw_items(np.full(n, size), weights, epoch, seed=5).reshape(n, size)[200:, :25] for size in (26, 25)
    )
    shares = [np.bincount(items.ravel(), minlength=100) / len(items) for items in (raced, rejected)]
    np.testing.assert_allclose(*shares, atol=5 * np.sqrt(0.5 / len(raced)))


def test_interaction_is_chunked_without_effect(monkeypatch):
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 5, (2, 100))
    p, q = rng.standard_normal((2, 5, 3)).astype(np.float32)
    monkeypatch.setattr("recspark.data.generated.planted._CHUNK", 7)
    np.testing.assert_allclose(
        interaction(user, item, p, q), (p[user] * q[item]).sum(axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("ratings", [999, 50 * 66 + 1])
def test_impossible_sizes_are_refused(ratings):
    with pytest.raises(
        ConfigError,
        match=f"{ratings} ratings of 100 items by 50 users are not possible: each user gives 20 to 66",
    ):
        generate(SyntheticOptions(users=50, items=100, ratings=ratings))
