"""Splits of one's own through the pipeline: files of any format, tables, or a column with the part."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recspark.data.splitting.splits import SplitOptions
from recspark.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf/examples/own-split.toml"
PARTS = ("train", "validation", "test")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts():
    """Pairs of 40 users and 30 items, cut at random; user 40 and item 30 occur in test alone."""
    user, item = np.nonzero(np.random.default_rng(3).random((41, 31)) < 0.3)
    part = np.random.default_rng(4).choice(PARTS, len(user), p=(0.7, 0.1, 0.2))
    part[(user == 40) | (item == 30)] = "test"
    rows = pd.DataFrame({"user_id": user, "item_id": item})
    return {name: rows[part == name].reset_index(drop=True) for name in PARTS}


def write(folder, ending, parts):
    """One file for each part, as that format has it."""
    for part, rows in parts.items():
        path = folder / f"{part}.{ending}"
        if ending == "parquet":
            rows.to_parquet(path)
        elif ending == "csv":
            rows.to_csv(path, index=False)
        else:
            lists = rows.groupby("user_id")["item_id"].agg(lambda items: " ".join(map(str, items)))
            path.write_text("".join(f"{user} {items}\n" for user, items in lists.items()))


def settings(dataset, ending, *names):
    split = [f"split.{part}={part}.{ending}" for part in names]
    return [f"data.dataset={dataset}", *split, "model.rank=4", "model.maxIter=3", "tracking.enabled=false"]


def written(lake, name="default"):
    return {part: pd.read_parquet(f"{lake}/splits/{name}/{part}") for part in PARTS}


def pairs(rows):
    return sorted(zip(rows.user_id.tolist(), rows.item_id.tolist(), strict=True))


def assert_same(lake, parts):
    for part, rows in written(lake).items():
        assert pairs(rows) == pairs(parts[part]), part
        assert (rows.rating == 1).all() and rows.timestamp.isna().all()


@pytest.mark.parametrize(
    ("dataset", "ending"), [("csv", "csv"), ("parquet", "parquet"), ("adjacency", "txt")]
)
def test_the_split_has_exactly_the_rows_of_the_files(command, tmp_path, parts, dataset, ending):
    write(tmp_path, ending, parts)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for part in parts:
            archive.write(tmp_path / f"{part}.{ending}", f"data/{part}.{ending}")
    words = ("--conf-file", str(CONF), *settings(dataset, ending, *PARTS))
    source, lake = f"data.source={tmp_path / 'data.zip'}", f"paths.lake={tmp_path / 'lake'}"
    code, summary, err = command("pipeline", *words, source, lake)
    assert code == 0, err
    assert_same(tmp_path / "lake", parts)
    n_rows = {part: len(rows) for part, rows in parts.items()}
    assert {part: summary[f"rows_{part}"] for part in PARTS} == n_rows
    assert summary["ratings"] == sum(n_rows.values()) and summary["dataset"] == dataset
    assert (summary["users"], summary["items"]) == (41, 31)
    assert 0 < summary["recall_at_20"] <= 1
    manifest = json.loads((tmp_path / "lake/splits/default/manifest.json").read_text())
    assert manifest["cold"]["user"] and manifest["cold"]["item"] and manifest["overlap"]["dropped"] == 0
    # all ids have a position, those of test too
    assert len(pd.read_parquet(tmp_path / "lake/index/users")) == 41

    code, again, _ = command("ingest", *words, source, lake)
    assert code == 0 and again["unchanged"]
    code, again, _ = command("split", *words, lake)
    assert code == 0 and again["unchanged"]


@pytest.fixture
def files(tmp_path, parts):
    """A folder with train.csv, validation.csv and test.csv."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", "csv", parts)
    return tmp_path / "in"


