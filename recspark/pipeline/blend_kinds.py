"""The two kinds of blends, of predicted ratings and of lists: the fit of their weights, and their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypedDict

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.data.splitting.rules import draw
from recspark.engine.spark.session import parallelism
from recspark.errors import ConfigError
from recspark.evaluation.evaluate import BLOCKS_PER_CORE, EvaluationOptions
from recspark.evaluation.list_weights import contenders, fit_list_weights
from recspark.evaluation.user_metrics import METRICS_AT_K
from recspark.lake.manifests import BlendedLists, BlendedModels
from recspark.models.blend import BlendModel, Weights, fit_weights, fold_moments, model_rmse, with_predictions
from recspark.models.factors.model import FactorModel
from recspark.models.list_blend import ListBlendModel, ListWeights
from recspark.models.saving import load_model
from recspark.models.serving.list_blend import StoredMembers
from recspark.pipeline.conf.sections import BlendOptions
from recspark.pipeline.context import Context
from recspark.pipeline.estimators import trained_model


class BlendFields(TypedDict, total=False):
    """The field of the manifest that a kind of blend sets."""

    blend: BlendedModels
    list_blend: BlendedLists


class FittedBlend(Protocol):
    """Weights that are fitted on the validation rows."""

    @property
    def weights(self) -> tuple[float, ...]:
        """One per model."""

    @property
    def metric(self) -> str:
        """The metric that judges models and blend."""

    @property
    def value(self) -> float:
        """The metric of the blend on the validation rows."""

    @property
    def alone(self) -> list[float]:
        """The metric of each model by itself on these rows."""

    @property
    def facts(self) -> dict[str, object]:
        """More facts for the summary."""

    def gain(self, blended: float, models: Sequence[float]) -> tuple[float, float]:
        """The metric of the best of `models`, and by how much the blend is better."""

    def write(self, models: Mapping[str, str], folder: str) -> None:
        """Write the blend of models, given by name and folder, into `folder`, which is new."""

    def fields(self, models: Sequence[str]) -> BlendFields:
        """The field of the manifest."""


@dataclass(frozen=True)
class RatingBlend:
    """Predicted ratings, weighted by ridge regression."""

    fitted: Weights
    alone: list[float]
    metric: str = "rmse"

    @classmethod
    def fit(cls, job: Context, product: str, names: list[str]) -> RatingBlend:
        """From the predictions of models/NAME for the validation rows of a split."""
        models = {name: trained_model(job, name, product) for name in names}
        predictions = with_predictions(job.read(f"{product}/validation"), models)
        moments = fold_moments(predictions, names, job.sections.blend.seed)
        return cls(fit_weights(moments, job.sections.blend.regParam), model_rmse(moments))

    @property
    def weights(self) -> tuple[float, ...]:
        """See `FittedBlend.weights`."""
        return self.fitted.weights

    @property
    def value(self) -> float:
        """The RMSE by cross-validation."""
        return self.fitted.rmse

    @property
    def facts(self) -> dict[str, object]:
        """See `FittedBlend.facts`."""
        return {"intercept": self.fitted.intercept, "penalty": self.fitted.penalty}

    def gain(self, blended: float, models: Sequence[float]) -> tuple[float, float]:
        """See `FittedBlend.gain`."""
        return min(models), min(models) - blended

    def write(self, models: Mapping[str, str], folder: str) -> None:
        """See `FittedBlend.write`."""
        BlendModel({name: load_model(path) for name, path in models.items()}, self.fitted).write().save(
            folder
        )

    def fields(self, models: Sequence[str]) -> BlendFields:
        """See `FittedBlend.fields`."""
        return {"blend": BlendedModels(models=tuple(models), **asdict(self.fitted))}


@dataclass(frozen=True)
class ListBlend:
    """Standardized scores of lists, weighted for a ranking metric."""

    fitted: ListWeights
    alone: list[float]

    @classmethod
    def fit(cls, job: Context, product: str, names: list[str]) -> ListBlend:
        """From the lists of models/NAME for users of the validation rows of a split."""
        options, evaluation = job.sections.blend, job.sections.evaluation
        models: list[FactorModel] = [load_model(job.lake.path(f"models/{name}")) for name in names]
        members = StoredMembers(tuple(model.files for model in models), options.on)
        metric, k = list_metric(options, evaluation)
        rows = _of_some_users(job.read(f"{product}/validation"), options)
        found = contenders(
            rows,
            job.read(f"{product}/train"),
            members,
            k,
            evaluation.relevantThreshold,
            BLOCKS_PER_CORE * parallelism(job.spark),
        )
        return cls(*fit_list_weights(found, options.on, metric, k))

    @property
    def weights(self) -> tuple[float, ...]:
        """See `FittedBlend.weights`."""
        return self.fitted.weights

    @property
    def metric(self) -> str:
        """See `FittedBlend.metric`."""
        return self.fitted.metric

    @property
    def value(self) -> float:
        """See `FittedBlend.value`."""
        return self.fitted.value

    @property
    def facts(self) -> dict[str, object]:
        """See `FittedBlend.facts`."""
        return {"on": self.fitted.on, "metric": self.metric}

    def gain(self, blended: float, models: Sequence[float]) -> tuple[float, float]:
        """See `FittedBlend.gain`."""
        return max(models), blended - max(models)

    def write(self, models: Mapping[str, str], folder: str) -> None:
        """See `FittedBlend.write`."""
        ListBlendModel.of({name: load_model(path) for name, path in models.items()}, self.fitted, folder)

    def fields(self, models: Sequence[str]) -> BlendFields:
        """See `FittedBlend.fields`."""
        return {"list_blend": BlendedLists(models=tuple(models), **asdict(self.fitted))}


def list_metric(options: BlendOptions, evaluation: EvaluationOptions) -> tuple[str, int]:
    """The ranking metric that the weights of lists maximize, and its length of a list.

    Raise ConfigError if the metric is not measured.
    """
    if options.metric is None:
        return "ndcg", max(evaluation.ks)
    allowed = {f"{metric}_at_{k}": (metric, k) for k in evaluation.ks for metric in METRICS_AT_K}
    if options.metric not in allowed:
        raise ConfigError(
            f"blend.metric = {options.metric!r} is not allowed: it must be one of {', '.join(allowed)} "
            "(evaluation.ks: lengths of lists)"
        )
    return allowed[options.metric]


def _of_some_users(rows: DataFrame, options: BlendOptions) -> DataFrame:
    """The rows of about blend.users users: of all, if there are not more, else of those with low hashes."""
    users = rows.select("user_id").distinct().count()
    if users <= options.users:
        return rows
    return rows.where(draw(options.seed, "blend", "user_id") < F.lit(options.users / users))
