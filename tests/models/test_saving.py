"""A saved model is whole, is what it says, and answers with its own numbers; files that nobody needs any more
go.
"""

import gc
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pyspark import SparkFiles
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.linalg import Vectors
from pyspark.ml.recommendation import ALS as MLlibALS
from pyspark.ml.regression import FMRegressor as MLlibFM
from pyspark.sql import functions as F

from recspark.errors import ConfigError, RecsparkError
from recspark.models import (
    ALS,
    ALSModel,
    Baseline,
    BaselineModel,
    FMRegressionModel,
    FMRegressor,
    FMRegressorModel,
    MatrixFactorization,
    MatrixFactorizationModel,
    Popularity,
    PopularityModel,
)
from recspark.models.blend import BlendModel, Weights
from recspark.models.saving import load_model


def pairs(spark, users, sign=1.0):
    rows = [(u, i, sign * float((u * i) % 5)) for u in range(users) for i in range(8)]
    return spark.createDataFrame(rows, "user_id int, item_id int, rating float").coalesce(1)


@pytest.fixture(scope="module")
def ratings(spark):
    return pairs(spark, 12).withColumn("timestamp", F.lit(0)).cache()


@pytest.fixture(scope="module")
def vectors(spark):
    rng = np.random.default_rng(0)
    rows = [(Vectors.dense(x), float(x.sum())) for x in rng.normal(size=(40, 3))]
    return spark.createDataFrame(rows, ["features", "label"]).coalesce(1).cache()


COLUMNS = {"userCol": "user_id", "itemCol": "item_id"}


def fit(kind, ratings, vectors, **more):
    """A small model of any kind, and rows that it predicts."""
    makers = {
        "als": lambda: ALS(rank=2, maxIter=2, **COLUMNS, **more),
        "mf": lambda: MatrixFactorization(rank=2, maxIter=2, **COLUMNS, **more),
        "baseline": lambda: Baseline(maxIter=2, **COLUMNS, **more),
        "popularity": lambda: Popularity(**COLUMNS, **more),
        "fm": lambda: FMRegressor(
            groups=["user", "item"], factorSize=2, maxIter=4, labelCol="rating", **more
        ),
        "fm vectors": lambda: FMRegressor(factorSize=2, maxIter=4, **more),
    }
    data = vectors if kind == "fm vectors" else ratings
    return makers[kind]().fit(data), data


KINDS = ["als", "mf", "baseline", "popularity", "fm", "fm vectors"]


def numbers(model, data):
    return sorted(row.prediction for row in model.transform(data).collect())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_is_taken_is_refused_and_overwriting_replaces_all_of_it(
    spark, ratings, vectors, tmp_path, kind
):
    path = str(tmp_path / "model")
    blocks = {} if kind == "fm vectors" else {"userBlocks": 3, "tasks": "blocks"}
    model, data = fit(kind, ratings, vectors, **blocks)
    model.save(path)
    Path(path, "of another").write_text("")
    with pytest.raises(RecsparkError, match=r"already exists.*write\(\)\.overwrite\(\)\.save\(path\)"):
        model.save(path)
    small, _ = fit(kind, ratings.where("user_id < 5"), vectors.limit(30))
    small.write().overwrite().save(path)
    loaded = type(small).load(path)
    assert numbers(loaded, data) == numbers(small, data) and not Path(path, "of another").exists()
    if kind not in ("fm vectors",):
        assert loaded.userFactors.count() == 5
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_is_saved_over_itself(ratings, vectors, tmp_path, kind):
    path = str(tmp_path / "model")
    model, data = fit(kind, ratings, vectors)
    model.save(path)
    loaded = load_model(path)
    loaded.write().overwrite().save(path)
    assert numbers(load_model(path), data) == numbers(loaded, data) == numbers(model, data)


def test_a_save_that_fails_leaves_what_was_there(ratings, vectors, tmp_path, monkeypatch):
    path = str(tmp_path / "model")
    model, data = fit("als", ratings, vectors)
    model.save(path)
    other, _ = fit("als", ratings.where("user_id < 5"), vectors)
    shutil.rmtree(f"{other.folder}/items")
    with pytest.raises(RecsparkError, match="can't be written"):
        other.write().overwrite().save(path)
    assert numbers(load_model(path), data) == numbers(model, data) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_class_loads_no_other_model(ratings, vectors, tmp_path):
    for kind in KINDS:
        fit(kind, ratings, vectors)[0].save(str(tmp_path / kind))
    classes = [
        ALSModel,
        MatrixFactorizationModel,
        BaselineModel,
        PopularityModel,
        FMRegressorModel,
        FMRegressionModel,
    ]
    for kind, own in zip(KINDS, classes, strict=True):
        for cls in (*classes, ALS):
            if cls is own:
                assert type(cls.load(str(tmp_path / kind))) is own
                continue
            with pytest.raises(
                RecsparkError,
                match=f"holds {own.__name__}, not {cls.__name__}: load it by {own.__name__}.load",
            ):
                cls.load(str(tmp_path / kind))
    ALS(rank=3).save(str(tmp_path / "estimator"))
    with pytest.raises(RecsparkError, match="holds ALS, not MatrixFactorization: load it by ALS.load"):
        MatrixFactorization.load(str(tmp_path / "estimator"))


