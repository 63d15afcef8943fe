"""The recipes' examples: what their tables are made of, and that models of a lake are not trained twice."""

import importlib
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from recspark.config import read_conf
from recspark.data.generated.synthetic import SyntheticOptions, generate
from recspark.lake.lake import Lake
from recspark.pipeline.conf.sections import validated

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    """Import an example by its name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_pairs_of_a_row_are_the_polynomial_kernel(example):
    svm_table = example("svm_table")
    draw = np.random.default_rng(0)
    dense = draw.normal(size=(9, 6)) * (draw.random((9, 6)) < 0.5)
    dense[0] = 0
    [wide] = svm_table.with_pairs(csr_matrix(dense))
    np.testing.assert_allclose((wide @ wide.T).toarray(), (dense @ dense.T + 1) ** 2 - 1, atol=1e-12)


def test_moods_show_in_the_errors_of_their_moments(example):
    moments = example("moments")
    rows = pd.DataFrame(
        {"user_id": [1, 1, 1, 2, 2], "timestamp": [0, 5, 100, 0, 0], "error": [1.0, 2.0, -1.0, 1.0, -1.0]}
    )
    found = dict(zip(moments.ENDS, moments.correlations(rows), strict=True))
    assert found["< 1 s"] == (1, -1.0)  # user 2's two
    assert found["1 to 10 s"] == (1, 2 / 2.5)
    assert found["1 to 5 min"] == (2, (-1 - 2) / (1 + 2.5))
    assert [pairs for pairs, _ in found.values()] == [1, 1, 0, 2, 0, 0, 0]


def test_pairs_that_training_lacks_have_no_column(example):
    svm_table = example("svm_table")
    train, test = (
        csr_matrix(np.eye(4)[[0, 1]] + np.eye(4)[[2, 2]]),
        csr_matrix(np.eye(4)[[0, 0]] + np.eye(4)[[2, 3]]),
    )
    wide, wide_test = svm_table.with_pairs(train, test)
    # 4 columns, x_i^2 of 3 of them, and the pairs (0, 2) and (1, 2); test rows have the pairs (0, 2), which
    # is known, and (0, 3)
    assert wide.shape == (2, 9) and wide_test.shape == (2, 9)
    assert svm_table.seen_share(train, test) == 0.5


def test_the_svm_finds_a_product(example):
    svm_table = example("svm_table")
    draw = np.random.default_rng(1)
    x, test = (csr_matrix((draw.random((600, 5)) < 0.5).astype(float)) for _ in range(2))
    ratings, answers = (
        3 + each[:, [0]].multiply(each[:, [1]]).toarray().ravel() - each[:, [2]].toarray().ravel()
        for each in (x, test)
    )
    wide, wide_test = svm_table.with_pairs(x, test)
    linear, polynomial = (
        svm_table.svm_rmse(x, ratings, test, answers),
        svm_table.svm_rmse(wide, ratings, wide_test, answers),
    )
    assert polynomial < 0.15 < linear - 0.05


@pytest.mark.parametrize("dataset", ["ml-100k", "ml-1m", "ml-10m"])
def test_rungs_are_valid_and_the_conf_is_one_of_them(example, dataset):
    ladder = example("fm_ladder")
    conf = str(ladder.CONFS / f"{dataset}.toml")
    rungs = {
        name: validated(read_conf(conf, ladder.settings(rung, dataset)))
        for name, rung in ladder.RUNGS.items()
    }
    groups = [[group.name for group in sections.features.declared] for sections in rungs.values()]
    assert len(set(map(tuple, groups[:5]))) == 5 and groups[4] == groups[5] < groups[6]
    shipped = validated(read_conf(conf))
    assert [group.name for group in shipped.features.declared] == groups[4]
    assert shipped.model.product == "flipped"
    assert set(ladder.ELSEWHERE[dataset]) <= set(rungs)


def test_the_sweeps_table_and_figure(example):
    sweep = example("factor_sweep")
    rows = pd.DataFrame(
        [
            {"features": name, "factors": k, "rmse": 0.9 + k / 1000}
            for name in sweep.SETS
            for k in sweep.FACTORS
        ]
    )
    assert sweep.table(rows).splitlines()[2] == "| 2 | 0.9020 | 0.9020 |"
    [axes] = sweep.figure(rows).axes
    assert [line.get_label() for line in axes.lines] == list(
        sweep.SETS
    ) and axes.get_ylabel() == "test RMSE (rating units)"


@pytest.mark.slow
def test_what_the_lake_has_is_not_trained_again(spark, example, tmp_path, capsys):
    runs_module = example("lake_runs")
    made = generate(SyntheticOptions(users=40, items=60, ratings=1000))["ratings"]
    made[["user_id", "item_id", "rating", "timestamp"]].to_csv(tmp_path / "ratings.csv", index=False)
    conf = tmp_path / "conf.toml"
    conf.write_text(
        '[model]\ntype = "baseline"\nmaxIter = 3\n[tracking]\nenabled = false\n[evaluation]\nranking = '
        "false\n"
    )
    runs = runs_module.LakeRuns(conf, str(tmp_path / "lake"))
    runs.prepare(str(tmp_path / "ratings.csv"))
    first = runs.measure("one")
    assert 0.5 < first["rmse"] < 2 and first["fit_seconds"] > 0
    created = (
        Lake(runs.lake).read_json("models/one/manifest.json")["created"],
        Lake(runs.lake).read_json("metrics/one/manifest.json")["created"],
    )
    capsys.readouterr()
    assert runs.measure("one") == first and capsys.readouterr().out == ""
    assert (
        Lake(runs.lake).read_json("models/one/manifest.json")["created"],
        Lake(runs.lake).read_json("metrics/one/manifest.json")["created"],
    ) == created
    assert runs.measure("one", "model.maxIter=1")["rmse"] != first["rmse"]
    with pytest.raises(SystemExit):
        runs.job("train", "model.maxIter=-1")


def test_toml_is_what_a_conf_reads(example):
    import tomllib

    groups = ["user", {"group": "rated", "scale": "linear"}, 3, True]
    assert tomllib.loads(f"x = {example('lake_runs').toml(groups)}")["x"] == groups


@pytest.mark.long
def test_the_ladder_of_ml_100k(spark, movielens, tmp_path, monkeypatch, capsys, example):
    words = [
        "fm_ladder.py",
        "ml-100k",
        "--source",
        str(movielens / "ml-100k.zip"),
        "--lake",
        str(tmp_path),
        "--set",
        "model.maxIter=20",
    ]
    monkeypatch.setattr(sys, "argv", [*words, "--set", "tracking.enabled=false"])
    runpy.run_path(str(EXAMPLES / "fm_ladder.py"))["main"]()
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rmse = {cells[1].strip(): float(cells[2]) for cells in table[2:]}
    # ordered probit, the last two, is slower at first: with all iterations it is ahead
    assert len(rmse) == 7 and rmse["+ users who rated the item (flipped)"] < rmse["user + item"] - 0.01
    assert min(rmse.values()) > 0.88 and max(rmse.values()) < 1
