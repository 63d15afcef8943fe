"""Values of Params: what is taken, what is refused and with which exception."""

import numpy as np
import pytest
from pyspark.errors import IllegalArgumentException
from pyspark.ml.tuning import ParamGridBuilder

from recspark import models
from recspark.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rank", [0, -1]),
        ("maxIter", [-1]),
        ("regParam", [-1.0, float("nan")]),
        ("alpha", [-1.0]),
        ("numUserBlocks", [0]),
        ("coldStartStrategy", ["zzz"]),
        ("intermediateStorageLevel", ["zzz", "NONE", "memory_only"]),
        ("finalStorageLevel", ["zzz"]),
        ("checkpointInterval", [0, -2]),
        ("blockSize", [0]),
    ],
)
def test_als_refuses_values(library, ratings, name, values):
    for value in values:
        with pytest.raises(IllegalArgumentException):
            library.ALS(**{name: value}).fit(ratings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            ("factorSize", 0),
            ("maxIter", -1),
            ("stepSize", 0.0),
            ("regParam", -1.0),
            ("miniBatchFraction", 0.0),
            ("initStd", 0.0),
        ],
        *[("tol", -1.0), ("solver", "x"), ("solver", "ADAMW")],
    ],
)
def test_fm_refuses_values(library, vectors, name, value):
    for estimator in (library.FMRegressor, library.FMClassifier):
        with pytest.raises(IllegalArgumentException):
            estimator(**{name: value}).fit(vectors)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", "x"),
        ("rank", 2.5),
        ("rank", True),
        ("implicitPrefs", 1),
        ("userCol", 3),
        ("regParam", "a"),
        ("bogus", 1),
    ],
)
def test_als_refuses_types(library, ratings, name, value):
    with pytest.raises(TypeError):
        library.ALS(**{name: value})
    with pytest.raises(TypeError):
        library.ALS().setParams(**{name: value})
    if name != "bogus":
        als = library.ALS()
        with pytest.raises(TypeError):
            getattr(als, f"set{name[0].upper()}{name[1:]}")(value)
        with pytest.raises(TypeError):
            als.fit(ratings, {als.getParam(name): value})


def test_what_is_no_param(library, ratings):
    als = library.ALS()
    with pytest.raises(TypeError):
        library.ALS(5)
    with pytest.raises(TypeError):
        als.fit(ratings, {"rank": 1})
    with pytest.raises(AttributeError):
        als._set(bogus=1) if library.name == "mllib" else als.bogus
    with pytest.raises(ValueError, match="rank"):
        als.set(library.ALS().rank, 3)


def test_whole_numbers_as_floats_and_numpy_s_whole_numbers(library):
    assert library.ALS(rank=2.0).getRank() == 2
    assert type(library.ALS(rank=np.int64(3)).getRank()) is int
    assert library.ALS(regParam=1).getRegParam() == 1.0
    assert library.ALS(userCol=np.str_("a")).getUserCol() == "a"


@pytest.mark.parametrize("name", ["ALS", "FMClassifier", "MatrixFactorization", "Baseline", "FMRanker"])
def test_numbers_of_numpy(name):
    kinds = {int: np.int32, float: np.float32, bool: np.bool_, str: np.str_}
    cls = getattr(models, name)
    given = {
        key: p.option.default for key, p in cls.hyperparameters().items() if type(p.option.default) in kinds
    }
    made = cls(**{key: kinds[type(value)](value) for key, value in given.items()})
    for key, value in given.items():
        found = made.getOrDefault(key)
        assert type(found) is type(value) and found == pytest.approx(value)
    grid = (
        ParamGridBuilder()
        .addGrid(made.maxIter, np.arange(1, 3))
        .addGrid(made.regParam, np.linspace(0.1, 0.2, 2))
        .build()
        if name != "FMRanker"
        else []
    )
    assert all(made.copy(point).getMaxIter() in (1, 2) for point in grid)


def test_lists_of_numpy_tuples_and_vectors(spark):
    for value in (np.array([0.25, 0.75]), (0.25, 0.75), [np.float64(0.25), 0.75]):
        found = models.FMClassifier(thresholds=value).getThresholds()
        assert found == [0.25, 0.75] and type(found[0]) is float


def test_errors_are_recspark_s_as_well():
    with pytest.raises(
        ConfigError, match="rank = 0 is not allowed: it must be a whole number, at least 1"
    ) as caught:
        models.ALS(rank=0)
    assert isinstance(caught.value, (IllegalArgumentException, ValueError)) and not isinstance(
        caught.value, TypeError
    )
    assert str(caught.value) in caught.value.getMessage()
    with pytest.raises(ConfigError, match="did you mean rank") as caught:
        models.ALS(rnk=1)
    assert isinstance(caught.value, TypeError)
    with pytest.raises(ConfigError, match="userCol"):
        models.ALS().setUserCol(None)


@pytest.mark.slow
def test_cold_start_in_capitals(library, ratings, spark):
    als = library.ALS(coldStartStrategy="Drop", rank=1, maxIter=1)
    strangers = spark.createDataFrame([(0, 1), (99, 1)], "user int, item int")
    model = als.fit(ratings)
    assert model.transform(strangers).count() == 1
    assert model.setColdStartStrategy("NaN").transform(strangers).count() == 2


def test_blocks(library):
    als = library.ALS()
    assert (als.getNumUserBlocks(), als.getNumItemBlocks(), als.isSet("numUserBlocks")) == (10, 10, False)
    assert als.setNumBlocks(3) is als
    assert (als.getNumUserBlocks(), als.getNumItemBlocks()) == (3, 3)


@pytest.mark.parametrize(
    ("given", "blocks", "one_task"),
    [
        ({}, (1, 1), True),
        ({"numUserBlocks": 10, "numItemBlocks": 5}, (1, 1), True),
        ({"numItemBlocks": 2, "itemBlocks": 4, "userBlocks": 5}, (5, 4), True),
        ({"tasks": "blocks"}, (2, 2), False),
        ({"tasks": "blocks", "numUserBlocks": 3}, (3, 3), False),
        ({"tasks": "blocks", "numUserBlocks": 10, "numItemBlocks": 2}, (10, 2), False),
        ({"tasks": "blocks", "numUserBlocks": 3, "userBlocks": 4}, (4, 4), False),
    ],
)
def test_blocks_by_their_name_in_mllib_are_a_wish(spark, given, blocks, one_task):
    """It counts where blocks are tasks; userBlocks and itemBlocks always do."""
    found = models.ALS(**given)._place(spark, 100_000)
    assert (found.blocks["users"], found.blocks["items"], found.one_task) == (*blocks, one_task)


@pytest.mark.slow
def test_copies_and_maps_leave_the_original(library, als):
    assert als.copy({als.predictionCol: "q"}).getPredictionCol() == "q"
    assert als.getPredictionCol() == "prediction" and als.copy().uid == als.uid
