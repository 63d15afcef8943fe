"""One contract for every kind of model: each test runs on all of them, and what a model can't do it refuses
in one sentence.

A new kind is one line in `MAKERS`, and one in `recspark.models.registry.KINDS`.
"""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from recspark.data.index import build_index
from recspark.errors import RecsparkError
from recspark.models import (
    ALS,
    EASE,
    SLIM,
    Baseline,
    FMClassifier,
    FMRanker,
    FMRegressor,
    GraphFilter,
    ItemKNN,
    MatrixFactorization,
    Popularity,
    load_model,
)
from recspark.models.blend import BlendModel, Weights
from recspark.models.factors.fold_in import fold_in
from recspark.models.factors.tables import FactorTables
from recspark.models.folder import ABILITIES, FACTS, FORMAT, read_facts
from recspark.models.list_blend import ListBlendModel, ListWeights
from recspark.models.registry import KINDS

IDS = {"userCol": "user_id", "itemCol": "item_id"}
FACTORS = {"rank": 2, "maxIter": 2, **IDS}
FM = {"factorSize": 2, "maxIter": 3, "labelCol": "rating", "burnIn": 1}
SGD = {"factorSize": 2, "maxIter": 2, "labelCol": "rating", "solver": "sgd"}
ENTITIES = {"groups": ["user", "item"]}

#: a model by name, its kind, and what it can do
MAKERS = {
    "als": (
        "als",
        "explain lists serve start update",
        lambda: ALS(biases=True, center=True, clip=True, **FACTORS),
    ),
    "als plain": ("als", "explain lists serve start update", lambda: ALS(**FACTORS)),
    "als implicit": ("als", "explain lists serve start update", lambda: ALS(implicitPrefs=True, **FACTORS)),
    "mf": ("mf", "explain lists serve start update", lambda: MatrixFactorization(**FACTORS)),
    "mf bpr": ("mf", "explain lists serve start", lambda: MatrixFactorization(loss="bpr", **FACTORS)),
    "mf ccl": (
        "mf",
        "explain lists serve start",
        lambda: MatrixFactorization(loss="ccl", kernel="cosine", negatives=4, **FACTORS),
    ),
    "mf rbf": (
        "mf",
        "explain lists serve start update",
        lambda: MatrixFactorization(kernel="rbf", **FACTORS),
    ),
    "baseline": ("baseline", "explain lists serve start update", lambda: Baseline(maxIter=2, **IDS)),
    "popularity": ("popularity", "explain lists serve", lambda: Popularity(**IDS)),
    "fm": ("fm", "explain lists serve", lambda: FMRegressor(**ENTITIES, **FM)),
    "fm ordered": ("fm", "explain lists serve", lambda: FMRegressor(ordered=True, **ENTITIES, **FM)),
    "fm rows": ("fm", "explain", lambda: FMRegressor(order=3, **ENTITIES, **SGD)),
    "fm vectors": ("fm", "", lambda: FMRegressor(**FM)),
    "classifier": (
        "fm_classifier",
        "explain lists serve",
        lambda: FMClassifier(**ENTITIES, **FM | {"labelCol": "liked"}),
    ),
    "ranker": (
        "fm_ranker",
        "explain lists serve",
        lambda: FMRanker(factorSize=2, maxIter=2, labelCol="rating", **ENTITIES),
    ),
    "ease": ("ease", "explain lists", lambda: EASE(regParam=5.0, **IDS)),
    "item_knn": ("item_knn", "explain lists", lambda: ItemKNN(k=4, **IDS)),
    "slim": ("slim", "explain lists", lambda: SLIM(regParam=2.0, **IDS)),
    "graph_filter": ("graph_filter", "explain lists", lambda: GraphFilter(rank=3, **IDS)),
    "blend": ("blend", "explain serve", None),
    "list blend": ("list_blend", "explain lists", None),
}
NAMES = list(MAKERS)
#: one of each layout of a folder; the others run with the slow tests
QUICK = ("als", "fm", "fm rows", "fm vectors", "ease")


def test_every_kind_is_here():
    assert {kind for kind, *_ in MAKERS.values()} == {*KINDS, "blend", "list_blend"}
    assert set(ABILITIES) == {ability for _, can, _ in MAKERS.values() for ability in can.split()}


@pytest.fixture(scope="module")
def rows(spark):
    draw = np.random.default_rng(4)
    pairs = [(u, i) for u in range(14) for i in range(9) if draw.random() < 0.7]
    table = [
        (u, f"i{i}", float(1 + (u * i + u + 2 * i) % 5), Vectors.sparse(23, [u, 14 + i], [1.0, 1.0]))
        for u, i in pairs
    ]
    df = spark.createDataFrame(table, ["user_id", "item_id", "rating", "features"])
    return df.selectExpr("*", "double(rating > 3) AS liked").coalesce(1).cache()


