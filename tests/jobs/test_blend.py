"""The job `blend`: what it writes, that test ratings have no way into the weights, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from recspark.cli import main
from recspark.data.generated.synthetic import SyntheticOptions, generate
from recspark.lake.lake import Lake

MODELS = {"als": ["model.type=als", "model.rank=2"], "base": ["model.type=baseline"]}
COMMON = [
    "tracking.logModel=false",
    "evaluation.ranking=false",
    "split.validationFraction=0.2",
    "split.testFraction=0.2",
    "model.maxIter=6",
]


@pytest.fixture(scope="module")
def ratings():
    rows = generate(SyntheticOptions(users=100, items=60, ratings=3000))["ratings"]
    return rows[["user_id", "item_id", "rating", "timestamp"]]


def trained(folder, ratings, *settings):
    """A lake with the models of MODELS, trained on a split with validation rows."""
    folder.mkdir(exist_ok=True)
    ratings.to_csv(folder / "ratings.csv", index=False)
    words = [f"paths.lake={folder / 'lake'}", f"data.source={folder / 'ratings.csv'}", *COMMON, *settings]
    for job in ("ingest", "index", "split"):
        assert run_quietly(job, words) == 0
    for name, model in MODELS.items():
        assert run_quietly("train", [*words, *model, f"model.name={name}"]) == 0
    return words


def run_quietly(job, words):
    return main([job, "--quiet", *(word for setting in words for word in ("--set", setting))])


@pytest.fixture(scope="module")
def place(spark, tmp_path_factory, ratings):
    return trained(tmp_path_factory.mktemp("blend"), ratings)


@pytest.mark.slow
def test_a_blend_is_a_model_like_any_other(command, place):
    code, summary, err = command("blend", "als", "base", *place)
    assert code == 0, err
    lake = Lake(summary["lake"])
    assert summary["model"] == "blend" and summary["split"] == "default-full" and len(summary["weights"]) == 2
    counts, full = (
        lake.read_json(f"splits/{name}/manifest.json")["counts"] for name in ("default", "default-full")
    )
    assert full == counts | {"train": counts["train"] + counts["validation"], "validation": 0}
    test, full_test = (
        pd.read_parquet(lake.path(f"splits/{name}/test")) for name in ("default", "default-full")
    )
    pd.testing.assert_frame_equal(
        *(rows.sort_values(["user_id", "item_id"], ignore_index=True) for rows in (test, full_test))
    )

    written = {
        name: lake.read_json(f"metrics/{name}.json")["rmse"] for name in ("blend", "als-full", "base-full")
    }
    assert written["blend"] == summary["rmse"] and summary["best_model_rmse"] == min(
        written["als-full"], written["base-full"]
    )
    predicted = {
        name: pd.read_parquet(lake.path(f"predictions/{name}/test")).set_index(["user_id", "item_id"])[
            "prediction"
        ]
        for name in written
    }
    a, b = summary["weights"]
    expected = (summary["intercept"] + a * predicted["als-full"] + b * predicted["base-full"]).reindex(
        predicted["blend"].index
    )
    pd.testing.assert_series_equal(
        predicted["blend"], expected, check_names=False, check_dtype=False, rtol=1e-5
    )
    # as many iterations as were best with validation rows
    assert (
        len(lake.read_json("models/als-full/manifest.json")["history"])
        == lake.read_json("models/als/manifest.json")["best_iteration"]
    )
    assert "validation_rmse" in err and "als" in err
    check_run(summary)
    check_promotion(command, place, predicted["blend"])
    check_test_ratings_have_no_way_in(command, place, lake, summary)
    for job in ("recommend", "update"):
        code, _, err = command(job, *place, "model.name=blend")
        assert (
            code == 2
            and "models/blend is a blend, it must be one model, such as those in it: als-full, base-full"
            in err
        )


def check_run(summary):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{summary['lake']}/mlflow.db")
    run = client.get_run(summary["run_id"])
    table = pd.read_csv(f"{run.info.artifact_uri}/blend.csv")
    assert table.columns.tolist() == ["model", "weight", "validation_rmse", "test_rmse"] and table[
        "model"
    ].tolist() == [
        "als",
        "base",
        "blend",
    ]
    assert table["test_rmse"].iloc[-1] == pytest.approx(summary["rmse"]) == run.data.metrics["rmse"]
    nested = {
        each.info.run_name
        for each in client.search_runs(
            [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{summary['run_id']}'"
        )
    }
    assert nested == {"split", "als-full", "base-full", "evaluate"}


def check_promotion(command, place, predicted):
    """A blend passes the gate, and MLflow serves it."""
    import mlflow

    code, summary, err = command("promote", *place, "promote.candidate=blend", "tracking.logModel=true")
    assert code == 0 and summary["version"] == 1, err
    uri = f"sqlite:///{summary['lake']}/mlflow.db"
    source = mlflow.MlflowClient(uri).get_model_version_download_uri("recspark", "1")
    served = mlflow.pyfunc.load_model(source).predict(predicted.index.to_frame(index=False))
    np.testing.assert_allclose(served["prediction"], predicted, rtol=1e-6)


def check_test_ratings_have_no_way_in(command, place, lake, before):
    for split in ("default", "default-full"):
        rows = pd.read_parquet(lake.path(f"splits/{split}/test"))
        lake.delete(f"splits/{split}/test")
        rows.assign(rating=(6 - rows["rating"]).astype("float32")).to_parquet(
            lake.path(f"splits/{split}/test")
        )
    made = lake.read_json("models/als-full/manifest.json")["created"]
    code, after, err = command("blend", "als", "base", *place, "blend.name=again")
    assert code == 0 and after["model"] == "again"
    assert [after[key] for key in ("weights", "intercept", "penalty")] == [
        before[key] for key in ("weights", "intercept", "penalty")
    ]
    assert after["rmse"] != before["rmse"]
    # what the lake has is not trained again
    assert (
        lake.read_json("models/als-full/manifest.json")["created"] == made
        and "models/als-full is in the lake" in err
    )


@pytest.mark.slow
def test_test_ratings_have_no_way_in_from_the_source_on(command, place, ratings, tmp_path):
    """Other ratings in the file for the rows that are test: everything is made again, and the weights are the
    same bits.
    """
    lake = Lake(next(word for word in place if word.startswith("paths.lake=")).partition("=")[2])
    test = pd.MultiIndex.from_frame(pd.read_parquet(lake.path("splits/default/test"))[["user_id", "item_id"]])
    moved = pd.MultiIndex.from_frame(ratings[["user_id", "item_id"]]).isin(test)
    other = trained(
        tmp_path / "other", ratings.assign(rating=ratings["rating"].where(~moved, 6 - ratings["rating"]))
    )
    summaries = [command("blend", "als", "base", *words, "blend.name=twice")[1] for words in (place, other)]
    assert moved.sum() > 500
    assert (
        summaries[0]["weights"] == summaries[1]["weights"]
        and summaries[0]["intercept"] == summaries[1]["intercept"]
    )


@pytest.mark.parametrize(
    ("words", "settings", "code", "message"),
    [
        (["blend"], [], 2, "blend.models is not set: name the models, as in `recspark blend als mf`"),
        (
            ["blend", "als"],
            [],
            2,
            "blend.models = ['als'] is not allowed: it must be a list, of two different names or more",
        ),
        (
            ["blend", "als", "base"],
            ["blend.name=als"],
            2,
            "blend.name = 'als' is not allowed: it would replace models/als",
        ),
        (["blend", "als", "base"], ["blend.name=als-full"], 2, "blend.name = 'als-full' is not allowed"),
        (["blend", "als", "none"], [], 5, "models/none does not exist: run `recspark train` first"),
        (
            ["blend", "als", "base"],
            ["blend.regParam=-1"],
            2,
            "blend.regParam = -1.0 is not allowed: it must be a number, at least 0",
        ),
    ],
)
@pytest.mark.slow
def test_mistakes(command, place, words, settings, code, message):
    found, _, err = command(*words, *place, "tracking.enabled=false", *settings)
    assert found == code and message in err and "Traceback" not in err


@pytest.mark.slow
def test_manifests_say_what_can_not_be_blended(command, place, tmp_path):
    """On the manifests alone: nothing is read from a model before they are right."""
    lake = Lake(str(tmp_path))
    whole = Lake(next(word for word in place if word.startswith("paths.lake=")).partition("=")[2])
    model, split = (
        whole.read_json("models/als/manifest.json"),
        whole.read_json("splits/default/manifest.json"),
    )

    def error(other, split=split):
        lake.write_json("models/a/manifest.json", model)
        lake.write_json("models/b/manifest.json", model | other)
        lake.write_json("splits/default/manifest.json", split)
        code, _, err = command("blend", "a", "b", f"paths.lake={lake.root}", "tracking.enabled=false")
        assert code in (1, 2) and "Traceback" not in err
        return err

    assert "a is of splits/default, b is of splits/u1" in error({"split": "splits/u1"})
    assert "models/b is not allowed in a blend" in error({"updates": ["updates/1"]})
    assert "models/b is not allowed in a blend" in error({"params": model["params"] | {"positiveFrom": 4.0}})
    assert "models/b was trained on other rows than splits/default has now" in error(
        {"split_fingerprint": "other"}
    )
    without = split | {"counts": split["counts"] | {"validation": 0}}
    assert "splits/default has no validation rows, which the weights of a blend come from" in error(
        {}, without
    )
