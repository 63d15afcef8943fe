"""The job `recommend`: the table in the lake, one user on the screen, filters, mistakes."""

import doctest
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.models.serving.scorer import Scorer
from recspark.pipeline.lists import recommend as recommend_module

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    """A lake with tables, a split and a model."""
    root = tmp_path_factory.mktemp("recommend")
    write_movielens(generate(SyntheticOptions(users=90, items=80, ratings=3000)), root / "ml-1m")
    settings = [
        f"data.source={root / 'ml-1m'}",
        "split.validationFraction=0.1",
        "model.rank=4",
        "model.maxIter=2",
        "model.biases=true",
    ]
    for job in ("ingest", "split", "train"):
        assert main([job, *words(root / "lake", *settings)]) == 0
    return root / "lake"


def words(lake, *settings):
    return [
        word
        for each in (f"paths.lake={lake}", "tracking.enabled=false", *settings)
        for word in ("--set", each)
    ]


@pytest.fixture
def call(command, lake):
    def run(*settings, user=None, tracked=False, more=()):
        settings = (f"paths.lake={lake}", f"tracking.enabled={str(tracked).lower()}", *settings)
        return command("recommend", *settings, *more, *(["--user", user] if user else []))

    return run


@pytest.fixture
def written(lake):
    return lambda: pd.read_parquet(lake / "recommendations" / "als" / "lists")


def rated(lake, *parts):
    tables = [pd.read_parquet(lake / "splits" / "default" / part) for part in parts]
    return set(pd.concat(tables)[["user_id", "item_id"]].itertuples(index=False, name=None))


def test_every_user_gets_a_list_of_what_is_new(call, lake, written):
    code, summary, _ = call(tracked=True)
    table = written()
    assert code == 0 and summary["job"] == "recommend" and summary["run_id"]
    assert summary["users"] == table["user_id"].nunique() == 90 and summary["rows"] == len(table)
    assert (summary["cold_users"], summary["users_without_list"]) == (0, 0)
    assert summary["items"] == table["item_id"].nunique()
    types = {"user_id": "int64", "rank": "int32", "item_id": "int64", "rating": "float32", "cold": "bool"}
    assert table.dtypes.astype(str).to_dict() == types
    assert (
        table.groupby("user_id")["rank"].agg(list).map(lambda ranks: sorted(ranks) == list(range(1, 11)))
    ).all()
    pairs = set(table[["user_id", "item_id"]].itertuples(index=False, name=None))
    assert not pairs & rated(lake, "train", "validation")
    # the test rows are what is to be found
    assert pairs & rated(lake, "test")
    scorer = Scorer.load(str(lake / "models" / "als"))
    np.testing.assert_allclose(
        table["rating"], scorer.predict(table["user_id"].to_numpy(), table["item_id"].to_numpy()), rtol=1e-5
    )

    again = call()[1]
    assert {key: again[key] for key in ("rows", "users", "items")} == {
        key: summary[key] for key in ("rows", "users", "items")
    }
    keys = ["user_id", "rank"]
    pd.testing.assert_frame_equal(
        written().sort_values(keys, ignore_index=True), table.sort_values(keys, ignore_index=True)
    )


def test_one_user_on_the_screen_is_the_user_s_rows_of_the_table(call, lake, written):
    call()
    before = json.loads((lake / "recommendations" / "als" / "manifest.json").read_text())
    code, summary, err = call("recommend.n=3", user="20")
    assert code == 0 and not summary["cold"] and summary["run_id"] is None
    assert json.loads((lake / "recommendations" / "als" / "manifest.json").read_text()) == before
    expected = written().query("user_id == 20 and rank <= 3").sort_values("rank")
    assert [entry["item_id"] for entry in summary["recommendations"]] == expected["item_id"].tolist()
    items = pd.read_parquet(lake / "tables" / "items").set_index("item_id")
    first = summary["recommendations"][0]
    assert first.keys() == {"rank", "item_id", "rating", "title", "year", "genres"}
    assert first["title"] == items["title"][first["item_id"]]
    assert f"{first['title']} ({first['year']})" in err and "rank  rating  item" in err


