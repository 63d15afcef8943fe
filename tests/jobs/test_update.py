"""The job `update` on a lake: new users, a file of new ratings, twice the same, versions, what is refused."""

import shutil

import numpy as np
import pandas as pd
import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.lake.lake import Lake
from recspark.models.serving.scorer import Scorer

pytestmark = pytest.mark.slow


@pytest.fixture
def call(command):
    return lambda job, lake, *settings: command(
        job, f"paths.lake={lake}", "tracking.enabled=false", *settings
    )


@pytest.fixture(scope="module")
def trained(spark, tmp_path_factory):
    """A lake with a model that was trained without a fifth of the users."""
    folder = tmp_path_factory.mktemp("update")
    write_movielens(generate(SyntheticOptions(users=150, items=80, ratings=5000)), folder / "ml-1m")
    settings = [
        f"paths.lake={folder / 'lake'}",
        "tracking.enabled=false",
        f"data.source={folder / 'ml-1m'}",
        "split.kind=new_users",
    ]
    settings += [
        "split.testFraction=0.2",
        "model.rank=3",
        "model.maxIter=8",
        "model.center=true",
        "model.biases=true",
    ]
    for job in ("ingest", "index", "split", "train"):
        assert main([job, *(word for setting in settings for word in ("--set", setting))]) == 0
    return folder / "lake"


@pytest.fixture
def lake(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "lake")
    return Lake(str(tmp_path / "lake"))


def table(lake, name):
    return pd.read_parquet(lake.path(name))


def rmse(lake):
    test = table(lake, "splits/default/test")
    predicted = Scorer.load(lake.path("models/als")).predict(test.user_id.to_numpy(), test.item_id.to_numpy())
    return np.sqrt(np.mean((predicted - test.rating) ** 2))


