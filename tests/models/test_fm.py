import numpy as np
import pandas as pd
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import BinaryClassificationEvaluator, RegressionEvaluator
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F

from recspark.algorithms.gibbs import FMSampler
from recspark.engine.spark import crossing
from recspark.errors import ConfigError, RecsparkError
from recspark.models import (
    FMClassificationModel,
    FMClassifier,
    FMRanker,
    FMRegressionModel,
    FMRegressor,
    FMRegressorModel,
)

GROUPS = ["user", "item", "rated", "raters", "day", "gender"]
NOISE = 0.5
THREE_BLOCKS = {"userBlocks": 3, "itemBlocks": 2, "tasks": "blocks"}


@pytest.fixture(scope="module")
def ratings(spark):
    """Rows of 60 users, 40 items and 5 days: planted factors and biases, a gender that matters, noise of
    NOISE; users 50 ... have one row each."""
    rng = np.random.default_rng(0)
    x, y, b, c = (
        rng.normal(0, 0.6, (60, 2)),
        rng.normal(0, 0.6, (40, 2)),
        rng.normal(0, 0.4, 60),
        rng.normal(0, 0.4, 40),
    )
    day, gender = rng.normal(0, 0.3, 5), np.arange(60) % 2
    rows = [(u, i) for u in range(60) for i in range(40) if rng.random() < (0.6 if u < 50 else 0.03)]
    users, items = np.array(rows).T
    days = rng.integers(0, 5, len(rows))
    score = (
        3.5
        + b[users]
        + c[items]
        + np.einsum("ij,ij->i", x[users], y[items])
        + day[days]
        + 0.5 * gender[users]
    )
    frame = pd.DataFrame(
        {"user_id": [f"u{u}" for u in users], "item_id": items + 100, "timestamp": days * 86_400 + 50}
    )
    frame["rating"] = score + rng.normal(0, NOISE, len(rows))
    frame["level"] = np.clip(np.round(frame["rating"]), 1, 5)
    test = rng.random(len(rows)) < 0.2
    people = pd.DataFrame({"user_id": [f"u{u}" for u in range(60)], "gender": np.where(gender, "F", "M")})
    return tuple(spark.createDataFrame(part).cache() for part in (frame[~test], frame[test], people))


def rmse(model, test, label="rating"):
    errors = model.transform(test).select(F.sqrt(F.avg((F.col("prediction") - F.col(label)) ** 2)))
    return errors.first()[0]


def fitted(ratings, estimator=FMRegressor, **params):
    train, _, people = ratings
    given = {
        "groups": GROUPS,
        "labelCol": "rating",
        "factorSize": 3,
        "maxIter": 40,
        "samples": 20,
        "seed": 5,
    } | params
    return estimator(**given).tables(users=people).fit(train)


@pytest.mark.slow
def test_predictions_come_near_the_noise_whatever_the_blocks(ratings):
    one = fitted(ratings)
    assert NOISE < rmse(one, ratings[1]) < 1.4 * NOISE
    assert [row["iteration"] for row in one.summary.history] == list(range(1, 41))
    three = fitted(ratings, **THREE_BLOCKS, maxIter=3, burnIn=1)
    same = fitted(ratings, maxIter=3, burnIn=1)
    in_one_task = fitted(ratings, **THREE_BLOCKS | {"tasks": "one"}, maxIter=3, burnIn=1)
    assert (
        rmse(three, ratings[1])
        == rmse(in_one_task, ratings[1])
        == pytest.approx(rmse(same, ratings[1]), abs=1e-3)
    )


@pytest.mark.slow
def test_row_order_does_not_matter(ratings):
    shuffled = ratings[0].orderBy(F.rand(3)).repartition(5), *ratings[1:]
    assert rmse(fitted(shuffled, maxIter=3), ratings[1]) == rmse(fitted(ratings, maxIter=3), ratings[1])


