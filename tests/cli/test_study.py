"""Studies: the same seed gives the same trials, whatever kills a process in between."""

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from recspark.errors import ConfigError
from recspark.lake.locks import LakeBusy
from recspark.pipeline.tuning.search_space import Choices, Interval
from recspark.pipeline.tuning.study import Search, open_study

SPACE = {
    "regParam": Interval(0.01, 1.0, None, True, whole=False),
    "rank": Interval(4, 64, 4, False, whole=True),
    "kernel": Choices(("linear", "rbf")),
}
GRID = {"rank": Interval(4, 12, 4, False, whole=True), "kernel": Choices(("linear", "rbf"))}


@pytest.fixture(autouse=True)
def unsynchronized():
    """Don't wait for the disk after each word of a trial."""

    def connected(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


def search(**changed):
    usual = {
        "space": SPACE,
        "trials": 13,
        "minimize": True,
        "sampler": "tpe",
        "pruner": "none",
        "seed": 42,
        "steps": 6,
        "warmup": 2,
    }
    return Search(**usual | changed)


@contextmanager
def opened(folder, made_from=None, wait=0.0, **changed):
    with open_study(folder, "als", made_from or {"split": "a"}, wait, search(**changed)) as study:
        yield study


def value(params):
    """Best at regParam .1 and rank 32."""
    return (
        abs(params.get("regParam", 0.1) - 0.1) + abs(params["rank"] - 32) / 100 + (params["kernel"] == "rbf")
    )


def run(study, most=1000):
    """Tell the values of trials until there are enough, or so many of them."""
    for _ in range(most):
        trial = study.ask()
        if trial is None:
            return
        study.tell(trial, value(trial.params), seconds=1.0)


def drawn(study):
    table = study.table
    return [study.params(number) for number in table.loc[table["state"] != "interrupted", "number"]]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_seed_gives_the_same_trials_and_another_one_others(tmp_path, sampler):
    found = []
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        with opened(
            tmp_path / place, sampler=sampler, seed=seed, space=GRID if sampler == "grid" else SPACE, trials=6
        ) as study:
            run(study)
            found.append(drawn(study))
    assert len(found[0]) == 6 and found[0] == found[1] != found[2]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_study_goes_on_with_the_trials_that_it_would_have_made(tmp_path, sampler):
    with opened(tmp_path / "whole", sampler=sampler) as study:
        run(study)
        whole = drawn(study)
    for told in (2, 9):
        with opened(tmp_path / "killed", sampler=sampler) as study:
            run(study, told)
            study.ask()  # and the process is gone
    with opened(tmp_path / "killed", sampler=sampler) as study:
        run(study)
        assert drawn(study) == whole
        states = study.table["state"].value_counts().to_dict()
    assert states == {"complete": 13, "interrupted": 2}
    with opened(tmp_path / "killed", sampler=sampler) as study:
        assert study.ask() is None


def test_a_trial_that_is_killed_twice_is_tried_a_third_time(tmp_path):
    with opened(tmp_path) as study:
        first = study.ask().params
    for _ in range(2):
        with opened(tmp_path) as study:
            assert study.ask().params == first
    with opened(tmp_path, trials=1) as study:
        run(study)
        assert study.table["state"].tolist() == ["interrupted"] * 3 + ["complete"]


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    with opened(tmp_path / "a", trials=5) as study:
        run(study)
    with opened(tmp_path / "a", trials=7) as study:
        run(study)
        found = drawn(study)
    with opened(tmp_path / "b", trials=7) as study:
        run(study)
        assert drawn(study) == found


def test_a_grid_takes_each_combination_once_also_in_two_goes(tmp_path):
    with opened(tmp_path, sampler="grid", space=GRID, trials=4) as study:
        run(study, 3)
        study.ask()
    with opened(tmp_path, sampler="grid", space=GRID, trials=100) as study:
        run(study)
        points = drawn(study)
    assert len(points) == 6 and {(p["rank"], p["kernel"]) for p in points} == {
        (r, k) for r in (4, 8, 12) for k in ("linear", "rbf")
    }
    refusal = "tune.space.regParam is not allowed with tune.sampler = 'grid': set its step, or its choices"
    with pytest.raises(ConfigError, match=refusal), opened(tmp_path / "endless", sampler="grid"):
        pass


def test_the_first_trial_is_what_the_conf_says_and_tpe_finds_better(tmp_path):
    start = {"regParam": 0.9, "rank": 4, "kernel": "rbf"}
    with opened(tmp_path, start=start, trials=24) as study:
        run(study)
        assert study.params(0) == start
        best = study.best()
        assert best["value"] < 0.3 < value(start) and study.params(best["number"])["kernel"] == "linear"
        shares = study.importances()
    assert shares.keys() == SPACE.keys() and sum(shares.values()) == pytest.approx(1)


def test_outcomes_and_facts_are_in_the_table(tmp_path):
    with opened(tmp_path, minimize=False) as study:
        study.tell(study.ask(), None, "the fit diverged", seconds=2.0)
        pruned = study.ask()
        study.report(pruned, 3.0, 1)
        study.tell(pruned, None)
        for result in (0.5, 0.7, 0.7):
            study.tell(study.ask(), result, iterations=9)
        table = study.table
        assert study.best()["number"] == 3
    assert table["state"].tolist() == ["failed", "pruned", "complete", "complete", "complete"]
    assert (
        table.loc[0, "reason"] == "the fit diverged"
        and table.loc[1, "value"] == 3.0
        and table.loc[4, "iterations"] == 9
    )
    assert [*table.columns[:6]] == ["number", "state", "value", *SPACE]


def test_nothing_complete_has_no_best_and_no_importances(tmp_path):
    with opened(tmp_path) as study:
        study.tell(study.ask(), None, "no")
        assert study.best() is None and study.importances() == {}


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruners_end_what_is_behind_but_not_before_the_warmup(tmp_path, pruner):
    with opened(tmp_path, pruner=pruner, trials=16, warmup=3) as study:
        ends = []
        for number in range(16):
            trial = study.ask()
            # later trials are worse and worse
            end = next((step for step in range(1, 7) if study.report(trial, 1.0 + number / step, step)), None)
            study.tell(trial, None if end else 1.0 + number / 10)
            ends.append(end)
        assert (study.table["state"] == "pruned").sum() == sum(end is not None for end in ends) > 3
    assert min(end for end in ends if end) >= 3


def test_threads_share_a_study(tmp_path):
    with opened(tmp_path, trials=9) as study:
        threads = [threading.Thread(target=run, args=(study,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        table = study.table
    assert table["number"].tolist() == list(range(9)) and (table["state"] == "complete").all()
    assert not table.duplicated(["regParam"]).any()


def test_trials_of_something_else_are_refused(tmp_path):
    with opened(tmp_path, {"split": "a", "model": "x"}):
        pass
    refusal = "holds trials of another model: set tune.study to another name"
    with pytest.raises(ConfigError, match=refusal), opened(tmp_path, {"split": "a", "model": "y"}):
        pass


def test_one_process_at_a_time(tmp_path):
    with opened(tmp_path):
        failed = []

        def second():
            try:
                with opened(tmp_path):
                    pass
            except LakeBusy as error:
                failed.append(str(error))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(failed) == 1 and "the study" in failed[0] and "is in use by a writer" in failed[0]
