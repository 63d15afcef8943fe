"""A lake with an empty MLflow database, and a small scorer class."""

import shutil
import sys

import pytest

from recspark.lake.lake import Lake
from recspark.tracking.store import Store, quiet_mlflow

SCORER = """
import json

import numpy as np


class Offset:
    def __init__(self, offset):
        self.offset = offset

    @classmethod
    def load(cls, folder):
        with open(f"{folder}/offset.json") as file:
            return cls(json.load(file))

    def predict(self, user_ids, item_ids):
        return (np.array([len(str(user)) for user in user_ids]) + self.offset).astype(np.float32)
"""


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database without experiments: its 60 migrations take seconds, so they run once."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store = Store(f"sqlite:///{path}", "unused", "unused", 10)
    with quiet_mlflow(10):
        store._client  # noqa: B018
    return path


@pytest.fixture
def lake(tmp_path, empty_store):
    root = tmp_path / "a lake, 100% local"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return Lake(str(root))


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    """A scorer class in a module of its own, and the folder that it loads."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "offset_scorer.py").write_text(SCORER)
    (tmp_path / "als").mkdir()
    (tmp_path / "als" / "offset.json").write_text("0.5")
    monkeypatch.syspath_prepend(tmp_path / "code")
    import offset_scorer

    yield offset_scorer.Offset, str(tmp_path / "als"), [str(tmp_path / "code" / "offset_scorer.py")]
    del sys.modules["offset_scorer"]
