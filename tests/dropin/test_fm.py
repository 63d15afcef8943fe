"""Factorization machines on vectors: outputs, single vectors, thresholds, summaries, and what is refused."""

import numpy as np
import pytest
from pyspark.errors import IllegalArgumentException, SparkRuntimeException
from pyspark.ml.classification import FMClassificationSummary, FMClassificationTrainingSummary
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.sql import functions as F

from recspark import models
from recspark.errors import RecsparkError


def score(model, vector):
    """MLlib's formula."""
    x, v = vector.toArray(), model.factors.toArray()
    return (
        model.intercept
        + model.linear.toArray() @ x
        + 0.5 * (np.square(x @ v).sum() - np.square(x[:, None] * v).sum())
    )


@pytest.fixture(scope="module")
def some(vectors):
    return [row.features for row in vectors.limit(6).collect()]


def test_regression(regression_model, vectors, some):
    assert RegressionEvaluator(labelCol="y").evaluate(regression_model.transform(vectors)) < 0.5
    found = [row.prediction for row in regression_model.transform(vectors).limit(6).collect()]
    np.testing.assert_allclose([regression_model.predict(each) for each in some], found, rtol=1e-9)
    np.testing.assert_allclose([score(regression_model, each) for each in some], found, rtol=1e-6)
    assert type(regression_model.predict(some[0])) is float
    assert regression_model.predict(Vectors.dense(some[0].toArray())) == pytest.approx(found[0])
    assert (
        regression_model.factors.numRows,
        regression_model.factors.numCols,
        regression_model.linear.size,
    ) == (7, 2, 7)


def test_classification(classification_model, vectors, some):
    rows = classification_model.transform(vectors)
    assert MulticlassClassificationEvaluator(metricName="accuracy").evaluate(rows) > 0.95
    assert BinaryClassificationEvaluator().evaluate(rows) > 0.95
    for vector, row in zip(some, rows.limit(6).collect(), strict=True):
        raw = score(classification_model, vector)
        np.testing.assert_allclose(row.rawPrediction, [-raw, raw], rtol=1e-5)
        np.testing.assert_allclose(
            row.probability, [1 / (1 + np.exp(raw)), 1 / (1 + np.exp(-raw))], rtol=1e-5
        )
        np.testing.assert_allclose(classification_model.predictRaw(vector), row.rawPrediction, rtol=1e-6)
        np.testing.assert_allclose(
            classification_model.predictProbability(vector), row.probability, rtol=1e-6
        )
        assert classification_model.predict(vector) == row.prediction == float(raw > 0)
    assert (
        isinstance(classification_model.predictRaw(some[0]), DenseVector)
        and classification_model.numClasses == 2
    )


def test_schemas(regression_model, classification_model, vectors):
    assert regression_model.transform(vectors).columns == [*vectors.columns, "prediction"]
    rows = classification_model.transform(vectors)
    assert rows.columns == [*vectors.columns, "rawPrediction", "probability", "prediction"]
    fields = {field.name: field for field in rows.schema}
    assert (fields["prediction"].nullable, fields["prediction"].dataType.simpleString()) == (False, "double")
    assert fields["prediction"].metadata == {"ml_attr": {"type": "nominal", "num_vals": 2}}
    assert fields["probability"].metadata == fields["rawPrediction"].metadata == {"ml_attr": {"num_attrs": 2}}
    assert fields["probability"].dataType.typeName() == "vectorudt"


