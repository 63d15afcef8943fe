"""The audit passes honest features, and finds each kind of leak: held-out rows, rating values, what comes
later.
"""

from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recspark.config import read_conf
from recspark.data import schemas
from recspark.data.generated.synthetic import SyntheticOptions, generate
from recspark.features.audit import audit
from recspark.features.feature_set import FeatureSet
from recspark.features.groups import parse_groups
from recspark.features.options import with_leaks
from recspark.lake.lake import Lake
from recspark.lake.manifests import ColdRows, SplitManifest
from recspark.pipeline.conf.sections import validated

ROOT = Path(__file__).parents[2]
PAST = [{"group": "rated", "scope": "past"}, "last", "count"]
REFITS = {"ratings reversed", "ratings drawn", "test removed", "test thinned", "test changed"}


@pytest.fixture(scope="module")
def tables(spark):
    """Train, test, users; many ratings share their second."""
    made = generate(SyntheticOptions(users=20, items=40, ratings=450))
    ratings = spark.createDataFrame(made["ratings"]).withColumn(
        "timestamp", F.col("timestamp") - F.col("timestamp") % 60
    )
    in_test = F.pmod(F.xxhash64("user_id", "item_id"), F.lit(5)) == 0
    users = spark.createDataFrame(made["users"])
    return [table.cache() for table in (ratings.where(~in_test), ratings.where(in_test), users)]


@pytest.mark.slow
def test_honest_features_pass(tables):
    train, test, users = tables
    groups = parse_groups(["user", "item", "rated", "age_value", "day", *PAST])
    report = audit(lambda rows, _: FeatureSet.fit(groups, rows, users), train, test, rows=40)
    assert report.findings == [] and report.rows == 80
    assert set(report.perturbations) > REFITS and len(report.perturbations) == 8


@pytest.mark.slow
def test_what_is_made_from_all_rows_is_found(tables):
    train, test, users = tables
    groups = parse_groups(["user", "users.leak_rated", "users.leak_ratings", "users.mean"])

    def fit(rows, held_out):
        both = rows.unionByName(held_out)
        means = both.groupBy("user_id").agg(F.avg("rating").alias("mean"))
        return FeatureSet.fit(groups, rows, with_leaks(users, both).join(means, "user_id"))

    findings = audit(fit, train, test, rows=20).findings
    found = {
        group: {finding.perturbation for finding in findings if finding.group == group}
        for group in (group.name for group in groups)
    }
    of_test = {name for name in REFITS if name.startswith("test")}
    assert found == {
        "user": set(),
        "users.leak_rated": of_test,
        "users.leak_ratings": REFITS,
        "users.mean": REFITS,
    }
    said = [str(finding) for finding in findings]
    assert "ratings reversed: the levels or moments of group 'users.mean' changed" in said
    assert any(
        text.startswith(
            "ratings reversed: group 'users.leak_ratings' changed in 40 of the watched rows, such as "
        )
        for text in said
    )


class Peeking(FeatureSet):
    """What takes rows of the same second for earlier ones, the row itself among them."""

    def rows(self, df):
        return super().rows(df.withColumn("timestamp", F.col("timestamp") + 1))


@pytest.mark.slow
def test_a_look_at_the_same_second_is_found(tables):
    train, test, _ = tables
    findings = audit(lambda rows, _: Peeking.fit(parse_groups(PAST[1:]), rows), train, test, rows=40).findings
    assert {finding.group for finding in findings} == {"last", "count"}
    assert not {finding.perturbation for finding in findings} & REFITS
    assert findings[0].rows > 0 and findings[0].example.keys() == {"user_id", "item_id", "timestamp"}


@pytest.fixture
def lake(spark, tables, tmp_path):
    """What ingest and split leave, without their work."""
    lake, (train, test, users) = Lake(str(tmp_path)), tables
    items = train.select("item_id").distinct().withColumn("genres", F.array(F.lit("War")))
    tags = spark.createDataFrame([(1, 1, " Dark ", 1), (2, 1, "dark", 2)], schemas.TAGS)
    with lake.publish("tables", "made") as product:
        for name, table in (("users", users), ("items", items), ("tags", tags)):
            table.write.parquet(product.path(name))
    with lake.publish("splits/default", "made") as product:
        for name, table in (("train", train), ("validation", test.limit(0)), ("test", test)):
            table.write.parquet(product.path(name))
        product.manifest = SplitManifest(
            fingerprint="made",
            source="made",
            options={},
            counts={"train": train.count(), "validation": 0, "test": test.count()},
            cold=ColdRows(rows=test.count(), user=0, item=0, both=0, share=0.0),
        )
    return lake


@pytest.fixture
def call(command, lake):
    return lambda *settings: command(
        "audit", f"paths.lake={lake.root}", "tracking.enabled=false", "audit.rows=20", *settings
    )


@pytest.mark.slow
def test_the_job_passes_honest_features(call):
    code, summary, err = call('features.groups=["user", "rated", "genres", "tags"]')
    assert code == 0, err
    assert (
        summary["findings"] == 0
        and summary["groups"] == ["user", "rated", "genres", "tags"]
        and summary["rows"] == 40
    )


@pytest.mark.slow
def test_the_job_ends_with_exit_code_4_where_a_group_leaks(call):
    code, summary, err = call('features.groups=["user", "users.leak_rated"]', "features.leak=true")
    assert (code, summary) == (4, None)
    assert "the features leak: group 'users.leak_rated'; test removed: " in err and "Traceback" not in err


def test_the_job_names_mistakes(call):
    assert call('features.groups=["user", "users.leak_rated"]')[0] == 2
    code, _, err = call()
    assert code == 2 and "features.groups is not set" in err


def test_the_leaking_conf_is_valid_and_the_audit_has_a_job_file():
    conf = validated(read_conf(str(ROOT / "conf" / "recipes" / "leaking.toml")))
    assert conf.features.leak and [group.name for group in conf.features.declared] == [
        "user",
        "item",
        "users.leak_ratings",
        "month",
        "last",
    ]
    assert (ROOT / "jobs" / "audit.py").exists()
