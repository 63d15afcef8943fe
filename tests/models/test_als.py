import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.recommendation import ALS as MLlibALS
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F

from recspark.errors import ConfigError, RecsparkError
from recspark.kernels import als
from recspark.kernels.arrays import csr
from recspark.models import ALS, ALSModel
from tests import reference

N_USERS, N_ITEMS = 60, 40


def made_ratings(nnz=900, seed=0):
    """Distinct pairs with ratings from 1 to 5 that have two factors."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(N_USERS * N_ITEMS, nnz, replace=False)
    user, item = cells // N_ITEMS, cells % N_ITEMS
    x, y = rng.standard_normal((N_USERS, 2)), rng.standard_normal((N_ITEMS, 2))
    return user, item, np.clip(np.round(3 + (x[user] * y[item]).sum(1)), 1, 5)


def frame(spark, user, item, rating):
    rows = [(int(u), int(i), float(r)) for u, i, r in zip(user, item, rating, strict=True)]
    return spark.createDataFrame(rows, "user int, item int, rating float").coalesce(2)


@pytest.fixture(scope="module")
def ratings(spark, tmp_path_factory):
    # MLlib's lineage overflows the stack in long fits without checkpoints (SPARK-5955)
    spark.sparkContext.setCheckpointDir(str(tmp_path_factory.mktemp("checkpoints")))
    return frame(spark, *made_ratings()).cache()


def factors(table, n):
    rows = table.toPandas()
    out = np.zeros((n, len(rows["features"][0])))
    out[rows["id"]] = np.stack(rows["features"])
    return out


def predictions(model, df):
    return {(row.user, row.item): row.prediction for row in model.transform(df).collect()}


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "reg"), [(1, 0.1), (4, 1.0)])
def test_same_objective_as_mllib_at_convergence(ratings, rank, reg):
    # one factor, or a strong penalty: where the objective has one minimum, both must find it
    shared = {"rank": rank, "regParam": reg, "maxIter": 30, "checkpointInterval": 5, "seed": 1}
    values = []
    for estimator in (MLlibALS(**shared), ALS(**shared)):
        model = estimator.fit(ratings)
        x, y = factors(model.userFactors, N_USERS), factors(model.itemFactors, N_ITEMS)
        values.append(reference.explicit_objective(*made_ratings(), x, y, reg))
    assert values[1] == pytest.approx(values[0], rel=1e-3)
    assert model.summary.history[-1]["objective"] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_step_is_mllib_s_step(ratings, implicit):
    # MLlib solves users last: from its items our kernel must find its users
    model = MLlibALS(rank=4, regParam=0.1, alpha=2.0, implicitPrefs=implicit, maxIter=3, seed=1).fit(ratings)
    x, y = factors(model.userFactors, N_USERS), factors(model.itemFactors, N_ITEMS).astype(np.float32)
    user, item, rating = (
        column.astype(kind)
        for column, kind in zip(made_ratings(), (np.int32, np.int32, np.float32), strict=True)
    )
    weight = 2 * rating if implicit else np.empty(0, np.float32)
    entries = csr.csr_from_coo(
        user, item, (1 + weight) / weight if implicit else rating, weight, N_USERS, N_ITEMS
    )
    gram = als.gram(0, N_ITEMS, als.padded_rows(y)) if implicit else np.zeros((0, 0), np.float32)
    found, zeros = np.zeros((N_USERS, 4), np.float32), np.zeros(N_USERS, np.float32)
    als.solve_rows(
        0,
        N_USERS,
        entries,
        als.Source(als.padded_rows(y), zeros[:N_ITEMS], gram),
        als.Side(found, zeros),
        als.Penalty(np.float32(0), 0.1, 0.1, 1.0),
        False,
        False,
    )
    np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("implicit", [False, True])
def test_the_penalty_of_a_side_has_its_own_power(ratings, implicit):
    # users are solved last: each row is the solution from the items, with the power of users
    powers = {"regPower": 0.9, "userRegPower": 0.3, "itemRegPower": 0.0}
    model = ALS(rank=4, regParam=0.4, alpha=2.0, implicitPrefs=implicit, maxIter=3, **powers).fit(ratings)
    x, y = factors(model.userFactors, N_USERS), factors(model.itemFactors, N_ITEMS)
    user, item, rating = made_ratings()
    for row in range(0, N_USERS, 7):
        rows = user == row
        weights = 2 * rating[rows] if implicit else np.ones(rows.sum())
        values = (1 + weights) / weights if implicit else rating[rows]
        own = y[item[rows]], np.zeros(rows.sum()), values, weights
        penalty = 0.4 * rows.sum() ** 0.3
        wanted, _ = reference.als_row(*own, 0.0, penalty, 0.0, 0.0, False, y.T @ y if implicit else None)
        np.testing.assert_allclose(x[row], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_implicit_fit_converges_as_low_as_mllib(ratings, solver):
    shared = {
        "rank": 2,
        "regParam": 0.1,
        "alpha": 2.0,
        "implicitPrefs": True,
        "maxIter": 20,
        "checkpointInterval": 5,
        "seed": 1,
    }
    values = []
    for estimator in (MLlibALS(**shared), ALS(**shared, solver=solver)):
        model = estimator.fit(ratings)
        x, y = factors(model.userFactors, N_USERS), factors(model.itemFactors, N_ITEMS)
        values.append(reference.implicit_objective(*made_ratings(), x, y, 0.1, 2.0))
    assert values[1] <= values[0] * (1 + 1e-3)
    assert model.summary.history[-1]["objective"] == pytest.approx(values[1], rel=1e-3)


@pytest.mark.slow
def test_confidence_as_a_column_is_the_same_as_alpha(ratings):
    shared = {"implicitPrefs": True, "rank": 3, "maxIter": 3}
    by_alpha = ALS(**shared, alpha=2.0).fit(ratings)
    by_column = ALS(**shared, weightCol="c").fit(ratings.withColumn("c", 1 + 2 * F.col("rating")))
    np.testing.assert_allclose(
        factors(by_column.userFactors, N_USERS), factors(by_alpha.userFactors, N_USERS), rtol=1e-3, atol=1e-4
    )


def test_an_exactly_rank_one_matrix_is_recovered(spark):
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(20), np.arange(15)))
    rating = (1 + user) * (1 + item) / 50
    model = ALS(rank=1, regParam=0.0, maxIter=10).fit(frame(spark, user, item, rating))
    assert model.summary.history[-1]["train_rmse"] < 1e-5


@pytest.mark.parametrize(
    ("user_blocks", "item_blocks", "tasks"),
    [
        (2, 1, "blocks"),
        (3, 3, "blocks"),
        (8, 2, "blocks"),
        pytest.param(1, N_ITEMS + 5, "blocks", marks=pytest.mark.slow),
        (8, 3, "one"),
    ],
)
def test_blocks_and_tasks_don_t_change_the_model(ratings, user_blocks, item_blocks, tasks):
    options = {"rank": 3, "maxIter": 2, "center": True, "biases": True}
    one = ALS(**options).fit(ratings)
    many = ALS(**options, userBlocks=user_blocks, itemBlocks=item_blocks, tasks=tasks).fit(ratings)
    np.testing.assert_allclose(
        factors(many.userFactors, N_USERS), factors(one.userFactors, N_USERS), rtol=1e-3, atol=1e-5
    )
    assert many.summary.history[-1]["train_rmse"] == pytest.approx(
        one.summary.history[-1]["train_rmse"], abs=1e-5
    )


def test_row_order_partitions_and_threads_don_t_change_the_model(ratings):
    one = ALS(maxIter=3, threads=1).fit(ratings)
    other = ALS(maxIter=3, threads=2).fit(ratings.orderBy(F.rand(seed=5)).repartition(5))
    np.testing.assert_array_equal(factors(one.userFactors, N_USERS), factors(other.userFactors, N_USERS))


def test_ids_of_any_type_give_the_same_model(spark, ratings):
    def named(df, kind):
        if kind == "string":
            return df.select(
                F.format_string("user-%03d", "user").alias("user"),
                F.format_string("i%03d", "item").alias("item"),
                "rating",
            )
        return df.select(
            *(F.col(c).cast(kind) * F.lit(10**9).cast(kind) for c in ("user", "item")), "rating"
        ).toDF("user", "item", "rating")

    expected = [row.prediction for row in ALS(maxIter=2).fit(ratings).transform(ratings).collect()]
    for kind in ("bigint", "string", "decimal(20,0)"):
        renamed = named(ratings, kind)
        model = ALS(maxIter=2).fit(renamed)
        np.testing.assert_allclose(
            [row.prediction for row in model.transform(renamed).collect()], expected, rtol=1e-5
        )
    assert model.userFactors.schema["id"].dataType.simpleString() == "bigint"


def test_weights_count_like_repeated_rows(spark, ratings):
    options = {"rank": 2, "maxIter": 3, "biases": True, "center": True}
    weighted = ALS(**options, weightCol="w").fit(ratings.withColumn("w", F.col("user") % 3 + 1))
    repeated = ALS(**options).fit(
        ratings.withColumn("copy", F.explode(F.sequence(F.lit(0), F.col("user") % 3)))
    )
    np.testing.assert_allclose(
        factors(weighted.itemFactors, N_ITEMS), factors(repeated.itemFactors, N_ITEMS), rtol=1e-2, atol=1e-3
    )


def test_cold_start_strategies(spark, ratings):
    model = ALS(maxIter=2, biases=True, center=True).fit(ratings)
    test = spark.createDataFrame([(0, 0), (0, 999), (999, 0), (999, 999)], "user int, item int")
    bias = {
        side: dict(map(tuple, table.select("id", "bias").collect()))
        for side, table in (("u", model.userBiases), ("i", model.itemBiases))
    }
    mean = ratings.agg(F.avg("rating")).first()[0]
    by_mean = predictions(model, test)
    assert by_mean[0, 999] == pytest.approx(mean + bias["u"][0], abs=1e-5)
    assert by_mean[999, 0] == pytest.approx(mean + bias["i"][0], abs=1e-5)
    assert by_mean[999, 999] == pytest.approx(mean, abs=1e-5)
    by_nan = predictions(model.setColdStartStrategy("nan"), test)
    assert np.isfinite(by_nan[0, 0]) and all(
        np.isnan(by_nan[pair]) for pair in ((0, 999), (999, 0), (999, 999))
    )
    assert predictions(model.setColdStartStrategy("drop"), test).keys() == {(0, 0)}


def test_without_biases_the_fallback_is_the_damped_deviation(spark, ratings):
    model = ALS(maxIter=1).fit(ratings)
    mean = ratings.agg(F.avg("rating")).first()[0]
    of_user = ratings.filter("user = 0").agg(F.sum(F.col("rating") - mean), F.count("*")).first()
    test = spark.createDataFrame([(0, 999)], "user int, item int")
    assert predictions(model, test)[0, 999] == pytest.approx(mean + of_user[0] / (of_user[1] + 5), abs=1e-5)


def test_clip_keeps_predictions_in_the_range_of_the_ratings(ratings):
    free, cut = ALS(regParam=0.001).fit(ratings), ALS(regParam=0.001, clip=True).fit(ratings)
    grid = ratings.select("user").distinct().crossJoin(ratings.select("item").distinct())
    low, high = cut.transform(grid).agg(F.min("prediction"), F.max("prediction")).first()
    assert (low, high) == (1.0, 5.0)
    assert free.transform(grid).agg(F.max("prediction")).first()[0] > 5


def test_nonnegative(ratings):
    model = ALS(nonnegative=True, rank=3).fit(ratings)
    assert factors(model.userFactors, N_USERS).min() >= 0 and factors(model.itemFactors, N_ITEMS).min() >= 0
    assert model.summary.history[-1]["train_rmse"] < 1.2


def test_validation_is_watched_and_stops_the_fit(ratings):
    marked = ratings.withColumn("held", F.expr("pmod(hash(user, item), 5) = 0"))
    train, held = marked.filter("not held"), marked.filter("held")
    options = {"maxIter": 50, "regParam": 0.1, "rank": 2, "center": True}
    by_column, by_frame = (
        ALS(**options, validationCol="held").fit(marked),
        ALS(**options).watch(validation=held).fit(train),
    )
    history = by_column.summary.history
    assert len(history) < 50 and by_column.summary.best_iteration == len(history) - 3
    assert [row["validation_rmse"] for row in history] == [
        row["validation_rmse"] for row in by_frame.summary.history
    ]
    # the model is that of the best iteration: its RMSE on pairs that training knows is the one reported there
    evaluator = RegressionEvaluator(labelCol="rating")
    known = held.join(train.select("user").distinct(), "user").join(train.select("item").distinct(), "item")
    assert evaluator.evaluate(by_frame.transform(known)) == pytest.approx(
        history[by_column.summary.best_iteration - 1]["validation_rmse"], abs=1e-5
    )


def test_tol_stops_a_fit_without_validation(ratings):
    assert len(ALS(maxIter=50, tol=0.01).fit(ratings).summary.history) < 20


def test_a_later_fit_in_the_same_folder_leaves_earlier_models_alone(ratings, tmp_path):
    estimator = ALS(rank=2, workDir=str(tmp_path))
    first = estimator.fit(ratings, {estimator.maxIter: 1})
    before = predictions(first, ratings)
    second = estimator.fit(ratings, {estimator.maxIter: 5})
    assert predictions(first, ratings) == before != predictions(second, ratings)


def test_save_load_and_overwrite(ratings, tmp_path):
    model = ALS(maxIter=2, coldStartStrategy="nan").fit(ratings)
    for _ in range(2):
        model.write().overwrite().save(str(tmp_path / "model"))
    loaded = ALSModel.load(str(tmp_path / "model"))
    assert predictions(loaded, ratings) == predictions(model, ratings)
    assert loaded.uid == model.uid and loaded.getColdStartStrategy() == "nan" and loaded.rank == 10
    ALS(rank=7).save(str(tmp_path / "als"))
    assert ALS.load(str(tmp_path / "als")).getRank() == 7


def test_in_a_pipeline(ratings, tmp_path):
    shift = SQLTransformer(statement="SELECT *, rating + 1 AS label FROM __THIS__")
    fitted = Pipeline(stages=[shift, ALS(ratingCol="label", maxIter=2)]).fit(ratings)
    fitted.save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    assert predictions(loaded, ratings) == predictions(fitted, ratings)


# pyspark's CrossValidator leaves its thread pool open
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Pool.__del__:pytest.PytestUnraisableExceptionWarning")
def test_in_a_cross_validator(ratings):
    estimator = ALS(maxIter=3)
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.05, 1000.0]).build()
    model = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(labelCol="rating"),
        numFolds=2,
        seed=1,
    ).fit(ratings)
    assert np.isfinite(model.avgMetrics).all() and model.avgMetrics[0] < model.avgMetrics[1]


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([(1, 1, 3.0)], {"rank": 20}),
        ([(1, 1, 3.0)], {"rank": 20, "regParam": 0.0, "biases": True, "center": True}),
        (
            [(u, i, 3.0) for u in range(5) for i in range(5)],
            {"biases": True, "center": True, "regParam": 0.0},
        ),
        ([(1, 1, 0.0), (1, 2, 1.0)], {"implicitPrefs": True}),
        ([(1, 1, 1.0), (1, 2, -1.0)], {"implicitPrefs": True, "alpha": 0.0}),
        ([(1, 1, 3.0), (1, 1, 5.0)], {}),
        ([(1, i, float(i % 5)) for i in range(2000)], {"nonnegative": True}),
    ],
)
def test_never_nan(spark, rows, options):
    df = spark.createDataFrame(rows, "user int, item int, rating float")
    model = ALS(maxIter=3, **options).fit(df)
    assert all(np.isfinite(value) for value in predictions(model, df).values())
    assert np.isfinite(model.summary.history[-1]["objective"])


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.dictionaries(
        st.tuples(st.integers(-3, 3), st.integers(2**40, 2**40 + 4)),
        st.floats(-10, 10, width=32),
        min_size=1,
        max_size=15,
    ),
    implicit=st.booleans(),
    rank=st.integers(1, 20),
)
def test_any_small_table_fits_without_nan(spark, cells, implicit, rank):
    df = spark.createDataFrame(
        [(u, i, r) for (u, i), r in cells.items()], "user long, item long, rating float"
    )
    if implicit:
        df = df.withColumn("rating", F.abs("rating") + 1)
    predicted = predictions(ALS(rank=rank, maxIter=2, implicitPrefs=implicit).fit(df), df)
    assert predicted.keys() == cells.keys() and all(np.isfinite(value) for value in predicted.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank = 0 is not allowed: it must be a whole number, at least 1"),
        ({"rank": 2.5}, "rank = 2.5 is not allowed"),
        ({"regParam": "much"}, "regParam = 'much' is not allowed: it must be a number"),
        ({"coldStartStrategy": "zero"}, "must be a string, one of mean, nan, drop"),
        ({"maxiter": 3}, "did you mean maxIter"),
        ({"regParam": float("nan")}, "regParam = nan is not allowed"),
    ],
)
def test_bad_params_say_what_is_allowed(options, message):
    with pytest.raises(ConfigError, match=message):
        ALS(**options)


def test_combinations_that_make_no_sense_are_errors(ratings):
    with pytest.raises(ConfigError, match="implicitPrefs"):
        ALS(implicitPrefs=True, biases=True).fit(ratings)
    with pytest.raises(ConfigError, match="cg"):
        ALS(solver="cg").fit(ratings)
    with pytest.raises(RecsparkError, match="the model was trained on ids that are whole numbers"):
        ALS(maxIter=1).fit(ratings).transform(ratings.withColumn("user", F.lit("a")))


def test_params_have_setters_getters_docs_and_mllib_s_names():
    estimator = ALS(numUserBlocks=4).setRank(3).setNumItemBlocks(2)
    assert (estimator.getRank(), estimator.getNumUserBlocks(), estimator.getNumItemBlocks()) == (3, 4, 2)
    assert "rank: number of factors" in estimator.explainParams()
    mllib = {param.name for param in MLlibALS().params}
    assert mllib <= {param.name for param in estimator.params}
    copied = estimator.copy({estimator.rank: 9})
    assert (copied.getRank(), estimator.getRank()) == (9, 3)
