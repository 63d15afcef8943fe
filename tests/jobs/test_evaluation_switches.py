"""Every job with every switch of ``[evaluation]``: it ends well, or is refused in one sentence before any
work.
"""

import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.pipeline.jobs import JOBS

SWITCHES = {
    "other lists": ["evaluation.ks=[5]"],
    "several lists": ["evaluation.ks=[3,7]", "evaluation.relevantThreshold=4"],
    "no ratings": ["evaluation.ratings=false"],
    "no ranking": ["evaluation.ranking=false", "evaluation.binsPerUnit=2"],
}
#: what each job is called with; all of them work on one lake
WORDS = {
    "ingest": [],
    "index": [],
    "split": [],
    "audit": ['features.groups=["user", "item"]', "audit.rows=10"],
    "train": [],
    "evaluate": [],
    "recommend": ["recommend.n=3"],
    "compare": ["a", "b"],
    "curves": ["a", "b"],
    "sync": [],
    "update": ["model.name=c"],
    "pipeline": ["model.name=piped"],
    "crossvalidate": ["split.folds=2", "split.name=folded"],
    "blend": ["a", "b"],
    "tune": ["tune.space={rank={choices=[1,2]}}", "tune.trials=2", "model.name=tuned"],
    "promote": ["promote.candidate=a", "tracking.enabled=true", "tracking.logModel=true"],
    "demo": ["synthetic.users=60", "synthetic.items=40", "synthetic.ratings=1500"],
}
#: (job, switch) -> more words
RANKED = {("tune", "no ratings"): ["tune.metric=auc"]}


@pytest.fixture(scope="module")
def place(spark, tmp_path_factory):
    """Words that every job gets; the lake has the models a, b and c."""
    from recspark.cli import main

    folder = tmp_path_factory.mktemp("switches")
    write_movielens(generate(SyntheticOptions(users=60, items=40, ratings=1500)), folder / "ml-1m")
    pd.DataFrame({"user_id": [1, 2], "item_id": [3, 4], "rating": [5.0, 1.0]}).to_csv(
        folder / "new.csv", index=False
    )
    words = [
        f"data.source={folder / 'ml-1m'}",
        f"paths.lake={folder / 'lake'}",
        f"update.source={folder / 'new.csv'}",
    ]
    words += ["tracking.enabled=false", "tracking.logModel=false", "split.validationFraction=0.2"]
    words += ["model.rank=2", "model.maxIter=2", "model.name=a"]
    for job, *more in (
        ["ingest"],
        ["index"],
        ["split"],
        *([job, f"model.name={name}"] for name in "abc" for job in ("train", "evaluate")),
    ):
        assert main([job, "--quiet", *(part for word in [*words, *more] for part in ("--set", word))]) == 0
    return words


def test_all_jobs_are_here():
    # warm reads no conf, and a rollback needs a promotion before each: tests/jobs/test_rollback.py
    assert WORDS.keys() | {"warm", "rollback"} == JOBS.keys()


@pytest.mark.parametrize(
    ("job", "settings", "message"),
    [
        (
            "blend",
            ["blend.models=['a','b']", "blend.metric=auc", "evaluation.ratings=false"],
            "blend.metric = 'auc' is not allowed",
        ),
        (
            "tune",
            ["tune.space={rank={choices=[1,2]}}", "evaluation.ratings=false"],
            "tune.metric = 'rmse' is not allowed with",
        ),
        (
            "tune",
            ["tune.space={rank={choices=[1,2]}}", "tune.metric=auc", "evaluation.ranking=false"],
            "tune.metric = 'auc' is not",
        ),
        (
            "promote",
            ["promote.candidate=a", "promote.metric=auc", "evaluation.ranking=false"],
            "promote.metric = 'auc' is not allowed",
        ),
        ("evaluate", ["evaluation.ranking=false", "evaluation.ratings=false"], "nothing is left to measure"),
    ],
)
def test_what_a_job_needs_is_refused_before_any_work(command, tmp_path, job, settings, message):
    lake = tmp_path / "lake"
    lake.mkdir()
    code, _, err = command(job, f"paths.lake={lake}", *settings)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not any(lake.iterdir())


#: .ci/run tries these, `make test-long` the others
IN_CI = ("evaluate", "pipeline")


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(
    "job",
    [pytest.param(job, marks=[pytest.mark.slow if job in IN_CI else pytest.mark.long]) for job in WORDS],
)
def test_every_job_ends_well(command, place, job, switch):
    words, settings = [
        [word for word in WORDS[job] if ("=" in word) == with_value] for with_value in (False, True)
    ]
    settings += [*RANKED.get((job, switch), []), *SWITCHES[switch], f"tune.study={switch.replace(' ', '-')}"]
    code, summary, err = command(job, *words, *place, *settings)
    assert code == 0 and "Traceback" not in err, err
    measured = summary["models"]["als-mllib"] if job == "demo" else summary
    if job in ("evaluate", "pipeline", "crossvalidate", "demo"):
        assert ("rmse" in measured) == (switch != "no ratings")
        assert ("ndcg_at_5" in measured) == (switch == "other lists") and ("auc" in measured) == (
            switch != "no ranking"
        )
    if job == "crossvalidate":
        assert summary["folds"] == ["1", "2"] and summary["users"] == 60
