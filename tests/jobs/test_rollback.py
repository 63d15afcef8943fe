"""The job `rollback`: the champion before serves again, with its lists."""

import json

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.lake.lake import Lake
from recspark.tracking import Registry

pytestmark = pytest.mark.slow


@pytest.fixture
def lake(command, tmp_path):
    """A lake whose model ``first`` was the champion yesterday, and ``second`` is today; each with its
    lists.
    """
    write_movielens(generate(SyntheticOptions(users=60, items=40, ratings=1500)), tmp_path / "ml-1m")
    lake = f"paths.lake={tmp_path / 'lake'}"
    call = lambda *words: command(*words, lake, "evaluation.ranking=false", "promote.margin=9.0")  # noqa: E731
    assert call("ingest", f"data.source={tmp_path / 'ml-1m'}")[0] == call("split")[0] == 0
    for name, iterations in (("first", 1), ("second", 3)):
        model = ["model.type=als", f"model.name={name}", "model.rank=2", f"model.maxIter={iterations}"]
        for words in (["train", *model], ["evaluate", *model], ["promote", f"promote.candidate={name}"]):
            assert call(*words)[0] == 0
        lists = ["recommend.n=3", "recommend.format=csv", "recommend.columns=source"]
        assert call("recommend", "model.name=recspark-champion", *lists)[0] == 0
    return tmp_path / "lake"


@pytest.fixture
def roll(command, lake):
    return lambda *settings: command("rollback", f"paths.lake={lake}", *settings)


def served(lake):
    """The model that serves: by its alias, in the lake, and that of the lists."""
    found = Lake(str(lake))
    model = found.read_json("models/recspark-champion/manifest.json")
    lists = pd.read_csv(lake / "recommendations/recspark-champion/lists.csv")
    assert (
        lists.columns.tolist() == ["user_id", "rank", "item_id", "rating", "cold"]
        and lists["rank"].max() == 3
    )
    names = {
        found.read_json(f"models/{name}/manifest.json")["fingerprint"]: name for name in ("first", "second")
    }
    of_lists = [name for name in names.values() if ratings_of(found, name, lists)]
    return aliases(lake)["champion"], names[model["fingerprint"]], *of_lists


def ratings_of(lake, name, lists):
    from recspark.models.serving.scorer import Scorer

    scorer = Scorer.load(lake.path(f"models/{name}"))
    return (
        abs(scorer.predict(lists["user_id"].to_numpy(), lists["item_id"].to_numpy()) - lists["rating"]).max()
        < 1e-4
    )


def aliases(lake):
    found = MlflowClient(f"sqlite:///{lake}/mlflow.db").get_registered_model("recspark").aliases
    return {alias: int(version) for alias, version in found.items()}


def test_the_model_of_yesterday_serves_again(lake, roll, command):
    assert served(lake) == (2, "second", "second")
    code, summary, err = roll()
    assert code == 0, err
    named = {
        "champion": "recspark-champion",
        "version": 1,
        "withdrawn": "recspark-withdrawn",
        "withdrawn_version": 2,
    }
    assert named | {"lists": "recommendations/recspark-champion"} == {
        key: summary[key] for key in (*named, "lists")
    }
    assert served(lake) == (1, "first", "first") and aliases(lake) == {"champion": 1, "withdrawn": 2}
    kept = json.loads((lake / "models/recspark-withdrawn/manifest.json").read_text())
    assert kept["params"]["name"] == "second" and kept["registered"]["version"] == 2
    check_that_twice_changes_nothing(lake, roll)
    check_that_the_gate_goes_on(lake, command)


def check_that_twice_changes_nothing(lake, roll):
    code, summary, err = roll()
    assert (code, summary) == (1, None)
    assert "no model was the champion before models/recspark-champion, which stays: train another one" in err
    assert served(lake) == (1, "first", "first") and "Traceback" not in err


def check_that_the_gate_goes_on(lake, command):
    settings = [f"paths.lake={lake}", "evaluation.ranking=false", "promote.margin=9.0"]
    assert command("evaluate", *settings, "model.name=recspark-withdrawn")[0] == 0
    code, summary, err = command("promote", *settings, "promote.candidate=recspark-withdrawn")
    assert code == 0 and (summary["version"], summary["previous"]) == (2, 1), err
    assert aliases(lake) == {"champion": 2, "previous": 1, "withdrawn": 2}


#: what a rollback is about to do when it is killed, and what serves then
KILLS = {
    "withdrawn": "second",
    "lists": "second",
    "champion": "first",
    "delete": "first",
    "unassign": "first",
}


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step == "champion" else pytest.mark.long) for step in KILLS]
)
def test_a_killed_rollback_is_finished_by_the_next(lake, roll, monkeypatch, step):
    def killed(when, call):
        def run(self, *words):
            if when(*words):
                raise KeyboardInterrupt
            return call(self, *words)

        return run

    patches = {
        "withdrawn": (Registry, "assign", lambda _, alias: alias == "withdrawn"),
        "lists": (Lake, "_swap", lambda _, product: product.startswith("recommendations")),
        "champion": (Registry, "assign", lambda _, alias: alias == "champion"),
        "delete": (Lake, "delete", lambda name: name == "models/recspark-previous"),
        "unassign": (Registry, "unassign", lambda *_: True),
    }
    owner, name, when = patches[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed(when, getattr(owner, name)))
        assert roll()[0] == 130
    assert served(lake)[1:] == (KILLS[step], KILLS[step])
    code, summary, err = roll()
    assert code == 0 and (summary["version"], summary["withdrawn_version"]) == (1, 2), err
    assert served(lake) == (1, "first", "first") and aliases(lake) == {"champion": 1, "withdrawn": 2}
    assert (
        json.loads((lake / "models/recspark-withdrawn/manifest.json").read_text())["params"]["name"]
        == "second"
    )