@pytest.mark.slow
def test_a_folder_of_mllib_s_als_is_read(spark, ratings, tmp_path):
    theirs = (
        MLlibALS(rank=3, maxIter=2, seed=1, userCol="user_id", itemCol="item_id")
        .setPredictionCol("p")
        .fit(ratings)
    )
    theirs.save(str(tmp_path / "model"))
    ours = ALSModel.load(str(tmp_path / "model"))
    assert (ours.rank, ours.uid, ours.getPredictionCol(), ours.getColdStartStrategy()) == (
        3,
        theirs.uid,
        "p",
        "nan",
    )
    asked = ratings.union(ratings.withColumn("user_id", F.lit(99)).limit(2))
    key = ["user_id", "item_id"]
    both = [model.transform(asked).orderBy(*key).toPandas()["p"] for model in (ours, theirs)]
    np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-6)
    assert np.isnan(both[0]).sum() == 2
    best = [model.recommendForAllUsers(3).orderBy("user_id").collect() for model in (ours, theirs)]
    ratings_of = [[[entry.rating for entry in row.recommendations] for row in rows] for rows in best]
    np.testing.assert_allclose(*ratings_of, rtol=1e-5, atol=1e-6)
    ours.save(str(tmp_path / "ours"))
    assert numbers(ALSModel.load(str(tmp_path / "ours")).setPredictionCol("prediction"), ratings)
    MLlibALS(rank=7, regParam=0.3).save(str(tmp_path / "estimator"))
    estimator = ALS.load(str(tmp_path / "estimator"))
    assert (estimator.getRank(), estimator.getRegParam(), estimator.getColdStartStrategy()) == (7, 0.3, "nan")


def test_other_models_of_mllib_are_refused_in_a_sentence(vectors, tmp_path):
    MLlibFM(factorSize=2, maxIter=2).fit(vectors).save(str(tmp_path / "model"))
    with pytest.raises(
        RecsparkError, match=r"holds org.apache.spark.ml.regression.FMRegressionModel, not FMRegressionModel$"
    ):
        FMRegressionModel.load(str(tmp_path / "model"))
    with pytest.raises(RecsparkError, match="which is not a class of recspark"):
        load_model(str(tmp_path / "model"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["als", "fm", "fm vectors"])
def test_a_model_does_not_answer_with_the_numbers_of_another(spark, ratings, vectors, tmp_path, kind):
    path = str(tmp_path / "model")
    first, data = fit(kind, ratings, vectors)
    first.save(path)
    loaded = load_model(path)
    label = "label" if kind == "fm vectors" else "rating"
    shifted = [
        df.withColumn(label, F.col(label) * 5 + 7) for df in (ratings if kind != "fm vectors" else vectors,)
    ]
    second, _ = fit(kind, *(shifted * 2 if kind != "fm vectors" else [ratings, *shifted]))
    lazy = loaded.transform(data)
    second.write().overwrite().save(path)
    assert numbers(load_model(path), data) == numbers(second, data) != numbers(first, data)
    with pytest.raises(
        RecsparkError, match="was overwritten by another model after this one was loaded: load it again"
    ):
        loaded.transform(data)
    with pytest.raises(Exception, match="was overwritten by another model"):
        lazy.collect()
    with pytest.raises(RecsparkError, match="was overwritten"):
        loaded.save(str(tmp_path / "copy"))
    if kind == "als":
        for use in (lambda: loaded.userFactors, lambda: loaded.recommendForAllUsers(2)):
            with pytest.raises(RecsparkError, match="was overwritten"):
                use()
    shutil.rmtree(path)
    with pytest.raises(RecsparkError, match="files of this model are gone"):
        loaded.transform(data)


@pytest.mark.slow
def test_a_blend_is_replaced_as_a_whole(ratings, vectors, tmp_path):
    path = str(tmp_path / "model")
    models = {kind: fit(kind, ratings, vectors)[0] for kind in ("als", "mf")}
    blend = BlendModel(models, Weights(0.1, (0.4, 0.6), 1.0, 1.0))
    blend.save(path)
    with pytest.raises(RecsparkError, match="already exists"):
        blend.save(path)
    load_model(path).write().overwrite().save(path)
    assert numbers(load_model(path), ratings) == numbers(blend, ratings)


def test_a_pipeline_keeps_a_model(ratings, tmp_path):
    path = str(tmp_path / "model")
    model = Pipeline(stages=[ALS(rank=2, maxIter=2, **COLUMNS)]).fit(ratings)
    model.save(path)
    model.write().overwrite().save(path)
    assert numbers(PipelineModel.load(path), ratings) == numbers(model, ratings)


@pytest.mark.slow
def test_what_an_estimator_was_given_is_saved_with_it(spark, ratings, tmp_path):
    watched = ratings.where("item_id = 3")
    ALS(rank=2, maxIter=2, **COLUMNS).watch(validation=watched, test=watched).save(str(tmp_path / "als"))
    history = ALS.load(str(tmp_path / "als")).fit(ratings).summary.history
    assert {"validation_rmse", "test_rmse"} <= set(history[0])
    loaded = ALS.load(str(tmp_path / "als"))
    loaded.write().overwrite().save(str(tmp_path / "als"))
    assert loaded.fit(ratings).summary.history[0]["validation_rmse"] == history[0]["validation_rmse"]
    ALS(rank=2).watch(validation=watched).write().overwrite().save(str(tmp_path / "als"))
    with pytest.raises(RecsparkError, match="was deleted or overwritten after it was loaded: load it again"):
        loaded.fit(ratings)
    items = spark.createDataFrame([(i, f"g{i % 2}") for i in range(8)], "item_id int, genre string")
    fm = FMRegressor(
        groups=["user", "item", "items.genre"], factorSize=2, maxIter=3, labelCol="rating"
    ).tables(items=items)
    fm.save(str(tmp_path / "fm"))
    assert numbers(FMRegressor.load(str(tmp_path / "fm")).fit(ratings), ratings) == numbers(
        fm.fit(ratings), ratings
    )
    judged = ALS(rank=2).stop_when(lambda row: True)
    with pytest.raises(ConfigError, match=r"stop_when has a function.*call stop_when\(None\) first"):
        judged.save(str(tmp_path / "judged"))
    judged.stop_when(None).save(str(tmp_path / "judged"))
    with pytest.raises(RecsparkError, match="already exists"):
        judged.save(str(tmp_path / "judged"))
    judged.write().overwrite().save(str(tmp_path / "judged"))


def temporary(model):
    """The folder of a fit, which the Spark session removes when it stops."""
    root = Path(SparkFiles.getRootDirectory())
    name = Path(model.folder).relative_to(root).parts[0]
    assert name.startswith("recspark-")
    return root / name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["als", pytest.param("fm", marks=pytest.mark.long), "fm vectors"])
