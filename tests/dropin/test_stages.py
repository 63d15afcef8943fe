"""Estimators and models as stages: param maps, tuning, pipelines, save and load."""

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import (
    CrossValidator,
    CrossValidatorModel,
    ParamGridBuilder,
    TrainValidationSplit,
    TrainValidationSplitModel,
)
from pyspark.sql import functions as F


def predictions(model, rows):
    return [row.prediction for row in model.transform(rows).orderBy(*rows.columns[:2]).collect()]


@pytest.mark.slow
def test_param_maps(library, ratings):
    als = library.ALS(rank=2, maxIter=1, seed=1).setNumBlocks(1)
    assert als.fit(ratings, {als.rank: 1}).rank == 1
    assert [model.rank for model in als.fit(ratings, [{als.rank: 1}, {als.rank: 3}])] == [1, 3]
    model = als.fit(ratings)
    assert model.transform(ratings, {model.predictionCol: "p"}).columns[-1] == "p"
    assert model.uid == als.uid


def test_models_are_saved_and_loaded(library, als, ratings, tmp_path):
    path = str(tmp_path / "als")
    als.write().overwrite().save(path)
    loaded = library.ALSModel.load(path)
    assert (loaded.uid, loaded.rank, str(loaded)) == (als.uid, 2, str(als))
    assert predictions(loaded, ratings) == predictions(als, ratings)
    if library.name == "recspark":
        assert (loaded.getRank(), loaded.getMaxIter(), loaded.getRegParam()) == (2, 8, 0.01)
        assert loaded._java_obj.parent().getMaxIter() == 8 and loaded.parent.getSeed() == 3


def test_estimators_are_saved_and_loaded(library, tmp_path):
    for estimator in (
        library.ALS(rank=7, userCol="u"),
        library.FMClassifier(factorSize=3, thresholds=[0.4, 0.6]),
    ):
        path = str(tmp_path / type(estimator).__name__)
        estimator.save(path)
        loaded = type(estimator).load(path)
        assert loaded.uid == estimator.uid
        assert {p.name: v for p, v in loaded.extractParamMap().items()} == {
            p.name: v for p, v in estimator.extractParamMap().items()
        }
        with pytest.raises(Exception, match="already exists"):
            estimator.save(path)
        estimator.write().overwrite().save(path)


def test_pipelines(library, ratings, tmp_path):
    pipeline = Pipeline(
        stages=[
            VectorAssembler(inputCols=["user", "item"], outputCol="features"),
            library.ALS(rank=1, maxIter=1, seed=1).setNumBlocks(1),
        ]
    )
    pipeline.write().overwrite().save(str(tmp_path / "pipeline"))
    model = Pipeline.load(str(tmp_path / "pipeline")).fit(ratings)
    model.write().overwrite().save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    assert loaded.stages[-1].rank == 1 and predictions(loaded, ratings) == predictions(model, ratings)
    if library.name == "recspark":  # of a loaded model of MLlib's there is no parent
        assert loaded.stages[-1]._java_obj.parent().getRank() == 1


# pyspark's CrossValidator leaves its thread pool open
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Pool.__del__:pytest.PytestUnraisableExceptionWarning")
def test_cross_validation(library, ratings, tmp_path):
    als = library.ALS(maxIter=2, seed=1, coldStartStrategy="drop").setNumBlocks(1)
    grid = ParamGridBuilder().addGrid(als.regParam, [0.1, 10.0]).build()
    evaluator = RegressionEvaluator(labelCol="rating")
    model = CrossValidator(
        estimator=als, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=1
    ).fit(ratings)
    best = model.bestModel
    parent = best._java_obj.parent()
    assert (parent.getRegParam(), parent.getRank(), parent.getMaxIter()) == (0.1, best.rank, 2)
    model.write().overwrite().save(str(tmp_path / "cv"))
    loaded = CrossValidatorModel.load(str(tmp_path / "cv"))
    assert loaded.avgMetrics == model.avgMetrics and predictions(loaded.bestModel, ratings) == predictions(
        best, ratings
    )


# pyspark's TrainValidationSplit leaves its thread pool open
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Pool.__del__:pytest.PytestUnraisableExceptionWarning")
def test_train_validation_split(library, vectors, tmp_path):
    fm = library.FMRegressor(labelCol="y", maxIter=3, solver="adamW", seed=1)
    grid = ParamGridBuilder().addGrid(fm.factorSize, [1, 2]).build()
    split = TrainValidationSplit(
        estimator=fm, estimatorParamMaps=grid, evaluator=RegressionEvaluator(labelCol="y"), seed=1
    )
    model = split.fit(vectors)
    assert model.bestModel.getFactorSize() == model.bestModel._java_obj.parent().getFactorSize()
    model.write().overwrite().save(str(tmp_path / "tvs"))
    loaded = TrainValidationSplitModel.load(str(tmp_path / "tvs"))
    assert loaded.bestModel.numFeatures == 7 and loaded.bestModel.getMaxIter() == 3


@pytest.mark.slow
def test_a_stage_reads_what_another_adds(library, ratings):
    """Two models in one pipeline need two names."""
    stages = [
        library.ALS(rank=1, maxIter=1).setPredictionCol(name).setNumBlocks(1) for name in ("first", "second")
    ]
    assert Pipeline(stages=stages).fit(ratings).transform(ratings).columns[-2:] == ["first", "second"]
    same = [library.ALS(rank=1, maxIter=1).setNumBlocks(1) for _ in range(2)]
    with pytest.raises(Exception, match="prediction already exists|'prediction' already exists"):
        Pipeline(stages=same).fit(ratings).transform(ratings.where(F.col("user") > 0))