@pytest.mark.slow
def test_chains_are_averaged(ratings):
    both = fitted(ratings, chains=2, maxIter=8)
    each = [fitted(ratings, maxIter=8, seed=seed) for seed in (5, 5 + 1_000_003)]
    scores = [
        model.transform(ratings[1]).orderBy("user_id", "item_id").toPandas()["prediction"]
        for model in (both, *each)
    ]
    assert both.rank == 2 * each[0].rank
    assert not np.allclose(scores[1], scores[2], atol=0.01)
    np.testing.assert_allclose(scores[0], (scores[1] + scores[2]) / 2, atol=1e-4)


@pytest.mark.slow
def test_als_finds_the_mode(ratings):
    assert NOISE < rmse(fitted(ratings, solver="als", regParam=2.0), ratings[1]) < 1.4 * NOISE


@pytest.mark.slow
def test_levels_have_probabilities_and_predictions_a_spread(ratings, tmp_path):
    model = fitted(ratings, labelCol="level", ordered=True, stdevCol="stdev", levelsCol="levels")
    path = str(tmp_path / "model")
    model.write().save(path)
    rows = model.transform(ratings[1]).toPandas()
    levels = np.stack(rows["levels"])
    assert levels.shape == (len(rows), 5)
    np.testing.assert_allclose(levels.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(levels @ np.arange(1, 6), rows["prediction"], atol=1e-4)
    assert rows["stdev"].between(0.1, 2).all()
    assert rmse(model, ratings[1], "level") < 1.3 * np.sqrt(NOISE**2 + 1 / 12)
    again = FMRegressorModel.load(path).transform(ratings[1]).toPandas()
    pd.testing.assert_frame_equal(again[rows.columns], rows)


def test_what_training_has_not_seen_gets_an_average(spark, ratings):
    model = fitted(ratings)
    rows = spark.createDataFrame(
        [("nobody", 100, 50), ("u1", 999, 50), ("u1", 100, 99 * 86_400)],
        "user_id string, item_id long, timestamp long",
    )
    predictions = [row["prediction"] for row in model.transform(rows).collect()]
    assert all(1 < prediction < 6 for prediction in predictions)


@pytest.mark.slow
def test_recommendations_come_from_the_mean_score(ratings):
    rows = fitted(ratings).recommendForAllUsers(3).toPandas()
    assert len(rows) == 60
    assert rows["recommendations"].map(len).eq(3).all()


@pytest.mark.slow
def test_what_is_watched_is_what_the_model_says(spark, ratings):
    """Of rows that training has not seen, too: a new user, a new item, new moments."""
    train, test, people = ratings
    new = spark.createDataFrame(
        [("nobody", 100, 50, 2.0, 2.0), ("u1", 999, 86_450, 5.0, 5.0)],
        "user_id string, item_id long, timestamp long, rating double, level double",
    )
    test = test.unionByName(new.select(test.columns))
    for groups, noisy in ((GROUPS, 1), ([*GROUPS, {"group": "user*moment", "factors": False}], 0)):
        for label, ordered in (("rating", False), ("level", True)):
            fm = FMRegressor(
                groups=groups,
                labelCol=label,
                ordered=ordered,
                noisyChains=noisy,
                factorSize=3,
                maxIter=12,
                burnIn=2,
                seed=5,
            )
            model = fm.tables(users=people).watch(validation=test).fit(train)
            assert rmse(model, test, label) == pytest.approx(
                model.summary.history[-1]["validation_rmse"], abs=2e-3
            )


@pytest.fixture(scope="module")
def moods(spark, ratings):
    """The rows, each user's in moments of about three, with a mood of the moment in every rating of it."""
    rng = np.random.default_rng(1)
    train, test, people = ratings
    frame = pd.concat(
        [part.toPandas().assign(test=flag) for part, flag in ((train, False), (test, True))],
        ignore_index=True,
    )
    moment = rng.integers(0, np.maximum(frame.groupby("user_id")["rating"].transform("size") // 3, 1))
    frame["timestamp"] = 10 * moment
    names = frame["user_id"] + " " + pd.Series(moment).astype(str)
    frame["rating"] += rng.normal(0, 1, names.nunique())[pd.factorize(names)[0]]
    parts = [
        spark.createDataFrame(frame[frame["test"] == flag].drop(columns="test")).cache()
        for flag in (False, True)
    ]
    return *parts, people


@pytest.mark.slow
def test_weights_of_levels_without_factors(moods, tmp_path):
    linear = ["user", "item", {"group": "user*moment", "factors": False}, "day"]
    model = fitted(moods, groups=linear)
    assert rmse(model, moods[1]) < 0.9 * rmse(fitted(moods, groups=["user", "item", "day"]), moods[1])
    assert rmse(model, moods[1]) < 1.03 * rmse(
        fitted(moods, groups=["user", "item", "user*moment", "day"]), moods[1]
    )
    three, one = (
        fitted(moods, groups=linear, maxIter=3, burnIn=1, **blocks) for blocks in (THREE_BLOCKS, {})
    )
    assert rmse(three, moods[1]) == pytest.approx(rmse(one, moods[1]), abs=1e-3)
    model.write().save(str(tmp_path / "model"))
    assert rmse(FMRegressorModel.load(str(tmp_path / "model")), moods[1]) == rmse(model, moods[1])
    assert len(model.recommendForAllUsers(2).collect()) == 60
    mode = fitted(moods, groups=linear, solver="als", regParam=2.0)
    assert rmse(mode, moods[1]) < 1.1 * rmse(model, moods[1])


@pytest.fixture(scope="module")
def careless(spark, ratings):
    """The rows, of which every third user's have noise of standard deviation 1.5 on top."""
    rng = np.random.default_rng(2)
    parts = [part.toPandas() for part in ratings[:2]]
    for part in parts:
        third = part["user_id"].str[1:].astype(int) % 3 == 0
        part["rating"] += third * rng.normal(0, 1.5, len(part))
        part["level"] = np.clip(np.round(part["rating"]), 1, 5)
    return *(spark.createDataFrame(part).cache() for part in parts), ratings[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "ordered"), [pytest.param("rating", False, marks=pytest.mark.long), ("level", True)]
)
def test_noise_of_each_user_and_item(careless, label, ordered, tmp_path):
    given = {"labelCol": label, "ordered": ordered, "maxIter": 60, "stdevCol": "stdev"}
    plain, own = (fitted(careless, **given, noisyChains=noisy) for noisy in (0, 1))
    calm = careless[1].filter("cast(substring(user_id, 2) as int) % 3 > 0")
    assert rmse(own, calm, label) < rmse(plain, calm, label) - 0.02
    own.write().save(str(tmp_path / "model"))
    rows = FMRegressorModel.load(str(tmp_path / "model")).transform(careless[1]).toPandas()
    third = rows["user_id"].str[1:].astype(int) % 3 == 0
    assert rows[third]["stdev"].mean() > (1.3 if ordered else 2) * rows[~third]["stdev"].mean()
    three, one = (
        fitted(careless, **given | {"maxIter": 3}, burnIn=1, chains=2, noisyChains=1, **blocks)
        for blocks in (THREE_BLOCKS, {})
    )
    assert rmse(three, careless[1], label) == pytest.approx(rmse(one, careless[1], label), abs=1e-3)


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_bits(ratings, tmp_path, monkeypatch):
    """The loop runs in this process, and dies at iteration 7 of 12; what was written last is iteration 4."""
    from recspark.engine.spark.runner import SparkRunner
    from recspark.engine.storage import HeldStore

    def in_process(self, function, items):
        return [function(self.store, item) for item in items]

    monkeypatch.setattr(SparkRunner, "map", in_process)
    undisturbed = (
        fitted(ratings, maxIter=12, noisyChains=1, workDir=str(tmp_path / "one"))
        .transform(ratings[1])
        .toPandas()
    )

    class Killed(Exception):
        pass

    close, flush = FMSampler.close, HeldStore.flush

    def dying(self, sums, shared, totals, iteration):
        if iteration == 7:
            raise Killed
        return close(self, sums, shared, totals, iteration)

    def at_four(self, share=None):
        if share is None or (
            "iterations/00004.json" in self._documents and "iterations/00005.json" not in self._documents
        ):
            flush(self)

    with monkeypatch.context() as patch:
        patch.setattr(FMSampler, "close", dying)
        patch.setattr(HeldStore, "flush", at_four)
        with pytest.raises(Killed):
            fitted(ratings, maxIter=12, noisyChains=1, workDir=str(tmp_path / "two"))
    model = fitted(ratings, maxIter=12, noisyChains=1, workDir=str(tmp_path / "two"))
    assert model.summary.resumed_at == 4
    pd.testing.assert_frame_equal(model.transform(ratings[1]).toPandas(), undisturbed)


def test_yes_or_no_by_groups(ratings):
    train, test, people = ratings
    label = (F.col("rating") > 3.8).cast("double")
    binary = train.withColumn("label", label), test.withColumn("label", label), people
    model = fitted(binary, FMClassifier, labelCol="label")
    assert BinaryClassificationEvaluator().evaluate(model.transform(binary[1])) > 0.8


@pytest.mark.slow
def test_gradients_on_groups_are_a_model_of_entities(ratings, tmp_path):
    params = {"solver": "sgd", "maxIter": 40, "regParam": 0.02, "groupRegParam": {"gender": 0.0}}
    model = fitted(ratings, **params)
    assert NOISE < rmse(model, ratings[1]) < 1.5 * NOISE
    assert len(model.recommendForAllUsers(3).collect()) == 60
    model.write().save(str(tmp_path / "model"))
    assert rmse(FMRegressorModel.load(str(tmp_path / "model")), ratings[1]) == rmse(model, ratings[1])
    shuffled = ratings[0].orderBy(F.rand(3)).repartition(5), *ratings[1:]
    assert rmse(fitted(shuffled, **params), ratings[1]) == rmse(model, ratings[1])


@pytest.mark.slow
def test_entities_predict_what_their_features_do(ratings, monkeypatch):
    """The same fit kept as entities, and as the parameters of its features."""
    from recspark.models.fm import estimator as fm_estimator

    as_entities = fitted(ratings, solver="sgd", maxIter=3).transform(ratings[1]).toPandas()
    monkeypatch.setattr(fm_estimator, "has_entities", lambda layout: False)
    of_rows = fitted(ratings, solver="sgd", maxIter=3)
    assert of_rows.is_of_rows
    pd.testing.assert_frame_equal(of_rows.transform(ratings[1]).toPandas(), as_entities, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "sgd"},
        {"solver": "sgd", "order": 3, "optimizer": "adam", "stepSize": 0.01},
        {"solver": "mcmc"},
    ],
)
def test_contexts_with_several_entries_and_numbers(ratings, params, tmp_path):
    groups = ["user", "item", {"group": "rated", "scope": "past"}, "count_value", "day"]
    model = fitted(ratings, groups=groups, maxIter=30, regParam=0.02, **params)
    assert NOISE < rmse(model, ratings[1]) < 1.8 * NOISE
    assert model.scorer is None and model.can == ("explain",)
    model.write().save(str(tmp_path / "model"))
    again = FMRegressorModel.load(str(tmp_path / "model"))
    with pytest.raises(RecsparkError, match="call bind"):
        again.transform(ratings[1])
    assert rmse(again.bind(ratings[0]), ratings[1]) == rmse(model, ratings[1])