@pytest.fixture(scope="module")
def index(rows, tmp_path_factory):
    """An index of the rows and of three ids more, which come last."""
    root = tmp_path_factory.mktemp("index")
    for side, key, more in (("users", "user_id", [70, 71, 72]), ("items", "item_id", ["x", "y", "z"])):
        known = rows.select(key).union(rows.sparkSession.createDataFrame([(id_,) for id_ in more], [key]))
        build_index(known, key).write.parquet(str(root / side))
    return str(root)


@pytest.fixture(scope="module")
def saved(rows, tmp_path_factory):
    """Fit a model once, and save it: (model, path)."""
    made, root = {}, tmp_path_factory.mktemp("models")

    def of(name):
        if name not in made:
            if name == "blend":
                parts = {part: of(part)[0] for part in ("als", "mf")}
                model = BlendModel(parts, Weights(0.1, (0.6, 0.4), 1.0, 0.9))
            elif name == "list blend":
                parts = {part: of(part)[0] for part in ("als implicit", "ease")}
                model = ListBlendModel.of(parts, ListWeights((0.6, 0.4)), str(root / "blended"))
            else:
                model = MAKERS[name][2]().fit(rows)
            path = str(root / name.replace(" ", "-"))
            model.write().save(path)
            made[name] = model, path
        return made[name]

    return of


def predicted(model, df):
    """Predictions by user and item."""
    return {(row.user_id, row.item_id): row.prediction for row in model.transform(df).collect()}


def same(a, b):
    assert a.keys() == b.keys()
    np.testing.assert_array_equal(
        [a[key] for key in sorted(a, key=str)], [b[key] for key in sorted(a, key=str)]
    )


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
class TestContract:
    def test_facts_say_what_it_is_and_can_do(self, saved, name):
        model, path = saved(name)
        facts, (kind, can, _) = read_facts(path), MAKERS[name]
        assert (facts.format, facts.kind, sorted(facts.can)) == (FORMAT, kind, sorted(can.split()))
        assert sorted(model.can) == sorted(can.split())

    def test_a_loaded_model_predicts_the_same(self, saved, rows, name):
        model, path = saved(name)
        loaded = load_model(path)
        assert type(loaded) is type(model)
        same(predicted(loaded, rows), predicted(model, rows))

    @pytest.mark.slow
    def test_ids_of_an_index_that_do_not_train_change_nothing(self, saved, rows, index, name):
        model, make = saved(name)[0], MAKERS[name][2]
        if make is None:
            return
        indexed = make().setIndex(index).fit(rows)
        same(predicted(indexed, rows), predicted(model, rows))
        if name in ("als implicit", "mf", "mf bpr", "fm"):
            blocks = {"userBlocks": 3, "itemBlocks": 3, "tasks": "blocks"}
            three = [make().setParams(**blocks, **extra).fit(rows) for extra in ({}, {"index": index})]
            same(*(predicted(each, rows) for each in three))
        if "lists" in model.can:
            lists = (m.recommendForAllUsers(12).orderBy("user_id").collect() for m in (indexed, model))
            assert next(lists) == next(lists)
            assert len(indexed.userFactors.collect()) == 14 and len(indexed.itemFactors.collect()) == 9

    def test_order_and_partitions_of_rows_do_not_matter(self, saved, rows, name):
        model, _ = saved(name)
        same(predicted(model, rows.repartition(3).orderBy(F.rand(1))), predicted(model, rows))

    def test_ids_that_are_not_known_or_null_get_a_prediction_or_none_and_keep_their_row(
        self, saved, rows, name
    ):
        model, _ = saved(name)
        first = rows.limit(1)
        strange = [
            first.withColumn("item_id", F.lit(item)).withColumn("user_id", F.lit(user).cast("bigint"))
            for user, item in STRANGE
        ]
        found = predicted(model, first.union(strange[0]).union(strange[1]).union(strange[2]))
        assert found.keys() == {tuple(first.select("user_id", "item_id").first()), *STRANGE}
        assert all(isinstance(value, float) for value in found.values())

    def test_lists_or_a_refusal(self, saved, name):
        model, path = saved(name)
        if "lists" in model.can:
            lists = load_model(path).recommendForAllUsers(3).collect()
            assert len(lists) == 14 and all(len(row.recommendations) == 3 for row in lists)
        else:
            with pytest.raises(RecsparkError, match=r"\(kind \w+\) can't make lists"):
                read_facts(path).require("lists", path)

    def test_an_explanation_that_adds_up_or_a_refusal(self, saved, rows, name):
        model, path = saved(name)
        loaded = load_model(path)
        if "explain" not in model.can:
            with pytest.raises(RecsparkError, match=r"\(kind \w+\) can't be explained"):
                loaded.explain(1, "i1")
            return
        how = {"ratings": rows} if name.startswith("als") else {}
        for (user, item), prediction in list(predicted(model, rows.limit(3)).items()):
            found = loaded.explain(user, item, **how)
            assert len(found.parts) > 1 or name in ("popularity", "mf rbf", "mf ccl")
            assert sum(part.value for part in found.parts) == pytest.approx(found.score, abs=1e-4)
            answer = found.prediction >= 0.5 if name == "classifier" else found.prediction
            assert answer == pytest.approx(prediction, abs=1e-4)
        with pytest.raises(RecsparkError, match="user 77 is not known to the model"):
            loaded.explain(77, "i1")

    def test_new_ratings_or_a_refusal(self, saved, name):
        model, path = saved(name)
        batch = pa.table(
            {"user_id": [99, 99], "item_id": ["i1", "i2"], "rating": pa.array([5.0, 1.0], pa.float32())}
        )
        if "update" in model.can:
            found, counts = fold_in(FactorTables.read(path), batch)
            assert counts["new_users"] == 1 and len(found.tables["users"]) == 15
        else:
            with pytest.raises(RecsparkError, match=r"\(kind \w+\) can't take new ratings in"):
                FactorTables.read(path)

    def test_a_start_or_a_refusal(self, saved, rows, name):
        model, path = saved(name)
        if "start" not in model.can:
            with pytest.raises(RecsparkError, match=r"\(kind \w+\) can't start a fit"):
                ALS(initialModel=path, **FACTORS).fit(rows)
        elif model.rank:
            begun = ALS(initialModel=path, **FACTORS | {"maxIter": 0}).fit(rows)
            assert begun.userFactors.orderBy("id").collect() == model.userFactors.orderBy("id").collect()

    def test_an_answer_for_pairs_where_it_serves(self, saved, rows, name):
        model, path = saved(name)
        if "serve" in model.can:
            by_spark = predicted(model, rows)
            users, items = zip(*by_spark, strict=True)
            answers = (
                read_facts(path).find_scorer().load(path).predict(np.array(users), np.array(items, object))
            )
            if name == "classifier":  # which decides in Spark, and answers with the probability
                answers = answers >= 0.5
            np.testing.assert_allclose(
                answers, list(by_spark.values()), atol=0.2 if name == "fm ordered" else 1e-5
            )


