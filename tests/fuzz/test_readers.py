"""A few dozen damaged files for every reader; ``python -m tests.fuzz --tries 500`` makes many,
docs/robustness.md has the figures.
"""

from collections import Counter

import pytest

from tests.fuzz.__main__ import readers, tried

READERS = readers(None)
TRIES = 40


@pytest.mark.parametrize("name", READERS)
def test_nothing_is_lost_and_nothing_ends_in_a_traceback(name, tmp_path):
    outcomes = Counter(tried(READERS[name], seed, tmp_path).kind for seed in range(TRIES))
    assert len(outcomes) > 1, f"{outcomes}: the damage is too weak or too strong to show anything"


@pytest.mark.long
def test_many_more_also_of_real_files(movielens, tmp_path):
    for name, reader in readers(movielens).items():
        for seed in range(1000, 1200):
            outcome = tried(reader, seed, tmp_path)
            assert outcome.kind in ("kept", "quarantined", "rejected", "refused"), name
