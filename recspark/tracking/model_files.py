"""The folder of an MLflow model.

It has the scorer's files, the code that reads them, its signature and the packages that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

import recspark
from recspark.lake.folder import locate
from recspark.tracking.spool import fetch

#: packages that a model needs to answer; without them MLflow would load the model in a new process to find
#: out
REQUIREMENTS = ("mlflow", "msgspec", "numba", "numpy", "pandas", "pyarrow", "scipy")
_PACKAGE = str(Path(recspark.__file__).parent)


class Scorer(Protocol):
    """The form of a logged model: a class that any Python with :data:`REQUIREMENTS` can import.

    It is imported from the logged code.
    """

    @classmethod
    def load(cls, folder: str) -> Scorer:
        """The scorer in `folder`."""

    def predict(self, user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        """Predicted ratings of pairs of ids."""


def write_model(
    scorer: type[Scorer], folder: str, example: pd.DataFrame, code_paths: Sequence[str] | None, scratch: str
) -> str:
    """Write an MLflow model under `scratch` and return its folder. Call it inside ``quiet_mlflow``.

    Parameters
    ----------
    scorer
        The class whose ``load`` reads `folder`.
    folder
        Path or URI of the files that the scorer reads.
    example
        A few rows of user_id and item_id.
    code_paths
        Folders of code that travel with the model; None or empty: the package recspark.
    scratch
        A local folder for temporary files.

    Returns
    -------
    str
        The local folder of the MLflow model.
    """
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    example = example[["user_id", "item_id"]]
    # any type: whole numbers with a missing one reach MLflow as floats, which it refuses for longs
    inputs = Schema([ColSpec(AnyType(), name) for name in example])
    target = f"{scratch}/mlflow-model"
    pyfunc.save_model(
        target,
        python_model=str(Path(__file__).with_name("rating_model.py")),
        artifacts={"scorer": fetch(*locate(folder), scratch)},
        model_config={"scorer": f"{scorer.__module__}:{scorer.__qualname__}"},
        code_paths=list(code_paths or [_PACKAGE]),
        signature=ModelSignature(inputs, Schema([ColSpec("float", "prediction")])),
        input_example=example,
        pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
    )
    return target
