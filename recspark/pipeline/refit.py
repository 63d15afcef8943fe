"""The last step after a choice on validation rows: train on them as well, then read the test rows."""

from __future__ import annotations

from dataclasses import replace

from recspark.data.splitting.splits import SplitOptions
from recspark.errors import RecsparkError
from recspark.features.options import FeatureOptions
from recspark.lake.manifests import SplitManifest
from recspark.pipeline import stages
from recspark.pipeline.context import Context
from recspark.pipeline.model_section import ModelSection

#: ending of the name of a split whose train rows are train and validation rows of another
FULL = "-full"


def full_split(job: Context, product: str) -> SplitOptions:
    """Publish the split with the test rows of `product`, trained on its train and validation rows."""
    manifest = job.lake.require(product, SplitManifest, "split")
    options = SplitOptions(
        **manifest.options | {"validationFraction": 0.0, "name": f"{manifest.options['name']}{FULL}"}
    )
    counts = stages.split(replace(job, sections=replace(job.sections, split=options)))["counts"]
    before = manifest.counts
    expected = before | {"train": before["train"] + before["validation"], "validation": 0}
    source = job.lake.require(f"splits/{options.name}", SplitManifest, "split").source
    if counts != expected or source != manifest.source:
        raise RecsparkError(
            f"the tables have changed since {product} was made ({counts} rows, not {expected}): split and "
            "train again"
        )
    return options


def on(
    job: Context, split: SplitOptions, model: ModelSection, features: FeatureOptions | None = None
) -> Context:
    """`job` on another split, with another model, and with other features if they are given."""
    features = features or job.sections.features
    return replace(job, sections=replace(job.sections, split=split, model=model, features=features))