def test_validation_rows_choose_the_epoch(ratings):
    train, test, people = ratings
    fm = FMRegressor(
        groups=["user", "item"], labelCol="rating", solver="sgd", maxIter=200, stepSize=0.3, patience=5
    ).tables(users=people)
    model = fm.watch(validation=test).fit(train)
    curve = [row["validation_rmse"] for row in model.summary.history]
    assert len(curve) < 200
    assert rmse(model, test) == pytest.approx(min(curve), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["mcmc", "sgd"])
def test_weights_on_groups(ratings, solver):
    """Rows of next to no weight change next to nothing."""
    train, test, people = ratings
    noisy = train.withColumn("weight", F.lit(1.0)).unionAll(
        train.withColumn("rating", F.lit(9.0)).withColumn("weight", F.lit(1e-6))
    )
    assert (
        rmse(fitted((noisy, test, people), solver=solver, weightCol="weight", maxIter=20), test) < 2 * NOISE
    )


def test_equal_labels_are_no_divergence(ratings):
    train, test, people = ratings
    level = train.withColumn("rating", F.lit(4.0))
    assert (
        rmse(fitted((level, test, people), solver="sgd", maxIter=5), test.withColumn("rating", F.lit(4.0)))
        < 0.2
    )


@pytest.mark.slow
def test_yes_or_no_by_gradients(ratings):
    train, test, people = (
        *(part.withColumn("label", (F.col("rating") > 3.8).cast("double")) for part in ratings[:2]),
        ratings[2],
    )
    model = fitted((train, test, people), FMClassifier, labelCol="label", solver="sgd", regParam=0.02)
    assert BinaryClassificationEvaluator().evaluate(model.transform(test)) > 0.8
    assert {0.0, 1.0} == {
        row.prediction for row in model.transform(test).select("prediction").distinct().collect()
    }
    with pytest.raises(RecsparkError, match="FMClassifier takes 0 and 1"):
        fitted(ratings, FMClassifier, labelCol="rating", solver="sgd")


