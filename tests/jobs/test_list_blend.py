"""The job `blend` on models that make lists: its gain on real data, that test rows have no way into the
weights, and the jobs that take its model.
"""

from pathlib import Path

import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate
from recspark.lake.lake import Lake
from recspark.models.saving import load_model

CONF = Path(__file__).parents[2] / "conf"
MODELS = {
    "als": ["model.type=als", "model.rank=4", "model.maxIter=4", "model.implicitPrefs=true"],
    "ease": ["model.type=ease", "model.regParam=20.0"],
    "knn": ["model.type=item_knn", "model.k=5"],
}
COMMON = [
    "tracking.enabled=false",
    "evaluation.ratings=false",
    "evaluation.ks=[5,10]",
    "split.validationFraction=0.2",
    "split.testFraction=0.2",
]


def trained(command, folder, ratings, *settings):
    folder.mkdir(exist_ok=True)
    ratings.to_csv(folder / "ratings.csv", index=False)
    words = [f"paths.lake={folder / 'lake'}", f"data.source={folder / 'ratings.csv'}", *COMMON, *settings]
    for job in ("ingest", "index", "split"):
        assert command(job, *words)[0] == 0
    for name, model in MODELS.items():
        assert command("train", *words, *model, f"model.name={name}")[0] == 0
    return words


@pytest.fixture(scope="module")
def ratings():
    rows = generate(SyntheticOptions(users=100, items=60, ratings=3000))["ratings"]
    return rows[["user_id", "item_id", "rating", "timestamp"]]


@pytest.mark.slow
def test_a_blend_of_lists_is_a_model_like_any_other(command, ratings, tmp_path):
    words = trained(command, tmp_path / "one", ratings)
    code, summary, err = command("blend", *MODELS, *words, "blend.metric=ndcg_at_5")
    assert code == 0, err
    assert sum(summary["weights"]) == pytest.approx(1) and min(summary["weights"]) >= 0
    assert "validation_ndcg_at_5" in err and summary["metric"] == "ndcg_at_5" and "rmse" not in summary
    lake = Lake(summary["lake"])
    written = {
        name: lake.read_json(f"metrics/{name}.json")["ndcg_at_5"]
        for name in ("blend", *(f"{model}-full" for model in MODELS))
    }
    assert written.pop("blend") == summary["ndcg_at_5"]
    assert max(written.values()) == summary["best_model_ndcg_at_5"]
    assert summary["gain"] == pytest.approx(summary["ndcg_at_5"] - max(written.values()))
    manifest = lake.read_json("models/blend/manifest.json")["list_blend"]
    assert manifest["models"] == [f"{name}-full" for name in MODELS] and manifest["on"] == "score"
    assert manifest["weights"] == summary["weights"]
    check_jobs(command, words, lake)
    check_other_options(command, words, summary)


def check_jobs(command, words, lake):
    """The jobs that take a model take the blend, or refuse it in one sentence."""
    code, summary, err = command("recommend", *words, "model.name=blend", "recommend.n=4")
    assert code == 0 and summary["rows"] == 4 * summary["users"], err
    lists = pd.read_parquet(lake.path("recommendations/blend/lists"))
    model = load_model(lake.path("models/blend"))
    paths = [lake.path("splits/default-full/train")]
    wanted = {
        row[0]: [entry[0] for entry in row[1]] for row in model.recommendForAllUsers(4, seen=paths).collect()
    }
    found = lists.sort_values("rank").groupby("user_id")["item_id"].apply(list)
    assert found.to_dict() == wanted
    code, summary, err = command(
        "recommend", *words, "model.name=blend", 'recommend.user="1"', "recommend.explain=true"
    )
    assert code == 0 and "ease-full" in err, err
    code, _, err = command("update", *words, "model.name=blend", f"update.source={lake.root}/../ratings.csv")
    assert code == 1 and "models/blend (kind list_blend) can't take new ratings in" in err


def check_other_options(command, words, before):
    code, by_rank, err = command("blend", *MODELS, *words, "blend.on=rank", "blend.name=ranked")
    assert code == 0 and by_rank["on"] == "rank" and by_rank["metric"] == "ndcg_at_10", err
    code, few, err = command(
        "blend", *MODELS, *words, "blend.metric=ndcg_at_5", "blend.users=20", "blend.name=few"
    )
    assert code == 0 and few["validation_ndcg_at_5"] != before["validation_ndcg_at_5"], err


@pytest.mark.slow
def test_test_rows_have_no_way_into_the_weights(command, ratings, tmp_path):
    words = trained(command, tmp_path / "lake", ratings)
    lake = Lake(str(tmp_path / "lake" / "lake"))
    first = command("blend", *MODELS, *words)[1]
    for split in ("default", "default-full"):
        rows = pd.read_parquet(lake.path(f"splits/{split}/test"))
        lake.delete(f"splits/{split}/test")
        others = rows["item_id"].sample(frac=1, random_state=0).to_numpy()
        rows.assign(item_id=others).to_parquet(lake.path(f"splits/{split}/test"))
    again = command("blend", *MODELS, *words, "blend.name=again")[1]
    assert again["weights"] == first["weights"] and again["ndcg_at_10"] != first["ndcg_at_10"]
    assert again["validation_ndcg_at_10"] == first["validation_ndcg_at_10"]


@pytest.mark.slow
def test_mistakes(command, ratings, tmp_path):
    words = trained(command, tmp_path / "lake", ratings)
    rows = [
        "model.type=fm",
        "model.order=3",
        "model.solver=sgd",
        "model.maxIter=1",
        'features.groups=["user","item"]',
    ]
    assert command("train", *words, *rows, "model.name=rows")[0] == 0
    code, _, err = command("blend", "als", "rows", *words)
    assert code == 2 and "blend.models = 'rows' is not allowed: models/rows (kind fm) can't make lists" in err
    for metric in ("ndcg_at_7", "map", "rmse"):
        code, _, err = command("blend", "als", "ease", *words, f"blend.metric={metric}")
        assert (
            code == 2 and f"blend.metric = '{metric}' is not allowed: it must be one of precision_at_5" in err
        )


@pytest.mark.slow
def test_implicit_als_and_ease_on_ml_100k(command, movielens, tmp_path):
    """Together they are not worse than the better one, within what a fold deviates by."""
    usual = [f"data.source={movielens / 'ml-100k.zip'}", f"paths.lake={tmp_path}", "tracking.enabled=false"]
    usual += ["split.validationFraction=0.1", "split.name=list-blend", "evaluation.ks=[5,20]"]
    for name in ("als-implicit", "ease"):
        conf = ["--conf-file", str(CONF / f"ml-100k-{name}.toml")]
        for job in ("ingest", "index", "split", "train"):
            assert command(job, *conf, *usual, f"model.name={name}")[0] == 0
    code, summary, err = command("blend", "als-implicit", "ease", *usual, "evaluation.ratings=false")
    assert code == 0, err
    assert summary["validation_ndcg_at_20"] > 0.2 and summary["metric"] == "ndcg_at_20"
    print(err)
    assert summary["gain"] > -0.002 and 0.3 < summary["ndcg_at_20"] < 0.6
