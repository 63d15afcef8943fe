"""Data of one's own through the jobs, by the confs of conf/examples: ratings with a table of customers, and
clicks without a rating.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CONF = Path(__file__).parents[2] / "conf"
COUNTRIES = ["DE", "FR", "US"]
N_CUSTOMERS, N_ITEMS, N_ROWS = 60, 25, 900

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """ratings.csv, customers.csv and clicks.csv; what a customer gives follows from country and age."""
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(7)
    ids = [f"C{number:03d}" for number in range(N_CUSTOMERS)]
    customers = pd.DataFrame(
        {
            "customer": ids,
            "age": rng.integers(18, 80, N_CUSTOMERS),
            "country": rng.choice(COUNTRIES, N_CUSTOMERS),
        }
    )
    customers.to_csv(folder / "customers.csv", sep=";", index=False)
    rows = customers.iloc[rng.integers(0, N_CUSTOMERS - 1, N_ROWS)].reset_index(
        drop=True
    )  # the last customer is new
    rows["sku"] = [f"S-{number}" for number in rng.integers(0, N_ITEMS, N_ROWS)]
    rows["stars"] = (
        2.5 + (rows["country"] == "FR") + (rows["age"] >= 50) + rng.normal(0, 0.2, N_ROWS).round(2)
    )
    rows["when"] = pd.Timestamp("2024-05-01") + pd.to_timedelta(rng.permutation(N_ROWS) * 3600, unit="s")
    rows["when"] = rows["when"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows[["customer", "sku", "when"]].to_csv(folder / "clicks.csv", sep=";", index=False)
    single = rows.drop_duplicates(["customer", "sku"])
    single[["customer", "sku", "stars", "when"]].to_csv(folder / "ratings.csv", sep=";", index=False)
    return folder


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return tmp_path_factory.mktemp("lake")


@pytest.fixture
def by_conf(command, files, lake):
    """Run a job by one of the confs; gives its summary."""

    def run(job, conf, *settings):
        words = ("--conf-file", str(CONF / conf), f"paths.lake={lake}", "tracking.enabled=false", *settings)
        code, summary, err = command(job, *words)
        assert code == 0, err
        return summary

    return run


def test_ratings_with_a_table_of_customers(by_conf, files, lake):
    sources = [f"data.source={files / 'ratings.csv'}", f"data.users={files / 'customers.csv'}"]
    summary = by_conf("pipeline", "examples/own-csv.toml", *sources, "model.maxIter=10")
    ratings, customers = (pd.read_csv(files / name, sep=";") for name in ("ratings.csv", "customers.csv"))
    assert summary["dataset"] == "csv" and summary["quarantined"] == 0
    assert (summary["ratings"], summary["users"]) == (len(ratings), N_CUSTOMERS)
    # country and age say almost all: far better than the mean
    assert summary["rmse"] < 0.6 * ratings["stars"].std()
    layout = json.loads((lake / "models/fm/layout.json").read_text())
    assert layout["levels"]["users.country"] == sorted(customers["country"].unique())
    assert layout["levels"]["users.age"] == [1, 2, 3, 4, 5]
    train, test = (pd.read_parquet(lake / "splits/default" / part) for part in ("train", "test"))
    assert train["timestamp"].max() < test["timestamp"].min()
    assert pd.to_datetime(test["timestamp"].max(), unit="s") == pd.to_datetime(
        ratings["when"]
    ).max().tz_localize(None)

    summary = by_conf("recommend", "examples/own-csv.toml", "recommend.n=3", "model.maxIter=10")
    lists = pd.read_csv(lake / "recommendations/fm/lists.csv")
    assert summary["rows"] == len(lists) and lists["rank"].max() == 3
    # the new customer gets a list by age and country
    assert set(lists["user_id"]) == set(customers["customer"])

    summary = by_conf("train", "examples/own-csv.toml", "model.type=als", "model.rank=4", "model.maxIter=5")
    assert (
        summary["model"] == "als"
        and by_conf("evaluate", "examples/own-csv.toml", "model.type=als")["rmse"] < 2
    )


def test_clicks_without_a_rating(by_conf, files, lake):
    clicks = pd.read_csv(files / "clicks.csv", sep=";")
    source = f"data.source={files / 'clicks.csv'}"
    summary = by_conf("pipeline", "examples/own-clicks.toml", source)
    pairs = clicks.groupby(["customer", "sku"])
    assert summary["ratings"] == len(pairs) < len(clicks) and 0 < summary["ndcg_at_10"] <= 1
    counts = pd.read_parquet(lake / "tables/ratings").set_index(["user_id", "item_id"])["rating"]
    assert counts.to_dict() == pairs.size().to_dict()
    facts = json.loads((lake / "tables/manifest.json").read_text())["tables"]["ratings"]
    assert facts["read"] == len(clicks) == facts["kept"] + facts["merged"] and facts["quarantined"] == 0
    by_conf("recommend", "examples/own-clicks.toml")
    assert (
        len(pd.read_csv(lake / "recommendations/als/lists.csv")["user_id"].unique())
        == clicks["customer"].nunique()
    )
    # BPR, by the conf of another data set
    columns = {
        "dataset": "csv",
        "userColumn": "customer",
        "itemColumn": "sku",
        "ratingColumn": "",
        "timestampColumn": "when",
    }
    own = [f"data.{key}={value}" for key, value in columns.items()]
    summary = by_conf(
        "pipeline", "ml-100k-bpr.toml", source, *own, "data.separator=;", "model.maxIter=3", "model.rank=4"
    )
    assert summary["ratings"] == len(pairs) and summary["iterations"] == 3 and summary["ndcg_at_10"] > 0