@pytest.mark.slow
@pytest.mark.parametrize("loss", [{}, {"negatives": 4}, {"loss": "softmax", "negatives": 4}], ids=str)
def test_rankings_put_what_a_user_chose_first(spark, loss):
    """Users of either gender choose items of their own genre; every other pair of the user's half that is
    left out ranks above the rest.
    """
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(40) for i in range(30) if u % 2 == i % 2]
    kept = rng.random(len(pairs)) < 0.5
    train = spark.createDataFrame(
        pd.DataFrame(np.array(pairs)[kept], columns=["user_id", "item_id"]).assign(label=1.0)
    )
    people = spark.createDataFrame(
        pd.DataFrame({"user_id": range(40), "gender": ["MF"[u % 2] for u in range(40)]})
    )
    ranker = FMRanker(groups=["user", "item", "gender"], factorSize=4, maxIter=30, seed=1, **loss).tables(
        users=people
    )
    model = ranker.fit(train)
    lists = model.recommendForAllUsers(5).toPandas()
    right = [
        entry["item_id"] % 2 == row.user_id % 2 for row in lists.itertuples() for entry in row.recommendations
    ]
    assert np.mean(right) > 0.95
    history = model.summary.history
    assert history[-1]["objective"] < 0.5 * history[0]["objective"]
    assert ranker.fit(train).transform(train).exceptAll(model.transform(train)).isEmpty()
    with pytest.raises(ConfigError, match="FMRanker needs them"):
        FMRanker().fit(train)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"groups": ["item", "gender"]}, ConfigError, "without the group 'user'"),
        ({"burnIn": 40}, ConfigError, "burnIn = 40 is not allowed with maxIter = 40"),
        (
            {"labelCol": "level", "ordered": True, "weightCol": "rating"},
            ConfigError,
            "weightCol = 'rating' is not allowed where labels are levels",
        ),
        ({"solver": "sgd", "groupRegParam": {"rate": 1.0}}, ConfigError, "groupRegParam names 'rate'"),
        (
            {"solver": "sgd", "groupRegParam": {"user": -1.0}},
            ConfigError,
            "groupRegParam.user = -1.0 is not allowed",
        ),
        ({"solver": "sgd", "stepSize": 1e9}, RecsparkError, "the fit diverged at iteration"),
        ({"solver": "als"}, RecsparkError, "iteration 1 has no numbers to go on with .*raise regParam"),
        (
            {"solver": "als", "userBlocks": 2, "tasks": "blocks"},
            RecsparkError,
            "iteration 1 has no numbers to go on with .*raise regParam",
        ),
        (
            {"solver": "sgd", "groups": ["user", "item", {"group": "day", "factors": False}]},
            ConfigError,
            "factors = false of group 'day' is not allowed here: it needs solver = 'mcmc' or 'als'",
        ),
        (
            {"noisyChains": 1, "solver": "als"},
            ConfigError,
            "noisyChains = 1 is not allowed with solver = 'als'",
        ),
        ({"noisyChains": 3, "chains": 2}, ConfigError, "noisyChains = 3 is not allowed with .* chains = 2"),
        ({"noisyChains": 1, "solver": "sgd"}, ConfigError, "noisyChains = 1 is not allowed here"),
        ({"labelCol": "stars"}, RecsparkError, "column 'stars' is not in the data"),
        ({"labelCol": "rating", "ordered": True}, RecsparkError, "different values"),
    ],
)
def test_what_is_not_allowed_is_said(ratings, params, error, message):
    with pytest.raises(error, match=message):
        fitted(ratings, **params)


