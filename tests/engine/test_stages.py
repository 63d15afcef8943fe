"""The progress of a job of several stages, by a clock of the test's own."""

import logging
import threading

import pytest

from recspark.engine.progress import Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "recspark.stages")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "recspark.stages"]


def spend(progress, clock, kind, seconds, label=None, outcome=None):
    with progress.stage(kind, label) as stage:
        clock.now += seconds
        stage.outcome = outcome or stage.outcome


def test_one_line_per_stage_and_the_time_left_once_it_is_known(clock, lines):
    progress = Progress({"ingest": 1, "split": 2, "train": 2}, clock=clock)
    with progress.shown():
        spend(progress, clock, "ingest", 3)
        for fold in ("fold 1", "fold 2"):
            with progress.stage(fold):
                with progress.stage("split"):
                    clock.now += 1
                    progress.unchanged()
                spend(progress, clock, "train", 20)
    assert lines() == [
        "stage 1 of 5, ingest: done, 3.0 s",
        "stage 2 of 5, fold 1, split: unchanged, 1.0 s",
        "stage 3 of 5, fold 1, train: done, 20.0 s; about 21 s left",
        "stage 4 of 5, fold 2, split: unchanged, 1.0 s; about 20 s left",
        "stage 5 of 5, fold 2, train: done, 20.0 s",
    ]


def test_an_earlier_job_tells_the_time_left(clock, lines):
    progress = Progress({"ingest": 1, "train": 1}, {"ingest": 60.0, "train": 600.0}, clock)
    assert progress.seconds_left == 660
    with progress.stage("ingest"):
        clock.now += 10
        assert progress.seconds_left == 650
        clock.now += 100
        assert progress.seconds_left == 600  # it takes longer than last time: the others will not be shorter
    assert lines() == ["stage 1 of 2, ingest: done, 110.0 s; about 10 min left"]
    assert progress.seconds == {"ingest": 110}


def test_fewer_trials_than_planned(clock, lines):
    progress = Progress({"trial": 11}, clock=clock)
    progress.expect("trial", 3)
    spend(progress, clock, "trial", 4, "trial 8", "rmse 0.9 (rank 8)")
    progress.expect("trial", 1)
    spend(progress, clock, "trial", 4, "winner")
    assert lines() == [
        "stage 1 of 3, trial 8: rmse 0.9 (rank 8), 4.0 s; about 8 s left",
        "stage 2 of 2, winner: done, 4.0 s",
    ]


def test_stages_side_by_side_count_the_time_that_they_add(clock, lines):
    progress = Progress({"trial": 4}, clock=clock)
    with progress.stage("trial", "trial 0"):
        with progress.stage("trial", "trial 1"):
            clock.now += 10
        clock.now += 2
    assert lines() == [
        "stage 1 of 4, trial 1: done, 10.0 s; about 30 s left",
        "stage 2 of 4, trial 0: done, 12.0 s; about 12 s left",
    ]


def test_a_stage_that_fails_has_no_line(clock, lines):
    progress = Progress({"train": 1}, clock=clock)
    with pytest.raises(ValueError, match="bad"), progress.shown(), progress.stage("train"):
        raise ValueError("bad")
    assert lines() == []


def test_a_job_without_stages_says_nothing(clock, lines):
    progress = Progress(clock=clock)
    with progress.shown(), progress.stage("train"):
        progress.unchanged()
    progress.unchanged()
    assert lines() == []


def test_a_quiet_job_has_neither_lines_nor_a_bar(clock, caplog, monkeypatch, capsys):
    caplog.set_level(logging.WARNING, "recspark.stages")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress = Progress({"train": 1}, clock=clock)
    with progress.shown():
        spend(progress, clock, "train", 1)
    assert not caplog.records and capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_and_lines_of_outcomes_alone(clock, lines, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("recspark.engine.progress.INTERVAL", 0.01)
    progress = Progress({"train": 2}, {"train": 30.0}, clock)
    with progress.shown(), progress.stage("train", "trial 1") as stage:
        clock.now += 15
        threading.Event().wait(0.3)
        stage.outcome = "rmse 0.9"
    out, err = capsys.readouterr()
    assert out == ""
    assert "stage 1 of 2, trial 1:  25%" in err and "< 00:45" in err
    assert lines() == ["stage 1 of 2, trial 1: rmse 0.9, 15.0 s; about 15 s left"]
