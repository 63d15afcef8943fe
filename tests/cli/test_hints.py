"""What an error suggests for a key that is not known."""

import pytest

from recspark.errors import ConfigError
from recspark.hints import _PEERS, meant
from recspark.models import ALS, FMRegressor
from recspark.pipeline.conf.sections import validated


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("data.delimiter", "did you mean data.separator?"),
        ("data.sep", "did you mean data.separator?"),
        ("data.timeColumn", "did you mean data.timestampColumn?"),
        ("data.movieColumn", "did you mean data.itemColumn?"),
        ("data.user_column", "did you mean data.userColumn?"),
        ("data.path", "did you mean data.source?"),
        ("data.genreColumn", "known keys: data.asOf, "),
        ("model.iterations", "did you mean model.maxIter?"),
        ("model.n_factors", "did you mean model.rank?"),
        ("model.lambda", "did you mean model.regParam?"),
        ("model.maxiter", "did you mean model.maxIter?"),
        ("model.learning_rate", "known keys: model.alpha, "),  # ALS has none
        ("model.rnak", "did you mean model.rank?"),
        ("model.zzz", "known keys: model.alpha, "),
        ("split.test_size", "did you mean split.testFraction?"),
        ("split.fraction", "did you mean split.testFraction?"),
        ("split.k", "did you mean split.folds or split.n?"),
        ("evaluation.cutoffs", "did you mean evaluation.ks?"),
        ("recommend.topN", "did you mean recommend.n?"),
        ("recommend.filter_seen", "did you mean recommend.excludeSeen?"),
        ("tune.n_trials", "did you mean tune.trials?"),
        ("paths.output", "did you mean paths.lake?"),
        ("spark.memory", "did you mean spark.driverMemory?"),
        ("tracking.tracking_uri", "did you mean tracking.uri?"),
    ],
)
def test_hints_of_a_conf(key, hint):
    section, _, name = key.partition(".")
    with pytest.raises(ConfigError) as error:
        validated({section: {name: 1}})
    assert str(error.value).startswith(f"unknown key {key}: {hint}")


@pytest.mark.parametrize(
    ("section", "meant"),
    [("mlflow", "tracking"), ("eval", "evaluation"), ("dataset", "data"), ("modle", "model")],
)
def test_hints_of_a_section(section, meant):
    with pytest.raises(ConfigError, match=rf"^unknown key {section}: did you mean {meant}\?$"):
        validated({section: {}})


def test_hints_of_params():
    with pytest.raises(ConfigError, match=r"^unknown key iterations: did you mean maxIter\?$"):
        ALS(iterations=5)
    with pytest.raises(ConfigError, match=r"^unknown key rank: did you mean factorSize\?$"):
        FMRegressor(rank=5)
    with pytest.raises(ConfigError, match=r"^unknown key learning_rate: did you mean stepSize\?$"):
        FMRegressor().setParams(learning_rate=0.1)


def test_words_are_as_they_are_compared():
    words = " ".join(_PEERS.values()).split()
    assert [word for word in words if word.lower() != word or not word.isalnum()] == []


def test_long_keys_are_quick():
    assert meant("x" * 1_000_000, ["rank"] * 1000) == []