def write_csv(path, rows, header="user_id,item_id,rating,timestamp"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return f"update.source={path}"


def test_new_users_of_the_split(call, lake):
    before, old = table(lake, "models/als/users"), lake.read_json("models/als/manifest.json")
    cold = rmse(lake)
    code, summary, _ = call("update", lake.root)
    assert code == 0
    split = table(lake, "splits/default/update")
    assert (summary["ratings"], summary["new_users"], summary["updated_users"]) == (
        len(split),
        split.user_id.nunique(),
        0,
    )
    assert (
        summary["version"] == 2
        and summary["seconds"] > 0
        and summary["quarantined"] == 0
        and not summary["unchanged"]
    )
    # old rows stay where and what they are, new ones follow in ascending order
    after = table(lake, "models/als/users")
    kept = after[: len(before)]
    assert kept["id"].equals(before["id"]) and kept["count"].equals(before["count"])
    assert np.array_equal(np.stack(kept.features), np.stack(before.features))
    assert after["id"][len(before) :].tolist() == sorted(split.user_id.unique())
    # their ratings were in the tables: the index has them
    assert (
        lake.read_json("index/manifest.json")["ratings"]
        == lake.read_json("tables/manifest.json")["tables"]["ratings"]["rows"]
    )
    assert rmse(lake) < cold - 0.01
    assert lake.read_json("models/als-v1/manifest.json")["fingerprint"] == old["fingerprint"]
    assert table(lake, "models/als-v1/users").shape == before.shape
    assert (
        lake.read_json("models/als/manifest.json")["previous"] == "models/als-v1"
        and lake.read_json("models/als/manifest.json")["history"] == old["history"]
    )

    code, again, err = call("update", lake.root)
    assert (code, again["unchanged"], again["version"], again["new_users"]) == (
        0,
        True,
        2,
        0,
    ) and "nothing to do" in err
    assert table(lake, "models/als/users").shape == after.shape and lake.names("models") == ["als", "als-v1"]


def test_a_file_with_new_and_known_users_and_items_and_bad_rows(call, lake, tmp_path):
    train = table(lake, "splits/default/train")
    known, [item, other] = train.user_id.value_counts().index[0], train.item_id.unique()[:2]
    rated = train[train.user_id == known].item_id.iloc[0]
    index = {side: table(lake, f"index/{side}").sort_values("position") for side in ("users", "items")}
    rows = [(known, 9001, 5), (known, rated, 1), (9002, item, 4), (9001, 9001, 3), (9001, other, 2)]
    rows = [(*row, 978300760 + second) for second, row in enumerate(rows)]
    bad = [(9003, item, 7, 978300760), (9003, item, "x", 978300760), ("", item, 3, 978300760)]
    source = write_csv(tmp_path / "new.csv", rows + bad)
    code, _, err = call("update", lake.root, source)
    assert (
        code == 3
        and "more than quality.maxBadFraction = 0.01 allows" in err
        and lake.names("models") == ["als"]
    )
    code, summary, _ = call("update", lake.root, source, "quality.maxBadFraction=0.5")
    assert code == 0
    assert {key: summary[key] for key in ("ratings", "read", "quarantined")} == {
        "ratings": 5,
        "read": 8,
        "quarantined": 3,
    }
    assert [summary[f"{what}_{side}"] for side in ("users", "items") for what in ("new", "updated")] == [
        2,
        1,
        1,
        0,
    ]
    assert sorted(table(lake, f"{summary['batch']}/quarantine").reason) == [
        "null_id",
        "rating_range",
        "unparsable",
    ]
    ids = {side: table(lake, f"models/als/{side}")["id"].tolist() for side in ("users", "items")}
    assert ids["items"][-1] == 9001 and ids["users"][-2:] == [9001, 9002]
    # one pair is new for the known user, the other replaces a rating
    counts = table(lake, "models/als/users").set_index("id")["count"]
    assert counts[known] == (train.user_id == known).sum() + 1
    for side, new in (("users", [9001, 9002]), ("items", [9001])):
        grown = table(lake, f"index/{side}").sort_values("position")
        assert grown["id"].tolist() == [*index[side]["id"], *new] and grown.position.tolist() == list(
            range(len(grown))
        )
        assert grown["count"].sum() == index[side]["count"].sum() + 4
    _, unmoved, _ = call("index", lake.root)
    assert unmoved["unchanged"] and unmoved["users"] == len(index["users"]) + 2

    # the same ratings in another order, file and time: the same batch
    code, again, _ = call("update", lake.root, write_csv(tmp_path / "again.csv", rows[::-1]))
    assert (code, again["unchanged"], again["batch"], again["version"]) == (0, True, summary["batch"], 2)


def test_versions_follow_each_other_and_never_replace_a_model(call, lake, tmp_path):
    shutil.copytree(lake.path("models/als"), lake.path("models/als-v4"))
    named = Lake(lake.root).read_json("models/als-v4/manifest.json")
    lake.write_json("models/als-v4/manifest.json", named | {"fingerprint": "trained by that name"})
    items = table(lake, "models/als/items")["id"].tolist()
    versions, models = [], {}
    for number in range(2):
        _, summary, _ = call(
            "update",
            lake.root,
            write_csv(tmp_path / "new.csv", [(9001, items[number], 4, 978300760 + number)]),
        )
        versions.append(summary["version"])
        models[summary["version"]] = table(lake, "models/als/users")
        assert summary["updated_users"] == number
    assert versions == [6, 7] and lake.names("models") == ["als", "als-v4", "als-v5", "als-v6"]
    assert lake.read_json("models/als-v4/manifest.json")["fingerprint"] == "trained by that name"
    pd.testing.assert_frame_equal(table(lake, "models/als-v6/users"), models[6])
    assert (
        models[7].set_index("id")["count"][9001] == 2
        and len(lake.read_json("models/als/manifest.json")["updates"]) == 2
    )
    assert [
        len(lake.read_json(f"models/als-v{number}/manifest.json").get("updates", [])) for number in (5, 6)
    ] == [0, 1]


def test_batches_one_by_one_are_as_good_as_at_once(call, lake, tmp_path):
    rows = table(lake, "splits/default/update")[["user_id", "item_id", "rating", "timestamp"]]
    halves = [rows.iloc[::2], rows.iloc[1::2]]
    whole = Lake(str(shutil.copytree(lake.root, tmp_path / "whole")))
    call("update", whole.root)
    for number, half in enumerate(halves):
        half.to_parquet(tmp_path / f"{number}.parquet")
        code, summary, err = call("update", lake.root, f"update.source={tmp_path / f'{number}.parquet'}")
        assert code == 0, err
    one, many = (table(of, "models/als/users").sort_values("id") for of in (whole, lake))
    assert one["count"].tolist() == many["count"].tolist() and summary["updated_users"] > 0
    np.testing.assert_allclose(np.stack(many.features), np.stack(one.features), rtol=1e-4, atol=1e-4)


def test_what_was_cut_off_is_taken_up_again(call, lake, monkeypatch):
    from recspark.pipeline import update

    with monkeypatch.context() as broken:
        broken.setattr(update, "grow_index", lambda *_: 1 / 0)
        code, _, _ = call("update", lake.root)
        assert code == 1 and "version" not in lake.read_json("models/als/manifest.json")
    code, summary, _ = call("update", lake.root)
    assert (code, summary["version"], summary["unchanged"]) == (0, 2, False) and lake.names("models") == [
        "als",
        "als-v1",
    ]
    assert lake.names(".staging") == []


def test_training_anew_keeps_the_updated_model(call, lake):
    call("update", lake.root)
    updated = table(lake, "models/als/users")
    options = ("model.rank=3", "model.maxIter=2")
    code, summary, err = call("train", lake.root, *options)
    assert code == 0 and summary["kept"] == "models/als-v2" and "it is kept as models/als-v2" in err
    pd.testing.assert_frame_equal(table(lake, "models/als-v2/users"), updated)
    assert lake.read_json("models/als-v2/manifest.json")["updates"] and "updates" not in lake.read_json(
        "models/als/manifest.json"
    )
    assert len(table(lake, "models/als/users")) < len(updated)
    # what training made is made again: there is nothing to keep
    code, summary, err = call("train", lake.root, *options)
    assert code == 0 and "kept" not in summary and "is kept as" not in err
    assert lake.names("models") == ["als", "als-v1", "als-v2"]


def test_evaluate_takes_the_ratings_of_updates_as_seen(call, lake, monkeypatch):
    from recspark.pipeline import stages

    given, evaluate = {}, stages.evaluate_predictions

    def watched(spark, predictions, train, options, scorer, seen, labels):
        given.update(known=pairs(train), seen=pairs(seen))
        return evaluate(spark, predictions, train, options, scorer, seen, labels)

    def pairs(df):
        return set(map(tuple, df.select("user_id", "item_id").collect()))

    monkeypatch.setattr(stages, "evaluate_predictions", watched)
    added = set(
        table(lake, "splits/default/update")[["user_id", "item_id"]].itertuples(index=False, name=None)
    )
    code, before, _ = call("evaluate", lake.root)
    assert code == 0 and not given["known"] & added and not given["seen"] & added
    call("update", lake.root)
    code, after, _ = call("evaluate", lake.root)
    assert code == 0 and given["known"] >= added and given["seen"] >= added
    assert after["rmse"] < before["rmse"]


def test_it_is_an_mlflow_run_with_the_model(call, lake):
    from mlflow import pyfunc
    from mlflow.tracking import MlflowClient

    code, summary, err = call("update", lake.root, "tracking.enabled=true")
    assert code == 0, err
    client = MlflowClient(f"sqlite:///{lake.path('mlflow.db')}")
    run = client.get_run(summary["run_id"])
    assert run.data.metrics["new_users"] == summary["new_users"] and run.data.metrics["version"] == 2
    assert (
        run.data.params["model.rank"] == "3" and run.inputs.dataset_inputs[0].dataset.name == summary["batch"]
    )
    [model] = client.search_logged_models([run.info.experiment_id])
    new = table(lake, "splits/default/update")[["user_id", "item_id"]].head(5)
    answers = pyfunc.load_model(model.artifact_location).predict(new)["prediction"]
    assert answers.nunique() > 1 and np.isfinite(answers).all()


def test_what_can_t_be_done_is_said(call, lake, tmp_path):
    code, _, err = call("update", lake.root, "model.name=other")
    assert code == 5 and "run `recspark train` first" in err
    code, _, err = call("update", lake.root, f"update.source={tmp_path / 'nothing.csv'}")
    assert code == 5 and "nothing.csv" in err
    code, _, err = call("update", lake.root, "update.sweeps=0")
    assert code == 2 and "update.sweeps = 0 is not allowed" in err
    lake.delete("splits/default/update")
    code, _, err = call("update", lake.root)
    assert code == 2 and "update.source is not set, and" in err
    train = table(lake, "splits/default/train")
    source = write_csv(tmp_path / "new.csv", [(train.user_id[0], train.item_id[0], 4, 978300760)])
    lake.delete("splits/default/train")
    train.iloc[1:].to_parquet(lake.path("splits/default/train"))
    code, _, err = call("update", lake.root, source)
    assert code == 1 and "are not those that the model was made from" in err and "Traceback" not in err