@pytest.fixture
def run(command, tmp_path):
    """Run jobs with a conf of a given split without its parts; gives what the last one gives, or the first
    that fails.
    """
    conf = tmp_path / "conf.toml"
    conf.write_text('[data]\nratingColumn = ""\n[split]\nkind = "given"\n[evaluation]\nratings = false\n')

    def run(jobs, *words):
        for job in jobs.split():
            of_all = ("--conf-file", str(conf), f"paths.lake={tmp_path / 'lake'}", "tracking.enabled=false")
            code, summary, err = command(job, *of_all, *words)
            if code:
                break
        return code, summary, err

    return run


def named(**places):
    return [f"split.{part}={place}" for part, place in places.items()]


def test_another_file_is_another_split(run, files, tmp_path, parts):
    source = f"data.source={files}"
    first = named(train="train.csv", test="test.csv", validation="validation.csv")
    assert run("ingest split", source, *first)[0] == 0
    # the roles of two files are swapped
    swapped = named(train="train.csv", test="validation.csv", validation="test.csv")
    code, _, err = run("split", *swapped)
    assert code == 2 and "is not the split of the tables" in err and "run `recspark ingest`" in err
    code, summary, _ = run("ingest split", source, *swapped)
    assert code == 0 and not summary["unchanged"]
    swap = {"train": "train", "validation": "test", "test": "validation"}
    assert_same(tmp_path / "lake", {part: parts[swap[part]] for part in PARTS})


def test_validation_rows_are_drawn_where_none_are_given(run, files, tmp_path, parts):
    own = (f"data.source={files}", *named(train="train.csv", test="test.csv"), "split.validationFraction=0.3")
    code, summary, err = run("ingest split", *own)
    assert code == 0, err
    found = written(tmp_path / "lake")
    assert pairs(found["test"]) == pairs(parts["test"])
    assert pairs(pd.concat([found["train"], found["validation"]])) == pairs(parts["train"])
    assert 0.15 < len(found["validation"]) / len(parts["train"]) < 0.45
    # the last fit of a study has both, and the same test rows
    code, summary, err = run("split", *own, "split.trainOnValidation=true", "split.name=full")
    full = written(tmp_path / "lake", "full")
    assert pairs(full["train"]) == pairs(parts["train"]) and pairs(full["test"]) == pairs(parts["test"])
    assert len(full["validation"]) == 0 == summary["counts"]["validation"]


def test_parts_have_places_and_formats_of_their_own(spark, run, files, tmp_path, parts):
    spark.createDataFrame(parts["validation"]).write.parquet(str(tmp_path / "v"))
    spark.sql("CREATE DATABASE IF NOT EXISTS shop_parts")
    spark.createDataFrame(parts["test"]).write.mode("overwrite").saveAsTable("shop_parts.test")
    try:
        own = named(train=files / "train.csv", validation=tmp_path / "v", test="table:shop_parts.test")
        code, _, err = run("ingest split", *own)
        assert code == 0, err
        assert run("ingest", *own)[1]["unchanged"]
        assert_same(tmp_path / "lake", parts)
    finally:
        spark.sql("DROP DATABASE shop_parts CASCADE")
    manifest = json.loads((tmp_path / "lake/tables/manifest.json").read_text())
    assert manifest["dataset"] == "csv, parquet, table" and manifest["versions"]["test"].startswith("rows:")
    code, _, err = run("ingest", *named(train="nothing.csv", test=files / "test.csv"))
    assert code == 5 and "split.train = 'nothing.csv' does not exist" in err


@pytest.mark.parametrize("kind", ["csv", "parquet", "table", "path"])
def test_a_column_says_the_part(spark, run, tmp_path, parts, kind):
    words = {"train": "Train", "validation": "dev", "test": "test"}
    rows = pd.concat([rows.assign(fold=words[part]) for part, rows in parts.items()])
    source, bad = str(tmp_path / f"all.{kind}"), 1
    if kind == "csv":
        pd.concat([rows, rows.tail(1).assign(item_id=0, fold="hold-out")]).to_csv(source, index=False)
    elif kind == "parquet":
        pd.concat([rows, rows.tail(1).assign(item_id=0, fold=None)]).to_parquet(source)
    else:
        df, bad = spark.createDataFrame(rows), 0
        if kind == "path":
            df.write.partitionBy("fold").parquet(source)
        else:
            source = "table:part_view"
            df.createOrReplaceTempView("part_view")
    code, _, err = run("ingest split", f"data.source={source}", "split.partColumn=fold")
    assert code == 0, err
    assert_same(tmp_path / "lake", parts)
    quarantine = pd.read_parquet(tmp_path / "lake/tables/quarantine")
    assert quarantine["reason"].tolist() == ["part"] * bad
    code, _, err = run("split", "split.partColumn=fold", "split.validationFraction=0.1")
    assert code == 2 and "the data have validation rows of their own" in err