def test_a_list_says_why_each_item_is_on_it(call, lake):
    code, summary, err = call("recommend.n=3", user="20", more=["--explain"])
    assert code == 0
    items = pd.read_parquet(lake / "tables" / "items").set_index("item_id")
    train = pd.read_parquet(lake / "splits" / "default" / "train").query("user_id == 20")
    ratings = train.set_index("item_id")["rating"]
    for entry in summary["recommendations"]:
        reasons = entry["because"]
        assert 1 <= len(reasons) <= 3 and all(reason["value"] > 0 for reason in reasons)
        for reason in reasons:
            if reason["part"] == "rating":
                assert reason["rating"] == ratings[reason["item_id"]]
                assert reason["title"] == items["title"][reason["item_id"]]
                assert f"{reason['title']} ({reason['year']}), rated {reason['rating']:g}" in err
    assert any(
        reason["part"] == "rating" for entry in summary["recommendations"] for reason in entry["because"]
    )
    plain = call("recommend.n=3", user="20")[1]["recommendations"]
    assert [entry | {"because": 0} for entry in plain] == [
        entry | {"because": 0} for entry in summary["recommendations"]
    ]


def test_the_list_of_a_new_user_is_not_explained_and_says_so(call):
    code, summary, err = call("recommend.n=3", user="9999", more=["--explain"])
    assert code == 0 and not any("because" in entry for entry in summary["recommendations"])
    assert "the model knows nothing of a new user, so the list can't be explained" in err


def test_only_one_user_is_explained(call):
    code, _, err = call(more=["--explain"])
    assert code == 2 and "recommend.explain = true is not allowed without recommend.user" in err


def test_a_cold_user_is_marked(call, written):
    code, summary, err = call("recommend.n=4", user="9999")
    assert code == 0 and summary["cold"] and len(summary["recommendations"]) == 4
    assert "new user 9999" in err
    code, summary, _ = call("recommend.users=[20, 9999, 9998, 20]", "recommend.n=4")
    assert (summary["users"], summary["cold_users"], summary["rows"]) == (3, 2, 12)
    cold = written().query("cold")
    assert set(cold["user_id"]) == {9998, 9999}
    ratings = cold.sort_values(["user_id", "rank"])["rating"].to_numpy().reshape(2, 4)
    assert (np.diff(ratings) <= 0).all() and (ratings[0] == ratings[1]).all()


def test_filters_and_lists_of_ids(call, lake, written, tmp_path):
    items = pd.read_parquet(lake / "tables" / "items")
    genre = items["genres"].explode().mode()[0]
    years = items["year"].dropna()
    low, high = int(years.quantile(0.3)), int(years.quantile(0.9))
    fits = items[items["genres"].map(lambda genres: genre in genres) & items["year"].between(low, high)]
    pd.DataFrame({"user_id": [1, 2, 3]}).to_parquet(tmp_path / "users.parquet")
    blocked = int(fits["item_id"].iloc[0])
    filters = [f"recommend.genre={genre}", f"recommend.minYear={low}", f"recommend.maxYear={high}"]
    settings = [
        *filters,
        f"recommend.users={tmp_path}/users.parquet",
        f"recommend.blocked=[{blocked}]",
        "recommend.n=200",
    ]
    assert call(*settings, "recommend.excludeSeen=false")[0] == 0
    found = written().groupby("user_id")["item_id"].agg(set)
    known = set(Scorer.load(str(lake / "models" / "als")).items.ids.tolist())
    assert found.to_dict() == dict.fromkeys((1, 2, 3), (set(fits["item_id"]) & known) - {blocked})
    some = [
        *fits["item_id"].tolist()[1:4],
        items.loc[~items["item_id"].isin(fits["item_id"]), "item_id"].iloc[0].item(),
    ]
    assert call(*settings, "recommend.excludeSeen=false", f"recommend.candidates={some}")[0] == 0
    assert set(written()["item_id"]) <= set(some[:3])


