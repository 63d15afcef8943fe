import subprocess
import sys

import recspark
from recspark.tracking import provenance
from recspark.tracking.provenance import flatten


def test_flatten_hides_by_name_and_leaves_out_what_is_not_set():
    nested = {"als": {"rank": 8, "tol": None, "deep": {"x": [1, 2]}}, "aws": {"secretKey": "abc"}}
    assert dict(flatten(nested)) == {"als.rank": "8", "als.deep.x": "[1, 2]", "aws.secretKey": "***"}


def test_the_commit_is_that_of_the_code_and_of_no_other_project(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True
        )
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
    monkeypatch.setattr(
        sys, "argv", ["/opt/somewhere/bin/recspark", "train", "--set", "data.source=s3a://k:hidden@b/x"]
    )
    tags = provenance.provenance()
    assert tags["recspark.command"] == "recspark train --set data.source=s3a://***@b/x"
    assert tags["mlflow.source.name"] == "recspark" and tags["mlflow.source.type"] == "JOB"
    assert tags["recspark.version"] == recspark.__version__