@pytest.fixture(scope="module")
def vectors(ratings):
    """The rows with sparse one-hot vectors of user, item and day."""
    train, test, _ = ratings
    one_hot = F.udf(
        lambda user, item, time: Vectors.sparse(
            105, [int(user[1:]), item - 40, 100 + time // 86_400], [1.0] * 3
        ),
        VectorUDT(),
        useArrow=False,
    )
    return tuple(
        part.withColumn("features", one_hot("user_id", "item_id", "timestamp")).withColumn(
            "label", F.col("rating")
        )
        for part in (train, test)
    )


@pytest.mark.parametrize(
    "params", [{}, {"solver": "als", "regParam": 2.0}, {"solver": "sgd", "regParam": 0.05, "maxIter": 60}]
)
def test_vectors(vectors, params, tmp_path):
    model = FMRegressor(**{"factorSize": 3, "maxIter": 50, "seed": 1} | params).fit(vectors[0])
    assert NOISE < rmse(model, vectors[1]) < 1.6 * NOISE
    assert model.linear.shape == (105,)
    assert 1 < model.intercept < 5
    model.write().save(str(tmp_path / "model"))
    assert rmse(FMRegressionModel.load(str(tmp_path / "model")), vectors[1]) == rmse(model, vectors[1])


@pytest.mark.parametrize("solver", ["mcmc", "als"])
def test_the_first_iteration_is_better_than_the_mean(vectors, solver):
    spread = vectors[1].select(F.stddev_pop("label")).first()[0]
    assert (
        rmse(
            FMRegressor(factorSize=3, maxIter=1, seed=1, solver=solver, regParam=2.0).fit(vectors[0]),
            vectors[1],
        )
        < 0.9 * spread
    )


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"groups": GROUPS, "solver": "sgd"}])
def test_a_task_fits_as_this_process_does(ratings, vectors, params, monkeypatch):
    train, test = vectors
    fm = FMRegressor(**{"factorSize": 3, "maxIter": 5, "seed": 1} | params).tables(users=ratings[2])
    here = fm.fit(train).transform(test).toPandas()
    monkeypatch.setattr(crossing, "SMALL", -1)
    pd.testing.assert_frame_equal(fm.fit(train).transform(test).toPandas(), here)


