"""Output columns and names: what is there is refused, what is "" is left out, and a name may consist of
anything.
"""

import pytest
from pyspark.errors import IllegalArgumentException
from pyspark.sql import functions as F


@pytest.mark.parametrize("taken", ["prediction", "rating"])
def test_als_refuses_a_column_that_exists(als, ratings, taken):
    frame = ratings.withColumn(taken, F.lit(1.0))
    with pytest.raises(IllegalArgumentException, match=f"{taken}.* already exists"):
        als.transform(frame, {als.predictionCol: taken})


@pytest.mark.parametrize("name", ["user", "item"])
def test_als_refuses_its_input_as_output(als, ratings, name):
    with pytest.raises(IllegalArgumentException, match="already exists"):
        als.transform(ratings, {als.predictionCol: name})


@pytest.mark.parametrize("output", ["prediction", "probability", "rawPrediction"])
def test_a_classifier_refuses_columns_that_exist(classification_model, vectors, output):
    with pytest.raises(IllegalArgumentException, match=f"{output}.* already exists"):
        classification_model.transform(vectors.withColumn(output, F.lit(1.0)))
    with pytest.raises(IllegalArgumentException, match="label.* already exists"):
        classification_model.transform(vectors, {classification_model.getParam(f"{output}Col"): "label"})


def test_two_outputs_of_one_name(classification_model, vectors):
    model = classification_model
    with pytest.raises(IllegalArgumentException, match="x.* already exists"):
        model.transform(vectors, {model.predictionCol: "x", model.probabilityCol: "x"})


def test_an_empty_name_is_no_column(regression_model, classification_model, vectors):
    outputs = ["rawPrediction", "probability", "prediction"]
    for mask in range(8):
        shown = [name for bit, name in enumerate(outputs) if mask >> bit & 1]
        hidden = {classification_model.getParam(f"{name}Col"): "" for name in outputs if name not in shown}
        assert classification_model.transform(vectors, hidden).columns == [*vectors.columns, *shown]
    assert (
        regression_model.transform(vectors, {regression_model.predictionCol: ""}).columns == vectors.columns
    )


@pytest.mark.parametrize("name", ["a.b", "a`b", "a b", "ß", "`x`"])
def test_outputs_of_any_name(library, als, classification_model, ratings, vectors, name):
    rows = als.transform(ratings, {als.predictionCol: name})
    assert rows.columns[-1] == name and len(rows.collect()) == ratings.count()
    if library.name == "mllib" and ("." in name or "`" in name):
        return  # what follows ends with AnalysisException there
    for param in ("predictionCol", "probabilityCol", "rawPredictionCol"):
        found = classification_model.transform(vectors, {classification_model.getParam(param): name})
        assert name in found.columns and found.count() == 80
    assert (
        als.transform(ratings, {als.predictionCol: name, als.coldStartStrategy: "drop"}).columns[-1] == name
    )


def test_names_in_another_case(als, regression_model, ratings, vectors, library):
    assert als.recommendForUserSubset(ratings.toDF("USER", "i", "r"), 2).count() == 12
    capitals = vectors.withColumnRenamed("features", "FEATURES")
    assert regression_model.transform(capitals).columns[-1] == "prediction"
    if library.name == "recspark":
        assert als.transform(ratings.toDF("USER", "Item", "rating")).columns == [
            "USER",
            "Item",
            "rating",
            "prediction",
        ]
