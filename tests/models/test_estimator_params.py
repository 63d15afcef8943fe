"""What a model keeps of its estimator, for every estimator, without a fit."""

import pytest

from recspark import models
from recspark.config import at_least
from recspark.models.fm.vectors import FMVectorModel
from recspark.models.params import Hyperparameter, plain

ESTIMATORS = [
    "ALS",
    "Baseline",
    "FMClassifier",
    "FMRanker",
    "FMRegressor",
    "MatrixFactorization",
    "Popularity",
]


def models_of(cls):
    return getattr(cls, "model_classes", None) or (cls.model_class,)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_param_is_on_every_model(name):
    estimator = getattr(models, name)(seed=7)
    for cls in models_of(type(estimator)):
        model = cls()
        model.take_params(estimator)
        for param, value in estimator.values().items():
            assert getattr(model, f"get{param[0].upper()}{param[1:]}")() == value, param
            assert model.hasParam(param) and f"{param}: " in model.explainParams()
        assert (model.uid, model.getOrDefault("seed"), model.isSet(model.seed)) == (estimator.uid, 7, True)
        assert (
            model.parent.values() == estimator.values()
            and model.parent.uid == estimator.uid
            and model.hasParent
        )


def test_setters_are_of_what_a_model_reads():
    assert hasattr(models.ALSModel, "setPredictionCol") and not hasattr(models.ALSModel, "setRegParam")
    assert "regParam" not in models.ALSModel.hyperparameters()


def test_passwords_stay_behind():
    model = models.ALSModel()
    model.take_params(models.ALS(workDir="s3://key:secret@bucket/work", userCol="u"))
    assert (model.getWorkDir(), model.getUserCol()) == ("s3://***@bucket/work", "u")


def test_an_estimator_of_one_s_own_leaves_the_models_alone():
    class Mine(models.ALS):
        more = Hyperparameter(int, 3, "one more", at_least(0))

    assert Mine(more=4).getMore() == 4 and not models.ALSModel().hasParam("more")
    assert models.ALSModel.estimator_class is models.ALS


def test_a_model_without_an_estimator():
    assert not FMVectorModel().hasParent and FMVectorModel().parent is None


def test_the_rank_of_a_model_is_a_number_and_a_param():
    model = models.ALSModel()
    model.take_params(models.ALS(rank=5))
    assert (model.getRank(), model.getParam("rank").name, model.extractParamMap()[model.rankParam]) == (
        5,
        "rank",
        5,
    )
    with pytest.raises(ValueError, match="Cannot find param with name bogus"):
        model.getParam("bogus")


def test_plain_values():
    import numpy as np

    found = plain({"a": [np.int8(1), (np.float64(0.5),)], "b": np.array([[1, 2]]), "c": None})
    assert found == {"a": [1, [0.5]], "b": [[1, 2]], "c": None} and type(found["a"][0]) is int
