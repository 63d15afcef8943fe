"""Feature groups of ratings; docs/leakage.md explains what each may know.

They are declared in a conf, fitted on training rows, and given out as sparse rows.

>>> from recspark.features.feature_set import FeatureSet
>>> from recspark.features.groups import parse_groups
>>> groups = parse_groups(["user", "item", "rated", "day"])
>>> features = FeatureSet.fit(groups, train, users, items)  # doctest: +SKIP
"""