def test_thresholds(library, classification_model, vectors):
    def predicted(model):
        return {row.prediction for row in model.transform(vectors).select("prediction").distinct().collect()}

    model = classification_model
    assert not model.isSet("thresholds") and predicted(model) == {0.0, 1.0}
    assert predicted(model.copy({model.thresholds: [1.0, 0.0]})) == {1.0}
    assert predicted(model.copy({model.thresholds: [0.0, 1.0]})) == {0.0}
    assert predicted(model.copy({model.thresholds: [0.5, 0.5], model.probabilityCol: ""})) == {0.0, 1.0}
    copied = model.copy()
    assert copied.setThresholds([1e-9, 1.0]) is copied and copied.getThresholds() == [1e-9, 1.0]
    if library.name == "recspark":  # of a model whose Param was set, MLlib's method in Python does not see it
        assert copied.predict(vectors.first().features) == 0.0
    for wrong in ([0.0, 0.0], [-1.0, 1.0], [0.1, 0.2, 0.7]):
        with pytest.raises(IllegalArgumentException):
            model.copy({model.thresholds: wrong}).transform(vectors).collect()
        with pytest.raises(IllegalArgumentException):
            library.FMClassifier(maxIter=1, thresholds=wrong).fit(vectors).transform(vectors).collect()


def test_threshold_and_thresholds(classification_model, vectors):
    model = models.FMClassifier(threshold=0.3)
    assert model.setThresholds([0.5, 0.5]).isSet("threshold") is False
    assert model.setThreshold(0.2).getThresholds() is None
    with pytest.raises(RecsparkError, match="threshold = 0.3 and thresholds = .* are both set"):
        models.FMClassifier(threshold=0.3, thresholds=[0.5, 0.5]).fit(vectors)


def test_summaries(library, classification_model, vectors):
    model = classification_model
    assert model.hasSummary
    summary, evaluated = model.summary(), model.evaluate(vectors)
    assert isinstance(summary, FMClassificationTrainingSummary) and type(evaluated) is FMClassificationSummary
    for each in (summary, evaluated):
        assert each.accuracy > 0.95 and each.areaUnderROC > 0.95 and each.labels == [0.0, 1.0]
        assert (each.scoreCol, each.predictionCol, each.labelCol) == ("probability", "prediction", "label")
        assert len(each.precisionByLabel) == len(each.recallByLabel) == len(each.fMeasureByLabel()) == 2
        assert each.roc.columns == ["FPR", "TPR"] and each.predictions.count() == 80
    assert summary.totalIterations == 60 and summary.objectiveHistory[-1] < summary.objectiveHistory[0]
    with pytest.raises(TypeError):
        model.evaluate(3)
    hidden = model.copy({model.probabilityCol: "", model.predictionCol: "", model.rawPredictionCol: ""})
    assert hidden.evaluate(vectors).accuracy == summary.accuracy


def test_a_saved_classifier_has_no_summary(library, classification_model, vectors, tmp_path):
    classification_model.write().overwrite().save(str(tmp_path / "m"))
    loaded = library.FMClassificationModel.load(str(tmp_path / "m"))
    assert not loaded.hasSummary and str(loaded) == str(classification_model)
    with pytest.raises(Exception, match="[Nn]o training summary"):
        loaded.summary()
    assert loaded.evaluate(vectors).accuracy > 0.95 and loaded.getMaxIter() == 60


def test_a_summary_of_both_kinds(vectors):
    model = models.FMClassifier(solver="sgd", maxIter=3).fit(vectors)
    assert len(model.summary.history) == model.summary().totalIterations == model.summary.best_iteration == 3
    assert model.summary.curve.objective.tolist() == model.summary().objectiveHistory


@pytest.mark.parametrize("solver", ["sgd", "als", "mcmc"])
def test_the_parameters_are_a_machine(vectors, some, solver):
    """Of sgd and als the one that predicts; of mcmc a sample, whose predictions are near the mean."""
    model = models.FMRegressor(
        labelCol="y", solver=solver, factorSize=2, maxIter=80, regParam=0.01, seed=1
    ).fit(vectors)
    assert (
        model.V_samples.shape == (len(model.w0_samples), 7, 2)
        and model.w_samples.shape == model.V_samples.shape[:2]
    )
    np.testing.assert_allclose(
        [score(model, each) for each in some],
        [model.predict(each) for each in some],
        atol=0.5 if solver == "mcmc" else 1e-9,
    )
    assert (len(model.w0_samples) > 1) == (solver == "mcmc")
    np.testing.assert_array_equal(model.factors.toArray(), model.V_samples[-1])


