"""Search spaces: what a conf may say, checked by the Params of the model."""

import pytest

from recspark.errors import ConfigError
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.conf.sections import TuneOptions
from recspark.pipeline.tuning.search_space import (
    DEFAULT_SPACES,
    Choices,
    Interval,
    parse_space,
    start_of,
)

MF = ModelSection(type="mf", rank=16, regParam=0.1)


def test_the_shapes():
    declared = {
        "regParam": {"low": 0.01, "high": 1, "log": True},
        "rank": {"low": 4, "high": 64, "step": 4},
        "maxIter": {"low": 5, "high": 7},
        "kernel": {"choices": ["linear", "rbf"]},
        "center": {"choices": [True, False]},
        "batchSize": {"low": 1, "high": 1024, "log": True},
    }
    assert parse_space(MF, declared) == {
        "regParam": Interval(0.01, 1.0, None, True, whole=False),
        "rank": Interval(4, 64, 4, False, whole=True),
        "maxIter": Interval(5, 7, 1, False, whole=True),
        "kernel": Choices(("linear", "rbf")),
        "center": Choices((True, False)),
        "batchSize": Interval(1, 1024, None, True, whole=True),
    }


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"rnak": {"low": 1, "high": 2}}, "unknown key tune.space.rnak: did you mean tune.space.rank?"),
        ({"workDir": {"choices": ["/"]}}, "unknown key tune.space.workDir"),
        (
            {"rank": 8},
            "tune.space.rank = 8 is not allowed: it must be a table {low, high} with step or log, or "
            "{choices}",
        ),
        ({"rank": {"low": 1}}, "tune.space.rank = {'low': 1} is not allowed"),
        ({"rank": {"low": 1, "high": 2, "stride": 1}}, "it must be a table"),
        (
            {"rank": {"low": 0, "high": 2}},
            "tune.space.rank.low = 0 is not allowed: it must be a whole number, at least 1",
        ),
        (
            {"rank": {"low": 1, "high": 2.5}},
            "tune.space.rank.high = 2.5 is not allowed: it must be a whole number",
        ),
        (
            {"regPower": {"low": 0, "high": 1.5}},
            "tune.space.regPower.high = 1.5 is not allowed: it must be a number, from 0 to 1",
        ),
        (
            {"regParam": {"low": "a", "high": 1}},
            "tune.space.regParam.low = 'a' is not allowed: it must be a number",
        ),
        (
            {"rank": {"low": 8, "high": 8}},
            "tune.space.rank.high = 8 is not allowed: it must be greater than low = 8",
        ),
        (
            {"rank": {"low": 4, "high": 10, "step": 4}},
            "tune.space.rank.step = 4 is not allowed: high - low = 6 must be a multiple of it",
        ),
        (
            {"regParam": {"low": 0, "high": 1, "log": True}},
            "log = true needs low greater than 0, and no step",
        ),
        (
            {"regParam": {"low": 0.1, "high": 1, "log": True, "step": 0.1}},
            "log = true needs low greater than 0, and no step",
        ),
        (
            {"kernel": {"low": 1, "high": 2}},
            "the Param must be a string, one of linear, sigmoid, rbf, cosine, so name its choices",
        ),
        ({"kernel": {"choices": ["linear", "cubic"]}}, "tune.space.kernel.choices = 'cubic' is not allowed"),
        ({"kernel": {"choices": []}}, "must be a list, not empty"),
        (
            {"kernel": {"choices": ["rbf", "rbf"]}},
            "must be a list of different numbers, strings, or true and false",
        ),
    ],
)
def test_mistakes_are_named(declared, words):
    with pytest.raises(ConfigError) as caught:
        parse_space(MF, declared)
    assert words in str(caught.value)


def test_a_grid_has_all_values():
    space = parse_space(
        MF, {"rank": {"low": 4, "high": 12, "step": 4}, "regParam": {"low": 0.1, "high": 0.4, "step": 0.1}}
    )
    assert space["rank"].grid() == [4, 8, 12]
    assert space["regParam"].grid() == [0.1, 0.2, 0.3, 0.4]
    assert parse_space(MF, {"regParam": {"low": 0.1, "high": 0.4}})["regParam"].grid() is None


def test_what_the_conf_says_is_the_first_trial_where_it_lies_in_the_space():
    declared = {
        "rank": {"low": 4, "high": 64, "step": 4},
        "regParam": {"low": 0.01, "high": 1},
        "center": {"choices": [True]},
    }
    inside = parse_space(MF, declared)
    assert start_of(MF, inside) == {"rank": 16, "regParam": 0.1, "center": True}
    assert start_of(MF, parse_space(MF, {"rank": {"low": 5, "high": 65, "step": 4}})) is None
    # a Param without a value has none to begin with
    assert start_of(MF, parse_space(MF, {"regPower": {"low": 0, "high": 1}})) is None


def test_options():
    assert TuneOptions(space={"rank": {"low": 1, "high": 2}}).sampler == "tpe"
    with pytest.raises(
        ConfigError,
        match="tune.sampler = 'cmaes' is not allowed: it must be a string, one of tpe, random, grid",
    ):
        TuneOptions(sampler="cmaes")
    with pytest.raises(ConfigError, match="tune.study = '../x' is not allowed"):
        TuneOptions(study="../x")


@pytest.mark.parametrize("kind", ["als", "baseline", "fm"])
def test_usual_ranges_where_none_are_declared(kind):
    model = ModelSection(type=kind)
    assert parse_space(model, None) == parse_space(model, DEFAULT_SPACES[kind])


def test_a_model_without_usual_ranges_needs_declared_ones():
    with pytest.raises(ConfigError, match="tune.space is not set: name the Params to search"):
        parse_space(ModelSection(type="popularity"), None)
