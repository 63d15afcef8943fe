"""Every conf that is shipped is valid, and the audit finds no leak in any that declares features, but in the
one that leaks.
"""

import re
from pathlib import Path

import pytest

from recspark.cli import main
from recspark.config import read_conf
from recspark.pipeline.conf.sections import validated

CONF = Path(__file__).parents[2] / "conf"
CONFS = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.toml"))
FEATURED = [
    name for name in CONFS if re.search(r"^\[features\]", (CONF / name).read_text("utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", CONFS)
def test_it_is_valid_and_says_its_command(name):
    assert validated(read_conf(str(CONF / name))).model.estimator
    assert re.search(r"^#   (recspark|python examples/)", (CONF / name).read_text("utf-8"), re.MULTILINE)


def test_there_are_confs_with_features():
    assert {
        "ml-100k-fm-mcmc.toml",
        "ml-1m-fm-mcmc.toml",
        "recipes/users-500.toml",
        "recipes/leaking.toml",
    } <= set(FEATURED)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory):
    return tmp_path_factory.mktemp("lakes")


# tests/features/test_audit.py has an audit that passes and one that fails
@pytest.mark.long
@pytest.mark.parametrize("name", FEATURED)
def test_no_feature_leaks(spark, movielens, lakes, capsys, name):
    dataset = read_conf(str(CONF / name))["data"]["dataset"]
    archive = movielens / f"{dataset}.zip"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not in RECSPARK_DATA")
    words = [
        "--conf-file",
        str(CONF / name),
        "--set",
        f"paths.lake={lakes / dataset}",
        "--set",
        "tracking.enabled=false",
    ]
    for job in ("ingest", "index", "split"):
        assert main([job, *words, "--set", f"data.source={archive}"]) == 0
    code = main(["audit", *words])
    err = capsys.readouterr().err
    if name == "recipes/leaking.toml":
        assert code == 4 and "the features leak: group 'users.leak_ratings'" in err
    else:
        assert code == 0 and "no leak" in err