def test_what_jobs_that_died_left_behind_is_not_read(call, lake, written):
    assert call("recommend.users=[1, 2, 3]")[0] == 0
    lists = written().sort_values(["user_id", "rank"], ignore_index=True)
    left = [lake / ".staging" / "models-als-0123456789ab" / "users", lake / "models" / "als" / "users"]
    for folder in left:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".part-00000.parquet.01234567").write_bytes(b"half a file")
    (lake / ".staging" / "models-als-0123456789ab" / "manifest.json").write_text("{")
    try:
        assert call("recommend.users=[1, 2, 3]")[0] == 0
        pd.testing.assert_frame_equal(written().sort_values(["user_id", "rank"], ignore_index=True), lists)
    finally:
        shutil.rmtree(lake / ".staging" / "models-als-0123456789ab")
        (left[1] / ".part-00000.parquet.01234567").unlink()


def test_lists_as_json(call, lake):
    code, summary, _ = call("recommend.format=json", "recommend.users=[1, 2]")
    files = list((lake / "recommendations" / "als" / "lists").glob("part-*.json"))
    table = pd.concat(pd.read_json(path, lines=True) for path in files)
    assert code == 0 and len(table) == summary["rows"] == 20
    assert list(table.columns) == ["user_id", "rank", "item_id", "rating", "cold"]


def test_lists_as_one_csv_file(call, lake, written):
    call()
    expected = written().sort_values(["user_id", "rank"], ignore_index=True)
    code, summary, _ = call("recommend.format=csv")
    folder = lake / "recommendations" / "als"
    assert code == 0 and sorted(path.name for path in folder.iterdir()) == ["lists.csv", "manifest.json"]
    table = pd.read_csv(folder / "lists.csv", dtype={"rating": "float32", "rank": "int32"})
    pd.testing.assert_frame_equal(table, expected)
    assert len(table) == summary["rows"]
    whole = (folder / "lists.csv").read_bytes()
    assert call("recommend.format=csv")[0] == 0 and (folder / "lists.csv").read_bytes() == whole


def test_a_csv_file_is_there_whole_or_not_at_all(call, lake, monkeypatch):
    call("recommend.format=csv", "recommend.n=3")
    path = lake / "recommendations" / "als" / "lists.csv"
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("recspark.lake.lake.Lake._swap", killed)
        assert call("recommend.format=csv", "recommend.n=5")[0] == 130
    assert path.read_bytes() == before and not list((lake / ".staging").glob("*"))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["recommend.n=0"], "recommend.n = 0 is not allowed: it must be a whole number, at least 1"),
        (
            ["recommend.users=3"],
            "recommend.users = 3 is not allowed: it must be a list, not empty, of whole numbers",
        ),
        (["recommend.users=[]"], "recommend.users = [] is not allowed"),
        (["recommend.users=['a']"], "ids of this model are whole numbers"),
        (
            ["recommend.user='two'"],
            "recommend.user = 'two' is not allowed: ids of this model are whole numbers",
        ),
        (
            ["recommend.genre=Commedy"],
            "recommend.genre = 'Commedy' is not allowed: it must leave an item of tables/items, whose",
        ),
        (["recommend.format=xml"], "recommend.format = 'xml' is not allowed"),
    ],
)
def test_mistakes_are_one_clear_line(call, settings, text):
    code, summary, err = call(*settings)
    assert (code, summary) == (2, None)
    assert text in err and "Traceback" not in err


@pytest.mark.parametrize("option", ["users", "candidates", "blocked"])
def test_ids_that_are_not_there_yet(call, option):
    code, _, err = call(f"recommend.{option}=/does/not/exist")
    assert (
        code == 5
        and f"the input is not there (yet): recommend.{option} = '/does/not/exist' does not exist" in err
    )


def test_nothing_left_to_recommend_is_said(call, lake):
    everything = pd.read_parquet(lake / "tables" / "items")["item_id"].tolist()
    code, _, err = call(f"recommend.blocked={everything}", user="20")
    assert code == 1 and "nothing is left to recommend to user 20" in err
    code, summary, _ = call(f"recommend.blocked={everything}", "recommend.users=[20, 21]")
    assert code == 0 and (summary["rows"], summary["users_without_list"]) == (0, 2)


def test_a_model_is_needed(call):
    code, _, err = call("model.name=other")
    assert code != 0 and "run `recspark train` first" in err


def test_docstrings():
    failed, attempted = doctest.testmod(recommend_module)
    assert attempted and not failed