def test_dense_vectors_are_the_same_rows(spark, vectors):
    dense = F.udf(lambda vector: Vectors.dense(vector.toArray()), VectorUDT(), useArrow=False)
    model = FMRegressor(factorSize=2, maxIter=10, seed=1).fit(
        vectors[0].withColumn("features", dense("features"))
    )
    assert rmse(model, vectors[1]) == pytest.approx(
        rmse(FMRegressor(factorSize=2, maxIter=10, seed=1).fit(vectors[0]), vectors[1]), abs=1e-6
    )


def test_a_weight_of_two_is_a_row_twice(vectors):
    params = {"solver": "als", "regParam": 2.0, "factorSize": 2, "maxIter": 200, "seed": 1}
    twice = vectors[0].unionAll(vectors[0].where("item_id < 110"))
    weighted = vectors[0].withColumn("weight", F.when(F.col("item_id") < 110, 2.0).otherwise(1.0))
    models = FMRegressor(**params).fit(twice), FMRegressor(**params, weightCol="weight").fit(weighted)
    np.testing.assert_allclose(models[0].linear, models[1].linear, atol=1e-3)


def test_scaled_columns_change_nothing_but_their_weights(vectors):
    scaled = F.udf(
        lambda vector: Vectors.sparse(105, vector.indices, [1000.0, 1.0, 1.0]), VectorUDT(), useArrow=False
    )
    params = {"factorSize": 2, "maxIter": 20, "seed": 1}
    model = FMRegressor(**params).fit(vectors[0].withColumn("features", scaled("features")))
    other = FMRegressor(**params).fit(vectors[0])
    assert rmse(model, vectors[1].withColumn("features", scaled("features"))) == pytest.approx(
        rmse(other, vectors[1]), abs=1e-6
    )
    np.testing.assert_allclose(1000 * model.linear[:60], other.linear[:60], atol=1e-6)


