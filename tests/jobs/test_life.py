"""The jobs one after the other on ids that are text: ingest, index, split, train, update, evaluate,
recommend, train again.
"""

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

USERS = [f"{letter}{number}" for letter in ("ü-", "日本 ", "a,b", "'") for number in range(12)]
ITEMS = [f"{letter}{number}" for letter in ("é", "0", "Ω ") for number in range(8)]


@pytest.fixture
def call(command, tmp_path):
    def run(job, *settings):
        code, summary, err = command(
            job, f"paths.lake={tmp_path / 'lake'}", "tracking.enabled=false", *settings
        )
        assert code == 0, err
        return summary

    return run


def ratings(users, items, seed):
    draw = np.random.default_rng(seed)
    chosen = np.argwhere(draw.random((len(users), len(items))) < 0.4)
    rows = [(users[u], items[i], int(draw.integers(1, 6)), 978300760 + n) for n, (u, i) in enumerate(chosen)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


def pairs(table):
    return set(table[["user_id", "item_id"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("kind", ["als", pytest.param("mf", marks=pytest.mark.long)])
def test_ids_that_are_text(call, tmp_path, kind):
    first, later = ratings(USERS, ITEMS, 0), ratings([*USERS[:2], "новый", "新"], [*ITEMS[:6], "ñ"], 1)
    for name, table in (("first", first), ("later", later)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    model = (f"model.type={kind}", "model.rank=3", "model.maxIter=4")
    call("ingest", f"data.source={tmp_path / 'first.csv'}")
    for job in ("index", "split", "train"):
        call(job, *model)
    updated = call("update", *model, f"update.source={tmp_path / 'later.csv'}")
    assert (updated["new_users"], updated["new_items"], updated["updated_users"]) == (2, 1, 2)
    assert np.isfinite(call("evaluate", *model, "evaluation.ks=[5]")["rmse"])
    call("recommend", *model, "recommend.n=100")
    lake = tmp_path / "lake"
    lists = pd.read_parquet(lake / "recommendations" / kind / "lists")
    known = pairs(pd.read_parquet(lake / "splits" / "default" / "train")) | pairs(later)
    users, items = ({pair[place] for pair in known} for place in range(2))
    assert pairs(lists) == {(user, item) for user in users for item in items} - known
    assert np.isfinite(lists["rating"]).all() and {"новый", "新"} <= set(lists["user_id"])
    shown = call("recommend", *model, "recommend.user=новый", "recommend.n=2")["recommendations"]
    assert [row["item_id"] for row in shown] == lists.query("user_id == 'новый' and rank <= 2").sort_values(
        "rank"
    )["item_id"].tolist()
    call("train", *model)
    assert not {"новый", "新"} & set(pd.read_parquet(lake / "models" / kind / "users")["id"])
