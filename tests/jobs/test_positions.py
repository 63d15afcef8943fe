"""The lake's index gives the positions of all fits of the lake, and no new rating moves one."""

import numpy as np
import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.kernels.arrays.random import normal_rows
from recspark.lake.lake import Lake
from recspark.models import load_model


@pytest.fixture
def run(command, tmp_path):
    """Run a job on a lake in `tmp_path`, on a model whose factors are left at their random start."""
    settings = [f"paths.lake={tmp_path / 'lake'}", "tracking.enabled=false", "model.type=mf"]
    settings += ["model.rank=2", "model.maxIter=0", "model.initStdev=1.0", "model.seed=5"]

    def call(job, *more):
        code, summary, err = command(job, *settings, *more)
        assert code == 0, err
        return summary

    return call


def check_factors(lake, ids_without_ratings):
    """The factors of a model of `run` are those of the positions in the lake's index."""
    without = 0
    for number, side in enumerate(("users", "items")):
        index = pd.read_parquet(lake.path(f"index/{side}")).set_index("id")["position"]
        model = pd.read_parquet(lake.path(f"models/mf/{side}")).set_index("id")["features"]
        start = normal_rows(5, number, 0, len(index), 2)
        assert np.array_equal(np.stack(model.to_numpy()), start[index[model.index]])
        without += len(index) - len(model)
    assert (without > 0) == ids_without_ratings


@pytest.mark.slow
def test_a_fit_takes_the_positions_of_the_index(run, tmp_path):
    ratings = generate(SyntheticOptions(users=60, items=300, ratings=1400))
    write_movielens(ratings, tmp_path / "ml-1m")
    source, lake = f"data.source={tmp_path / 'ml-1m'}", Lake(str(tmp_path / "lake"))
    run("ingest", source)
    run("split", "split.testFraction=0.5")
    # nobody has run the job `index`
    assert not lake.exists("index")
    run("train")
    check_factors(lake, ids_without_ratings=True)
    old = {side: pd.read_parquet(lake.path(f"index/{side}")) for side in ("users", "items")}
    batch = tmp_path / "new.csv"
    batch.write_text("user_id,item_id,rating,timestamp\n-7,3,4.0,1\n2,-9,3.0,2\n1000,9000,1.0,3\n")
    assert run("update", f"update.source={batch}")["new_users"] == 2
    for side, before in old.items():
        grown = pd.read_parquet(lake.path(f"index/{side}"))
        assert len(grown) == len(before) + 2
        both = before.merge(grown, on="id", suffixes=("", "_now"))
        assert (both["position"] == both["position_now"]).all() and len(both) == len(before)
    run("train", "model.name=mf")
    check_factors(lake, ids_without_ratings=True)
    # every id of the tables has training rows here
    run("split", "split.testFraction=0.01", "split.name=most")
    run("train", "split.name=most")
    check_factors(lake, ids_without_ratings=True)  # those of the batch


@pytest.mark.slow
def test_a_split_of_tables_that_were_replaced_still_trains(run, command, tmp_path):
    for number, name in enumerate(("old", "new")):
        made = generate(SyntheticOptions(users=40 - 10 * number, items=60, ratings=900 - 200 * number))
        write_movielens(made, tmp_path / name / "ml-1m")
    run("ingest", f"data.source={tmp_path / 'old' / 'ml-1m'}")
    run("split")
    run("train")
    lake = Lake(str(tmp_path / "lake"))
    check_factors(lake, ids_without_ratings=True)
    first = pd.read_parquet(lake.path("models/mf/users"))
    run("ingest", f"data.source={tmp_path / 'new' / 'ml-1m'}")
    run("train")
    check_factors(lake, ids_without_ratings=True)  # the index of the old tables is still there
    run("index")
    settings = ["tracking.enabled=false", "model.type=mf", "model.rank=2", "model.maxIter=0"]
    settings += [f"paths.lake={lake.root}", "model.initStdev=1.0", "model.seed=5"]
    code, _, err = command("train", *settings)
    assert code == 0 and "run `recspark split` to train on the tables as they are" in err
    assert set(pd.read_parquet(lake.path("models/mf/users"))["id"]) == set(first["id"])
    # the model does not name the copy of the index, which is deleted with the work folder
    assert not load_model(lake.path("models/mf")).getIndex() and not lake.exists("work/mf")


def test_training_waits_for_no_other_that_reads_the_index(run, tmp_path):
    write_movielens(generate(SyntheticOptions(users=20, items=60, ratings=500)), tmp_path / "ml-1m")
    run("ingest", f"data.source={tmp_path / 'ml-1m'}")
    run("split")
    run("index")
    lake = Lake(str(tmp_path / "lake"))
    with lake.reading("index"):
        assert run("index", "paths.waitSeconds=0")["unchanged"]
        run("train", "paths.waitSeconds=0")