@pytest.mark.parametrize("vector", [[1.0, 2.0], [1.0] * 8])
def test_vectors_of_another_size(library, regression_model, classification_model, spark, vector):
    rows = spark.createDataFrame([(Vectors.dense(vector),)], ["features"])
    for model in (regression_model, classification_model):
        with pytest.raises(IllegalArgumentException):
            model.predict(Vectors.dense(vector))
        with pytest.raises(
            Exception,
            match=None if library.name == "mllib" else f"a vector has {len(vector)} columns, .* trained on 7",
        ):
            model.transform(rows).collect()


def test_features_and_labels_that_are_refused(library, regression_model, classification_model, vectors):
    regressor, classifier = library.FMRegressor(labelCol="y", maxIter=1), library.FMClassifier(maxIter=1)
    for frame in (
        vectors.drop("features"),
        vectors.drop("y"),
        vectors.withColumn("features", F.array(F.lit(1.0))),
    ):
        with pytest.raises(IllegalArgumentException):
            regressor.fit(frame)
    for frame in (vectors.drop("features"), vectors.withColumn("features", F.array(F.lit(1.0)))):
        with pytest.raises(IllegalArgumentException):
            regression_model.transform(frame)
    for kind in ("string", "boolean"):
        with pytest.raises(IllegalArgumentException):
            classifier.fit(vectors.withColumn("label", F.col("label").cast(kind)))
    with pytest.raises(IllegalArgumentException):
        regressor.copy({regressor.weightCol: "zz"}).fit(vectors)
    gone = vectors.withColumn("features", F.when(F.col("w") < 3, F.col("features")))
    with pytest.raises(SparkRuntimeException if library.name == "mllib" else RecsparkError):
        regressor.fit(gone)
    with pytest.raises(Exception, match=None if library.name == "mllib" else "column features holds a null"):
        regression_model.transform(gone).collect()
    for label in (2.0, 0.5):
        with pytest.raises(SparkRuntimeException if library.name == "mllib" else RecsparkError, match="0"):
            classifier.fit(vectors.withColumn("label", F.lit(label)))


@pytest.mark.slow
def test_labels_of_whole_numbers_weights_and_one_column(library, vectors, spark):
    assert (
        library.FMClassifier(maxIter=1)
        .fit(vectors.withColumn("label", F.col("label").cast("int")))
        .numClasses
        == 2
    )
    estimator = library.FMRegressor(labelCol="y", maxIter=2)
    assert not estimator.isDefined("weightCol")
    assert estimator.copy({estimator.weightCol: "w"}).fit(vectors).numFeatures == 7
    single = spark.createDataFrame(
        [(1.0, Vectors.dense(1.0)), (0.0, Vectors.sparse(1, [], []))], ["label", "features"]
    )
    model = library.FMRegressor(maxIter=5).fit(single)
    assert model.numFeatures == 1 and model.linear.size == 1


@pytest.mark.parametrize("solver", ["gd", "adamW", "als", "mcmc"])
def test_no_iteration_leaves_the_start(library, vectors, solver):
    if library.name == "mllib" and solver in ("als", "mcmc"):
        pytest.skip("MLlib has no such solver")
    for estimator in (library.FMRegressor(labelCol="y"), library.FMClassifier()):
        model = estimator.copy({estimator.maxIter: 0, estimator.solver: solver, estimator.factorSize: 3}).fit(
            vectors
        )
        assert not model.linear.toArray().any() and model.factors.toArray().any()
        assert model.transform(vectors).count() == 80


@pytest.mark.slow
def test_labels_that_are_all_the_same(library, vectors):
    for label in (0.0, 1.0):
        model = library.FMClassifier(solver="adamW", maxIter=20, stepSize=0.1).fit(
            vectors.withColumn("label", F.lit(label))
        )
        assert {row.prediction for row in model.transform(vectors).collect()} == {label}
