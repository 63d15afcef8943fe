import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.errors import ConfigError, RecsparkError
from recspark.models import ALS, Baseline, MatrixFactorization, MatrixFactorizationModel
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.models.serving.scorer import Scorer

N_USERS, N_ITEMS, NNZ = 300, 120, 12_000


@pytest.fixture(scope="module")
def planted():
    """Ratings 1 to 5 of two factors and biases with noise of .3; half of them train."""
    rng = np.random.default_rng(0)
    cells = rng.choice(N_USERS * N_ITEMS, NNZ, replace=False)
    user, item = cells // N_ITEMS, cells % N_ITEMS
    x, y = rng.standard_normal((N_USERS, 2)) * 0.7, rng.standard_normal((N_ITEMS, 2)) * 0.7
    score = (
        3
        + 0.4 * rng.standard_normal(N_USERS)[user]
        + 0.4 * rng.standard_normal(N_ITEMS)[item]
        + (x[user] * y[item]).sum(1)
    )
    return user, item, np.clip(score + 0.3 * rng.standard_normal(NNZ), 1, 5)


@pytest.fixture(scope="module")
def ratings(spark, planted):
    rows = [
        (int(u), f"i{i:03d}", float(r), n % 5 == 0) for n, (u, i, r) in enumerate(zip(*planted, strict=True))
    ]
    return (
        spark.createDataFrame(rows, "user int, item string, rating float, held boolean").coalesce(2).cache()
    )


QUICK = {"rank": 4, "maxIter": 12, "stepSize": 0.05, "regParam": 0.02, "validationCol": "held"}


def fitted(ratings, **options):
    return MatrixFactorization(**(QUICK | options)).fit(ratings)


def final(model, metric="validation_rmse"):
    return model.summary.history[-1][metric]


def test_it_finds_what_was_planted(ratings):
    model = fitted(ratings, maxIter=40)
    assert final(model) < 0.42  # the noise is .3, biases alone leave .7
    held = ratings.filter("held")
    error = (
        model.transform(held)
        .select(F.sqrt(F.avg(F.pow(F.col("rating") - F.col("prediction"), 2))))
        .first()[0]
    )
    assert error == pytest.approx(
        model.summary.history[model.summary.best_iteration - 1]["validation_rmse"], abs=1e-4
    )


@pytest.mark.parametrize(
    "options", [{}, {"userBlocks": 2, "itemBlocks": 2, "tasks": "blocks"}, {"batchSize": 0}]
)
def test_a_fit_that_diverges_says_what_to_change(ratings, options, tmp_path):
    for _ in range(2):  # the second goes on where the first has ended
        with pytest.raises(
            RecsparkError, match="^the fit diverged at iteration .: lower stepSize, or raise regParam$"
        ):
            fitted(ratings, stepSize=1e4, workDir=str(tmp_path), **options)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"optimizer": "adagrad", "stepSize": 0.3}, 0.45),
        ({"optimizer": "adam", "stepSize": 0.01}, 0.45),
        ({"optimizer": "adam", "stepSize": 0.02, "batchSize": 32}, 0.45),
        ({"batchSize": 8, "stepSize": 0.2}, 0.55),
        (
            {
                "batchSize": 0,
                "optimizer": "adam",
                "stepSize": 0.05,
                "regParam": 1e-4,
                "biasRegParam": 0.0,
                "maxIter": 60,
            },
            0.50,
        ),
        ({"kernel": "sigmoid", "stepSize": 0.05}, 0.45),
        ({"kernel": "rbf", "initStdev": 0.5, "stepSize": 0.05, "gamma": 0.3}, 0.75),
        ({"loss": "absolute", "stepSize": 0.03}, 0.50),
        ({"nonnegative": True}, 0.60),
        ({"schedule": "inverse", "decay": 0.1, "stepSize": 0.08}, 0.45),
        ({"schedule": "exponential", "decay": 0.1, "stepSize": 0.1}, 0.45),
        ({"biases": False, "rank": 8, "initStdev": 0.3}, 0.60),
    ],
    ids=str,
)
def test_every_way_to_descend_learns(ratings, options, limit):
    assert final(fitted(ratings, **options)) < limit


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"kernel": "sigmoid"}, {"kernel": "rbf", "initStdev": 0.5, "gamma": 0.3}], ids=str
)
@pytest.mark.parametrize(
    "descent", [{}, {"batchSize": 0, "optimizer": "adam", "maxIter": 4}, {"loss": "absolute"}], ids=str
)
def test_a_kernel_knows_no_scale_of_ratings(ratings, options, descent):
    scaled = ratings.withColumn("rating", F.col("rating") * 20 + 7)
    one, other = (fitted(rows, **options | {"maxIter": 6} | descent) for rows in (ratings, scaled))
    pairs = ratings.select("user", "item").limit(200)
    expected, found = (
        np.array([row.prediction for row in model.transform(pairs).collect()]) for model in (one, other)
    )
    np.testing.assert_allclose(found, 20 * expected + 7, atol=0.02)


