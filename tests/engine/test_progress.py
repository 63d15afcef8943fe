"""What is said of a fit while it goes on, and the judge that may end it."""

import time

import pytest

from recspark.engine.progress import reporting


def row(iteration):
    return {"iteration": iteration, "train_rmse": 1 / iteration, "seconds": 0.1, "ratings_per_second": 1e6}


@pytest.fixture(autouse=True)
def short_looks(monkeypatch):
    monkeypatch.setattr("recspark.engine.progress.INTERVAL", 0.01)


def test_a_judge_sees_each_row_once_in_order_and_ends_the_fit():
    history, seen, ended = [], [], []

    def judge(found):
        seen.append(found["iteration"])
        return found["iteration"] == 3

    with reporting(lambda: list(history), 10, judge, lambda: ended.append(len(history))):
        deadline = time.monotonic() + 20
        while not ended and time.monotonic() < deadline:
            history.append(row(len(history) + 1))
            time.sleep(0.05)
    assert seen == [1, 2, 3] and len(ended) == 1 and ended[0] >= 3


def test_a_judge_also_sees_what_was_over_before_it_looked():
    seen, ended = [], []
    with reporting(
        lambda: [row(1), row(2)], 2, lambda found: seen.append(found["iteration"]), lambda: ended.append(1)
    ):
        pass
    assert seen == [1, 2] and not ended


def test_an_error_of_the_judge_is_an_error_of_the_fit():
    def judge(found):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), reporting(lambda: [row(1)], 2, judge, None):
        pass