#: pairs of which one id or both are not known, or null
STRANGE = [(77, "i1"), (1, None), (None, "never")]


@pytest.mark.slow
def test_a_new_process_loads_every_kind(saved, rows, tmp_path):
    paths = {name: saved(name)[1] for name in NAMES}
    rows.write.parquet(str(tmp_path / "rows"))
    script = """
        import json, sys
        from recspark.engine.spark.session import build_session
        from recspark.models import load_model
        spark = build_session("contract", {"spark.master": "local[1]", "spark.ui.enabled": "false"})
        rows = spark.read.parquet(sys.argv[1])
        models = {name: load_model(path) for name, path in json.loads(sys.argv[2]).items()}
        # vectors beside the prediction, too
        assert len(models["als"].transform(rows).collect()) == rows.count()
        total = lambda model: model.transform(rows).selectExpr("sum(prediction)").first()[0]
        print(json.dumps({name: total(model) for name, model in models.items()}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "rows"), json.dumps(paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    sums = json.loads(done.stdout.splitlines()[-1])
    here = {name: saved(name)[0].transform(rows).selectExpr("sum(prediction)").first()[0] for name in NAMES}
    assert sums == pytest.approx(here, rel=1e-9)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds a model of an earlier recspark, of a format that is not read any more: train it again"),
        (
            {"format": FORMAT + 1},
            f"holds a model of format {FORMAT + 1}, this recspark reads format {FORMAT}",
        ),
        ({"format": FORMAT, "layout": "factors"}, "model.json is damaged: .*kind"),
        (
            {"format": FORMAT, "layout": "of tomorrow", "kind": "als"},
            "model.json is damaged: Invalid value 'of tomorrow'",
        ),
    ],
)
def test_another_format_is_refused_in_one_sentence(tmp_path, content, words):
    (tmp_path / ("scorer.json" if content is None else FACTS)).write_text(json.dumps(content or {"rank": 3}))
    with pytest.raises(RecsparkError, match=words):
        read_facts(str(tmp_path))


def test_the_code_that_serves_imports_no_spark():
    script = """
        import sys, pkgutil
        sys.modules["pyspark"] = sys.modules["py4j"] = None
        import importlib, recspark.models.serving as serving
        for module in pkgutil.iter_modules(serving.__path__):
            importlib.import_module(f"recspark.models.serving.{module.name}")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
