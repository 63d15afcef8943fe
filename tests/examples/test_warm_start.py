"""The example of a start from another trainer's embeddings: its gradient, what it learns, and that the start
helps.
"""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def lightgcn(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import lightgcn

    return lightgcn


@pytest.fixture
def likes():
    """Two groups of 12 users, each of whom likes 5 of the 8 items of the group."""
    draw = np.random.default_rng(0)
    user = np.repeat(np.arange(24), 5)
    item = np.concatenate([8 * (u // 12) + draw.choice(8, 5, replace=False) for u in range(24)])
    return user, item, 24, 16


def test_the_gradient_is_that_of_the_loss(lightgcn, likes):
    user, item, n_users, n_items = likes
    draw = np.random.default_rng(1)
    adjacency = lightgcn.graph(*likes)
    embeddings, direction = draw.standard_normal((2, n_users + n_items, 3))
    other = draw.integers(n_items, size=len(user))

    def loss(moved):
        final = lightgcn.propagate(adjacency, moved)
        difference = final[n_users + item] - final[n_users + other]
        return np.mean(np.log1p(np.exp(-np.einsum("ij,ij->i", final[user], difference))))

    final = lightgcn.propagate(adjacency, embeddings)
    gradient = lightgcn.propagate(
        adjacency, lightgcn.bpr_gradient(final, user, n_users + item, n_users + other)
    )
    step = 1e-4
    slope = (loss(embeddings + step * direction) - loss(embeddings - step * direction)) / (2 * step)
    assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-3)


def test_it_learns_who_likes_what(lightgcn, likes):
    users, items = lightgcn.train(*likes, rank=4, steps=60, rate=0.05, reg=1e-5, seed=0)
    assert users.shape == (24, 4) and items.shape == (16, 4) and users.dtype == np.float32
    scores = users @ items.T
    own = np.arange(24)[:, None] // 12 == np.arange(16)[None, :] // 8
    assert scores[own].min() > scores[~own].max()


@pytest.mark.long
def test_a_start_from_lightgcn_is_ahead_in_the_first_epochs_on_ml_100k(
    spark, movielens, tmp_path, monkeypatch, capsys, lightgcn
):
    lake = tmp_path / "lake"
    arguments = ["warm_start.py", "--source", str(movielens / "ml-100k.zip"), "--lake", str(lake)]
    monkeypatch.setattr(sys, "argv", arguments)
    example = runpy.run_path(str(EXAMPLES / "warm_start.py"))
    example["main"]()
    rows = example["curves"](str(lake), {"cold": "mf-cold", "warm": "mf-warm"})
    cold, warm = (rows[rows["run"] == run].set_index("epoch")["test_rmse"] for run in ("cold", "warm"))
    assert (warm[1:6] < cold[1:6]).all()
    assert warm.min() < cold.min() + 0.003
    assert (
        lake / "warm_start.png"
    ).stat().st_size > 10_000 and "| epoch | cold | from LightGCN |" in capsys.readouterr().out