# pyspark's CrossValidator leaves its thread pool open
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Pool.__del__:pytest.PytestUnraisableExceptionWarning")
def test_in_a_pipeline_and_a_cross_validator(vectors):
    estimator = FMRegressor(factorSize=2, maxIter=5)
    grid = ParamGridBuilder().addGrid(estimator.factorSize, [1, 2]).build()
    validator = CrossValidator(
        estimator=Pipeline(stages=[estimator]),
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(),
        numFolds=2,
    )
    assert len(validator.fit(vectors[0]).avgMetrics) == 2


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"solver": "sgd", "regParam": 0.01, "maxIter": 40}])
def test_yes_or_no_by_vectors(vectors, params, tmp_path):
    train, test = (part.withColumn("label", (F.col("rating") > 3.8).cast("double")) for part in vectors)
    model = FMClassifier(**{"factorSize": 2, "maxIter": 40} | params).fit(train)
    predicted = model.transform(test)
    assert BinaryClassificationEvaluator().evaluate(predicted) > 0.75
    probabilities = np.array([row.probability.toArray() for row in predicted.select("probability").collect()])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert {row.prediction for row in predicted.select("prediction").distinct().collect()} == {0.0, 1.0}
    model.write().save(str(tmp_path / "model"))
    assert FMClassificationModel.load(str(tmp_path / "model")).transform(test).exceptAll(predicted).isEmpty()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows.withColumn("label", F.lit(None).cast("double")),
            "a label, a weight or an entry of a vector is null or not finite",
        ),
        (lambda rows: rows.limit(0), "the data has no rows"),
        (lambda rows: rows.drop("features"), "column 'features' is not in the data"),
    ],
)
def test_bad_vectors_are_errors(vectors, change, message):
    with pytest.raises(RecsparkError, match=message):
        FMRegressor().fit(change(vectors[0]))


def test_classes_other_than_0_and_1_are_an_error(vectors):
    with pytest.raises(RecsparkError, match="takes 0 and 1"):
        FMClassifier(maxIter=2).fit(vectors[0].withColumn("label", F.lit(3.0)))


def test_mllibs_params_are_taken(vectors):
    names = {
        "fitIntercept": True,
        "fitLinear": True,
        "regParam": 0.1,
        "miniBatchFraction": 1.0,
        "initStd": 0.01,
        "maxIter": 5,
        "stepSize": 0.1,
        "tol": 1e-6,
    }
    FMRegressor(
        featuresCol="features",
        labelCol="label",
        predictionCol="prediction",
        factorSize=2,
        solver="adamW",
        seed=1,
        **names,
    ).fit(vectors[0])


@pytest.mark.slow
@pytest.mark.parametrize("label", [0.0, pytest.param(1.0, marks=pytest.mark.long)])
def test_labels_that_are_all_alike_are_predicted(spark, label):
    """No row shows the other label: it is still one of two, and the probability of the one that is there
    grows.
    """
    rng = np.random.default_rng(0)
    rows = [
        (int(u), int(i), Vectors.dense(rng.normal(size=3).tolist()), label)
        for u in range(8)
        for i in rng.permutation(7)[:4]
    ]
    train = spark.createDataFrame(rows, ["user_id", "item_id", "features", "label"]).coalesce(1).cache()
    unseen = train.limit(1).union(train.limit(1).withColumn("item_id", F.lit(99)))
    for params in (
        {"solver": "mcmc"},
        {"solver": "als", "regParam": 0.1},
        {"solver": "sgd", "regParam": 0.1},
    ):
        for groups in ({}, {"groups": ["user", "item"]}):
            model = FMClassifier(
                factorSize=2, maxIter=12, burnIn=4 if params["solver"] == "mcmc" else None, **params, **groups
            ).fit(train)
            found = model.transform(train.union(unseen)).select("prediction", "probability").toPandas()
            sure = np.array([both[int(label)] for both in found["probability"]])
            assert (found["prediction"] == label).all() and (sure > 0.6).all() and (sure < 1).all(), (
                params,
                groups,
            )