@pytest.mark.slow
def test_penalties_act(ratings):
    plain, shrunk = fitted(ratings), fitted(ratings, regParam=0.5)
    sparse = fitted(ratings, l1RegParam=0.5)

    def size(model):
        return np.abs(np.stack(model.userFactors.toPandas()["features"])).mean()

    assert size(shrunk) < 0.5 * size(plain)
    assert (np.stack(sparse.userFactors.toPandas()["features"]) == 0).mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("users", "items"),
    [(2, 2), (3, 2), pytest.param(3, 3, marks=pytest.mark.slow), pytest.param(8, 8, marks=pytest.mark.long)],
)
def test_blocks_don_t_change_the_quality(ratings, users, items):
    options = {"optimizer": "adagrad", "stepSize": 0.3, "maxIter": 3}
    one, many = (
        fitted(ratings, **options),
        fitted(ratings, **options, userBlocks=users, itemBlocks=items, tasks="blocks"),
    )
    assert final(many) == pytest.approx(final(one), abs=0.03)
    # where they run is no matter: the same bits
    assert final(fitted(ratings, **options, userBlocks=users, itemBlocks=items, tasks="one")) == final(many)


@pytest.mark.slow
def test_a_full_batch_is_the_same_for_any_blocks(ratings):
    options = {"batchSize": 0, "optimizer": "adam", "stepSize": 0.05, "maxIter": 4}
    one, three = (
        fitted(ratings, **options),
        fitted(ratings, **options, userBlocks=3, itemBlocks=2, tasks="blocks"),
    )
    for metric in ("train_rmse", "validation_rmse"):
        assert final(three, metric) == pytest.approx(final(one, metric), abs=1e-5)


def features(model):
    return np.stack(model.userFactors.orderBy("id").toPandas()["features"])


def test_same_seed_same_bits_for_any_threads_and_row_order(ratings):
    one = fitted(ratings, threads=1, maxIter=3)
    np.testing.assert_array_equal(features(fitted(ratings, threads=3, maxIter=3)), features(one))
    shuffled = ratings.orderBy(F.rand(1)).coalesce(1)
    np.testing.assert_array_equal(features(fitted(shuffled, threads=2, maxIter=3)), features(one))


def test_save_and_load(ratings, tmp_path):
    model = fitted(ratings, kernel="sigmoid", maxIter=3)
    model.write().save(str(tmp_path / "model"))
    again = MatrixFactorizationModel.load(str(tmp_path / "model"))
    pairs = ratings.limit(50)
    assert again.transform(pairs).collect() == model.transform(pairs).collect()


@pytest.mark.slow
def test_cold_pairs_stay_inside_the_range_of_a_sigmoid(spark, ratings):
    model = fitted(ratings, kernel="sigmoid", maxIter=3)
    cold = spark.createDataFrame([(10_000, "i001"), (1, "new"), (10_000, "new")], "user int, item string")
    found = [row.prediction for row in model.transform(cold).collect()]
    assert all(1 <= value <= 5 for value in found)
    assert found[2] == pytest.approx(3.0, abs=0.4)


@pytest.mark.parametrize(
    "estimator",
    [ALS(rank=4, biases=True, center=True, maxIter=3), MatrixFactorization(rank=4, maxIter=3)],
    ids=["als", "mf"],
)
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_fit_goes_on_from_a_saved_model(ratings, tmp_path, estimator, blocks):
    first = estimator.fit(ratings)
    first.write().save(str(tmp_path / "model"))
    warm = (
        estimator.copy({estimator.maxIter: 1})
        .setParams(initialModel=str(tmp_path / "model"), userBlocks=blocks, itemBlocks=blocks, tasks="blocks")
        .fit(ratings)
    )
    cold = estimator.copy({estimator.maxIter: 1}).fit(ratings)
    assert final(warm, "train_rmse") < final(cold, "train_rmse")
    assert final(warm, "train_rmse") <= final(first, "train_rmse") + 0.01


