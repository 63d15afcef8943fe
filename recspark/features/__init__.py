"""Feature groups of ratings: declared in a conf, fitted on training rows, given out as sparse rows; docs/leakage.md.

>>> features = FeatureSet.fit(parse_groups(["user", "item", "rated", "day"]), train, users, items)  # doctest: +SKIP
"""

from recspark.features.feature_set import FeatureSet
from recspark.features.groups import Group, parse_groups
from recspark.features.layout import Block, Layout
from recspark.features.options import FeatureOptions

__all__ = ["Block", "FeatureOptions", "FeatureSet", "Group", "Layout", "parse_groups"]
