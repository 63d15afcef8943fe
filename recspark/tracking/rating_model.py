"""The code of a logged model: MLflow copies this file into the model's folder and runs it to load the model.

It answers pairs (user_id, item_id) with only `recspark.tracking.model_files.REQUIREMENTS` and the code
logged beside it: no Spark, and no pickle that would tie the model to one version of Python.
"""

import importlib

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class RatingModel(PythonModel):
    """Predicted ratings by the scorer class that ``model_config["scorer"]`` names as ``module:class``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the scorer from the model's folder."""
        module, _, name = context.model_config["scorer"].partition(":")
        scorer = getattr(importlib.import_module(module), name)
        self._scorer = scorer.load(context.artifacts["scorer"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """A column ``prediction`` for rows of user_id and item_id; a missing id counts as cold."""
        users, items = model_input["user_id"].to_numpy(), model_input["item_id"].to_numpy()
        return pd.DataFrame({"prediction": self._scorer.predict(users, items)}, index=model_input.index)


set_model(RatingModel())