def test_repeated_pairs_are_counted_in_each_part(run, tmp_path, parts):
    rows = pd.concat([rows.assign(part=part) for part, rows in parts.items()])
    again = pd.concat(
        [parts["train"].head(2).assign(part="train"), parts["test"].head(3).assign(part="test")]
    )
    pd.concat([rows, again]).to_csv(tmp_path / "a.csv", index=False)
    own = (f"data.source={tmp_path / 'a.csv'}", "split.partColumn=part")
    code, summary, _ = run("ingest", *own)
    assert code == 0 and summary["merged"] == 5 and summary["ratings"] == len(rows)
    assert run("split", *own)[0] == 0
    assert (written(tmp_path / "lake")["test"].rating == 2).sum() == 3
    code, _, err = run("ingest split", *own, "data.duplicates=last", "quality.maxBadFraction=0.5")
    assert code == 0, err
    facts = json.loads((tmp_path / "lake/tables/manifest.json").read_text())["tables"]["ratings"]
    assert facts["reasons"] == {"duplicate": 5} and facts["read"] == len(rows) + 5
    assert_same(tmp_path / "lake", parts)


def test_a_pair_in_several_parts_is_refused_or_dropped(run, files, tmp_path, parts):
    """Two test rows are in train, one of these in validation, too, and one validation row is in train."""
    twice = parts["test"].iloc[[5, 9]]
    more = {"train": pd.concat([twice, parts["validation"].head(1)]), "validation": twice.head(1)}
    for part, rows in more.items():
        pd.concat([parts[part], rows]).to_csv(files / f"{part}.csv", index=False)
    own = (f"data.source={files}", *named(**{part: f"{part}.csv" for part in PARTS}))
    code, summary, err = run("ingest", *own)
    assert code == 0 and summary["ratings"] == sum(map(len, parts.values())) and summary["merged"] == 4
    user, item = min(pairs(pd.concat([twice, parts["validation"].head(1)])))
    code, _, err = run("split", *own)
    assert code == 3 and not (tmp_path / "lake/splits").exists(), err
    assert (
        "2 test rows are in train, too, 1 test rows are in validation, too, 2 validation rows are in train, "
        f"too, such as user {user}, item {item}: "
    ) in err and "set split.overlap to dropTrain" in err

    counts = {"test_in_train": 2, "test_in_validation": 1, "validation_in_train": 2, "dropped": 4}
    code, summary, err = run("split", *own, "split.overlap=dropTrain")
    assert code == 0 and summary["overlap"] == counts and "4 rows left out" in err
    assert_same(tmp_path / "lake", parts)
    code, summary, _ = run("split", *own, "split.overlap=dropTest", "split.name=kept")
    found = written(tmp_path / "lake", "kept")
    assert pairs(found["train"]) == pairs(pd.concat([parts["train"], more["train"]]))
    assert sum(map(len, found.values())) == sum(map(len, parts.values()))
    assert json.loads((tmp_path / "lake/splits/kept/manifest.json").read_text())["overlap"] == counts


def test_the_same_bytes_are_no_copy_but_an_overlap(run, files):
    shutil.copy(files / "train.csv", files / "again.csv")
    own = named(train="train.csv", test="again.csv")
    code, _, err = run("ingest split", f"data.source={files}", *own)
    assert code == 3 and "test rows are in train, too" in err


