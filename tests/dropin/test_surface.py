"""Every public method, property and Param of MLlib's classes: here as well, with results of the same types,
or in the list.
"""

import inspect

import pytest
from pyspark.ml.param import Param

from tests.dropin.conftest import MLLIB, NAMES, RECSPARK
from tests.dropin.differences import DEFAULTS, HASH

DEFAULT = {(each.of, each.param): each for each in DEFAULTS}


def members(cls):
    return [name for name in dir(cls) if not name.startswith("_")]


def params(cls):
    """The Params of a class of MLlib, by name."""
    return {name: value for name in members(cls) if isinstance(value := getattr(cls, name), Param)}


@pytest.mark.parametrize("name", NAMES)
def test_every_member_is_here(name):
    missing = [member for member in members(MLLIB[name]) if not hasattr(RECSPARK[name], member)]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_every_method_takes_what_mllib_s_takes(name):
    for member in members(MLLIB[name]):
        theirs, ours = getattr(MLLIB[name], member), getattr(RECSPARK[name], member)
        # keywords of setParams are looked at below; a summary is an object that can be called
        if not inspect.isfunction(theirs) or member in ("setParams", "summary"):
            continue
        wanted = [
            each for each in inspect.signature(theirs).parameters if each not in ("self", "args", "kwargs")
        ]
        taken = inspect.signature(ours).parameters
        assert list(taken)[1 : len(wanted) + 1] == wanted or any(
            each.kind == each.VAR_KEYWORD for each in taken.values()
        ), member


@pytest.mark.parametrize("name", ["ALS", "FMRegressor", "FMClassifier"])
def test_every_keyword_is_taken_and_shown(spark, name):
    keywords = [
        each for each in inspect.signature(MLLIB[name].__init__.__wrapped__).parameters if each != "self"
    ]
    assert set(keywords) <= set(inspect.signature(RECSPARK[name]).parameters)
    theirs = MLLIB[name]()
    given = {keyword: theirs.getOrDefault(keyword) for keyword in keywords if theirs.isDefined(keyword)}
    ours = RECSPARK[name](**given)
    assert {keyword: ours.getOrDefault(keyword) for keyword in given} == given
    assert {keyword: RECSPARK[name]().setParams(**given).getOrDefault(keyword) for keyword in given} == given


@pytest.mark.parametrize("name", ["ALS", "FMRegressor", "FMClassifier"])
def test_defaults_are_mllib_s_or_in_the_list(spark, name):
    theirs, ours = MLLIB[name](), RECSPARK[name]()
    for param in params(MLLIB[name]):
        mine = ours.getOrDefault(param) if ours.hasDefault(param) else None
        control = theirs.getOrDefault(param) if theirs.hasDefault(param) else None
        listed = DEFAULT.get((name, param))
        assert mine == (control if listed is None else listed.recspark), param
        if listed is not None:
            assert listed.mllib in (control, HASH) and mine != control, param


def test_a_listed_default_belongs_to_a_class_of_both():
    assert all(each.param in params(MLLIB[each.of]) for each in DEFAULTS)


@pytest.mark.parametrize("fitted", ["als", "regression_model", "classification_model"])
def test_results_have_mllib_s_types(fitted, request, library, spark):
    """Run for both libraries: the types that are written here are those of the control."""
    model = request.getfixturevalue(fitted)
    expected = {
        "als": {
            "rank": "int",
            "userFactors": "DataFrame",
            "itemFactors": "DataFrame",
            "getBlockSize": "int",
            "getUserCol": "str",
        },
        "regression_model": {
            "intercept": "float",
            "linear": "DenseVector",
            "factors": "DenseMatrix",
            "numFeatures": "int",
        },
        "classification_model": {
            "intercept": "float",
            "linear": "DenseVector",
            "factors": "DenseMatrix",
            "numFeatures": "int",
            "numClasses": "int",
            "hasSummary": "bool",
            "getProbabilityCol": "str",
            "getRawPredictionCol": "str",
        },
    }[fitted]
    if fitted != "als":
        getters = [
            "FactorSize",
            "FitIntercept",
            "FitLinear",
            "InitStd",
            "MaxIter",
            "MiniBatchFraction",
            "RegParam",
            "Seed",
            "Solver",
        ]
        types = ["int", "bool", "bool", "float", "int", "float", "float", "int", "str"]
        expected |= {f"get{name}": type for name, type in zip(getters, types, strict=True)} | {
            "getStepSize": "float",
            "getTol": "float",
        }
    found = {}
    for name in expected:
        value = getattr(model, name)
        found[name] = type(value() if callable(value) else value).__name__
    assert found == expected


def test_models_have_the_estimator_s_values(regression_model, classification_model):
    for model in (regression_model, classification_model):
        assert (model.getFactorSize(), model.getMaxIter(), model.getStepSize(), model.getSeed()) == (
            2,
            60,
            0.1,
            3,
        )
        assert (model.getOrDefault("maxIter"), model.getSolver(), model.isSet(model.stepSize)) == (
            60,
            "adamW",
            True,
        )
        assert "maxIter: " in model.explainParams() and "current: 60" in model.explainParams()


def test_names(library, als, regression_model, classification_model):
    assert library.ALS().uid.startswith("ALS_") and str(library.ALS()).startswith("ALS_")
    assert str(als) == repr(als) == f"ALSModel: uid={als.uid}, rank=2" and als.uid.startswith("ALS_")
    facts = "numFeatures=7, factorSize=2, fitLinear=true, fitIntercept=true"
    assert str(regression_model) == f"FMRegressionModel: uid={regression_model.uid}, {facts}"
    assert (
        str(classification_model)
        == f"FMClassificationModel: uid={classification_model.uid}, numClasses=2, {facts}"
    )


def test_the_estimator_is_known_to_java_s_names(als, library):
    parent = als._java_obj.parent()
    assert (parent.getRank(), parent.getMaxIter(), parent.getRegParam()) == (2, 8, 0.01)
    assert (parent.uid(), als._java_obj.rank()) == (als.uid, 2)