def test_a_start_of_another_rank_is_refused(ratings, tmp_path):
    ALS(rank=3, maxIter=1).fit(ratings).write().save(str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="rank must be that, not 4"):
        fitted(ratings, initialModel=str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="nothing does not exist: it must be a saved model"):
        fitted(ratings, initialModel=str(tmp_path / "nothing"))


def test_logistic_gives_probabilities(spark, ratings):
    binary = ratings.withColumn("rating", (F.col("rating") > 3).cast("float"))
    model = MatrixFactorization(rank=4, loss="logistic", stepSize=0.1, maxIter=15).fit(binary)
    rows = model.transform(binary.filter("held")).select("rating", "prediction").toPandas()
    assert rows["prediction"].between(0, 1).all()
    assert rows.groupby("rating")["prediction"].mean().diff().iloc[-1] > 0.3
    assert (np.diff([row["objective"] for row in model.summary.history]) < 0).all()


#: losses that compare items, with Params that learn the planted ratings
COMPARING = {
    "bpr": {"loss": "bpr", "stepSize": 0.1, "regParam": 0.002},
    "hard bpr": {"loss": "bpr", "negatives": 4, "stepSize": 0.1, "regParam": 0.002},
    "softmax": {"loss": "softmax", "negatives": 8, "stepSize": 0.1, "regParam": 0.002},
    "cosine softmax": {
        "loss": "softmax",
        "kernel": "cosine",
        "negatives": 8,
        "temperature": 0.3,
        "stepSize": 0.03,
    },
    "ccl": {
        "loss": "ccl",
        "kernel": "cosine",
        "negatives": 16,
        "margin": 0.2,
        "negativeWeight": 1.0,
        "stepSize": 0.05,
    },
}


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize("blocks", [1, 3, pytest.param(8, marks=pytest.mark.slow)])
def test_preferred_items_come_first(ratings, name, blocks):
    liked = ratings.filter("rating >= 4 and not held")
    options = {"rank": 4, "maxIter": 30, "userBlocks": blocks} | COMPARING[name]
    model = MatrixFactorization(**options).fit(liked)
    shares = [row["train_pairs_right"] for row in model.summary.history]
    assert shares[0] < 0.75 and shares[-1] > 0.85
    scores = model.scorer.scores(np.arange(50))
    assert np.isfinite(scores).all()
    if "cosine" in COMPARING[name].values():
        assert np.abs(scores).max() <= 1 + 1e-5
        # scores are plain products of the model's factors
        user, item = (table.orderBy("id").toPandas() for table in (model.userFactors, model.itemFactors))
        products = np.stack(user["features"])[:50] @ np.stack(item["features"]).T
        np.testing.assert_allclose(scores, products, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hard bpr", "cosine softmax", "ccl"])
def test_a_loss_that_compares_items_gives_the_same_bits_for_any_threads(ratings, name):
    liked = ratings.filter("rating >= 4 and not held")
    options = {"rank": 4, "maxIter": 3} | COMPARING[name]
    one, three = (MatrixFactorization(threads=threads, **options).fit(liked) for threads in (1, 3))
    np.testing.assert_array_equal(features(three), features(one))


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("bpr", 1), ("bpr", 2), ("ccl", 1), pytest.param("softmax", 2, marks=pytest.mark.slow)],
)
def test_preferences_stop_by_the_auc_of_validation_rows(ratings, name, blocks, caplog):
    liked = ratings.filter("rating >= 4")
    caplog.set_level("INFO", "recspark.fit")
    options = COMPARING[name] | {"stepSize": 0.2, "maxIter": 60, "patience": 3, "rank": 16}
    if name != "ccl":
        options["regParam"] = 0.0
    model = MatrixFactorization(**options, validationCol="held", userBlocks=blocks).fit(liked)
    shares = [row["validation_auc"] for row in model.summary.history]
    assert "the fit stops by the AUC of the validation rows" in caplog.text
    assert len(shares) < 60 and model.summary.best_iteration == 1 + int(np.argmax(shares)) == len(shares) - 3
    assert max(shares) == pytest.approx(auc(model, liked), abs=1e-6) and max(shares) > shares[0] + 0.02