def test_the_files_of_a_fit_go_with_the_model_but_not_before_its_dataframes(spark, ratings, vectors, kind):
    model, _ = fit(kind, ratings, vectors)
    work = temporary(model)
    del model
    gc.collect()
    assert not work.exists()

    def lazy():
        model, data = fit(kind, ratings, vectors)
        frames = [model.transform(data).select("prediction")]
        if kind == "als":
            frames += [
                model.userFactors.select("features"),
                model.recommendForAllUsers(2).select("recommendations"),
            ]
        return temporary(model), frames

    work, frames = lazy()
    time.sleep(2.5)
    spark._jvm.System.gc()
    time.sleep(2.5)
    assert all(frame.count() for frame in frames) and work.exists()
    del frames
    until = time.monotonic() + 60
    while work.exists() and time.monotonic() < until:
        gc.collect()
        spark._jvm.System.gc()
        time.sleep(0.5)
    assert not work.exists()


STOPPED = """
import os, sys
from pyspark.sql import SparkSession
from recspark.models import ALS

def session():
    return SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()

rows = [(u, i, float(u + i)) for u in range(5) for i in range(4)]
model = ALS(rank=2, maxIter=1).fit(session().createDataFrame(rows, ["user", "item", "rating"]))
assert os.path.isdir(model.folder)
session().stop()
assert not os.path.exists(model.folder)
try:
    model.transform(session().createDataFrame(rows, ["user", "item", "rating"]))
except Exception as error:
    print(type(error).__name__, error)
session().stop()
"""


@pytest.mark.slow
def test_the_files_of_a_fit_go_when_spark_stops():
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "RecsparkError the files of this model are gone" in done.stdout


@pytest.mark.slow
def test_a_fit_that_fails_leaves_no_files(spark, ratings):
    root = Path(SparkFiles.getRootDirectory())
    gc.collect()
    before = set(root.iterdir())
    with pytest.raises(RecsparkError):
        ALS(rank=2, **COLUMNS).fit(ratings.withColumn("rating", F.lit(float("nan"))))
    gc.collect()
    assert set(root.iterdir()) <= before


def test_places_that_can_not_be_written_or_are_patterns_are_refused(ratings, vectors, tmp_path):
    model, _ = fit("als", ratings, vectors)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecsparkError, match="can't be written"):
        model.save(str(tmp_path / "file/model"))
    for name in ("a*", "a?", "a[b]", "a{b}"):
        with pytest.raises(ConfigError, match="Spark takes .* for a pattern of names"):
            model.save(str(tmp_path / name))
    for name in ("a b", "a%20b"):
        model.save(f"file://{tmp_path}/{name}")
        assert (
            load_model(f"file:{tmp_path}/{name}").userFactors.count()
            == load_model(str(tmp_path / name)).userFactors.count()
            == 12
        )


def test_metadata_is_spark_s(ratings, vectors, tmp_path):
    fit("als", ratings, vectors)[0].save(str(tmp_path / "model"))
    metadata = json.loads((tmp_path / "model/metadata/part-00000").read_text())
    assert metadata["class"] == "recspark.models.ALSModel" and metadata["paramMap"]["userCol"] == "user_id"