@pytest.mark.parametrize(
    "model",
    [{"type": "mf", "loss": "bpr", "rank": 3, "maxIter": 3}, {"type": "ease"}, {"type": "popularity"}],
)
def test_other_models_take_such_a_split(run, files, parts, model):
    own = named(**{part: f"{part}.csv" for part in PARTS}) + [f"model.{key}={model[key]}" for key in model]
    code, summary, err = run("pipeline", f"data.source={files}", *own)
    assert code == 0, err
    assert 0 < summary["ndcg_at_10"] <= 1 and summary["rows_test"] == len(parts["test"])


def test_a_study_trains_its_last_fit_on_both(run, files, tmp_path, parts):
    own = named(**{part: f"{part}.csv" for part in PARTS})
    words = ["model.type=als", "model.implicitPrefs=true", "model.rank=3", "model.maxIter=2"]
    words += ["tune.trials=2", "tune.metric=ndcg_at_10", "tune.space={alpha = {low = 1.0, high = 9.0}}"]
    code, _, err = run("tune", f"data.source={files}", *own, *words)
    assert code == 0, err
    full = written(tmp_path / "lake", "default-full")
    assert pairs(full["train"]) == pairs(pd.concat([parts["train"], parts["validation"]]))
    assert pairs(full["test"]) == pairs(parts["test"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "random", "train": "a"}, "split.train = 'a' is not allowed with split.kind = 'random'"),
        ({"kind": "last", "partColumn": "p"}, "split.partColumn = 'p' is not allowed"),
        ({"kind": "random", "overlap": "dropTest"}, "split.overlap = 'dropTest' is not allowed"),
        ({"train": "", "test": "b"}, "split.train = '' is not allowed: it must be a string, not empty"),
        ({"train": "a"}, "split.test is not set, but split.train = 'a'"),
        ({"test": "a", "validation": "b"}, "split.train is not set"),
        (
            {"train": "a", "test": "b", "fold": "u1"},
            "split.fold = 'u1' is not allowed with split.train = 'a'",
        ),
        ({"train": "a", "test": "b", "partColumn": "p"}, "the column says it, or the files"),
        (
            {"train": "a", "test": "b", "validation": "c", "validationFraction": 0.1},
            "split.validationFraction = 0.1 is not allowed with split.validation = 'c'",
        ),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ConfigError) as raised:
        SplitOptions(**{"kind": "given"} | options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["split.train=x.csv"], 5, "split.train = 'x.csv' is not in data.source = "),
        (["split.train=train.csv", "split.test=train.csv"], 2, "both have train.csv: a file is of one part"),
        (["data.dataset=ml-1m"], 2, "data.dataset = 'ml-1m' is not allowed with split.train = 'train.csv'"),
        (["data.dataset=parquet"], 5, "split.train = 'train.csv' has no parquet file"),
        (["data.userColumn=who"], 2, "has no column who"),
        (["data.asOf=1"], 2, "only tables have versions"),
    ],
)
def test_mistakes_are_one_sentence(run, files, words, code, message):
    own = (f"data.source={files}", *named(train="train.csv", test="test.csv"))
    found, _, err = run("ingest", *own, *words)
    assert found == code and message in err and "Traceback" not in err


def test_ids_that_are_text_in_one_part_are_text_in_all(run, tmp_path):
    (tmp_path / "in").mkdir()
    for part, body in {"train": "a b x\n", "test": "1 x\n2 x\n"}.items():
        (tmp_path / f"in/{part}").write_text(body)
    own = (f"data.source={tmp_path / 'in'}", "data.dataset=adjacency", *named(train="train", test="test"))
    code, _, err = run("ingest split", *own)
    assert code == 0, err
    assert pairs(written(tmp_path / "lake")["test"]) == [("1", "x"), ("2", "x")]


def test_lists_have_no_column_for_the_part(run, tmp_path):
    (tmp_path / "a.txt").write_text("1 2\n")
    own = (f"data.source={tmp_path / 'a.txt'}", "data.dataset=adjacency", "split.partColumn=part")
    code, _, err = run("ingest", *own)
    assert code == 2 and "split.partColumn = 'part' is not allowed with data.dataset = 'adjacency'" in err