def auc(model, liked):
    """The mean over users: the share of pairs of a held-out item and one that the user has no row with, that
    are in order.
    """
    rows = liked.toPandas()
    users, items = (list(model.scorer.user_ids), list(model.scorer.item_ids))
    scores, rated = model.scorer.scores(np.arange(len(users))), rows.groupby("user")["item"].agg(set)
    found = []
    known = rows["held"] & rows["user"].isin(users) & rows["item"].isin(items)
    for user, held in rows[known].groupby("user")["item"]:
        mine = scores[users.index(user)]
        others = mine[[place for place, item in enumerate(items) if item not in rated[user]]]
        found.append(np.mean([np.mean(others < mine[items.index(item)]) for item in held]))
    return np.mean(found)


def test_what_does_not_go_together_is_refused(ratings):
    with pytest.raises(ConfigError, match="kernel = 'rbf' is not allowed with loss = 'logistic'"):
        fitted(ratings, loss="logistic", kernel="rbf")
    with pytest.raises(ConfigError, match="optimizer = 'adam' is not allowed with loss = 'bpr'"):
        fitted(ratings, loss="bpr", optimizer="adam")
    with pytest.raises(ConfigError, match="kernel = 'linear' .* loss = 'ccl': it must be cosine$"):
        fitted(ratings, loss="ccl")
    with pytest.raises(ConfigError, match="kernel = 'cosine' .* loss = 'squared': it must be linear or"):
        fitted(ratings, kernel="cosine")


@pytest.mark.parametrize("reg", [0.0, 5.0])
def test_the_baseline_is_the_damped_biases(ratings, planted, reg):
    model = Baseline(regParam=reg, maxIter=60).fit(ratings)
    user, item, rating = planted
    b, c, mean = np.zeros(N_USERS), np.zeros(N_ITEMS), np.float32(rating).mean(dtype=np.float64)
    for _ in range(200):
        c = np.bincount(item, rating - mean - b[user], N_ITEMS) / (np.bincount(item, minlength=N_ITEMS) + reg)
        b = np.bincount(user, rating - mean - c[item], N_USERS) / (np.bincount(user, minlength=N_USERS) + reg)
    pairs = model.transform(ratings).select("user", "item", "prediction").toPandas()
    expected = mean + b[pairs["user"]] + c[pairs["item"].str[1:].astype(int)]
    np.testing.assert_allclose(pairs["prediction"], expected, atol=2e-3)
    by_sgd = Baseline(solver="sgd", regParam=0.0, maxIter=60, stepSize=0.02).fit(ratings)
    assert final(by_sgd, "train_rmse") == pytest.approx(
        final(Baseline(regParam=0.0).fit(ratings), "train_rmse"), abs=0.02
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "stepSize": 0.01},
        {"batchSize": 0, "optimizer": "adam", "maxIter": 60, "regParam": 1e-4},
    ],
    ids=str,
)
def test_new_users_are_taken_in_by_epochs_over_their_own_ratings(ratings, tmp_path, options):
    old, new = ratings.filter("user < 250"), ratings.filter("user >= 250")
    fitted(old, **options).write().save(str(tmp_path / "model"))
    rows = (
        new.filter("not held")
        .select(F.col("user").alias("user_id"), F.col("item").alias("item_id"), "rating")
        .toArrow()
    )
    folded, counts = fold_in(FactorTables.read(str(tmp_path / "model")), rows, epochs=40, rate=0.05)
    assert (counts["new_users"], counts["new_items"]) == (50, 0)
    folded.write(str(tmp_path / "folded"))
    held = new.filter("held").toPandas()
    errors = {
        name: np.sqrt(
            np.mean(
                (
                    held["rating"]
                    - Scorer.load(str(tmp_path / name)).predict(
                        held["user"].to_numpy(), held["item"].to_numpy()
                    )
                )
                ** 2
            )
        )
        for name in ("model", "folded")
    }
    assert errors["folded"] < 0.8 * errors["model"]


def test_a_bpr_model_says_that_it_can_t(ratings, tmp_path):
    MatrixFactorization(rank=2, loss="bpr", maxIter=1).fit(ratings).write().save(str(tmp_path / "model"))
    rows = (
        ratings.limit(5)
        .select(F.col("user").alias("user_id"), F.col("item").alias("item_id"), "rating")
        .toArrow()
    )
    with pytest.raises(RecsparkError, match=r"\(kind mf\) can't take new ratings in"):
        fold_in(FactorTables.read(str(tmp_path / "model")), rows)
