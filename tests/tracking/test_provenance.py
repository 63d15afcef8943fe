import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recspark
from recspark.tracking import provenance
from recspark.tracking.provenance import flatten, redact


@pytest.mark.parametrize(
    "text, expected",
    [
        ("s3a://key:pass@bucket/path", "s3a://***@bucket/path"),
        ("https://token@host/repo", "https://***@host/repo"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
        ("https://h/x?sv=1&sig=abc%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("--set store.password=x --set als.rank=8", "--set store.password=*** --set als.rank=8"),
        ("--api-key abc --rank 8", "--api-key *** --rank 8"),
        ("--store-token=abc {'password': 'x y'}", "--store-token=*** {'password': ***}"),
        ('spark.hadoop.fs.s3a.secret.key = "a b" # why', "spark.hadoop.fs.s3a.secret.key = *** # why"),
        ("userCol=user_id sigma=3 hdfs://host:8020/x", "userCol=user_id sigma=3 hdfs://host:8020/x"),
    ],
)
def test_redact(text, expected):
    assert redact(text) == expected


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(st.characters(categories=["L", "N"]), min_size=12), st.sampled_from(["postgresql", "https", "s3a"]))
def test_a_password_in_a_uri_never_survives(password, scheme):
    assert password not in redact(f"failed to open {scheme}://someone:{password}@host:5432/mlflow (timeout)")


@pytest.mark.parametrize("word", ["x", "a.", "token", "--sig-", "a://", "--token ", "key = ", "'"])
def test_redact_takes_no_longer_than_the_text_is_long(word):
    began = time.monotonic()
    redact(word * 20_000)
    assert time.monotonic() - began < 2


def test_flatten_hides_by_name_and_leaves_out_what_is_not_set():
    nested = {"als": {"rank": 8, "tol": None, "deep": {"x": [1, 2]}}, "aws": {"secretKey": "abc"}}
    assert dict(flatten(nested)) == {"als.rank": "8", "als.deep.x": "[1, 2]", "aws.secretKey": "***"}


def test_the_commit_is_that_of_the_code_and_of_no_other_project(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    package = tmp_path / "recspark"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "_CODE", package)
    assert provenance._commit() == {}
    git("init", "--quiet")
    (tmp_path / "other.txt").write_text("")
    git("add", "other.txt")
    git("commit", "--quiet", "-m", "another project")
    assert provenance._commit() == {}
    git("add", ".")
    git("commit", "--quiet", "-m", "ours")
    commit = git("rev-parse", "HEAD")
    assert provenance._commit() == {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": "false"}
    (package / "__init__.py").write_text("changed = True")
    assert provenance._commit()["mlflow.source.git.dirty"] == "true"
    monkeypatch.setenv("PATH", "")
    assert provenance._commit() == {}


def test_provenance_tells_command_and_versions(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/somewhere/bin/recspark", "train", "--set", "data.source=s3a://k:hidden@b/x"])
    tags = provenance.provenance()
    assert tags["recspark.command"] == "recspark train --set data.source=s3a://***@b/x"
    assert tags["mlflow.source.name"] == "recspark" and tags["mlflow.source.type"] == "JOB"
    assert tags["recspark.version"] == recspark.__version__
